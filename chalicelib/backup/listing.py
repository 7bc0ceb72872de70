"""Backup sets as the API shows them: from the ledger while they are made, from their manifest once it is written."""

from collections.abc import Sequence
from typing import Any

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.manifest import BACKUP_TYPE, to_json_object
from chalicelib.backup.reading import find_manifest, read_manifest
from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState
from chalicelib.clock import iso
from chalicelib.errors import LedgerEntryCorrupt, NotFound
from chalicelib.ledger import decode


def list_page(catalog: Catalog, limit: int, before: str | None) -> dict[str, Any]:
    """Sets newest first. `unreadable` names those whose rows are corrupt; `next_before` is None at the end."""
    rows = catalog.list_page(limit=limit, before=before)
    backups, unreadable = [], []
    for row in rows:
        try:
            backups.append(_head(decode(row, SetRow)))
        except (LedgerEntryCorrupt, ValueError, OverflowError):  # also a time out of any calendar
            unreadable.append(str(row.get("sort_name")))
    following = str(rows[-1]["sort_name"]) if len(rows) == limit else None
    return {"backups": backups, "unreadable": unreadable, "next_before": following}


def describe(catalog: Catalog, s3: Client, bucket: str, exports_prefix: str, backup_date: str) -> dict[str, Any]:
    """One set with its tables. Raises NotFound, ManifestInvalid, and LedgerEntryCorrupt for an open set's SET row."""
    if not layout.BACKUP_DATE.match(backup_date):
        return to_json_object(read_manifest(s3, bucket, exports_prefix, backup_date))  # says which sets there are
    found = find_manifest(s3, bucket, exports_prefix, backup_date)
    if found is not None:
        return to_json_object(found[0])
    try:
        return show(catalog.record(backup_date))
    except NotFound:
        # Says which sets there are; or that this one is in the bucket without a manifest.
        return to_json_object(read_manifest(s3, bucket, exports_prefix, backup_date))


def show(record: SetRecord) -> dict[str, Any]:
    """A set as its ledger rows have it."""
    shown = [_table(record, name) for name in record.set.tables if name not in record.corrupt]
    return {**_head(record.set), "tables": shown, "unreadable": sorted(record.corrupt)}


def result_of_run(record: SetRecord) -> dict[str, Any]:
    """What the scheduled function returns, by the names that people's own backup functions return. Exports take minutes
    to hours: `successful_exports` are those that run or ended well by now. `statusCode`: 200, with failures 207, 500
    when no export runs."""
    completed = [row for row in record.exports if row.status is ExportState.COMPLETED]
    statuses = [_status_of(record.exports_of(table_name)) for table_name in record.set.tables]
    failed = statuses.count(ExportState.FAILED)
    return {
        "statusCode": 200 if not failed else 207 if failed < len(statuses) else 500,
        "backup_date": record.set.backup_date,
        "environment": record.set.environment,
        "backup_type": BACKUP_TYPE,
        "total_tables_processed": len(statuses),
        "successful_exports": len(statuses) - failed,
        "failed_exports": failed,
        "total_items_exported": sum(row.item_count for row in completed),
        "total_size_mb": sum(row.size_bytes for row in completed) / 1_000_000,
        "manifest_s3_key": layout.manifest_key(record.set.exports_prefix, record.set.backup_date),
        "s3_bucket": record.set.s3_bucket,
        "failures": {name: _why(record, name) for name in record.set.tables if _why(record, name)},
        "unmatched": record.set.unmatched,
    }


def _why(record: SetRecord, table_name: str) -> str | None:
    rows = record.exports_of(table_name)
    return next((row.failure_message for row in rows if row.status is ExportState.FAILED), None)


def _head(row: SetRow) -> dict[str, Any]:
    return {
        "backup_date": row.backup_date,
        "status": row.status.value,
        "environment": row.environment,
        "by_hand": row.by_hand,
        "started_at": iso(row.started_at_ms),
        "completed_at": None if row.finished_at_ms is None else iso(row.finished_at_ms),
        "requested_time": None if row.requested_time_ms is None else iso(row.requested_time_ms),
        "total_tables": len(row.tables),
        "unmatched": row.unmatched,
    }


def _table(record: SetRecord, table_name: str) -> dict[str, Any]:
    """One that has no row yet waits for its turn."""
    rows = record.exports_of(table_name)
    telling = [row for row in rows if not row.has_ended] or [row for row in rows if row.status is ExportState.FAILED]
    row = next(iter(telling or rows[-1:]), None)
    if row is None:
        row = ExportRow(backup_date=record.set.backup_date, table_name=table_name, status=ExportState.PENDING)
    return {
        "table_name": table_name,
        "status": _status_of(rows).value,
        "export_type": row.parameters.export_type if row.parameters else record.set.export_type,
        "export_arn": row.export_arn,
        "export_time": row.export_time or row.export_to,
        "item_count": sum(each.item_count for each in rows),
        "size_bytes": sum(each.size_bytes for each in rows),
        "failure_code": row.failure_code,
        "failure_message": row.failure_message,
        "notes": list(rows[0].notes) if rows else [],
    }


def _status_of(rows: Sequence[ExportRow]) -> ExportState:
    """Of a table with several exports, that of the one that is least far; FAILED, once all have ended, of any."""
    states = {row.status for row in rows}
    order = (ExportState.PENDING, ExportState.IN_PROGRESS, ExportState.FAILED, ExportState.COMPLETED)
    return next((state for state in order if state in states), ExportState.PENDING)
