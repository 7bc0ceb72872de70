"""What a restore does next: one pure function of its state.

It is asked after every shard and by `reconcile`, by many at once; acting on an answer is a conditional write, so
that of two who decide the same only one moves the restore.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.restore.model import PHASES, TERMINAL, Job, Status, Table

# An accepting request is an HTTP call of at most 30 s (the API's own limit is 29). One that has not been written
# down completely after this long never will be.
ACCEPTING_LIMIT_MS = 120_000
BLOCKED = "blocked: nothing was cleared or written; see blockers"
NOT_ACCEPTED = "the request was not accepted completely; nothing was touched; ask again"


@dataclass(frozen=True)
class Work:
    """The phase has shards that have not ended."""

    remaining: int


@dataclass(frozen=True)
class Move:
    """Every shard of the phase has ended: go on to the next."""

    to: Status


@dataclass(frozen=True)
class Finish:
    """Write the receipt, then end with this status."""

    status: Status
    reason: str | None = None


@dataclass(frozen=True)
class AwaitClaims:
    """End as CANCELLED once no claim is alive: a late worker may still be writing under one."""


@dataclass(frozen=True)
class Close:
    """The restore has ended: give back its locks and take it off the open work."""


@dataclass(frozen=True)
class Rest:
    """Nothing to do now."""


Decision = Work | Move | Finish | AwaitClaims | Close | Rest


def decide(job: Job, tables: Sequence[Table], now_ms: int) -> Decision:
    """The next step of a restore. `tables` are all its TABLE rows; `now_ms` only judges an abandoned request."""
    if job.status in TERMINAL:
        return Close() if job.open_kind else Rest()
    if job.status is Status.ACCEPTING:
        if now_ms - job.created_at_ms <= ACCEPTING_LIMIT_MS:
            return Rest()
        return Finish(Status.FAILED, NOT_ACCEPTED)
    if job.status is Status.CANCELLING:
        return AwaitClaims()
    remaining = sum(table.phase(job.status).remaining for table in tables)
    if remaining > 0:
        return Work(remaining)
    return _after_phase(job, tables)


def _after_phase(job: Job, tables: Sequence[Table]) -> Decision:
    failed = sum(table.phase(job.status).failed for table in tables)
    match job.status:
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
        case Status.SAFEGUARDING:
            return Move(Status.CLEARING if job.clear_existing_data else Status.LOADING)
        case Status.CLEARING:
            # Also when a segment could not be cleared: the backup's items are worth having in any case, and the
            # failed shard keeps the restore from being COMPLETED.
            return Move(Status.LOADING)
        case Status.LOADING:
            return Move(Status.VERIFYING)
        case _:
            return _outcome(tables)


def _after_checking(job: Job, tables: Sequence[Table]) -> Decision:
    blockers = sum(table.blockers for table in tables)
    failed = sum(table.phase(status).failed for table in tables for status in (Status.PLANNING, Status.CHECKING))
    if blockers or failed:
        return Finish(Status.FAILED, BLOCKED)
    if job.dry_run:
        return Finish(Status.COMPLETED, "dry run: everything was read and checked, nothing was written")
    if job.safety_backup:
        return Move(Status.SAFEGUARDING)
    return Move(Status.CLEARING if job.clear_existing_data else Status.LOADING)


def _outcome(tables: Sequence[Table]) -> Finish:
    if all(_is_whole(table) for table in tables):
        return Finish(Status.COMPLETED)
    restored = sum(table.accounted - table.rejected for table in tables)
    whole = [table for table in tables if _is_whole(table) and table.item_count == 0]
    if restored or whole:
        return Finish(Status.PARTIAL, "some items were not restored; see the tables' failures and rejected items")
    return Finish(Status.FAILED, "no item was restored; see the tables' failures and rejected items")


def _is_whole(table: Table) -> bool:
    """Nothing failed, nothing was rejected, and every data file's counts add up to what the export recorded."""
    return (
        table.failed_shards == 0
        and table.rejected == 0
        and table.unbalanced == 0
        and table.balanced == table.data_files
        and table.accounted == table.item_count
        and all(table.phase(status).remaining == 0 for status in PHASES)
    )


def status_code(status: Status, restored_anything: bool) -> int:
    """200 all, 207 some, 500 none: the codes people know from backup Lambdas."""
    if status is Status.COMPLETED:
        return 200
    # PARTIAL is some, also when all that is whole are tables without items.
    return 207 if restored_anything or status is Status.PARTIAL else 500
