"""CHECKING: everything that can be known before anything is cleared or written, every blocker at once.

Per table one shard looks at the target; per load shard a worker looks at its data files. A data file whose ETag is
still the one the export recorded is unchanged; any other (a bucket that was copied, KMS) is read to its end and
its MD5 compared. A dry run reads every file to its end.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import DENIED, Client, error_code, error_text, is_transient
from chalicelib.backup.definition import TableDefinition, read_definition
from chalicelib.errors import ExportInvalid, OutOfTime, Unavailable
from chalicelib.restore.datapath.reader import DataFile, verify_data_file
from chalicelib.restore.model import FileCheckpoint, Job, Note, PlannedFile, Shard, Table, blocker, warning
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, backoff, outage_pause_ms


def check_target(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    """Whether the target can take this backup; nothing in it is touched, not even for a moment."""
    try:
        described = around.dynamodb.describe_table(TableName=table.target)["Table"]
    except ClientError as error:
        if is_transient(error):
            raise
        return Ended(notes=(blocker(_describe_failure(table, error)),))
    notes = [*_state_notes(table, described), *_schema_notes(around, job, table, described)]
    notes += _permission_notes(around.dynamodb, job, table, described)
    return Ended(notes=tuple(notes))


def _describe_failure(table: Table, error: ClientError) -> str:
    if error_code(error) == "ResourceNotFoundException":
        return f"target table {table.target} does not exist: create it first, with the keys of {table.source}"
    return f"target table {table.target} cannot be described: {error_text(error)}"


def _state_notes(table: Table, described: Mapping[str, Any]) -> list[Note]:
    notes = []
    status = described.get("TableStatus")
    if status != "ACTIVE":
        notes.append(blocker(f"target table {table.target} is {status}; it must be ACTIVE"))
    replicas = [replica.get("RegionName", "?") for replica in described.get("Replicas", [])]
    if replicas:
        regions = ", ".join(replicas)
        notes.append(warning(f"{table.target} is a global table: every write and delete also reaches {regions}"))
    if described.get("StreamSpecification", {}).get("StreamEnabled"):
        notes.append(warning(f"{table.target} has a stream: its consumers will see every restored item"))
    return notes


def _schema_notes(around: Surroundings, job: Job, table: Table, described: Mapping[str, Any]) -> list[Note]:
    try:
        definition = read_definition(around.s3, job.bucket, table.definition_key)
    except ExportInvalid as error:
        return [blocker(f"{table.source}: {error.message}")]
    except ClientError as error:
        if is_transient(error):
            raise
        return [blocker(f"{table.source}: {table.definition_key} cannot be read: {error_text(error)}")]
    if definition.table_name != table.source:
        name = definition.table_name
        return [blocker(f"{table.source}: {table.definition_key} is the definition of another table, {name}")]
    backed_up, target = definition_keys(definition), described_keys(described)
    if backed_up == target:
        return []
    return [
        blocker(
            f"target table {table.target} has the keys {_keys_text(target)}, "
            f"the backup of {table.source} has {_keys_text(backed_up)}"
        )
    ]


_NAME_SHOWN = 100
Keys = list[tuple[str, str, str]]  # (role, attribute, type), HASH first


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
    """Whether this role may write to the target, and scan it if it is to be cleared."""
    notes = []
    if _is_denied(lambda: _try_impossible_delete(dynamodb, table.target)):
        notes.append(blocker(f"no permission for dynamodb:BatchWriteItem on {table.target}"))
    if job.clear_existing_data:
        names = {f"#k{number}": key["AttributeName"] for number, key in enumerate(described["KeySchema"])}
        scan = {"TableName": table.target, "Limit": 1, "ProjectionExpression": ", ".join(names)}
        if _is_denied(lambda: dynamodb.scan(**scan, ExpressionAttributeNames=names)):
            notes.append(blocker(f"no permission for dynamodb:Scan on {table.target}, which clearing needs"))
    return notes


def _try_impossible_delete(dynamodb: Client, target: str) -> None:
    """A request that cannot take effect: its key is no key of the table, so DynamoDB can only refuse it, as
    invalid where the role may write, as denied where it may not."""
    key = {f"tablevault-permission-probe-{uuid.uuid4().hex}": {"S": "probe"}}
    dynamodb.batch_write_item(RequestItems={target: [{"DeleteRequest": {"Key": key}}]})


def _is_denied(call: Any) -> bool:
    try:
        call()
    except ClientError as error:
        if error_code(error) in DENIED:
            return True
        if is_transient(error):
            raise
    return False


def check_files(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    """Data files of one load shard, from the first one not yet checked; the checkpoint is how many are."""
    files = shard.planned_files()
    state = _CheckState.decode(shard.checkpoint)
    begun = state.files
    for file in files[state.files :]:
        if around.clock() >= run.soft_stop_ms:
            return Yielded(state.encode(), progressed=state.files > begun)
        try:
            state = _check_file(around, run, job, table, file, state)
        except (OutOfTime, Unavailable) as error:
            progressed = state.files > begun
            pause_ms = 0 if progressed else outage_pause_ms(shard)
            return Yielded(state.encode(), progressed=progressed, reason=error.message, pause_ms=pause_ms)
    untouched = msgspec.json.encode([FileCheckpoint()] * len(files)).decode()
    counts = {
        "data_files_read": state.read,
        "uncompressed_bytes": state.uncompressed_bytes,
        "not_items": state.not_items,
    }
    notes = tuple(Note(level, text) for level, text in state.notes)
    failure = "data files are damaged" if any(note.level == "blocker" for note in notes) else None
    return Ended(failure=failure, checkpoint=untouched, table_add=counts, notes=notes)


def _readability(around: Surroundings, job: Job, table: Table, file: PlannedFile) -> list[tuple[str, str]]:
    """A blocker when one byte of the file cannot be had: denied, a key that is gone, changed since it was listed.

    Only before clearing: what is removed there must not depend on a permission nobody tried.
    """
    if not job.clear_existing_data:
        return []
    try:
        around.s3.get_object(Bucket=job.bucket, Key=file.key, IfMatch=f'"{file.etag}"', Range="bytes=0-0")[
            "Body"
        ].read()
    except ClientError as error:
        if is_transient(error):
            raise
        return [("blocker", f"{table.source}: data file {file.key} cannot be read: {error_text(error)}")]
    return []


class _CheckState(msgspec.Struct, frozen=True):
    """The checkpoint of a shard in CHECKING."""

    files: int = 0
    read: int = 0
    uncompressed_bytes: int = 0
    not_items: int = 0
    notes: list[tuple[str, str]] = []

    @classmethod
    def decode(cls, text: str | None) -> "_CheckState":
        return msgspec.json.decode(text, type=cls) if text else cls()

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def _check_file(
    around: Surroundings, run: Invocation, job: Job, table: Table, file: PlannedFile, state: _CheckState
) -> _CheckState:
    if not (job.dry_run or file.content_check):
        notes = [*state.notes, *_readability(around, job, table, file)]
        return msgspec.structs.replace(state, files=state.files + 1, notes=notes)
    data_file = DataFile(file.key, file.etag, file.size_bytes, file.md5, file.item_count)
    found = verify_data_file(
        around.s3, job.bucket, data_file, parse_lines=job.dry_run, retry=backoff(around, run.give_up_ms)
    )
    notes = list(state.notes)
    if found.damage:
        notes.append(("blocker", f"{table.source}: data file {file.key}: {found.damage}"))
    if found.bad_lines:
        lines = ", ".join(str(line + 1) for line in found.first_bad_lines)
        text = f"{found.bad_lines} lines are no items and will be rejected (first: {lines})"
        notes.append(("warning", f"{table.source}: data file {file.key}: {text}"))
    return msgspec.structs.replace(
        state,
        files=state.files + 1,
        read=state.read + 1,
        uncompressed_bytes=state.uncompressed_bytes + found.uncompressed_bytes,
        not_items=state.not_items + found.bad_lines,
        notes=notes,
    )
