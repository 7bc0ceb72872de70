"""An app of the product's shape, small enough to see through: every trigger leaves a row in the ledger."""

import hashlib
import json
import os
import sys
from typing import Any
from urllib.parse import unquote

import boto3
from botocore.exceptions import ClientError
from chalice.app import AuthResponse, Chalice, CORSConfig, Rate, Response
from chalicelib.rows import put_row  # type: ignore[import-not-found]  # the toy's own chalicelib

BUCKET = os.environ["BACKUP_BUCKET"]

app = Chalice(app_name="tablevault", configure_logs=False)
app.api.cors = CORSConfig(allow_origin="https://console.example.com", allow_headers=["Idempotency-Key"])


@app.authorizer(ttl_seconds=0)
def authorize(request: Any) -> AuthResponse:
    parameter = boto3.client("ssm").get_parameter(Name=os.environ["API_TOKENS_PARAMETER"], WithDecryption=True)
    digest = hashlib.sha256(request.token.removeprefix("Bearer ").encode()).hexdigest()
    known = {entry["sha256"]: entry["name"] for entry in json.loads(parameter["Parameter"]["Value"])}
    return AuthResponse(routes=["*"] if digest in known else [], principal_id=known.get(digest, "unknown"))


@app.route("/health")
def health() -> Any:
    return {"status": "ok"}


@app.route("/things/{name}/parts/{part}", authorizer=authorize)
def get_part(name: str, part: str) -> Any:
    context = _request().context
    return {
        "name": unquote(name),
        "part": part,
        "caller": context.get("authorizer", {}).get("principalId"),
        "worker_pid": os.getpid(),
    }


@app.route("/things", methods=["POST"], authorizer=authorize)
def post_thing() -> Any:
    boto3.client("sqs").send_message_batch(
        QueueUrl=boto3.client("sqs").get_queue_url(QueueName=os.environ["RESTORE_QUEUE"])["QueueUrl"],
        Entries=[{"Id": "1", "MessageBody": json.dumps(_request().json_body)}],
    )
    return Response(body={"accepted": True}, status_code=202)


@app.route("/forbidden", authorizer=authorize)
def try_what_the_role_lacks() -> Any:
    try:
        boto3.client("dynamodb").delete_table(TableName=os.environ["LEDGER_TABLE"])
    except ClientError as error:
        return {"code": error.response["Error"]["Code"]}
    return {"code": "none"}


@app.schedule("cron(0 1 * * ? *)")
def start_exports(event: Any) -> None:
    put_row("schedule", event.to_dict()["source"])
    boto3.client("s3").put_object(
        Bucket=os.environ["BACKUP_BUCKET"], Key="native-exports/2026-11-21/manifest-summary.json", Body=b"{}"
    )


@app.on_s3_event(
    bucket=os.environ["BACKUP_BUCKET"],
    events=["s3:ObjectCreated:*"],
    prefix="native-exports/",
    suffix="manifest-summary.json",
)
def record_export(event: Any) -> None:
    put_row("export", event.key)


@app.on_sqs_message(queue=os.environ["RESTORE_QUEUE"], batch_size=1, maximum_concurrency=2)
def restore_shards(event: Any) -> None:
    for record in event:
        put_row("shard", record.body)
        if "hang" in record.body:
            while True:
                pass


@app.on_sqs_message(queue=os.environ["RESTORE_DEAD_LETTER_QUEUE"], batch_size=1)
def record_dead_letter(event: Any) -> None:
    for record in event:
        put_row("dead-letter", record.body)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def reconcile(event: Any) -> None:
    sys.stderr.write("reconcile looked around\n")
    put_row("reconcile", event.to_dict()["detail-type"])


def _request() -> Any:
    return app.current_request
