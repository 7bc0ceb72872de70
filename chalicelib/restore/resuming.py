"""A restore that has ended goes on: a cancelled one where it was cancelled, one with failures from its checkpoints.
One that was cancelled before LOADING begins with PLANNING again: what was checked then may be no longer so.

As in accepting, the request is written down first (RESUMING), then the locks are taken, then the shards that put back
what is to be done again; only then the restore moves to REOPENING and is worked on. One that stays RESUMING for too
long ends again as it had ended: `reconcile` sees to that.
"""

import secrets
from collections.abc import Sequence

from chalicelib.backup import layout
from chalicelib.backup.removal_mark import refuse_marked
from chalicelib.clock import Clock
from chalicelib.errors import Conflict, Unavailable
from chalicelib.restore.locks import Locks
from chalicelib.restore.model import PHASES, Job, Kind, Shard, Status, Table
from chalicelib.restore.phases.reopening import is_reopenable
from chalicelib.restore.records import KIND, RestoreRecords, shard_sk
from chalicelib.restore.slots import Slots

_HOLDER_BYTES = 8
_BEFORE_LOADING = frozenset({Status.PLANNING, Status.CHECKING, Status.SAFEGUARDING, Status.CREATING, Status.CLEARING})
_OLDEST_MS = 90 * 24 * 3600 * 1000


class Resuming:
    def __init__(self, records: RestoreRecords, locks: Locks, slots: Slots, clock: Clock) -> None:
        self._records = records
        self._locks = locks
        self._slots = slots
        self._clock = clock

    def resume(self, job: Job) -> Job:
        if job.status in PHASES and job.resumes:
            return job  # asked for twice
        _check_not_resuming(job)
        if job.status is not Status.CANCELLED or job.cancelled_in is None:
            raise Conflict("restore_not_resumable", _not_resumable(job))
        self._check_parts(job)
        return self._go_on(job, Status.PLANNING if job.cancelled_in in _BEFORE_LOADING else job.cancelled_in)

    def retry_failed(self, job: Job) -> Job:
        if job.status in PHASES and job.resumes:
            return job
        _check_not_resuming(job)
        if job.status not in (Status.PARTIAL, Status.FAILED):
            raise Conflict("restore_not_retryable", _not_retryable(job))
        tables = self._check_parts(job)
        if not all(table.verifying_ended for table in tables):
            text = f"restore {job.restore_id} ended before anything was written"
            raise Conflict("restore_not_retryable", f"{text}: mend what it names, and ask for a new one")
        if not any(is_reopenable(table) for table in tables):
            raise Conflict("restore_not_retryable", _only_items(job, tables))
        return self._go_on(job, Status.LOADING)

    def _check_parts(self, job: Job) -> list[Table]:
        """The ledger forgets the parts of a restore half a year after it was accepted."""
        tables = self._records.tables(job.restore_id)
        age_ms = self._clock() - job.created_at_ms
        if len(tables) != job.table_count or age_ms > _OLDEST_MS:
            text = f"restore {job.restore_id} is too old: the ledger forgets its parts; ask for a new one"
            raise Conflict("restore_not_resumable", text)
        return tables

    def _go_on(self, job: Job, to: Status) -> Job:
        self._slots.reach_queue()
        sets = self._sets_of(job)
        resuming = self._move_to_resuming(job)
        try:
            # After the restore was opened: a mark that comes later is made by a run that finds it open.
            refuse_marked(self._records.ledger, sets)
            self._locks.take_all(resuming)
        except Conflict:
            self._records.move(resuming, job.status, self._clock())
            raise
        tables = self._records.tables(job.restore_id)
        round_number = job.resumes + 1
        shards = [_reopen_shard(table, round_number) for table in tables]
        self._records.add_shards(resuming, shards)
        gone = ("finished_at_ms", "status_code", "reason", "receipt_key")
        changes = {"resume_to": to.value, "resumes": round_number}
        changes["failed_reopenings"] = sum(table.reopening_failed for table in tables)
        moved = self._records.move(resuming, Status.REOPENING, self._clock(), remove=gone, **changes)
        standing = self._records.job(job.restore_id)
        if standing is None or not (moved or standing.resumes == round_number):
            raise Unavailable("carrying the restore on took too long, and was given up; ask again")
        return standing

    def _sets_of(self, job: Job) -> set[str]:
        """All sets that the restore reads: its own, and those of its tables' chains."""
        plans = [shard_sk(Kind.PLAN, number, 0) for number in range(job.table_count)]
        links = (link for shard in self._records.shards_by_key(job.restore_id, plans) for link in shard.links())
        return {job.backup_date, *(layout.backup_date_of(link.manifest_files_key) for link in links)}

    def _move_to_resuming(self, job: Job) -> Job:
        if job.open_kind is not None:
            # Its locks are being given back, and its receipt is made of rows that must not move before.
            raise Conflict("request_in_progress", f"restore {job.restore_id} is just being ended; ask again")
        changes = {"resumed_from": job.status.value, "open_kind": KIND, "holder": secrets.token_hex(_HOLDER_BYTES)}
        moved = self._records.move(job, Status.RESUMING, self._clock(), remove=("expires_at_s",), **changes)
        standing = self._records.job(job.restore_id)
        if standing is None or not moved:
            raise Conflict("request_in_progress", f"restore {job.restore_id} is being carried on already; look at it")
        return standing


def _check_not_resuming(job: Job) -> None:
    """Whether that request will have written down everything is not known yet."""
    if job.status is Status.RESUMING:
        raise Conflict("request_in_progress", f"restore {job.restore_id} is being carried on already; look at it")


def _reopen_shard(table: Table, round_number: int) -> Shard:
    sk = shard_sk(Kind.REOPEN, table.number, round_number)
    return Shard(sk=sk, kind=Kind.REOPEN, source=table.source, number=round_number)


def _not_resumable(job: Job) -> str:
    restore = f"restore {job.restore_id} is {job.status}"
    match job.status:
        case Status.PARTIAL | Status.FAILED:
            return f"{restore}: only a cancelled one is resumed; POST /restores/{job.restore_id}/retry-failed"
        case Status.COMPLETED:
            return f"{restore}: there is nothing left to do"
        case _:
            return f"{restore}: only a cancelled one is resumed"


def _not_retryable(job: Job) -> str:
    restore = f"restore {job.restore_id} is {job.status}"
    match job.status:
        case Status.CANCELLED:
            return f"{restore}: POST /restores/{job.restore_id}/resume goes on with it"
        case Status.COMPLETED:
            return f"{restore}: nothing failed"
        case _:
            return f"{restore}: what failed is tried again once it has ended"


def _only_items(job: Job, tables: Sequence[Table]) -> str:
    if any(table.clearing_failed for table in tables):
        return f"of restore {job.restore_id} only clearing failed, which is never done once loading has begun"
    return (
        f"of restore {job.restore_id} nothing failed that could be tried again: items that DynamoDB refuses are refused"
        " again, and what differs when it is read back was written since; the receipt says where they are"
    )
