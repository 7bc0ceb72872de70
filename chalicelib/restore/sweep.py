"""The restore side of `reconcile`: what no event and no worker carried on, it does.

Nothing to do costs one query. Each restore is on its own: one that cannot be carried on does not stop the others.
"""

from chalicelib.errors import TablevaultError
from chalicelib.ledger import OPEN_INDEX
from chalicelib.restore.advance import Conductor
from chalicelib.restore.model import PHASES, Status
from chalicelib.restore.records import KIND
from chalicelib.restore.slots import Slots
from chalicelib.restore.work import Surroundings, logger


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
        advanced = self._conductor.advance(restore_id, hop=0)
        job = advanced.job
        if job is None or job.status not in PHASES or not advanced.remaining:
            return
        wanted = min(advanced.remaining, job.max_workers)
        woken = self._slots.wake_free(restore_id, wanted, hop=0, now_ms=self._around.clock())
        if woken:
            logger.info(
                "slots woken", extra={"restore_id": restore_id, "slots": woken, "phase": Status(job.status).value}
            )
