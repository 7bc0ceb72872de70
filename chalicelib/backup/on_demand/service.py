"""Runs of on-demand backups as the entry points call them. Answers are plain JSON; everything may be called again, also
while another call runs.

Order, and what is left if the program stops right after each step:

1. the RUN row is written          an open run; reconcile goes on from here
2. each table's backup is made     as `creating` says
3. a minute later, and each        the same again: a run that was not begun this very moment looks first for the
   minute until all have ended     backups there are, in one list for all of its tables
4. the run becomes COMPLETE, or    nothing
   PARTIAL
"""

import logging
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import DENIED, Client
from chalicelib.backup import layout
from chalicelib.backup.failures import AwsError, code_of, text_of
from chalicelib.backup.notices import Outbox
from chalicelib.backup.on_demand import shown
from chalicelib.backup.on_demand.creating import Creator
from chalicelib.backup.on_demand.listed import BackupList, listed_backup
from chalicelib.backup.on_demand.rows import BackupState, RunRecord, RunRow, RunState, TableRow
from chalicelib.backup.on_demand.runs import PREFIX, Runs
from chalicelib.backup.on_demand.steps import (
    Create,
    Describe,
    Fail,
    Found,
    Seen,
    deleted,
    next_step,
    not_seen,
    nothing_yet,
    seen,
)
from chalicelib.backup.plan import Failure
from chalicelib.backup.starter import in_parallel
from chalicelib.clock import Clock
from chalicelib.errors import Conflict, NotFound, OutOfTime
from chalicelib.ledger import Ledger
from chalicelib.retry import Random, Sleep
from chalicelib.selection import Chosen
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

OPEN_WORK = PREFIX  # the kind by which `BackupSweep` carries runs on
_CLOCKS_DIFFER_MS = 10 * 60 * 1000
# Of reconcile's 40 s, for waiting where ListBackups is throttled: what comes after it has its turn all the same.
_LONGEST_LOOK_MS = 15 * 1000


class _Turn:
    """One call over a run's tables. `is_full`: DynamoDB takes no more of them for now."""

    def __init__(self, run: RunRow, what: Seen, stop_at_ms: int) -> None:
        self.run = run
        self.seen = what
        self.stop_at_ms = stop_at_ms
        self.is_full = False


class OnDemandBackups:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        dynamodb: Client,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        outbox: Outbox | None = None,
    ) -> None:
        """`dynamodb` must send a CreateBackup that may have had an effect only once, as `Clients` makes it. `outbox`:
        where it is noted that people are to be told; without one they are not."""
        self._outbox = outbox
        self._settings = settings
        self._runs = Runs(ledger)
        self._dynamodb = dynamodb
        self._clock = clock
        self._list = BackupList(dynamodb, clock, sleep, random)
        self._creator = Creator(self._runs, dynamodb, clock)

    def start(
        self, backup_date: str, choose: Callable[[], Chosen], *, by_hand: bool, stop_at_ms: int
    ) -> dict[str, Any]:
        """Begins the run of that name, or goes on with it; what it then looks like. It does not wait for backups to be
        available. What is not done at `stop_at_ms` is left to reconcile.

        Raises Conflict when a run asked for by hand would take over another one of the same second, and what `choose`
        raises, which is asked for a new run's tables only.
        """
        existing = self._runs.run_row(backup_date)
        if existing is None:
            run = self._new_run(backup_date, choose(), by_hand=by_hand)
            if self._runs.create_run(run):
                return self._go_on(RunRecord(run, {}), nothing_yet(self._clock()), stop_at_ms)
            existing = self._runs.run_row(backup_date) or run  # another process was faster: its tables count
        if by_hand and set(existing.tables) != set(choose().tables):
            text = f"on-demand backups {backup_date} were started this very second, not as asked now: ask again"
            raise Conflict("backup_exists", text)
        if self._clock() < stop_at_ms:
            self.carry_on(backup_date, stop_at_ms)
        return self.describe(backup_date)

    def carry_on(self, backup_date: str, stop_at_ms: int) -> None:
        """What an open run needs next; nothing for one that is not open. Raises NotFound, LedgerEntryCorrupt."""
        record = self._runs.record(backup_date)
        if not record.run.is_open:
            return
        for table_name, message in record.corrupt.items():
            fields = {"backup_date": backup_date, "table": table_name, "error": message}
            logger.error("on-demand backup cannot be finished: remove or mend the ledger row", extra=fields)
        what = self._look(record.run, stop_at_ms) if record.waiting() else nothing_yet(self._clock())
        self._go_on(record, what, stop_at_ms)

    def describe(self, backup_date: str) -> dict[str, Any]:
        """Raises NotFound, also for what cannot be a run's name, and LedgerEntryCorrupt."""
        if not layout.BACKUP_DATE.match(backup_date):
            raise NotFound("backup_not_found", f"no run of on-demand backups is called {backup_date[:60]!r}")
        return shown.show(self._runs.record(backup_date))

    def result_of_run(self, backup_date: str) -> dict[str, Any]:
        """As a scheduled function returns it. Raises NotFound, LedgerEntryCorrupt."""
        return shown.result_of_run(self._runs.record(backup_date))

    def list_page(self, limit: int, before: str | None) -> dict[str, Any]:
        return shown.show_page(self._runs.list_page(limit=limit, before=before), limit)

    def _new_run(self, backup_date: str, chosen: Chosen, *, by_hand: bool) -> RunRow:
        return RunRow(
            backup_date=backup_date,
            status=RunState.OPEN,
            environment=self._settings.environment,
            started_at_ms=self._clock(),
            tables=list(chosen.tables),
            unmatched=list(chosen.unmatched),
            by_hand=by_hand,
        )

    def _look(self, run: RunRow, stop_at_ms: int) -> Seen:
        at_ms = self._clock()
        look_until_ms = min(stop_at_ms, at_ms + _LONGEST_LOOK_MS)
        try:
            return seen(run, at_ms, self._list.read(look_until_ms, run.started_at_ms - _CLOCKS_DIFFER_MS))
        except OutOfTime as error:
            trouble, is_denied = Failure(error.code, error.message), False
        except AwsError as error:
            is_denied = isinstance(error, ClientError) and code_of(error) in DENIED
            hint = "; grant dynamodb:ListBackups to this function's role" if is_denied else ""
            trouble = Failure(code_of(error), f"backups cannot be listed: {text_of(error)}{hint}")
        fields = {"backup_date": run.backup_date, "code": trouble.code, "error": trouble.message}
        logger.warning("on-demand backups cannot be looked for", extra=fields)
        return not_seen(at_ms, trouble, is_refused=is_denied)

    def _go_on(self, record: RunRecord, what: Seen, stop_at_ms: int) -> dict[str, Any]:
        turn = _Turn(record.run, what, stop_at_ms)
        in_parallel(lambda row: self._step_or_log(turn, row), record.waiting())
        return shown.show(self._finished(self._runs.record(record.run.backup_date)))

    def _finished(self, record: RunRecord) -> RunRecord:
        if not record.is_decided or not record.run.is_open:
            return record
        failed = [name for name, row in record.rows.items() if row.status is BackupState.FAILED]
        status = RunState.PARTIAL if failed else RunState.COMPLETE
        run, notice = record.run, None
        if self._outbox is not None:
            notice = self._outbox.on_demand_finished(run.backup_date, status.value, run.started_at_ms)
        if self._runs.finish(run, status, self._clock(), notice):
            fields = {"backup_date": record.run.backup_date, "status": status.value, "failed": len(failed)}
            logger.log(logging.WARNING if failed else logging.INFO, "on-demand backups finished", extra=fields)
        return self._runs.record(record.run.backup_date)

    def _step_or_log(self, turn: _Turn, row: TableRow) -> None:
        if self._clock() >= turn.stop_at_ms:
            return
        try:
            self._step(turn, row)
        except Exception as error:  # whatever is wrong with one table, the others still have their turn
            fields = {"backup_date": row.backup_date, "table": row.table_name, "error": str(error)}
            logger.error("on-demand backup could not be carried on", exc_info=error, extra=fields)

    def _step(self, turn: _Turn, row: TableRow) -> None:
        step = next_step(turn.run, row, turn.seen)
        if isinstance(step, Create) and not turn.is_full:
            turn.is_full = not self._creator.create(turn.run, row, turn.stop_at_ms) or turn.is_full
        elif isinstance(step, Found):
            self._runs.found(row, step.backup, self._clock())
        elif isinstance(step, Fail):
            self._fail(row, step.failure)
        elif isinstance(step, Describe):
            self._describe(row, step.backup_arn)

    def _describe(self, row: TableRow, backup_arn: str) -> None:
        try:
            answer = self._dynamodb.describe_backup(BackupArn=backup_arn)
        except AwsError as error:
            self._not_described(row, error)
            return
        backup = listed_backup(answer["BackupDescription"]["BackupDetails"])
        if backup.status == "AVAILABLE":
            self._runs.found(row, backup, self._clock())
        elif backup.status == "DELETED":
            self._fail(row, deleted(row))

    def _not_described(self, row: TableRow, error: ClientError | BotoCoreError) -> None:
        if code_of(error) == "BackupNotFoundException" and self._is_settled(row):
            self._fail(row, deleted(row))
            return
        self._runs.note(row, Failure(code_of(error), text_of(error)), keeps_claim=True)
        fields = {"backup_date": row.backup_date, "table": row.table_name, "error": text_of(error)}
        logger.warning("on-demand backup cannot be looked at", extra=fields)

    def _is_settled(self, row: TableRow) -> bool:
        """Of one that was created a moment ago, every place in DynamoDB need not know yet."""
        return self._clock() - (row.created_at_ms or 0) > _CLOCKS_DIFFER_MS

    def _fail(self, row: TableRow, failure: Failure) -> None:
        if self._runs.fail(row, failure, self._clock()) is not None:
            fields = {"backup_date": row.backup_date, "table": row.table_name}
            logger.error("on-demand backup failed", extra={**fields, "code": failure.code, "error": failure.message})
