"""What a restore did, in words an operator and a program can read: the answer of the API and the receipt in the
bucket are made of the same parts here."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.backup import layout
from chalicelib.clock import iso
from chalicelib.restore.model import Job, Table
from chalicelib.restore.records import RestoreRecords
from chalicelib.restore.work import Surroundings

RECEIPT_SCHEMA_VERSION = 1


def write_receipt(around: Surroundings, job: Job, tables: Sequence[Table]) -> None:
    """Puts `receipt.json` of a restore that has ended. Made of its rows alone, which nothing moves any more: whoever
    writes it, and however often, writes the same."""
    receipt = {
        "schema_version": RECEIPT_SCHEMA_VERSION,
        **job_head(job),
        **findings(around.records, job, tables),
        "tables": [table_result(table) for table in tables],
    }
    content = msgspec.json.format(msgspec.json.encode(receipt), indent=2)
    key = layout.receipt_key(job.restore_id)
    around.s3.put_object(Bucket=job.bucket, Key=key, Body=content, ContentType="application/json")


def job_head(job: Job) -> dict[str, Any]:
    return {
        "restore_id": job.restore_id,
        "status": job.status.value,
        "status_code": job.status_code,
        "reason": job.reason,
        "cancelled_in": job.cancelled_in.value if job.cancelled_in else None,
        "backup_date": job.backup_date,
        "dry_run": job.dry_run,
        "clear_existing_data": job.clear_existing_data,
        "safety_backup": job.safety_backup,
        "max_workers": job.max_workers,
        "requested_by": job.requested_by,
        "created_at": iso(job.created_at_ms),
        "finished_at": iso(job.finished_at_ms) if job.finished_at_ms else None,
    }


def findings(records: RestoreRecords, job: Job, tables: Sequence[Table]) -> dict[str, list[str]]:
    """Blockers, warnings and failures, the first hundred of each table."""
    found: dict[str, list[str]] = {"blockers": [], "warnings": [], "failures": []}
    for table in tables:
        if table.blockers or table.warnings:
            for note in records.notes(job.restore_id, table.number):
                found["blockers" if note.level == "blocker" else "warnings"].append(note.text)
        if table.failed_shards:
            found["failures"] += records.failures(job.restore_id, table.number)
    return found


def table_result(table: Table, in_flight: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A table's counts. `in_flight`: what open shards have done beyond the totals."""
    more = in_flight or {}
    counted = {
        name: getattr(table, name) + more.get(name, 0)
        for name in ("written", "unchanged", "skipped", "deleted", "filtered", "rejected")
    }
    return {
        "source_table": table.source,
        "target_table": table.target,
        "item_count": table.item_count,
        **counted,
        "cleared": table.cleared,
        "data_files": table.data_files,
        "data_files_read_in_checking": table.data_files_read,
        "data_files_balanced": table.balanced,
        "data_bytes": table.data_bytes,
        "uncompressed_bytes_read_in_checking": table.uncompressed_bytes,
        "lines_that_are_not_items": table.not_items,
        "shards": table.loading_total,
        "shards_ended": table.loading_ended,
        "shards_failed": table.failed_shards,
        "safety_backup_arn": table.safety_backup_arn,
    }
