"""Carries out what `decide` says, one conditional write after another, until there is nothing left to move.

Called by a worker after every shard, and by `reconcile` for every open restore. If it stops between two writes, the
next caller reads the state that stands and goes on from there:

    phase moved, slots not yet woken                       `reconcile` wakes them
    ended, locks not given back or receipt not written     still open work: `reconcile` closes it, with the same receipt
"""

from typing import Any

import msgspec

from chalicelib.backup import layout
from chalicelib.errors import LedgerRowsLost
from chalicelib.restore.decision import (
    Abandon,
    AwaitClaims,
    Close,
    Decision,
    Finish,
    Move,
    Rest,
    Work,
    decide,
    status_code,
)
from chalicelib.restore.model import PHASES, Job, Status, Table
from chalicelib.restore.receipt import write_receipt
from chalicelib.restore.records import lock_of
from chalicelib.restore.slots import Slots
from chalicelib.restore.work import Surroundings, logger


class Advanced(msgspec.Struct, frozen=True):
    """The restore as it stands now. `remaining`: shards of its phase that have not ended."""

    job: Job | None
    tables: list[Table]
    remaining: int = 0


def _check_complete(job: Job, tables: list[Table]) -> None:
    """A restore is only carried on, and only ever COMPLETED, with all of its tables."""
    if job.status in PHASES and len(tables) != job.table_count:
        raise LedgerRowsLost(
            f"the ledger has {len(tables)} of the restore's {job.table_count} TABLE rows: it cannot be carried on; "
            "ask again"
        )


class Conductor:
    def __init__(self, around: Surroundings, slots: Slots) -> None:
        self._around = around
        self._slots = slots

    def advance(self, restore_id: str, *, hop: int) -> Advanced:
        """Moves the restore on as far as it goes by itself. `hop`: of the chain of messages the caller is part of."""
        while True:
            job = self._around.records.job(restore_id)
            if job is None:
                return Advanced(None, [])
            tables = self._around.records.tables(restore_id)
            _check_complete(job, tables)
            decision = decide(job, tables, self._around.clock())
            if isinstance(decision, Work):
                return Advanced(job, tables, decision.remaining)
            if not self._carry_out(job, tables, decision, hop):
                return Advanced(job, tables)

    def _carry_out(self, job: Job, tables: list[Table], decision: Decision, hop: int) -> bool:
        """True when the state may have changed, so that it is worth deciding again."""
        now_ms = self._around.clock()
        match decision:
            case Move(to):
                if self._around.records.move(job, to, now_ms):
                    logger.info("restore moved on", extra={"restore_id": job.restore_id, "from": job.status, "to": to})
                    self._wake_for(job, tables, to, hop)
                return True
            case Finish(status, reason):
                self._finish(job, tables, status, reason)
                return True
            case AwaitClaims():
                return self._end_cancelled(job, now_ms)
            case Abandon(status):
                if self._around.records.move(job, status, now_ms):
                    logger.warning("request to go on was given up", extra={"restore_id": job.restore_id})
                return True
            case Close():
                self._close(job, tables)
                return False
            case Rest() | Work():
                return False

    def _end_cancelled(self, job: Job, now_ms: int) -> bool:
        records = self._around.records
        if records.has_live_claim(job.restore_id, now_ms) or not self._around.claims.settle_open_shards(job, now_ms):
            return False
        why = job.reason or "cancelled by request"
        self._finish(job, records.tables(job.restore_id), Status.CANCELLED, f"{why}; what was written stays")
        return True

    def _close(self, job: Job, tables: list[Table]) -> None:
        for target in sorted(job.targets):
            self._around.records.release_lock(target, lock_of(job))
        write_receipt(self._around, job, tables)
        self._around.records.close(job, self._around.clock())

    def _wake_for(self, job: Job, tables: list[Table], phase: Status, hop: int) -> None:
        """One slot for each shard of the new phase, up to `max_workers`; the caller's own is awake already."""
        self.wake(job, sum(table.phase(phase, job.resumes).remaining for table in tables), hop)

    def wake(self, job: Job, shards: int, hop: int) -> None:
        """One slot for each of so many shards, up to `max_workers`."""
        self._slots.wake_free(job.restore_id, min(shards, job.max_workers), hop=hop, now_ms=self._around.clock())

    def _finish(self, job: Job, tables: list[Table], status: Status, reason: str | None) -> None:
        finished_at_ms = self._around.clock()
        restored_anything = any(table.restored for table in tables)
        code = status_code(status, restored_anything)
        changes: dict[str, Any] = {"finished_at_ms": finished_at_ms, "status_code": code}
        changes["receipt_key"] = layout.receipt_key(job.restore_id, job.resumes)
        changes |= {"reason": reason} if reason else {}
        if self._around.records.move(job, status, finished_at_ms, **changes):
            logger.info("restore ended", extra={"restore_id": job.restore_id, "status": status, "reason": reason})
