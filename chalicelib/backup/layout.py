"""Where everything stands in the bucket. Every key of ours is made, and every key of an export is read, here.

{prefix}/{backup_date}/manifest.json                 written last; its presence makes the set restorable
{prefix}/{backup_date}/keep.json                     its presence shields the set from retention
{prefix}/{backup_date}/{table}/table.json            the table's definition when the export started
{prefix}/{backup_date}/{table}/AWSDynamoDB/{id}/...  AWS' own; the data of an incremental export stands beside that
                                                     folder, in AWSDynamoDB/data/
restores/{restore_id}/receipt.json, rejected/...
quarantine/...                                       messages that are not ours
"""

import re

import msgspec

SUMMARY_NAME = "manifest-summary.json"
FILES_NAME = "manifest-files.json"
# ASCII: `\d` alone would also take the digits of other scripts.
BACKUP_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{6}Z)?\Z", re.ASCII)
_BELOW_PREFIX = re.compile(
    r"/(\d{4}-\d{2}-\d{2}(?:T\d{6}Z)?)/([a-zA-Z0-9_.-]{3,255})/AWSDynamoDB/(\d{14}-[0-9a-f]{8})/"
    + re.escape(SUMMARY_NAME),
    re.ASCII,
)
# What AWS writes is `\d{14}-[0-9a-f]{8}`, and 26 of a-z and 0-9. A little more is taken, but nothing that could
# mean another place, or something else in a log line, a receipt's key or a shell.
_EXPORT_OBJECT = re.compile(
    r"/AWSDynamoDB/([0-9A-Za-z][0-9A-Za-z-]{0,63})/" + f"({re.escape(SUMMARY_NAME)}|{re.escape(FILES_NAME)})", re.ASCII
)
_DATA_FILE_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}\.json\.gz", re.ASCII)
_LONGEST_KEY_BYTES = 1024  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html


class SummaryKey(msgspec.Struct, frozen=True):
    """What the key of a `manifest-summary.json` under our prefix says."""

    backup_date: str
    table_name: str
    export_id: str


def set_prefix(exports_prefix: str, backup_date: str) -> str:
    return f"{exports_prefix}/{backup_date}/"


def manifest_key(exports_prefix: str, backup_date: str) -> str:
    return f"{exports_prefix}/{backup_date}/manifest.json"


def keep_key(exports_prefix: str, backup_date: str) -> str:
    return f"{exports_prefix}/{backup_date}/keep.json"


def export_prefix(exports_prefix: str, backup_date: str, table_name: str) -> str:
    """The S3Prefix of one table's export; AWS puts `AWSDynamoDB/...` below it."""
    return f"{exports_prefix}/{backup_date}/{table_name}"


def summary_key(exports_prefix: str, backup_date: str, table_name: str, export_id: str) -> str:
    return f"{export_prefix(exports_prefix, backup_date, table_name)}/AWSDynamoDB/{export_id}/{SUMMARY_NAME}"


def definition_key(exports_prefix: str, backup_date: str, table_name: str) -> str:
    return f"{exports_prefix}/{backup_date}/{table_name}/table.json"


def parse_summary_key(exports_prefix: str, key: str) -> SummaryKey | None:
    """The parts of a summary's key, or None when the object is not an export of ours."""
    if not key.startswith(exports_prefix):
        return None
    match = _BELOW_PREFIX.fullmatch(key, len(exports_prefix))
    return SummaryKey(*match.groups()) if match else None


def export_id_of(export_prefix: str, key: str, object_name: str) -> str | None:
    """The id of the export below `export_prefix` that has a manifest of this name at `key`; None for any other key."""
    if not key.startswith(export_prefix) or len(key) > _LONGEST_KEY_BYTES:
        return None
    match = _EXPORT_OBJECT.fullmatch(key, len(export_prefix))
    return match[1] if match and match[2] == object_name else None


def backup_date_of(export_key: str) -> str:
    """The set in whose place a key of an export stands: `{prefix}/{backup_date}/{table}/AWSDynamoDB/...`."""
    return export_key.rsplit("/AWSDynamoDB/", 1)[0].rsplit("/", 2)[-2]


def is_data_file_key(files_key: str, key: str, *, is_incremental: bool = False) -> bool:
    """Whether `key` is a data file of the export whose file list stands at `files_key`."""
    folder = data_folder(files_key, is_incremental=is_incremental)
    return (
        key.startswith(folder)
        and len(key) <= _LONGEST_KEY_BYTES
        and _DATA_FILE_NAME.fullmatch(key, len(folder)) is not None
    )


def data_folder(files_key: str, *, is_incremental: bool = False) -> str:
    """Where an export puts its data files: a full one below its own id, all incremental ones of a prefix together."""
    return files_key.rsplit("/", 2 if is_incremental else 1)[0] + "/data/"


def receipt_key(restore_id: str, resumes: int = 0) -> str:
    """Each end of a restore that is carried on has its own."""
    return f"restores/{restore_id}/receipt{f'-{resumes}' if resumes else ''}.json"


def rejected_prefix(restore_id: str, table_name: str) -> str:
    """Below it stand the rejected lines of one source table."""
    return f"restores/{restore_id}/rejected/{table_name}/"


def rejected_key(
    restore_id: str, table_name: str, data_file_key: str, first_line: int, *, link: int = 0, turn: int = 0
) -> str:
    """One object per batch with rejected items. Batches have fixed boundaries in a file, so that a repeated batch
    writes the same object again instead of another one. Names of data files end alike, so no two of an export share a
    key; `link` tells the exports of a chain apart, `turn` the readings of one file."""
    name = data_file_key.rsplit("/", 1)[-1].removesuffix(".json.gz")
    where = (f"-{word}{number}" for word, number in (("link", link), ("turn", turn)) if number)
    return f"{rejected_prefix(restore_id, table_name)}{name}{''.join(where)}-{first_line:012d}.jsonl"


def data_file_results_key(restore_id: str, table_name: str) -> str:
    return f"restores/{restore_id}/data-files/{table_name}.jsonl"


def differing_key(
    restore_id: str, table_name: str, data_file_key: str, first_line: int, *, link: int, turn: int
) -> str:
    """One object per batch in which items that were read back differ; `link` and `turn` as with rejected ones."""
    name = data_file_key.rsplit("/", 1)[-1].removesuffix(".json.gz")
    return f"restores/{restore_id}/differing/{table_name}/{name}-{link}-{turn}-{first_line:012d}.jsonl"


def asked_keys_key(restore_id: str) -> str:
    return f"restores/{restore_id}/keys.json"


def quarantine_key(arrived_at_iso: str, message_id: str) -> str:
    safe_id = re.sub(r"[^A-Za-z0-9-]", "_", message_id)[:100] or "without-id"
    return f"quarantine/{arrived_at_iso[:10]}/{safe_id}.json"
