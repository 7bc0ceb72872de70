"""A restore's target as CHECKING sees it: what of it decides cost and time, and what an operator should know of it
before anything is written.

Facts come from DescribeTable, or of a table that is yet to be made from its definition. What needs more than
DescribeTable asks for it itself, and takes no for an answer: a permission that is missing makes a note, no failure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import DENIED, Client, error_code, is_transient
from chalicelib.backup.definition import TableDefinition
from chalicelib.restore.model import Note, blocker, warning
from chalicelib.settings import RequestPrices

ION = "ION"


class TargetIndex(msgspec.Struct, frozen=True, kw_only=True):
    """A secondary index. `projected`: the attributes it holds beside the table's keys and its own; None means all.
    Units are those of a global index; a local one uses the table's."""

    name: str
    is_local: bool
    key_names: tuple[str, ...]
    projected: tuple[str, ...] | None = ()
    provisioned_write_units: int | None = None
    warm_write_units_per_s: int | None = None


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`key_names`: HASH, then RANGE if there is one. `attribute_types`: S, N or B of every attribute that is a key of
    the table or of an index. `most_write_units_per_s`: the limit its owner set on an on-demand table. `prices`: those
    of the settings, where they replace the known ones."""

    table_name: str
    region: str
    key_names: tuple[str, ...]
    attribute_types: dict[str, str]
    indexes: tuple[TargetIndex, ...] = ()
    time_to_live_attribute: str | None = None
    table_class: str = "STANDARD"
    is_on_demand: bool = True
    is_new: bool = False
    provisioned_write_units: int | None = None
    warm_write_units_per_s: int | None = None
    most_write_units_per_s: int | None = None
    item_count: int = 0
    table_bytes: int = 0
    replica_regions: tuple[str, ...] = ()
    prices: RequestPrices | None = None

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def decode_facts(text: str) -> TargetFacts:
    return msgspec.json.decode(text, type=TargetFacts)


def facts_of_table(
    described: Mapping[str, Any], time_to_live_attribute: str | None = None, prices: RequestPrices | None = None
) -> TargetFacts:
    """From DescribeTable's `Table`, and what `time_to_live_attribute` said. `item_count` and `table_bytes` are
    DynamoDB's own, up to six hours old:
    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html"""
    billing_mode = described.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    globals_ = [_described_index(index, is_local=False) for index in described.get("GlobalSecondaryIndexes", [])]
    locals_ = [_described_index(index, is_local=True) for index in described.get("LocalSecondaryIndexes", [])]
    return TargetFacts(
        table_name=described["TableName"],
        region=described["TableArn"].split(":")[3],
        key_names=tuple(key["AttributeName"] for key in described["KeySchema"]),
        attribute_types={each["AttributeName"]: each["AttributeType"] for each in described["AttributeDefinitions"]},
        indexes=(*globals_, *locals_),
        time_to_live_attribute=time_to_live_attribute,
        table_class=described.get("TableClassSummary", {}).get("TableClass", "STANDARD"),
        is_on_demand=billing_mode == "PAY_PER_REQUEST",
        provisioned_write_units=_positive(described.get("ProvisionedThroughput"), "WriteCapacityUnits"),
        warm_write_units_per_s=_positive(described.get("WarmThroughput"), "WriteUnitsPerSecond"),
        most_write_units_per_s=_positive(described.get("OnDemandThroughput"), "MaxWriteRequestUnits"),
        item_count=int(described.get("ItemCount", 0)),
        table_bytes=int(described.get("TableSizeBytes", 0)),
        replica_regions=tuple(replica.get("RegionName", "?") for replica in described.get("Replicas", [])),
        prices=prices,
    )


def facts_of_definition(
    definition: TableDefinition, table_name: str, region: str, prices: RequestPrices | None = None
) -> TargetFacts:
    """Of a table that will be made from a definition in which `new_table.definition_faults` finds nothing wrong."""
    globals_ = [_described_index(index, is_local=False) for index in definition.global_secondary_indexes]
    locals_ = [_described_index(index, is_local=True) for index in definition.local_secondary_indexes]
    return TargetFacts(
        table_name=table_name,
        region=region,
        key_names=tuple(key.attribute_name for key in definition.keys),
        attribute_types={each.attribute_name: each.attribute_type for each in definition.attributes},
        indexes=(*globals_, *locals_),
        time_to_live_attribute=definition.time_to_live_attribute,
        table_class=definition.table_class,
        is_on_demand=definition.billing_mode == "PAY_PER_REQUEST",
        is_new=True,
        provisioned_write_units=_positive(definition.provisioned_throughput, "WriteCapacityUnits"),
        most_write_units_per_s=_positive(definition.on_demand_throughput, "MaxWriteRequestUnits"),
        prices=prices,
    )


def id_of(described: Mapping[str, Any] | None) -> dict[str, str]:
    """Of DescribeTable's `Table`, as a TABLE row keeps it: another table that is made under its name has another."""
    return {"target_id": described["TableId"]} if described is not None and "TableId" in described else {}


def _described_index(index: Mapping[str, Any], *, is_local: bool) -> TargetIndex:
    projection = index.get("Projection", {})
    is_all = projection.get("ProjectionType", "ALL") == "ALL"
    return TargetIndex(
        name=index["IndexName"],
        is_local=is_local,
        key_names=tuple(key["AttributeName"] for key in index["KeySchema"]),
        projected=None if is_all else tuple(projection.get("NonKeyAttributes", ())),
        provisioned_write_units=_positive(index.get("ProvisionedThroughput"), "WriteCapacityUnits"),
        warm_write_units_per_s=_positive(index.get("WarmThroughput"), "WriteUnitsPerSecond"),
    )


def _positive(values: Mapping[str, Any] | None, name: str) -> int | None:
    """None too for the 0 of an on-demand table's capacity and the -1 of no limit."""
    value = int((values or {}).get(name, 0))
    return value if value > 0 else None


# --- notes ---------------------------------------------------------------------------------------------------


def ion_blocker(source: str) -> Note:
    """For a table whose export is in ION: see docs/decisions."""
    return blocker(
        f"{source}: its export is in Amazon Ion, which is recognised but not restored: export the table again as"
        " DYNAMODB_JSON, or have DynamoDB's own ImportTable read it into a new table (input format ION)"
    )


def state_notes(described: Mapping[str, Any]) -> list[Note]:
    """From DescribeTable's `Table` alone: a blocker unless it is ACTIVE, and what every write to it sets off."""
    name = described["TableName"]
    notes = []
    status = described.get("TableStatus")
    if status != "ACTIVE":
        notes.append(blocker(f"target table {name} is {status}; it must be ACTIVE"))
    replicas = [replica.get("RegionName", "?") for replica in described.get("Replicas", [])]
    if replicas:
        regions = ", ".join(replicas)
        notes.append(
            warning(f"{name} is a global table: every write and delete also reaches {regions}, and is paid there")
        )
    if described.get("StreamSpecification", {}).get("StreamEnabled"):
        notes.append(warning(_stream_text(name, described.get("LatestStreamArn"))))
    notes += [
        warning(
            f"index {index['IndexName']} of {name} is {index['IndexStatus']}: until it is ACTIVE, writes may be slow"
        )
        for index in described.get("GlobalSecondaryIndexes", [])
        if index.get("IndexStatus", "ACTIVE") != "ACTIVE"
    ]
    limit = _positive(described.get("OnDemandThroughput"), "MaxWriteRequestUnits")
    if limit is not None:
        notes.append(warning(f"{name} is limited to {limit} write units a second by its own maximum throughput"))
    return notes


def _stream_text(name: str, stream_arn: str | None) -> str:
    """Which functions listen only a permission to list every event source mapping of the account would tell."""
    text = f"{name} has a stream: its consumers will see every restored item"
    if stream_arn is None:
        return text
    command = f"aws lambda list-event-source-mappings --event-source-arn {stream_arn}"
    return f"{text}; list the Lambda functions among them with: {command}"


def kinesis_notes(dynamodb: Client, table_name: str) -> list[Note]:
    """Whether changes also flow into a Kinesis data stream. Needs dynamodb:DescribeKinesisStreamingDestination on the
    table. Raises botocore's ClientError only where it may pass."""
    try:
        answer = dynamodb.describe_kinesis_streaming_destination(TableName=table_name)
    except ClientError as error:
        if is_transient(error):
            raise
        return [] if error_code(error) not in DENIED else [_unknown(table_name, "whether it feeds a Kinesis stream")]
    active = [
        str(each.get("StreamArn", "?"))
        for each in answer.get("KinesisDataStreamDestinations", [])
        if each.get("DestinationStatus") in ("ACTIVE", "ENABLING", "UPDATING")
    ]
    text = f"{table_name} feeds {', '.join(active)}: every restored item is a record there, and is paid there"
    return [warning(text)] if active else []


def time_to_live_attribute(dynamodb: Client, table_name: str) -> tuple[str | None, list[Note]]:
    """The attribute by which a table's items expire, if any. Needs dynamodb:DescribeTimeToLive on the table; denied, it
    is not known, and the note says so. Raises botocore's ClientError only where it may pass."""
    try:
        described = dynamodb.describe_time_to_live(TableName=table_name)["TimeToLiveDescription"]
    except ClientError as error:
        if is_transient(error):
            raise
        return None, [_unknown(table_name, "whether its items expire")]
    is_on = described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return (described.get("AttributeName") if is_on else None), []


def time_to_live_notes(facts: TargetFacts, expired: int | None) -> list[Note]:
    """`expired`: how many items a survey found whose time has passed; None where no survey was made."""
    attribute = facts.time_to_live_attribute
    if attribute is None or expired == 0:
        return []
    many = "items whose time has passed" if expired is None else f"the {expired} items whose time has passed"
    return [warning(f"{facts.table_name} deletes {many} (by {attribute[:100]!r}) within days of their restore")]


def capacity_notes(facts: TargetFacts, is_autoscaled: bool | None) -> list[Note]:
    """Of a provisioned table: what its capacity means for a restore. `is_autoscaled`: None where it is not known."""
    if facts.is_on_demand or facts.provisioned_write_units is None:
        return []
    units, name = facts.provisioned_write_units, facts.table_name
    text = f"{name} has {units} provisioned write units a second, which a restore uses up"
    if is_autoscaled is None:
        return [warning(f"{text}; whether auto scaling raises them is not known")]
    if is_autoscaled:
        return [warning(f"{text}: auto scaling will raise them while it runs, at their price, and lower them after it")]
    return [warning(f"{text}: other writers are throttled meanwhile; raise them first, or set max_write_units")]


def is_autoscaled(autoscaling: Client, table_name: str) -> bool | None:
    """Whether the write capacity of a table is scaled; None where that cannot be known. `autoscaling`: the client of
    application-autoscaling. Needs application-autoscaling:DescribeScalableTargets (on *)."""
    try:
        answer = autoscaling.describe_scalable_targets(
            ServiceNamespace="dynamodb",
            ResourceIds=[f"table/{table_name}"],
            ScalableDimension="dynamodb:table:WriteCapacityUnits",
        )
    except ClientError as error:
        if is_transient(error):
            raise
        return None
    return bool(answer.get("ScalableTargets"))


def survey_notes(table_name: str, findings: Mapping[str, int], first_lines: Mapping[str, Sequence[int]]) -> list[Note]:
    """Warnings of what a survey found in one data file; `findings` by the names that `datapath.survey.FINDINGS` has."""
    texts = {
        "not_items": "are no items",
        "wrong_keys": f"lack a key of {table_name}, or have it empty, too long or of another type",
        "wrong_index_keys": f"have a key of an index of {table_name} of another type, or empty",
        "too_large": "are items of more than 400 KB",
    }
    notes = []
    for name, text in texts.items():
        if findings.get(name):
            shown = ", ".join(str(line + 1) for line in first_lines.get(name, ()))
            notes.append(warning(f"{findings[name]} lines {text} and will be rejected (first: {shown})"))
    return notes


def _unknown(table_name: str, what: str) -> Note:
    return warning(f"{table_name}: no permission to see {what}")
