"""What a restore did, in words an operator and a program can read: the answer of the API and the receipt in the
bucket are made of the same parts here."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import error_code
from chalicelib.backup import layout
from chalicelib.clock import iso
from chalicelib.restore.estimate import estimate_of
from chalicelib.restore.model import TERMINAL, Job, PlacedReason, Status, Table
from chalicelib.restore.plan_digest import plan_digest
from chalicelib.restore.records import RestoreRecords
from chalicelib.restore.rejections import texts
from chalicelib.restore.target import decode_facts, time_to_live_notes
from chalicelib.restore.undo import undo_steps
from chalicelib.restore.work import Surroundings

RECEIPT_SCHEMA_VERSION = 1
_CANCELLED = (Status.CANCELLING, Status.CANCELLED)
# It stands, or is just being put by another one
# (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
_STANDS = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


def write_receipt(around: Surroundings, job: Job, tables: Sequence[Table]) -> None:
    """Puts the receipt of a restore that has ended. Made of its rows alone, which nothing moves before the restore is
    closed: whoever writes it first writes what is true. One who comes late may read rows of a restore that goes on."""
    receipt = {"schema_version": RECEIPT_SCHEMA_VERSION, **body_of(around.records, job, tables)}
    content = msgspec.json.format(msgspec.json.encode(receipt), indent=2)
    key = layout.receipt_key(job.restore_id, job.resumes)
    request = {"Bucket": job.bucket, "Key": key, "Body": content, "ContentType": "application/json"}
    try:
        around.s3.put_object(**request, IfNoneMatch="*")
    except ClientError as error:
        if error_code(error) not in _STANDS:
            raise


def job_head(job: Job) -> dict[str, Any]:
    return {
        "restore_id": job.restore_id,
        "status": job.status.value,
        "status_code": job.status_code,
        "reason": job.reason,
        "cancelled_in": job.cancelled_in.value if job.cancelled_in and job.status in _CANCELLED else None,
        "backup_date": job.backup_date,
        "dry_run": job.dry_run,
        "clear_existing_data": job.clear_existing_data,
        "safety_backup": job.safety_backup,
        "mode": job.mode.value,
        "key_count": job.key_count,
        "create_missing_tables": job.create_missing_tables,
        "max_write_units": job.max_write_units,
        "verify": job.comparison.value,
        "max_workers": job.max_workers,
        "resumes": job.resumes,
        "requested_by": job.requested_by,
        "created_at": iso(job.created_at_ms),
        "finished_at": iso(job.finished_at_ms) if job.finished_at_ms else None,
    }


class InFlight(msgspec.Struct, frozen=True):
    """What a table's open shards have done beyond its totals, by their checkpoints."""

    counts: Mapping[str, int] = msgspec.field(default_factory=dict)
    reasons: Sequence[PlacedReason] = ()


_NOTHING = InFlight()


def body_of(
    records: RestoreRecords, job: Job, tables: Sequence[Table], in_flight: Mapping[int, InFlight] | None = None
) -> dict[str, Any]:
    """All that is told of a restore. `in_flight`: by the table's number."""
    more = in_flight or {}
    return {
        **job_head(job),
        "plan_digest": plan_digest(job, tables),
        **findings(records, job, tables, more),
        "tables": [table_result(job, table, more.get(table.number)) for table in tables],
    }


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
        if table.survey_expired and table.target_facts is not None:
            notes = time_to_live_notes(decode_facts(table.target_facts), table.survey_expired)
            found["warnings"] += [note.text for note in notes]
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
        # A mode that reads or asks first cannot tell what an interrupted worker wrote from what stood there.
        "split_is_approximate": table.approximate > 0,
        "keys_not_in_backup": _keys_not_in_backup(job, table),
        "rejected_prefix": layout.rejected_prefix(job.restore_id, table.source) if counted["rejected"] else None,
        "cleared": table.cleared,
        "data_files": table.data_files,
        "data_files_read_in_checking": table.data_files_read,
        "data_files_balanced": table.balanced,
        "data_bytes": table.data_bytes,
        "uncompressed_bytes_read_in_checking": table.uncompressed_bytes,
        "estimate": estimate_of(job, table),
        "created": table.is_made,
        "items_compared": table.compared,
        "items_that_differ": table.differing,
        "shards": table.loading_total,
        "shards_ended": table.loading_ended,
        "shards_failed": table.failed_shards,
        "safety_backup_arn": table.safety_backup_arn,
        "undo": undo_steps(job, table),
    }


def _keys_not_in_backup(job: Job, table: Table) -> list[int] | None:
    """The positions, from 0, of the asked keys that the backup does not have; known once every data file was looked
    through."""
    is_looked_through = job.key_count and (table.loading_total == table.loading_ended or job.dry_run)
    if not is_looked_through or job.status not in TERMINAL or table.failed_shards or table.blockers:
        return None
    return sorted(set(range(job.key_count)) - (table.found_keys or set()))
