"""The backup side as the entry points call it. Every answer is plain JSON; everything may be called again."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chalicelib.aws import Client
from chalicelib.backup import layout, listing
from chalicelib.backup.adoption.adopter import ADOPTABLE, Adopter
from chalicelib.backup.adoption.rebuild import LEDGER, Rebuild
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.closing import Closer
from chalicelib.backup.failures import AwsError
from chalicelib.backup.finding import TableFinder
from chalicelib.backup.manifest import ExportType
from chalicelib.backup.notices import Outbox, OverdueWatch
from chalicelib.backup.objects import SetObjects
from chalicelib.backup.pacing import Pace
from chalicelib.backup.recorder import Outcome, Recorder
from chalicelib.backup.rows import SetRecord
from chalicelib.backup.start_lease import StartLease
from chalicelib.backup.starter import Starter
from chalicelib.backup.sweep import BackupSweep, CarryOn
from chalicelib.backup.timing import backup_date_of
from chalicelib.clock import Clock
from chalicelib.errors import Fault, InvalidRequest, TablevaultError
from chalicelib.ledger import Ledger
from chalicelib.retry import Sleep
from chalicelib.selection import Chosen
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

_LOOKS_AGAIN = 5
_LOOK_AGAIN_S = 1.0
_TABLES_SHOWN = 50
# For starting exports; what is left then is reconcile's. API Gateway answers after 29 s, whatever the function does.
_WAITED_FOR_MS = 15 * 1000
_SCHEDULED_MS = 240 * 1000


class BackupService:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        dynamodb: Client,
        s3: Client,
        clock: Clock,
        sleep: Sleep,
        autoscaling: Callable[[], Client] | None = None,
        *,
        tagging: Callable[[], Client],
        outbox: Outbox | None = None,
        others: Mapping[str, CarryOn] | None = None,
    ) -> None:
        """`autoscaling` makes the client of application-autoscaling; without one, table definitions do not have it.
        `tagging` makes the one of resourcegroupstaggingapi. `outbox`: where it is noted that people are to be told;
        without one they are not. `others`: what carries on open work that is no set, by its kind."""
        self._sleep = sleep
        self._settings = settings
        self._s3 = s3
        self._clock = clock
        self._catalog = Catalog(ledger)
        self._finder = TableFinder(dynamodb, tagging, settings.ledger_table)
        pace = Pace(clock, sleep)
        lease = StartLease(ledger, clock)
        self._starter = Starter(settings, self._catalog, dynamodb, s3, clock, pace, lease, autoscaling)
        self._recorder = Recorder(self._catalog, dynamodb, s3, clock)
        self._adopter = Adopter(settings, ledger, dynamodb, s3, clock, autoscaling)
        self.rebuild = Rebuild(settings, ledger, self._adopter, s3, clock)
        self._outbox = outbox
        self._closer = Closer(self._catalog, s3, clock, SetObjects.of(settings, s3), outbox)
        overdue = OverdueWatch(outbox, settings.telling.overdue_after_hours, clock) if outbox else None
        self._sweep = BackupSweep(
            self._catalog,
            self._starter,
            self._recorder,
            self._closer,
            clock,
            pace,
            {LEDGER: self.rebuild.carry_on, **(others or {})},
            overdue,
        )

    def start_scheduled(self) -> dict[str, Any]:
        """The day's set of all tables that are selected now, as `listing.result_of_run` shows it. A second call on one
        day starts only what has not started. Raises SelectionFailed."""
        name = self.name_of_the_day()
        try:
            return listing.result_of_run(self._start(name, self.choose, by_hand=False))
        except Exception as error:
            self._tell_not_started(name, str(error))
            raise

    def _tell_not_started(self, backup_date: str, reason: str) -> None:
        """Whether the set was made all the same, before the error or when Lambda tried again, shows when it is told."""
        if self._outbox is None:
            return
        try:
            self._outbox.not_started(backup_date, reason)
        except Exception as error:  # the error that is told of is the one to raise
            logger.error("nobody can be told", exc_info=error, extra={"backup_date": backup_date})

    def name_of_the_day(self) -> str:
        """Of the schedule's set."""
        return backup_date_of(self._clock(), self._settings.as_of, by_hand=False)

    def new_name(self) -> str:
        """A name for a set asked for now, by hand."""
        return backup_date_of(self._clock(), self._settings.as_of, by_hand=True)

    def start_by_hand(
        self, tables: Sequence[str] | None, name: str | None = None, export_type: ExportType = "FULL_EXPORT"
    ) -> dict[str, Any]:
        """A set of its own, of `tables` (None: all that are selected now). One that has been started under this `name`
        goes on. Increments are made where a table has an export to continue. Raises InvalidRequest, Conflict,
        SelectionFailed."""
        chosen = self.choose(tables)
        record = self._start(name or self.new_name(), lambda: chosen, by_hand=True, export_type=export_type)
        return {**listing.show(record), "links": {"self": f"/backups/{record.set.backup_date}"}}

    def record_export(self, bucket: str, key: str) -> dict[str, Any]:
        """For an S3 event of a `manifest-summary.json`; `result` says what was made of it.

        Raises LedgerEntryCorrupt, ExportNotReadable and botocore's errors: the event then comes again.
        """
        said = layout.parse_summary_key(self._settings.s3_exports_prefix, key)
        if bucket != self._settings.backup_bucket:
            return _event_result(Outcome.FOREIGN_BUCKET, bucket, key)
        if said is None:
            return _event_result(Outcome.FOREIGN_KEY, bucket, key)
        outcome = self._recorder.record(said)
        for _ in range(_LOOKS_AGAIN):
            if outcome is not Outcome.IN_PROGRESS:
                break
            # The summary is the last an export writes, a moment before DynamoDB calls it COMPLETED.
            self._sleep(_LOOK_AGAIN_S)
            outcome = self._recorder.record(said)
        if outcome in ADOPTABLE:
            outcome = self._adopter.adopt_export(said)
        if outcome not in (Outcome.UNKNOWN_SET, Outcome.SET_IS_REMOVED):
            self._closer.close_if_decided(said.backup_date)
        return _event_result(outcome, bucket, key)

    def reconcile(self) -> list[str]:
        """The names of the open sets it looked at."""
        return self._sweep.run()

    def list_page(self, limit: int, before: str | None) -> dict[str, Any]:
        return listing.list_page(self._catalog, limit, before)

    def describe(self, backup_date: str) -> dict[str, Any]:
        """Raises NotFound, saying what exists."""
        settings = self._settings
        return listing.describe(
            self._catalog, self._s3, settings.backup_bucket, settings.s3_exports_prefix, backup_date
        )

    def choose(self, tables: Sequence[str] | None = None) -> Chosen:
        """All that are selected now, or only `tables` of them. Raises SelectionFailed, and InvalidRequest for a table
        that is not selected, or named twice."""
        chosen = self._finder.choose(self._settings.dynamodb_tables)
        if tables is None:
            return chosen
        faults = _table_faults(tables, chosen.tables)
        if faults:
            raise InvalidRequest(faults)
        return Chosen(tuple(tables))

    def _start(
        self,
        backup_date: str,
        choose: Callable[[], Chosen],
        *,
        by_hand: bool,
        export_type: ExportType | None = None,
    ) -> SetRecord:
        stop_at_ms = self._clock() + (_WAITED_FOR_MS if by_hand else _SCHEDULED_MS)
        self._starter.start(backup_date, choose, by_hand=by_hand, export_type=export_type, stop_at_ms=stop_at_ms)
        record = self._catalog.record(backup_date)
        if record.is_decided and record.set.is_open:
            # Every table failed at once, so no event will ever come.
            self._close_or_leave(backup_date)
            record = self._catalog.record(backup_date)
        return record

    def _close_or_leave(self, backup_date: str) -> None:
        try:
            self._closer.close_if_decided(backup_date)
        except (TablevaultError, *AwsError) as error:
            fields = {"backup_date": backup_date, "error": str(error)}
            logger.error("backup could not be finished, reconcile will try again", extra=fields)


def _table_faults(asked: Sequence[str], selected: Sequence[str]) -> list[Fault]:
    shown = ", ".join(selected[:_TABLES_SHOWN])
    more = len(selected) - _TABLES_SHOWN
    allowed = f"this stage backs up: {shown}{f' and {more} more' if more > 0 else ''}"
    unknown = [name for name in dict.fromkeys(asked) if name not in set(selected)]
    faults = [Fault("$.tables", f"{name[:260]!r} is not selected by DYNAMODB_TABLES; {allowed}") for name in unknown]
    repeated = sorted({name for name in asked if asked.count(name) > 1})
    return faults + [Fault("$.tables", f"names {name[:260]!r} more than once") for name in repeated]


def _event_result(outcome: Outcome, bucket: str, key: str) -> dict[str, Any]:
    result = {"result": outcome.value, "bucket": bucket, "key": key}
    logger.info("export event", extra={"result": outcome.value, "s3_bucket": bucket, "s3_key": key[:1024]})
    return result
