"""tablevault: every trigger on one screen. What each of them does stands in chalicelib/entry.py and chalicelib/api/."""

import os

from chalice.app import Chalice, CloudWatchEvent, Rate, S3Event, SQSEvent

from chalicelib import entry
from chalicelib.api.authorizer import authorizers
from chalicelib.backup.layout import SUMMARY_NAME
from chalicelib.logs import log_as_json
from chalicelib.services import services

app = Chalice(app_name="tablevault", configure_logs=False)
app.register_blueprint(authorizers)
if not entry.is_event_function(os.environ):
    from chalicelib.api.routes import routes  # what answers requests is no part of an event function's cold start

    app.register_blueprint(routes)
log_as_json()
settings = services().settings  # of the triggers below only what they are when the app is deployed


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


@app.schedule(settings.prune_schedule)
def prune(event: CloudWatchEvent) -> object:
    return entry.prune(services(), event.context)
