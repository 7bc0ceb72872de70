"""The backup side of `reconcile`: what no event brought to its end, it does. Nothing to do costs one query.

Each set is on its own, and in a set each export: a row that cannot be read, or a call that is denied, is logged and
stops only what depends on it.
"""

import logging
from collections.abc import Callable, Mapping

from chalicelib.backup.catalog import KIND, Catalog
from chalicelib.backup.closing import Closer
from chalicelib.backup.failures import AwsError, text_of
from chalicelib.backup.notices import NOTICE, OverdueWatch
from chalicelib.backup.pacing import CALLS_PER_S, Pace, PacedRun
from chalicelib.backup.recorder import Outcome, Recorder
from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.starter import GIVE_UP_MS, Starter, in_parallel
from chalicelib.backup.states import ExportState, SetState
from chalicelib.clock import Clock
from chalicelib.errors import OutOfTime, TablevaultError

logger = logging.getLogger("tablevault")

CHECK_EVERY_MS = 60 * 1000
# Of one set in one run: ten seconds at the pace that AWS allows. Events tell of exports that end, these checks only of
# events that were lost.
_MOST_CHECKS = 10 * CALLS_PER_S
_BUDGET_MS = 40 * 1000  # reconcile runs every minute and must end before; the rest is the next run's
# Of that, for telling people, which comes first: sets that need all the time there is are what they should hear of.
_NOTICES_MS = 15 * 1000


CarryOn = Callable[[str, int], None]  # what is named, and when to stop, in epoch milliseconds


class BackupSweep:
    def __init__(
        self,
        catalog: Catalog,
        starter: Starter,
        recorder: Recorder,
        closer: Closer,
        clock: Clock,
        pace: Pace,
        others: Mapping[str, CarryOn] | None = None,
        overdue: OverdueWatch | None = None,
    ) -> None:
        """`others`: for each kind of open work that is no set, what carries it on. `overdue`: is shown each open
        set."""
        self._catalog = catalog
        self._starter = starter
        self._recorder = recorder
        self._closer = closer
        self._clock = clock
        self._pace = pace
        self._overdue = overdue
        self._carry_on: dict[str, CarryOn] = {KIND: self._look_at, **(others or {})}

    def run(self) -> list[str]:
        """The names of what it looked at."""
        started_at_ms = self._clock()
        seen = []
        for kind, name in sorted(self._catalog.open_work(), key=lambda work: work[0] != NOTICE):
            stop_at_ms = started_at_ms + (_NOTICES_MS if kind == NOTICE else _BUDGET_MS)
            if self._clock() >= stop_at_ms:
                continue
            seen.append(name)
            try:
                self._carry_on[kind](name, stop_at_ms)
            except Exception as error:
                # Whatever is wrong with one set, the next one still has its turn.
                fields = {"kind": kind, "backup_date": name, "error": str(error)}
                logger.error("backup cannot be carried on", exc_info=error, extra=fields)
        return seen

    def _look_at(self, backup_date: str, stop_at_ms: int) -> None:
        record = self._catalog.record(backup_date)
        try:
            finished_as = self._bring_on(record, stop_at_ms)
        except Exception as error:
            self._watch(record.set, str(error))
            raise
        if finished_as is None:
            self._watch(record.set, None)

    def _watch(self, set_row: SetRow, trouble: str | None) -> None:
        if self._overdue is not None:
            self._overdue.look_at(set_row, trouble)

    def _bring_on(self, record: SetRecord, stop_at_ms: int) -> SetState | None:
        """What it is now finished as; None while it is open."""
        backup_date = record.set.backup_date
        for table_name, message in record.corrupt.items():
            fields = {"backup_date": backup_date, "table": table_name, "error": message}
            logger.error("backup cannot be finished: remove or mend the ledger row, its export is kept", extra=fields)
        self._starter.go_on(record, stop_at_ms)
        paced = self._pace.run(stop_at_ms)
        in_parallel(lambda row: self._check(record.set, row, paced), self._due(record))
        return self._closer.close_if_decided(backup_date)

    def _due(self, record: SetRecord) -> list[ExportRow]:
        """Those not looked at for longest; what is left has its turn in a later run. A clock that was set back makes
        none wait for it."""
        now_ms = self._clock()
        running = [row for row in record.exports if row.status is ExportState.IN_PROGRESS]
        due = [row for row in running if abs(now_ms - (row.checked_at_ms or 0)) >= CHECK_EVERY_MS]
        return sorted(due, key=lambda row: row.checked_at_ms or 0)[:_MOST_CHECKS]

    def _looked_at(self, set_row: SetRow, row: ExportRow) -> Outcome:
        self._catalog.mark_checked(row, self._clock())
        return self._recorder.check(set_row, row)

    def _check(self, set_row: SetRow, row: ExportRow, paced: PacedRun) -> None:
        trouble = None
        try:
            outcome = paced.call("describe_export", self._looked_at, set_row, row)
        except OutOfTime:
            return
        except AwsError as error:
            outcome, trouble = Outcome.IN_PROGRESS, text_of(error)
        except TablevaultError as error:
            outcome, trouble = Outcome.IN_PROGRESS, error.message
        if trouble:
            fields = {"backup_date": row.backup_date, "table": row.table_name, "error": trouble}
            logger.warning("export could not be checked", extra=fields)
        if outcome is Outcome.IN_PROGRESS and self._clock() - (row.started_at_ms or 0) > GIVE_UP_MS:
            self._give_up(row, trouble)

    def _give_up(self, row: ExportRow, trouble: str | None) -> None:
        reason = f"could not be checked ({trouble})" if trouble else "was still in progress"
        message = f"the export {row.export_arn} {reason} 24 hours after its start; if it completes, it is recorded then"
        if self._catalog.fail(row, "Overdue", message, self._clock()):
            logger.error("export is overdue", extra={"backup_date": row.backup_date, "table": row.table_name})
