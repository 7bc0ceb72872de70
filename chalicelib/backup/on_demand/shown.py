"""A run of on-demand backups as the API shows it: plain JSON. Pure."""

from collections.abc import Sequence
from typing import Any

from chalicelib.backup.backup_names import scheduled_name
from chalicelib.backup.on_demand.rows import BackupState, RunRecord, RunRow, TableRow
from chalicelib.clock import iso
from chalicelib.errors import LedgerEntryCorrupt
from chalicelib.ledger import Row, decode

BACKUP_TYPE = "DYNAMODB_ON_DEMAND_BACKUP"


def show(record: RunRecord) -> dict[str, Any]:
    """`tables` in the order in which they were chosen; `unreadable`: those whose rows are corrupt."""
    readable = [name for name in record.run.tables if name not in record.corrupt]
    shown = [_table(record.run, record.row_of(name)) for name in readable]
    return {**_head(record.run), "tables": shown, "unreadable": sorted(record.corrupt)}


def show_page(rows: Sequence[Row], limit: int) -> dict[str, Any]:
    """Runs newest first. `unreadable` names those whose rows are corrupt; `next_before` is None at the end."""
    runs, unreadable = [], []
    for row in rows:
        try:
            runs.append(_head(decode(row, RunRow)))
        except (LedgerEntryCorrupt, ValueError, OverflowError):  # also a time out of any calendar
            unreadable.append(str(row.get("sort_name")))
    following = str(rows[-1]["sort_name"]) if len(rows) == limit else None
    return {"backups": runs, "unreadable": unreadable, "next_before": following}


def result_of_run(record: RunRecord) -> dict[str, Any]:
    """What a scheduled function returns, by the names that the one of a backup set has. Backups take minutes:
    `successful_backups` are those that are being made or available by now. `statusCode`: 200, with failures 207, 500
    when none is made."""
    rows = [record.row_of(name) for name in record.run.tables]
    failed = [row for row in rows if row.status is BackupState.FAILED]
    return {
        "statusCode": 200 if not failed else 207 if len(failed) < len(rows) else 500,
        "backup_date": record.run.backup_date,
        "environment": record.run.environment,
        "backup_type": BACKUP_TYPE,
        "total_tables_processed": len(rows),
        "successful_backups": sum(row.status in (BackupState.CREATING, BackupState.AVAILABLE) for row in rows),
        "failed_backups": len(failed),
        "total_size_mb": sum(row.size_bytes for row in rows) / 1_000_000,
        "failures": {row.table_name: row.failure_message for row in failed},
        "unmatched": record.run.unmatched,
    }


def _head(run: RunRow) -> dict[str, Any]:
    return {
        "backup_date": run.backup_date,
        "backup_type": BACKUP_TYPE,
        "status": run.status.value,
        "environment": run.environment,
        "by_hand": run.by_hand,
        "started_at": iso(run.started_at_ms),
        "completed_at": None if run.finished_at_ms is None else iso(run.finished_at_ms),
        "total_tables": len(run.tables),
        "unmatched": run.unmatched,
    }


def _table(run: RunRow, row: TableRow) -> dict[str, Any]:
    return {
        "table_name": row.table_name,
        "status": row.status.value,
        "backup_name": row.backup_name or scheduled_name(run.environment, run.backup_date),
        "backup_arn": row.backup_arn,
        "size_bytes": row.size_bytes,
        "created_at": None if row.created_at_ms is None else iso(row.created_at_ms),
        "failure_code": row.failure_code,
        "failure_message": row.failure_message,
    }
