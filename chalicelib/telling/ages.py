"""How old the newest complete backup of each table is: once an hour as metrics, and where it is too old a notice a day.

The tables are those of the newest scheduled set; what was exported by hand into a day's place is none, unless there are
only adopted ones. A backup counts once its set is finished, as it can be restored from then on. Sets are looked at
newest first, until every table is found: as a rule that is one set.

`TELLING` / `HOURLY` says which hour was done last, and when this ledger was first looked at. The hour is claimed
before it is done: a run that stops leaves an hour without metrics, and what is too old is told in the next one.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec
from boto3.dynamodb.conditions import Attr

from chalicelib.backup.assembly import table_of
from chalicelib.backup.catalog import KIND, Catalog
from chalicelib.backup.notices import AgedTable, Outbox
from chalicelib.backup.rows import SetRecord, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.clock import Clock, from_iso, iso
from chalicelib.errors import LedgerEntryCorrupt, TablevaultError
from chalicelib.ledger import KIND_INDEX, ConditionFailed, Key, Ledger, Put, Update, absent, decode
from chalicelib.settings import Settings
from chalicelib.telling import metrics
from chalicelib.telling.teller import WriteLine, to_standard_output

logger = logging.getLogger("tablevault")

HOUR_MS = 3600 * 1000
_BUDGET_MS = 10 * 1000
_MOST_SETS = 40
_MOST_SETS_BY_HAND = 400  # before the newest scheduled one
_KEY = Key("TELLING", "HOURLY")
_LONGEST_REASON = 300


class _Hours(msgspec.Struct, frozen=True):
    """`done`: the last hour that was, counted from the epoch."""

    done: int
    first_seen_ms: int


class Newest(msgspec.Struct):
    """What is known of one table. `listed_since_ms`: when the oldest set was started that was looked at and has it.
    `asked_lag_ms`: how much older the settings want it to be than its run (BACKUP_DAY and the like). `reason`: why its
    newest export failed that did."""

    moment_ms: int | None = None
    asked_lag_ms: int = 0
    listed_since_ms: int | None = None
    reason: str | None = None

    def age_ms(self, now_ms: int) -> int | None:
        """Of a table without a backup, at least: since it has been in the sets. None: no set could be read."""
        since_ms = self.moment_ms or self.listed_since_ms
        return None if since_ms is None else max(0, now_ms - since_ms)


class Ages:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        outbox: Outbox,
        clock: Clock,
        write_line: WriteLine | None = None,
    ) -> None:
        self._environment = settings.environment
        self._longest_age_hours = settings.telling.longest_age_hours
        self._ledger = ledger
        self._catalog = Catalog(ledger)
        self._outbox = outbox
        self._clock = clock
        self._write_line = write_line or to_standard_output
        self._hour_done = -1  # of this process, so that within an hour nothing is read

    def run(self) -> bool:
        """Once an hour, whoever comes first: whether it was this run. Raises the ledger's errors."""
        now_ms = self._clock()
        hour = now_ms // HOUR_MS
        if hour <= self._hour_done:
            return False
        first_seen_ms = self._claim(hour, now_ms)
        self._hour_done = hour
        if first_seen_ms is None:
            return False
        self._look(now_ms, first_seen_ms)
        return True

    def _claim(self, hour: int, now_ms: int) -> int | None:
        """When this ledger was first looked at; None where the hour is done."""
        found = self._ledger.get(_KEY)
        hours = decode(found, _Hours) if found else _Hours(hour, now_ms)
        if found and hours.done >= hour:
            return None
        try:
            if found:
                self._ledger.write(Update(_KEY, set={"done": hour}, condition=Attr("done").eq(hours.done)))
            else:
                self._ledger.write(Put(_KEY, msgspec.to_builtins(hours), absent()))
        except ConditionFailed:
            return None
        return hours.first_seen_ms

    def _look(self, now_ms: int, first_seen_ms: int) -> None:
        sets = self._sets()
        recent = list(islice(sets, _MOST_SETS))
        older = islice(sets, _MOST_SETS_BY_HAND)
        scheduled = _newest_scheduled(recent) or next((each for each in older if not each.by_hand), None)
        if scheduled is None:
            self._tell_of_none(now_ms, first_seen_ms)
            return
        newest = {name: Newest() for name in scheduled.tables}
        self._find(newest, recent if scheduled in recent else [*recent, scheduled], now_ms + _BUDGET_MS)
        ages = {name: each.age_ms(now_ms) for name, each in newest.items()}
        known = [aged(name, newest[name], age_ms) for name, age_ms in ages.items() if age_ms is not None]
        ages_ms = {each.table_name: each.age_ms for each in known}
        for line in metrics.of_ages(self._environment, ages_ms, now_ms):
            self._write_line(line)
        lags_ms = {name: each.asked_lag_ms for name, each in newest.items()}
        self._tell_of(known, lags_ms, now_ms)

    def _sets(self) -> Iterator[SetRow]:
        """Newest first, by an index that may lag behind by a moment."""
        for row in self._ledger.query_index(KIND_INDEX, KIND, newest_first=True, page_size=_MOST_SETS):
            try:
                yield decode(row, SetRow)
            except LedgerEntryCorrupt as error:
                logger.warning("backup is passed over in looking for the newest one", extra={"error": error.message})

    def _find(self, newest: dict[str, Newest], sets: Iterable[SetRow], stop_at_ms: int) -> None:
        for set_row in sets:
            sought = {name for name, each in newest.items() if each.moment_ms is None} & set(set_row.tables)
            if all(each.moment_ms is not None for each in newest.values()) or self._clock() >= stop_at_ms:
                return
            if not sought:
                continue
            try:
                learn(newest, sought, self._catalog.record(set_row.backup_date))
            except TablevaultError as error:  # rows that are gone or corrupt
                fields = {"backup_date": set_row.backup_date, "error": error.message}
                logger.warning("backup is passed over in looking for the newest one", extra=fields)

    def _tell_of_none(self, now_ms: int, first_seen_ms: int) -> None:
        """A schedule that has not had its hour yet is not to be told of."""
        self._write_line(metrics.of_largest_age(self._environment, now_ms - first_seen_ms, now_ms))
        longest = self._longest_age_hours
        if longest is not None and now_ms - first_seen_ms > longest * HOUR_MS:
            self._outbox.stale(_day(now_ms), longest, 0, (), since_ms=first_seen_ms)

    def _tell_of(self, tables: Sequence[AgedTable], lags_ms: Mapping[str, int], now_ms: int) -> None:
        """A backup that is as old as it was asked for, and no older, is none to tell of."""
        longest = self._longest_age_hours
        if longest is None:
            return
        too_old = [each for each in tables if each.age_ms - lags_ms[each.table_name] > longest * HOUR_MS]
        stale = sorted(too_old, key=lambda each: -each.age_ms)
        if stale and self._outbox.stale(_day(now_ms), longest, len(lags_ms), stale):
            fields = {"tables": [each.table_name for each in stale[:100]], "count": len(stale)}
            logger.error("the newest complete backup of these tables is too old", extra=fields)


def _newest_scheduled(sets: Sequence[SetRow]) -> SetRow | None:
    """`sets`: newest first. An adopted one may be one table's that somebody exported into a day's place: that must not
    hide the others. After a rebuild of the ledger all are adopted."""
    of_days = [each for each in sets if not each.by_hand]
    return next((each for each in of_days if not each.adopted), next(iter(of_days), None))


def learn(newest: dict[str, Newest], sought: Iterable[str], record: SetRecord) -> None:
    """What one set tells of tables that no newer one has. Of a set that is not finished only why exports failed."""
    is_finished = record.set.status is not SetState.OPEN
    for name in sought:
        known = newest[name]
        known.listed_since_ms = record.set.started_at_ms
        if is_finished and record.has_completed(name):
            table = table_of(record, name)
            if table.status == "COMPLETED":
                known.moment_ms = _moment_ms(table.export_time or table.export_to) or record.set.started_at_ms
                asked_ms = record.set.requested_time_ms or record.set.started_at_ms
                known.asked_lag_ms = max(0, record.set.started_at_ms - asked_ms)
                continue
            known.reason = known.reason or table.failure_message
            continue
        known.reason = known.reason or _reason(record, name)


def aged(table_name: str, newest: Newest, age_ms: int) -> AgedTable:
    moment = None if newest.moment_ms is None else iso(newest.moment_ms)
    reason = None if newest.reason is None else newest.reason[:_LONGEST_REASON]
    return AgedTable(table_name, age_ms, moment, reason)


def _reason(record: SetRecord, table_name: str) -> str | None:
    rows = record.exports_of(table_name)
    failed = next((row.failure_message for row in rows if row.status is ExportState.FAILED), None)
    return failed or next((row.failure_message for row in rows if row.failure_message), None)


def _moment_ms(text: str | None) -> int | None:
    try:
        return from_iso(text or "")
    except (ValueError, OverflowError):
        return None


def _day(now_ms: int) -> str:
    return iso(now_ms)[:10]
