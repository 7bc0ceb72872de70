"""Locks on target tables: one restore at a time writes to a table.

A lock has no expiry. It is given back when its restore ends; one whose restore has ended is taken over.
"""

from collections.abc import Sequence

from chalicelib.errors import Conflict
from chalicelib.restore.model import TERMINAL, Job
from chalicelib.restore.records import RestoreRecords, lock_of

_TRIES = 3


class Locks:
    def __init__(self, records: RestoreRecords) -> None:
        self._records = records

    def take_all(self, job: Job) -> None:
        """All targets, in sorted order, or none: two restores that want the same tables cannot block each other.

        Raises Conflict. The restore must stand in the ledger, and not as ended: another one would take its locks over.
        """
        for index, target in enumerate(job.targets):
            holder = self._take(target, job)
            if holder is not None:
                self.give_back(job, job.targets[:index])
                raise Conflict(
                    "target_locked", f"table {target} is being restored by {holder}: wait for it, or cancel it"
                )

    def give_back(self, job: Job, targets: Sequence[str]) -> None:
        for target in targets:
            self._records.release_lock(target, lock_of(job))

    def _take(self, target: str, job: Job) -> str | None:
        """The restore that holds the lock, or None. A lock whose restore has ended is given back on the way, and one
        that an earlier attempt of the same restore has left."""
        standing = None
        for _ in range(_TRIES):
            standing = self._records.take_lock(target, lock_of(job))
            if standing is None:
                return None
            if standing.restore_id != job.restore_id:
                holder = self._records.job(standing.restore_id)
                if holder is not None and holder.status not in TERMINAL:
                    return standing.restore_id
            self._records.release_lock(target, standing)
        return standing.restore_id if standing else None
