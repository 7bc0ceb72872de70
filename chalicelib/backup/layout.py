"""Where everything stands in the bucket. Every key of ours is made, and every key of an export is read, here.

{prefix}/{backup_date}/manifest.json                 written last; its presence makes the set restorable
{prefix}/{backup_date}/{table}/table.json            the table's definition when the export started
{prefix}/{backup_date}/{table}/AWSDynamoDB/{id}/...  AWS' own
restores/{restore_id}/receipt.json, rejected/...
quarantine/...                                       messages that are not ours
"""

import re
from dataclasses import dataclass

SUMMARY_NAME = "manifest-summary.json"
# ASCII: `\d` alone would also take the digits of other scripts.
BACKUP_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{6}Z)?\Z", re.ASCII)
_BELOW_PREFIX = re.compile(
    r"/(\d{4}-\d{2}-\d{2}(?:T\d{6}Z)?)/([a-zA-Z0-9_.-]{3,255})/AWSDynamoDB/(\d{14}-[0-9a-f]{8})/"
    + re.escape(SUMMARY_NAME),
    re.ASCII,
)


@dataclass(frozen=True)
class SummaryKey:
    """What the key of a `manifest-summary.json` under our prefix says."""

    backup_date: str
    table_name: str
    export_id: str


def set_prefix(exports_prefix: str, backup_date: str) -> str:
    return f"{exports_prefix}/{backup_date}/"


def manifest_key(exports_prefix: str, backup_date: str) -> str:
    return f"{exports_prefix}/{backup_date}/manifest.json"


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


def receipt_key(restore_id: str) -> str:
    return f"restores/{restore_id}/receipt.json"


def rejected_key(restore_id: str, table_name: str, data_file_key: str, first_line: int) -> str:
    """One object per batch with rejected items. Batches have fixed boundaries in a file, so that a repeated batch
    writes the same object again instead of another one."""
    name = data_file_key.rsplit("/", 1)[-1].removesuffix(".json.gz")
    return f"restores/{restore_id}/rejected/{table_name}/{name}-{first_line:012d}.jsonl"


def data_file_results_key(restore_id: str, table_name: str) -> str:
    return f"restores/{restore_id}/data-files/{table_name}.jsonl"


def quarantine_key(arrived_at_iso: str, message_id: str) -> str:
    safe_id = re.sub(r"[^A-Za-z0-9-]", "_", message_id)[:100] or "without-id"
    return f"quarantine/{arrived_at_iso[:10]}/{safe_id}.json"
