"""The resources a stage needs before it is deployed: bucket, ledger, queues, topic and API tokens.

Each is made as the product's infrastructure makes it on AWS. Everything may be called again; what is there stays.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.stage import Stage

Client = Any  # a boto3 client; its methods are made at run time

MAX_RECEIVE_COUNT = 3
SCOPES = ("backup:read", "backup:write", "restore:write", "restore:clear")


@dataclass(frozen=True)
class ApiToken:
    """A bearer token and what it allows. Only its hash is stored."""

    name: str
    token: str
    scopes: tuple[str, ...] = SCOPES

    def stored(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        return {"name": self.name, "sha256": digest, "scopes": list(self.scopes)}


def new_token(name: str = "sandbox", scopes: tuple[str, ...] = SCOPES) -> ApiToken:
    return ApiToken(name, f"tv_{secrets.token_urlsafe(24)}", scopes)


def create_resources(client: Callable[[str], Client], stage: Stage, tokens: list[ApiToken]) -> None:
    """Makes everything the stage's environment names; `client(service)` gives a boto3 client."""
    create_bucket(client("s3"), stage.backup_bucket)
    create_ledger(client("dynamodb"), stage.ledger_table)
    create_queues(client("sqs"), stage)
    if stage.notification_topic:
        client("sns").create_topic(Name=stage.notification_topic.rpartition(":")[2])
    store_tokens(client("ssm"), stage.api_tokens_parameter, tokens)


def create_bucket(s3: Client, name: str) -> None:
    # A new bucket keeps no versions and us-east-1 takes no location constraint; creating one's own bucket again
    # succeeds there.
    s3.create_bucket(Bucket=name)


def create_ledger(dynamodb: Client, name: str) -> None:
    """The ledger's table, its two indexes and its TTL; waits until it can be used."""
    try:
        dynamodb.create_table(TableName=name, **LEDGER_DEFINITION)
    except dynamodb.exceptions.ResourceInUseException:
        return
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at_s"}
    )


def create_queues(sqs: Client, stage: Stage) -> None:
    """The dead-letter queue, then the restore queue that sends it what was received three times in vain."""
    dead_letter_url = sqs.create_queue(
        QueueName=stage.restore_dead_letter_queue,
        Attributes={"VisibilityTimeout": str(stage.visibility_timeout_s("record_dead_letter"))},
    )["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=dead_letter_url, AttributeNames=["QueueArn"])["Attributes"]
    redrive = {"deadLetterTargetArn": attributes["QueueArn"], "maxReceiveCount": MAX_RECEIVE_COUNT}
    sqs.create_queue(
        QueueName=stage.restore_queue,
        Attributes={
            "VisibilityTimeout": str(stage.visibility_timeout_s("restore_shards")),
            "RedrivePolicy": json.dumps(redrive),
        },
    )


def store_tokens(ssm: Client, parameter: str, tokens: list[ApiToken]) -> None:
    """Replaces the parameter: the tokens given are the ones that hold."""
    ssm.put_parameter(
        Name=parameter,
        Type="SecureString",
        Value=json.dumps([token.stored() for token in tokens]),
        Overwrite=True,
    )


LEDGER_DEFINITION: dict[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": kind}
        for name, kind in (
            ("pk", "S"),
            ("sk", "S"),
            ("kind", "S"),
            ("sort_name", "S"),
            ("open_kind", "S"),
            ("opened_at_ms", "N"),
        )
    ],
    "KeySchema": [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by_kind",
            "KeySchema": [
                {"AttributeName": "kind", "KeyType": "HASH"},
                {"AttributeName": "sort_name", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        },
        {
            "IndexName": "open_work",
            "KeySchema": [
                {"AttributeName": "open_kind", "KeyType": "HASH"},
                {"AttributeName": "opened_at_ms", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        },
    ],
}
