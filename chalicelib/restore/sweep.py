"""The restore side of `reconcile`: what no event and no worker carried on, it does.

Nothing to do costs one query. Each restore is on its own: one that cannot be carried on does not stop the others.

A restore whose rows are gone from the ledger would wait for them for ever, with its targets locked: it is cancelled,
and says so.
"""

from chalicelib.errors import LedgerRowsLost, TablevaultError
from chalicelib.ledger import OPEN_INDEX
from chalicelib.restore.advance import Conductor
from chalicelib.restore.decision import remaining_shards
from chalicelib.restore.model import PHASES, Job, SlotState, Status, tasks_of
from chalicelib.restore.records import KIND
from chalicelib.restore.slots import Slots
from chalicelib.restore.work import Surroundings, logger

# Counting a phase's open shards reads all of them: only where a phase stands still for longer than this.
_STANDSTILL_MS = 300_000


class RestoreSweep:
    def __init__(self, around: Surroundings, slots: Slots, conductor: Conductor) -> None:
        self._around = around
        self._slots = slots
        self._conductor = conductor

    def run(self) -> list[str]:
        """The ids of the restores it looked at. Raises what it did not expect, after all had their turn."""
        seen = []
        unexpected: Exception | None = None
        for row in self._around.records.ledger.query_index(OPEN_INDEX, KIND):
            restore_id = str(row["pk"]).removeprefix("RESTORE#")
            seen.append(restore_id)
            try:
                self._look_at(restore_id)
            except TablevaultError as error:
                logger.error(
                    "restore cannot be carried on",
                    extra={"restore_id": restore_id, "code": error.code, "error": error.message},
                )
            except Exception as error:  # the others have their turn first, then it is raised
                logger.error("restore cannot be carried on", exc_info=error, extra={"restore_id": restore_id})
                unexpected = unexpected or error
        if unexpected is not None:
            raise unexpected
        return seen

    def _look_at(self, restore_id: str) -> None:
        try:
            self._carry_on(restore_id)
        except LedgerRowsLost as lost:
            logger.error("restore has lost rows", extra={"restore_id": restore_id, "error": lost.message})
            job = self._around.records.job(restore_id)
            if job is not None and job.status in PHASES:
                phase = job.resume_to if job.status is Status.REOPENING else job.status
                told = phase.value if phase else None
                now_ms = self._around.clock()
                self._around.records.move(job, Status.CANCELLING, now_ms, cancelled_in=told, reason=lost.message)

    def _carry_on(self, restore_id: str) -> None:
        advanced = self._conductor.advance(restore_id, hop=0)
        job = advanced.job
        if job is None or job.status not in PHASES or not advanced.remaining:
            return
        if self._stands_still(job):
            self._check_open_shards(job)
        wanted = min(advanced.remaining, job.max_workers)
        woken = self._slots.wake_free(restore_id, wanted, hop=0, now_ms=self._around.clock())
        if woken:
            logger.info(
                "slots woken", extra={"restore_id": restore_id, "slots": woken, "phase": Status(job.status).value}
            )

    def _stands_still(self, job: Job) -> bool:
        now_ms = self._around.clock()
        slots = self._slots.all(job.restore_id).values()
        is_worked_on = any(slot.state is SlotState.BUSY and slot.busy_until_ms > now_ms for slot in slots)
        return not is_worked_on and now_ms - job.moved_at_ms > _STANDSTILL_MS

    def _check_open_shards(self, job: Job) -> None:
        """Raises LedgerRowsLost when fewer shards are open than the tables still count.

        Shards are read first: one that ends meanwhile lowers the tables' count, and is never taken for lost.
        """
        records = self._around.records
        is_open = sum(records.count_at_stage(job.restore_id, task) for task in tasks_of(job.status))
        tables = records.tables(job.restore_id)
        remaining = remaining_shards(job, tables)
        current = records.job(job.restore_id)
        if current is not None and current.status is job.status and is_open < remaining:
            raise LedgerRowsLost(
                f"the ledger has {is_open} of the {remaining} shards that {job.status.value} still counts: "
                "it cannot be carried on; ask again"
            )
