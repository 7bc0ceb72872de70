"""What a restore looks like to whoever asks: its head, its progress per table, what was found; and lists of heads."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from chalicelib.errors import LedgerEntryCorrupt
from chalicelib.ledger import decode
from chalicelib.restore.claims import shard_counts
from chalicelib.restore.model import PHASES, Job, Kind, Stage, Status, Table
from chalicelib.restore.receipt import InFlight, body_of, job_head
from chalicelib.restore.records import KIND, RestoreRecords, table_number
from chalicelib.restore.rejections import shard_reasons
from chalicelib.restore.slots import Slots


def describe(records: RestoreRecords, slots: Slots, job: Job) -> dict[str, Any]:
    """Status, progress per table, findings; of an ended restore, what its receipt says."""
    tables = records.tables(job.restore_id)
    return {
        **body_of(records, job, tables, _in_flight(records, slots, job)),
        "receipt_key": job.receipt_key if job.open_kind is None else None,
        "phase_shards": _phase_shards(job, tables) if job.status in PHASES else None,
    }


def _in_flight(records: RestoreRecords, slots: Slots, job: Job) -> dict[int, InFlight]:
    """What the checkpoints of open shards say, by table. Only shards that slots hold: a few, not all."""
    if job.status not in (Status.LOADING, Status.CANCELLING):
        return {}
    held = sorted({slot.shard for slot in slots.all(job.restore_id).values() if slot.shard})
    found: dict[int, InFlight] = {}
    for shard in records.shards_by_key(job.restore_id, held):
        if shard.kind is not Kind.LOAD or shard.stage is not Stage.CHECKED:
            continue
        so_far = found.get(table_number(shard), InFlight())
        counts = Counter(so_far.counts) + Counter(shard_counts(shard))
        found[table_number(shard)] = InFlight(counts, (*so_far.reasons, *shard_reasons(shard)))
    return found


def _phase_shards(job: Job, tables: Sequence[Table]) -> dict[str, int]:
    counts = [table.phase(job.status, job.resumes) for table in tables]
    return {
        "total": sum(count.total for count in counts),
        "ended": sum(count.ended for count in counts),
        "failed": sum(count.failed for count in counts),
    }


def list_page(records: RestoreRecords, limit: int, before: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Newest first; and the ids of restores whose rows cannot be read."""
    heads, corrupt = [], []
    for row in records.ledger.list_page(KIND, limit=limit, before=before):
        try:
            heads.append(job_head(decode(row, Job)))
        except (LedgerEntryCorrupt, ValueError, OverflowError):  # also a time out of any calendar
            corrupt.append(str(row.get("sort_name")))
    return heads, corrupt
