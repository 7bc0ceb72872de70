"""table.json: what is needed to make a table again, captured when its export starts.

Not in it: resource policies, scheduled scaling, streaming to Kinesis, replicas.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from chalicelib.aws import Client
from chalicelib.backup.documents import DocumentInvalid, decode_document, read_document
from chalicelib.backup.export_files import Count
from chalicelib.errors import ExportInvalid
from chalicelib.selection import TABLE_NAME

SCHEMA_VERSION = 1
_LARGEST_DEFINITION_BYTES = 1024 * 1024
_KEY_TYPES = (("HASH",), ("HASH", "RANGE"))
_LONGEST_KEY_NAME = 255


class KeyAttribute(msgspec.Struct, frozen=True):
    attribute_name: str
    key_type: str  # HASH or RANGE


class Attribute(msgspec.Struct, frozen=True):
    attribute_name: str
    attribute_type: Annotated[str, msgspec.Meta(pattern=r"\A[SNB]\Z")]


class ScalingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`target_tracking` is AWS' own structure, as PutScalingPolicy takes it."""

    policy_name: str
    target_tracking: dict[str, Any]


class Autoscaling(msgspec.Struct, frozen=True, kw_only=True):
    """How Application Auto Scaling moves one capacity: the table's, or that of the index `index_name`.
    `dimension` is AWS' ScalableDimension, such as `dynamodb:table:WriteCapacityUnits`."""

    dimension: str
    index_name: str | None = None
    min_capacity: int
    max_capacity: int
    policies: tuple[ScalingPolicy, ...] = ()


class TableDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """`indexes`, `stream`, `encryption` and so on are AWS' own structures, as CreateTable takes them.

    `autoscaling`: None where it is not known, because it could not be seen or an older tablevault did not look.
    """

    schema_version: Count = SCHEMA_VERSION
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
    autoscaling: tuple[Autoscaling, ...] | None = None


def encode_definition(definition: TableDefinition) -> bytes:
    return msgspec.json.format(msgspec.json.encode(definition), indent=2)


def read_definition(s3: Client, bucket: str, key: str) -> TableDefinition:
    """Raises ExportInvalid as `decode_definition` does, and botocore's ClientError."""
    try:
        content = read_document(s3.get_object(Bucket=bucket, Key=key), _LARGEST_DEFINITION_BYTES)
    except DocumentInvalid as error:
        raise ExportInvalid(f"{key} {error}") from None
    return decode_definition(content, key)


def decode_definition(content: bytes, key: str) -> TableDefinition:
    """Raises ExportInvalid when it is not a table definition of a schema this version reads."""
    try:
        definition = decode_document(content, TableDefinition)
    except DocumentInvalid as error:
        raise ExportInvalid(f"{key} is not a table definition: {error}") from None
    if not 1 <= definition.schema_version <= SCHEMA_VERSION:
        raise ExportInvalid(f"{key} has schema version {definition.schema_version}: a newer tablevault wrote it")
    if not TABLE_NAME.match(definition.table_name):
        raise ExportInvalid(f"{key} is not a table definition: its table_name cannot be a table's name")
    if not definition.keys:
        raise ExportInvalid(f"{key} defines a table without keys")
    if not _are_a_tables_keys(definition):
        raise ExportInvalid(f"{key} defines keys that no table can have")
    return definition


def _are_a_tables_keys(definition: TableDefinition) -> bool:
    """A HASH key, then perhaps a RANGE key, each an attribute of one type
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_KeySchemaElement.html)."""
    names = [key.attribute_name for key in definition.keys]
    types = [attribute.attribute_name for attribute in definition.attributes]
    is_each_defined_once = all(types.count(name) == 1 and 1 <= len(name) <= _LONGEST_KEY_NAME for name in names)
    roles = tuple(key.key_type for key in definition.keys)
    return roles in _KEY_TYPES and len(set(names)) == len(names) and is_each_defined_once


def capture_definition(
    dynamodb: Client,
    described: Mapping[str, Any],
    backups: Mapping[str, Any],
    captured_at: str,
    autoscaling: tuple[Autoscaling, ...] | None = None,
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
        autoscaling=autoscaling,
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
