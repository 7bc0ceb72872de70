"""What is said of each kind of notice, for people and for machines. Pure."""

from collections.abc import Sequence
from typing import Any

from chalicelib.backup import layout
from chalicelib.backup.documents import shown
from chalicelib.backup.manifest import BACKUP_TYPE, Manifest
from chalicelib.backup.notices import AgedTable, NoticeRow, What
from chalicelib.backup.on_demand.rows import BackupState, RunRecord
from chalicelib.backup.on_demand.shown import BACKUP_TYPE as ON_DEMAND
from chalicelib.backup.rows import SetRecord
from chalicelib.backup.states import ExportState
from chalicelib.clock import from_iso, iso
from chalicelib.telling.wording import Message, Reason, body, detail, fitting, names, section, subject

_EXPLAINED = 20  # with their reasons; further ones by name
_MOST_UNMATCHED_BYTES = 20_000
_HOUR_MS = 3600 * 1000
_DETAIL_TYPES = {
    What.FINISHED: "Backup Set Finished",
    What.OVERDUE: "Backup Set Overdue",
    What.NOT_STARTED: "Backup Set Not Started",
    What.STALE: "Backups Stale",
    What.ON_DEMAND_FINISHED: "On-Demand Backups Finished",
}


def finished(notice: NoticeRow, manifest: Manifest, unread: str | None = None) -> Message:
    """Of a set as its manifest has it: COMPLETE or PARTIAL. `unread`: why the one in the bucket cannot be read now, so
    that this one was made of the ledger's rows."""
    failed = [table for table in manifest.tables if table.status == "FAILED"]
    reasons = [Reason(table.table_name, table.failure_code, table.failure_message) for table in failed]
    notes = [(table.table_name, note) for table in manifest.tables for note in table.notes]
    where = f"s3://{manifest.s3_bucket}/{manifest.manifest_s3_key}"
    lines = [
        f"Backup {manifest.backup_date} of {notice.environment} is {manifest.status}: {_counts(manifest)}.",
        "",
        f"Tables exported: {manifest.successful_exports:,}",
        f"Tables failed: {manifest.failed_exports:,}",
        f"Items: {manifest.total_items_exported:,}",
        f"Size in the bucket: {manifest.total_size_mb:,.1f} MB",
        f"From {shown(manifest.started_at)} to {shown(manifest.completed_at)}{_lasting(manifest)}",
        f"Manifest, revision {manifest.revision}: {shown(where, 1500)}",
        *([f"It cannot be read now, and without it nothing can be restored: {shown(unread, 1000)}"] if unread else []),
        *_failures("Failed tables, which cannot be restored from this backup:", reasons),
        *(_MEND if failed else []),
        *section("Entries of DYNAMODB_TABLES that fit no table:", _quoted(manifest.unmatched), _EXPLAINED),
        *section("Worth knowing:", [f"- {shown(name, 255)}: {shown(note, 300)}" for name, note in notes], _EXPLAINED),
    ]
    said = f"backup {manifest.backup_date} {manifest.status}: {_counts(manifest)}"
    said += ", its manifest cannot be read" if unread else ""
    facts = _facts_of(manifest) | ({"manifest_unread": unread} if unread else {})
    return _message(notice, manifest.status, said, lines, facts, [each.as_object() for each in reasons])


_MEND = [
    "",
    "What to do: mend what the reasons say; POST /backups then makes another set. The tables that did not fail can be "
    "restored from this one.",
]


def finished_unread(notice: NoticeRow, why: str) -> Message:
    """Of a set of which neither manifest nor ledger tells any more."""
    status = notice.status or "FINISHED"
    prefix = notice.exports_prefix or ""
    facts = {
        "backup_date": notice.name,
        "revision": notice.manifest_revision,
        "backup_type": BACKUP_TYPE,
        "s3_bucket": notice.s3_bucket,
        "manifest_s3_key": layout.manifest_key(prefix, notice.name),
        "reason": why,
    }
    lines = [
        f"Backup {notice.name} of {notice.environment} was finished as {status}.",
        "",
        f"Its manifest cannot be read now: {shown(why, 1000)}",
        "Without it nothing can be restored from this backup.",
    ]
    return _message(notice, status, f"backup {notice.name} {status}, its manifest cannot be read", lines, facts, [])


def overdue(notice: NoticeRow, record: SetRecord, now_ms: int) -> Message:
    """Of a set that is still open."""
    waiting = [name for name in record.set.tables if not _has_ended(record, name)]
    reasons = [_waiting(record, name) for name in waiting]
    all_tables = len(record.set.tables)
    hours = (now_ms - record.set.started_at_ms) // _HOUR_MS
    if waiting:
        counts = f"{len(waiting)} of {all_tables} tables not ended after {hours} h"
    else:
        counts = f"all {all_tables} tables ended, but it cannot be finished after {hours} h"
    lines = [
        f"Backup {notice.name} of {notice.environment} is OVERDUE: {counts}.",
        "",
        f"It was started at {iso(record.set.started_at_ms)} and is still carried on every minute; an export is given "
        "up 24 hours after its start. There will be another notice when the set is finished.",
        *([f"At last: {shown(notice.reason, 1000)}"] if notice.reason else []),
        *_failures("Tables whose exports have not ended:", reasons),
    ]
    facts = {
        "backup_date": notice.name,
        "started_at": iso(record.set.started_at_ms),
        "total_tables_processed": all_tables,
        "waiting_tables": len(waiting),
        "s3_bucket": record.set.s3_bucket,
        "reason": notice.reason,
        "duration_s": (now_ms - record.set.started_at_ms) // 1000,
    }
    said = f"backup {notice.name} OVERDUE: {counts}"
    return _message(notice, "OVERDUE", said, lines, facts, [each.as_object() for each in reasons])


def not_started(notice: NoticeRow) -> Message:
    lines = [
        f"Backup {notice.name} of {notice.environment} was NOT STARTED: no table is backed up by it.",
        "",
        f"Reason: {shown(notice.reason or 'none is given', 4000)}",
        "",
        "What to do: mend the reason; POST /backups then makes a set at once.",
    ]
    facts = {"backup_date": notice.name, "reason": notice.reason}
    return _message(notice, "NOT_STARTED", f"backup {notice.name} NOT STARTED", lines, facts, [])


def stale(notice: NoticeRow) -> Message:
    """Of a day on which tables have no backup that is young enough, or on which there is no backup at all."""
    limit = f"{notice.longest_age_hours} h"
    if notice.since_ms is not None:
        counts = f"no scheduled backup since {iso(notice.since_ms)[:16]}Z"
    else:
        counts = f"{notice.stale_tables} of {notice.all_tables} tables have none of the last {limit}"
    lines = [
        f"Backups of {notice.environment} are STALE: {counts}.",
        "",
        f"Allowed is an age of {limit} (LONGEST_BACKUP_AGE_HOURS). Look whether the schedule runs (BACKUP_SCHEDULE, "
        "the logs of start_exports) and why exports fail; POST /backups makes a set at once.",
        *section("The oldest:", [_stale_line(table) for table in notice.stale], _EXPLAINED),
        *names("Too old as well: ", [table.table_name for table in notice.stale[_EXPLAINED:]]),
        *([f"… and {notice.stale_tables - len(notice.stale)} more"] if notice.stale_tables > len(notice.stale) else []),
    ]
    facts = {
        "day": notice.name,
        "longest_age_hours": notice.longest_age_hours,
        "total_tables": notice.all_tables,
        "stale_tables": notice.stale_tables,
        "since": None if notice.since_ms is None else iso(notice.since_ms),
    }
    objects = [
        {"table": each.table_name, "age_s": each.age_ms // 1000, "newest": each.newest, "message": each.reason}
        for each in notice.stale
    ]
    return _message(notice, "STALE", f"backups STALE: {counts}", lines, facts, objects)


def on_demand_finished(notice: NoticeRow, record: RunRecord) -> Message:
    """Of a run of on-demand backups: COMPLETE or PARTIAL."""
    rows = [record.row_of(name) for name in record.run.tables]
    failed = [row for row in rows if row.status is BackupState.FAILED]
    reasons = [Reason(row.table_name, row.failure_code, row.failure_message) for row in failed]
    status = record.run.status.value
    counts = f"{len(failed)} of {len(rows)} tables failed" if failed else f"{len(rows)} tables"
    lines = [
        f"On-demand backups {notice.name} of {notice.environment} are {status}: {counts}.",
        *_failures("Tables without one:", reasons),
        *section("Entries of DYNAMODB_TABLES that fit no table:", _quoted(record.run.unmatched), _EXPLAINED),
    ]
    facts = {
        "backup_date": notice.name,
        "backup_type": ON_DEMAND,
        "total_tables_processed": len(rows),
        "successful_backups": len(rows) - len(failed),
        "failed_backups": len(failed),
        "total_size_mb": sum(row.size_bytes for row in rows) / 1_000_000,
        **fitting("unmatched", record.run.unmatched, _MOST_UNMATCHED_BYTES),
    }
    said = f"on-demand backups {notice.name} {status}: {counts}"
    return _message(notice, status, said, lines, facts, [each.as_object() for each in reasons])


def _message(
    notice: NoticeRow,
    status: str,
    said: str,
    lines: Sequence[str],
    facts: dict[str, Any],
    objects: Sequence[dict[str, Any]],
) -> Message:
    common = {
        "notification_id": notice.notification_id,
        "environment": notice.environment,
        "what": notice.what.value,
        "status": status,
    }
    return Message(
        subject=subject(notice.environment, said),
        body=body([*lines, "", f"Notification {notice.notification_id}; it may come twice, then with the same id."]),
        attributes={"environment": notice.environment, "what": notice.what.value, "status": status},
        detail_type=_DETAIL_TYPES[notice.what],
        detail=detail(common | facts, "failures", objects),
    )


def _facts_of(manifest: Manifest) -> dict[str, Any]:
    """By the names of the scheduled function's result (`backup.listing.result_of_run`)."""
    duration_ms = _duration_ms(manifest)
    return {
        "backup_date": manifest.backup_date,
        "backup_type": manifest.backup_type,
        "revision": manifest.revision,
        "total_tables_processed": manifest.total_tables_processed,
        "successful_exports": manifest.successful_exports,
        "failed_exports": manifest.failed_exports,
        "total_items_exported": manifest.total_items_exported,
        "total_size_mb": manifest.total_size_mb,
        "manifest_s3_key": manifest.manifest_s3_key,
        "s3_bucket": manifest.s3_bucket,
        "started_at": manifest.started_at,
        "completed_at": manifest.completed_at,
        "duration_s": None if duration_ms is None else duration_ms // 1000,
        **fitting("unmatched", manifest.unmatched, _MOST_UNMATCHED_BYTES),
    }


def _counts(manifest: Manifest) -> str:
    total = manifest.total_tables_processed
    unmatched = len(manifest.unmatched)
    said = f"{manifest.failed_exports} of {total} tables failed" if manifest.failed_exports else f"{total} tables"
    return f"{said}, {unmatched} entries fit no table" if unmatched else said


def _duration_ms(manifest: Manifest) -> int | None:
    try:
        return max(0, from_iso(manifest.completed_at) - from_iso(manifest.started_at))
    except (ValueError, OverflowError):
        return None


def _lasting(manifest: Manifest) -> str:
    duration_ms = _duration_ms(manifest)
    if duration_ms is None:
        return ""
    hours, minutes = divmod(duration_ms // 60_000, 60)
    return f" ({hours} h {minutes:02d} min)"


def _failures(title: str, reasons: Sequence[Reason]) -> list[str]:
    told = section(title, [reason.line() for reason in reasons[:_EXPLAINED]], _EXPLAINED)
    return [*told, *names("Also, reasons omitted here: ", [reason.table for reason in reasons[_EXPLAINED:]])]


def _has_ended(record: SetRecord, table_name: str) -> bool:
    return record.has_all_parts(table_name) and all(row.has_ended for row in record.exports_of(table_name))


def _waiting(record: SetRecord, table_name: str) -> Reason:
    if table_name in record.corrupt:
        return Reason(table_name, "LedgerEntryCorrupt", record.corrupt[table_name])
    row = next((row for row in record.exports_of(table_name) if not row.has_ended), None)
    if row is None or row.status is ExportState.PENDING:
        why = (row.failure_code, row.failure_message) if row else (None, None)
        return Reason(table_name, why[0] or "PENDING", why[1] or "its export waits to be started")
    return Reason(table_name, "IN_PROGRESS", f"DynamoDB still runs the export {row.export_arn}")


def _quoted(entries: Sequence[str]) -> list[str]:
    return [f"- {shown(entry, 300)}" for entry in entries]


def _stale_line(table: AgedTable) -> str:
    hours = table.age_ms // _HOUR_MS
    newest = f"{hours} h old, of {shown(table.newest, 30)}" if table.newest else f"none for at least {hours} h"
    return f"- {shown(table.table_name, 255)}: {newest}{f'; {shown(table.reason, 300)}' if table.reason else ''}"
