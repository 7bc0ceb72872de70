"""What a restore does next: one pure function of its state.

It is asked after every shard and by `reconcile`, by many at once; acting on an answer is a conditional write, so
that of two who decide the same only one moves the restore.
"""

from collections.abc import Sequence

import msgspec

from chalicelib.restore.model import PHASES, TERMINAL, Comparison, Job, Status, Table
from chalicelib.restore.plan_digest import plan_digest

# An accepting request is an HTTP call of at most 30 s (the API's own limit is 29). One that has not been written
# down completely after this long never will be.
ACCEPTING_LIMIT_MS = 120_000
BLOCKED = "blocked: nothing was cleared or written; see blockers"
PLAN_CHANGED = (
    "plan_changed: the backup or a target is no longer as in the dry run whose plan_digest was given; nothing was"
    " touched: look at a new dry run"
)
NOT_ACCEPTED = "the request was not accepted completely; nothing was touched; ask again"


class Work(msgspec.Struct, frozen=True):
    """The phase has shards that have not ended."""

    remaining: int


class Move(msgspec.Struct, frozen=True):
    """Every shard of the phase has ended: go on to the next."""

    to: Status


class Finish(msgspec.Struct, frozen=True):
    """Write the receipt, then end with this status."""

    status: Status
    reason: str | None = None


class Abandon(msgspec.Struct, frozen=True):
    """The request to go on was never written down completely: the restore ends again as it had ended."""

    status: Status


class AwaitClaims(msgspec.Struct, frozen=True):
    """End as CANCELLED once no claim is alive: a late worker may still be writing under one."""


class Close(msgspec.Struct, frozen=True):
    """The restore has ended: give back its locks and take it off the open work."""


class Rest(msgspec.Struct, frozen=True):
    """Nothing to do now."""


Decision = Work | Move | Finish | Abandon | AwaitClaims | Close | Rest


def decide(job: Job, tables: Sequence[Table], now_ms: int) -> Decision:
    """The next step of a restore. `tables` are all its TABLE rows; `now_ms` only judges an abandoned request."""
    if job.status in TERMINAL:
        return Close() if job.open_kind else Rest()
    if job.status is Status.ACCEPTING:
        if now_ms - job.created_at_ms <= ACCEPTING_LIMIT_MS:
            return Rest()
        return Finish(Status.FAILED, NOT_ACCEPTED)
    if job.status is Status.RESUMING:
        is_abandoned = now_ms - job.moved_at_ms > ACCEPTING_LIMIT_MS
        return Abandon(job.resumed_from) if is_abandoned and job.resumed_from else Rest()
    if job.status is Status.CANCELLING:
        return AwaitClaims()
    remaining = remaining_shards(job, tables)
    if remaining > 0:
        return Work(remaining)
    return _after_phase(job, tables)


def remaining_shards(job: Job, tables: Sequence[Table]) -> int:
    """The shards of the restore's phase that have not ended."""
    return sum(table.phase(job.status, job.resumes).remaining for table in tables)


def _after_phase(job: Job, tables: Sequence[Table]) -> Decision:
    failed = sum(table.phase(job.status).failed for table in tables)
    match job.status:
        case Status.REOPENING if failed > job.failed_reopenings and job.resumed_from:
            return Finish(job.resumed_from, "what was to be done again could not be put back; see the worker's log")
        case Status.REOPENING:
            return Move(job.resume_to or Status.LOADING)
        case Status.PLANNING if failed:
            # A planner that was given up may have written a part of its shards, which no total counts: with them
            # there is no checking, and without them nothing to check.
            return Finish(Status.FAILED, BLOCKED)
        case Status.PLANNING:
            return Move(Status.CHECKING)
        case Status.CHECKING:
            return _after_checking(job, tables)
        case Status.SAFEGUARDING if failed:
            return Finish(Status.FAILED, "a safety backup could not be taken, so nothing was cleared or written")
        case Status.CREATING if failed:
            made = ", ".join(table.target for table in tables if table.is_made)
            left = f"; made, and left as they are: {made}" if made else ""
            return Finish(Status.FAILED, f"a target could not be created, so nothing was cleared or written{left}")
        case Status.VERIFYING:
            return _outcome(job, tables)
        case status:
            # Also from CLEARING when a segment could not be cleared: the backup's items are worth having in any case,
            # and the failed shard keeps the restore from being COMPLETED.
            return Move(_next_phase(job, status))


def _after_checking(job: Job, tables: Sequence[Table]) -> Decision:
    blockers = sum(table.blockers for table in tables)
    failed = sum(table.phase(status).failed for table in tables for status in (Status.PLANNING, Status.CHECKING))
    if blockers or failed:
        return Finish(Status.FAILED, BLOCKED)
    if job.dry_run:
        return Finish(Status.COMPLETED, "dry run: everything was read and checked, nothing was written")
    if job.plan_digest is not None and job.plan_digest != plan_digest(job, tables):
        return Finish(Status.FAILED, PLAN_CHANGED)
    return Move(_next_phase(job, Status.CHECKING))


_ORDER = (
    Status.CHECKING,
    Status.SAFEGUARDING,
    Status.CREATING,
    Status.CLEARING,
    Status.LOADING,
    Status.COMPARING,
    Status.FINISHING,
    Status.VERIFYING,
)


def _next_phase(job: Job, status: Status) -> Status:
    """The phase after `status`: the first of those that follow which this restore has."""
    asked = {
        Status.SAFEGUARDING: job.safety_backup,
        Status.CREATING: job.create_missing_tables,
        Status.CLEARING: job.clear_existing_data,
        Status.FINISHING: job.create_missing_tables,
        Status.COMPARING: job.comparison is not Comparison.NONE,
    }
    following = _ORDER[_ORDER.index(status) + 1 :]
    return next(phase for phase in following if asked.get(phase, True))


def _outcome(job: Job, tables: Sequence[Table]) -> Finish:
    if all(_is_whole(job, table) for table in tables):
        return Finish(Status.COMPLETED)
    restored = sum(table.restored for table in tables)
    whole = [table for table in tables if _is_whole(job, table) and table.item_count == 0]
    if restored or whole:
        return Finish(Status.PARTIAL, "some items were not restored; see the tables' failures and rejected items")
    return Finish(Status.FAILED, "no item was restored; see the tables' failures and rejected items")


def _is_whole(job: Job, table: Table) -> bool:
    """Nothing failed, nothing was rejected, nothing read back differs, and every data file's counts add up to what
    the export recorded."""
    return (
        table.failed_shards == 0
        and table.rejected == 0
        and table.differing == 0
        and table.unbalanced == 0
        and table.balanced == table.data_files
        and table.accounted == table.item_count
        and all(table.phase(status, job.resumes).remaining == 0 for status in _phases_of(job))
    )


def _phases_of(job: Job) -> list[Status]:
    return [status for status in PHASES if status is not Status.COMPARING or job.comparison is not Comparison.NONE]


def status_code(status: Status, restored_anything: bool) -> int:
    """200 all, 207 some, 500 none: the codes people know from backup Lambdas."""
    if status is Status.COMPLETED:
        return 200
    # PARTIAL is some, also when all that is whole are tables without items.
    return 207 if restored_anything or status is Status.PARTIAL else 500
