"""What a restore did, in words an operator and a program can read: the answer of the API and the receipt in the
bucket are made of the same parts here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chalicelib.backup import layout
from chalicelib.clock import iso
from chalicelib.restore.model import Job, PlacedReason, Table
from chalicelib.restore.records import RestoreRecords
from chalicelib.restore.rejections import texts
from chalicelib.restore.work import Surroundings

RECEIPT_SCHEMA_VERSION = 1


def write_receipt(around: Surroundings, job: Job, tables: Sequence[Table]) -> None:
    """Puts `receipt.json` of a restore that has ended. Made of its rows alone, which nothing moves any more: whoever
    writes it, and however often, writes the same."""
    receipt = {
        "schema_version": RECEIPT_SCHEMA_VERSION,
        **job_head(job),
        **findings(around.records, job, tables),
        "tables": [table_result(job, table) for table in tables],
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


@dataclass(frozen=True)
class InFlight:
    """What a table's open shards have done beyond its totals, by their checkpoints."""

    counts: Mapping[str, int] = field(default_factory=dict)
    reasons: Sequence[PlacedReason] = ()


_NOTHING = InFlight()


def findings(
    records: RestoreRecords, job: Job, tables: Sequence[Table], in_flight: Mapping[int, InFlight] | None = None
) -> dict[str, list[str]]:
    """Blockers, warnings and failures, the first hundred of each table; the reasons of rejected items are failures.
    `in_flight`: by the table's number."""
    found: dict[str, list[str]] = {"blockers": [], "warnings": [], "failures": []}
    for table in tables:
        if table.blockers or table.warnings:
            for note in records.notes(job.restore_id, table.number):
                found["blockers" if note.level == "blocker" else "warnings"].append(note.text)
        if table.failed_shards:
            found["failures"] += records.failures(job.restore_id, table.number)
        more = (in_flight or {}).get(table.number, _NOTHING)
        rejected = table.rejected + more.counts.get("rejected", 0)
        if rejected:
            reasons = [*records.rejections(job.restore_id, table.number), *more.reasons]
            prefix = layout.rejected_prefix(job.restore_id, table.source)
            found["failures"] += texts(table.source, reasons, rejected, prefix)
    return found


def table_result(job: Job, table: Table, in_flight: InFlight | None = None) -> dict[str, Any]:
    """A table's counts, and where its rejected lines are."""
    more = in_flight or _NOTHING
    counted = {
        name: getattr(table, name) + more.counts.get(name, 0)
        for name in ("written", "unchanged", "skipped", "deleted", "filtered", "rejected")
    }
    return {
        "source_table": table.source,
        "target_table": table.target,
        "item_count": table.item_count,
        **counted,
        "rejected_prefix": layout.rejected_prefix(job.restore_id, table.source) if counted["rejected"] else None,
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
