"""CHECKING, per table: whether the target can take this backup. Nothing in it is touched, not even for a moment.

Everything that can be known before anything is cleared or written, every blocker at once; `checking_files` does the
same for the data files.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import DENIED, Client, error_code, error_text, is_transient
from chalicelib.backup.definition import TableDefinition, read_definition
from chalicelib.errors import ExportInvalid
from chalicelib.restore.model import Job, Mode, Note, Shard, Table, blocker
from chalicelib.restore.new_table import creation_notes, definition_faults
from chalicelib.restore.phases.creating import unfinished_notes
from chalicelib.restore.target import (
    TargetFacts,
    capacity_notes,
    facts_of_definition,
    facts_of_table,
    id_of,
    is_autoscaled,
    kinesis_notes,
    state_notes,
    time_to_live_attribute,
    time_to_live_notes,
)
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings

_NAME_SHOWN = 100
_MOST_NOTES = 20
# An index of a chain is made within one invocation, at more than a hundred thousand records a second.
MOST_INDEXED_RECORDS = 20_000_000
Keys = list[tuple[str, str, str]]  # (role, attribute, type), HASH first


class Target(msgspec.Struct, frozen=True):
    """What was seen of a target. `described`: DescribeTable's `Table`; None where there is none. `facts`: None where
    there is nothing to restore into, and `notes` say why."""

    described: Mapping[str, Any] | None
    facts: TargetFacts | None
    notes: tuple[Note, ...]


def check_target(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    definition = _definition(around, job, table)
    if isinstance(definition, Note):
        return Ended(notes=(*_known_blockers(table), definition))
    target = look_at_target(around, job, table, definition)
    notes = [*_known_blockers(table), *target.notes]
    if target.described is not None:
        notes += [] if table.is_new else state_notes(target.described)
        notes += _key_notes(table, definition, described_keys(target.described))
        notes += _permission_notes(around.dynamodb, job, table, target.described)
        notes += kinesis_notes(around.dynamodb, table.target)
        notes += _appeared_notes(job, table)
        notes += [] if table.is_new else unfinished_notes(around.dynamodb, target.described)
    notes += _index_notes(around, job, table)
    if target.facts is None:
        return Ended(notes=tuple(notes))
    notes += _fact_notes(around, job, target.facts)
    # One that was missing before this restore was cancelled and resumed may be its own: CREATING finds that out.
    is_new = target.facts.is_new or table.is_new
    found = {
        "target_facts": target.facts.encode(),
        "target_digest": _digest(target, definition, is_new=is_new),
        "is_new": is_new,
        **id_of(target.described),
    }
    return Ended(table_set=found, notes=tuple(notes))


def _known_blockers(table: Table) -> list[Note]:
    """The first ones: they are written in one transaction with the shard's end."""
    shown = table.known_blockers[:_MOST_NOTES]
    more = len(table.known_blockers) - len(shown)
    return [*map(blocker, shown), *([blocker(f"{table.source}: and {more} more of this kind")] if more else [])]


def _appeared_notes(job: Job, table: Table) -> list[Note]:
    """Planned as absent, the target has no segments to be cleared in."""
    if not job.clear_existing_data or table.clearing_total:
        return []
    return [blocker(f"target table {table.target} appeared while the restore was planned: ask again")]


def _index_notes(around: Surroundings, job: Job, table: Table) -> list[Note]:
    """Whether the last word on each key of a chain can be known."""
    if job.key_count or not (job.resolves_chains or job.comparison.reads):
        return []
    records = sum(link.item_count for link in around.records.links(job.restore_id, table.number)[1:])
    if records <= MOST_INDEXED_RECORDS:
        return []
    text = f"the increments of {table.source} have {records} records, more than the {MOST_INDEXED_RECORDS} of which a"
    return [blocker(f"{text} worker finds the last on each key: restore with mode overwrite, and without verify")]


def _definition(around: Surroundings, job: Job, table: Table) -> TableDefinition | Note:
    try:
        definition = read_definition(around.s3, job.bucket, table.definition_key)
    except ExportInvalid as error:
        return blocker(f"{table.source}: {error.message}")
    except ClientError as error:
        if is_transient(error):
            raise
        return blocker(f"{table.source}: {table.definition_key} cannot be read: {error_text(error)}")
    if definition.table_name != table.source:
        name = definition.table_name
        return blocker(f"{table.source}: {table.definition_key} is the definition of another table, {name}")
    return definition


def look_at_target(around: Surroundings, job: Job, table: Table, definition: TableDefinition) -> Target:
    """Describes the target, or what it will be made as. Raises botocore's ClientError only where it may pass."""
    try:
        described = around.dynamodb.describe_table(TableName=table.target)["Table"]
    except ClientError as error:
        if is_transient(error):
            raise
        if error_code(error) != "ResourceNotFoundException":
            text = f"target table {table.target} cannot be described: {error_text(error)}"
            return Target(None, None, (blocker(text),))
        return _absent(around, job, table, definition)
    attribute, notes = time_to_live_attribute(around.dynamodb, table.target)
    prices = around.settings.dynamodb_prices
    return Target(described, facts_of_table(described, attribute, prices), tuple(notes))


def _absent(around: Surroundings, job: Job, table: Table, definition: TableDefinition) -> Target:
    if not job.create_missing_tables:
        text = (
            f"target table {table.target} does not exist: create it first, with the keys of {table.source},"
            " or restore with create_missing_tables"
        )
        return Target(None, None, (blocker(text),))
    faults = definition_faults(definition)
    if faults:
        text = f"{table.target} cannot be made from {table.definition_key}: {'; '.join(faults)}"
        return Target(None, None, (blocker(text),))
    region = around.dynamodb.meta.region_name
    facts = facts_of_definition(definition, table.target, region, around.settings.dynamodb_prices)
    return Target(None, facts, tuple(creation_notes(definition, region)))


def _fact_notes(around: Surroundings, job: Job, facts: TargetFacts) -> list[Note]:
    is_scaled = None
    if not (facts.is_on_demand or facts.is_new):
        is_scaled = is_autoscaled(around.autoscaling(), facts.table_name)
    notes = [] if facts.is_new else capacity_notes(facts, is_scaled)
    # A dry run counts the items that have expired: it says so at its end, with their number.
    return notes if job.dry_run else [*notes, *time_to_live_notes(facts, None)]


def _digest(target: Target, definition: TableDefinition, *, is_new: bool) -> str:
    """Of what makes the target this one: made anew, or with another index, it is another plan."""
    described = target.described
    if described is None or is_new:
        parts: list[Any] = ["new", definition.table_arn, definition.captured_at]
    else:
        indexes = [*described.get("GlobalSecondaryIndexes", []), *described.get("LocalSecondaryIndexes", [])]
        names = sorted(str(index["IndexName"]) for index in indexes)
        parts = [described.get("TableId"), described["TableArn"], described_keys(described), names]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


# --- keys and permissions ------------------------------------------------------------------------------------


def _key_notes(table: Table, definition: TableDefinition, target: Keys) -> list[Note]:
    backed_up = definition_keys(definition)
    if backed_up == target:
        return []
    return [
        blocker(
            f"target table {table.target} has the keys {_keys_text(target)}, "
            f"the backup of {table.source} has {_keys_text(backed_up)}"
        )
    ]


def described_keys(described: Mapping[str, Any]) -> Keys:
    types = {entry["AttributeName"]: entry["AttributeType"] for entry in described["AttributeDefinitions"]}
    return [
        (key["KeyType"], key["AttributeName"], types.get(key["AttributeName"], "?")) for key in described["KeySchema"]
    ]


def definition_keys(definition: TableDefinition) -> Keys:
    types = {entry.attribute_name: entry.attribute_type for entry in definition.attributes}
    return [(key.key_type, key.attribute_name, types.get(key.attribute_name, "?")) for key in definition.keys]


def _keys_text(keys: Keys) -> str:
    """A name may hold whatever there is, newlines too."""
    return ", ".join(f"{name[:_NAME_SHOWN]!r} ({type_}, {role})" for role, name, type_ in keys)


def _permission_notes(dynamodb: Client, job: Job, table: Table, described: Mapping[str, Any]) -> list[Note]:
    """Whether this role may do with the target what the restore asks of it."""
    target = table.target
    tried: list[tuple[str, Callable[[], object]]] = []
    tried.append(("BatchWriteItem", lambda: _try_impossible_delete(dynamodb, target)))
    if job.mode is Mode.MISSING_ONLY:
        tried.append(("PutItem", lambda: _try_impossible_put(dynamodb, target)))
    names = {f"#k{number}": key["AttributeName"] for number, key in enumerate(described["KeySchema"])}
    if job.clear_existing_data:
        scan = {"TableName": target, "Limit": 1, "ProjectionExpression": ", ".join(names)}
        tried.append(("Scan", lambda: dynamodb.scan(**scan, ExpressionAttributeNames=names)))
    if job.mode is Mode.CHANGED_ONLY or job.comparison.reads:
        tried.append(("BatchGetItem", lambda: _try_impossible_get(dynamodb, target)))
    return [
        blocker(f"no permission for dynamodb:{operation} on {target}, which this restore needs")
        for operation, call in tried
        if _is_denied(call)
    ]


def _impossible_key() -> dict[str, Any]:
    """No key of any table: DynamoDB can only refuse it, as invalid where the role may act, as denied where not."""
    return {f"tablevault-permission-probe-{uuid.uuid4().hex}": {"S": "probe"}}


def _try_impossible_delete(dynamodb: Client, target: str) -> None:
    dynamodb.batch_write_item(RequestItems={target: [{"DeleteRequest": {"Key": _impossible_key()}}]})


def _try_impossible_put(dynamodb: Client, target: str) -> None:
    dynamodb.put_item(TableName=target, Item=_impossible_key())


def _try_impossible_get(dynamodb: Client, target: str) -> None:
    dynamodb.batch_get_item(RequestItems={target: {"Keys": [_impossible_key()]}})


def _is_denied(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as error:
        if error_code(error) in DENIED:
            return True
        if is_transient(error):
            raise
    return False
