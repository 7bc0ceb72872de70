"""tablevault: every trigger on one screen. What each of them does stands in chalicelib/entry.py and chalicelib/api/."""

import json
import os
from functools import partial

from aws_lambda_powertools import Logger
from chalice.app import Chalice, CloudWatchEvent, Rate, S3Event, SQSEvent

from chalicelib import entry
from chalicelib.api.authorizer import authorizers
from chalicelib.api.routes import routes
from chalicelib.backup.layout import SUMMARY_NAME
from chalicelib.services import services
from chalicelib.settings import read_settings

app = Chalice(app_name="tablevault", configure_logs=False)
app.register_blueprint(authorizers)
app.register_blueprint(routes)
settings = read_settings(os.environ)
# The logger every module logs to, by that name. A record is ASCII: no text in it can end the line or steer a terminal.
logger = Logger(service="tablevault", json_serializer=partial(json.dumps, default=str, separators=(",", ":")))


@app.schedule(settings.backup_schedule)
def start_exports(event: CloudWatchEvent) -> object:
    return entry.start_exports(services())


@app.on_s3_event(
    bucket=settings.backup_bucket,
    events=["s3:ObjectCreated:*"],
    prefix=f"{settings.s3_exports_prefix}/",
    suffix=SUMMARY_NAME,
)
def record_export(event: S3Event) -> object:
    return entry.record_export(services(), event.to_dict())


@app.on_sqs_message(queue=settings.restore_queue, batch_size=1, maximum_concurrency=settings.restore_max_concurrency)
def restore_shards(event: SQSEvent) -> object:
    return [entry.restore_shards(services(), record.to_dict(), event.context) for record in event]


@app.on_sqs_message(queue=settings.restore_dead_letter_queue, batch_size=1)
def record_dead_letter(event: SQSEvent) -> object:
    return [entry.record_dead_letter(services(), record.to_dict()) for record in event]


@app.schedule(Rate(1, unit=Rate.MINUTES))
def reconcile(event: CloudWatchEvent) -> object:
    return entry.reconcile(services())
