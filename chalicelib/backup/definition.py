"""table.json: what is needed to make a table again, captured when its export starts.

Not in it: autoscaling, which Application Auto Scaling holds, and resource policies.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.aws import Client
from chalicelib.errors import ExportInvalid

SCHEMA_VERSION = 1


class KeyAttribute(msgspec.Struct, frozen=True):
    attribute_name: str
    key_type: str  # HASH or RANGE


class Attribute(msgspec.Struct, frozen=True):
    attribute_name: str
    attribute_type: str  # S, N or B


class TableDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """`indexes`, `stream`, `encryption` and so on are AWS' own structures, as CreateTable takes them."""

    schema_version: int = SCHEMA_VERSION
    table_name: str
    table_arn: str
    captured_at: str
    keys: tuple[KeyAttribute, ...]
    attributes: tuple[Attribute, ...]
    billing_mode: str
    provisioned_throughput: dict[str, int] | None = None
    on_demand_throughput: dict[str, int] | None = None
    global_secondary_indexes: list[dict[str, Any]] = []
    local_secondary_indexes: list[dict[str, Any]] = []
    stream: dict[str, Any] | None = None
    encryption: dict[str, Any] | None = None
    table_class: str = "STANDARD"
    deletion_protection: bool = False
    time_to_live_attribute: str | None = None
    point_in_time_recovery: bool = False
    recovery_period_days: int | None = None
    tags: dict[str, str] = {}


def encode_definition(definition: TableDefinition) -> bytes:
    return msgspec.json.format(msgspec.json.encode(definition), indent=2)


def decode_definition(content: bytes, key: str) -> TableDefinition:
    """Raises ExportInvalid when it is not a table definition of a schema this version reads."""
    try:
        definition = msgspec.json.decode(content, type=TableDefinition)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ExportInvalid(f"{key} is not a table definition: {error}") from error
    if not 1 <= definition.schema_version <= SCHEMA_VERSION:
        raise ExportInvalid(f"{key} has schema version {definition.schema_version}: a newer tablevault wrote it")
    if not definition.keys:
        raise ExportInvalid(f"{key} defines a table without keys")
    return definition


def capture_definition(
    dynamodb: Client, described: Mapping[str, Any], backups: Mapping[str, Any], captured_at: str
) -> TableDefinition:
    """From DescribeTable's `Table` and DescribeContinuousBackups' description; asks for TTL and tags itself.

    Raises botocore's ClientError.
    """
    name = described["TableName"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    return TableDefinition(
        table_name=name,
        table_arn=described["TableArn"],
        captured_at=captured_at,
        keys=tuple(KeyAttribute(key["AttributeName"], key["KeyType"]) for key in described["KeySchema"]),
        attributes=tuple(
            Attribute(entry["AttributeName"], entry["AttributeType"]) for entry in described["AttributeDefinitions"]
        ),
        billing_mode=described.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
        provisioned_throughput=_throughput(described),
        on_demand_throughput=described.get("OnDemandThroughput"),
        global_secondary_indexes=[_index(index) for index in described.get("GlobalSecondaryIndexes", [])],
        local_secondary_indexes=[_index(index) for index in described.get("LocalSecondaryIndexes", [])],
        stream=described.get("StreamSpecification"),
        encryption=_only(described.get("SSEDescription"), "Status", "SSEType", "KMSMasterKeyArn"),
        table_class=described.get("TableClassSummary", {}).get("TableClass", "STANDARD"),
        deletion_protection=bool(described.get("DeletionProtectionEnabled", False)),
        time_to_live_attribute=_time_to_live(dynamodb, name),
        point_in_time_recovery=recovery.get("PointInTimeRecoveryStatus") == "ENABLED",
        recovery_period_days=recovery.get("RecoveryPeriodInDays"),
        tags=_tags(dynamodb, described["TableArn"]),
    )


def _throughput(described: Mapping[str, Any]) -> dict[str, int] | None:
    capacity = described.get("ProvisionedThroughput", {})
    units = {name: int(capacity.get(name, 0)) for name in ("ReadCapacityUnits", "WriteCapacityUnits")}
    return units if any(units.values()) else None


def _index(index: Mapping[str, Any]) -> dict[str, Any]:
    kept = _only(index, "IndexName", "KeySchema", "Projection", "OnDemandThroughput") or {}
    throughput = _throughput(index)
    return kept | ({"ProvisionedThroughput": throughput} if throughput else {})


def _only(values: Mapping[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return None if values is None else {name: values[name] for name in names if name in values}


def _time_to_live(dynamodb: Client, table_name: str) -> str | None:
    described = dynamodb.describe_time_to_live(TableName=table_name)["TimeToLiveDescription"]
    is_on = described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return described.get("AttributeName") if is_on else None


def _tags(dynamodb: Client, table_arn: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    request = {"ResourceArn": table_arn}
    while True:
        answer = dynamodb.list_tags_of_resource(**request)
        tags |= {tag["Key"]: tag["Value"] for tag in answer.get("Tags", [])}
        if not answer.get("NextToken"):
            return tags
        request["NextToken"] = answer["NextToken"]
