"""The rules by which sets stay: each names some sets and says why. Pure.

A set that is dated in the future stays, and counts for nothing: where a clock was wrong once, no other set goes for it.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Any, NamedTuple

from chalicelib.backup.retention.chains import bases_of
from chalicelib.backup.retention.found import RESTORABLE, FoundSet, FoundStatus, SetPolicy
from chalicelib.backup.retention.moments import Taken, taken, zone_of
from chalicelib.backup.retention.plan import DAY_MS, Reason, Why, listed

Reasons = Iterator[tuple[str, Reason]]
_EVER_MS = float("inf")


class Dated(NamedTuple):
    found: FoundSet
    taken: Taken

    @property
    def name(self) -> str:
        return self.found.backup_date


class View(NamedTuple):
    """What the rules look at. `sets` by name; `dated`: those whose name is a moment, oldest first; `counted`: those of
    them that can be restored and are not of the future; `bases`: of each set, those that it builds on."""

    sets: list[FoundSet]
    dated: list[Dated]
    counted: list[Dated]
    bases: dict[str, frozenset[str]]
    policy: SetPolicy
    now_ms: int

    def is_good(self, found: FoundSet, table: str) -> bool:
        """Whether its chain leaves no gap, and names no set that is not there."""
        return table not in found.broken and all(base in self.bases for base in found.tables[table])


def view_of(found: Iterable[FoundSet], policy: SetPolicy, now_ms: int) -> View:
    sets = sorted(found, key=lambda each: each.backup_date)
    bases = {each.backup_date: bases_of(each.backup_date, each.tables) for each in sets}
    if len(bases) != len(sets):
        raise ValueError("two sets have the same name: give each set once")
    zone = zone_of(policy.timezone)
    moments = ((each, taken(each.backup_date, zone)) for each in sets)
    dated = sorted((Dated(each, moment) for each, moment in moments if moment), key=lambda each: each.taken.from_ms)
    counted = [each for each in dated if each.found.status in RESTORABLE and each.taken.from_ms <= now_ms]
    return View(sets, dated, counted, bases, policy, now_ms)


# --- by the policy ---------------------------------------------------------------------------------------------------


def _within_days(view: View) -> Reasons:
    days = view.policy.days
    if days is None:
        yield from ((each.backup_date, Reason(Why.RETENTION_OFF, "retention is off")) for each in view.sets)
        return
    for each in view.dated:
        if view.now_ms - each.taken.until_ms < days * DAY_MS:
            yield each.name, Reason(Why.WITHIN_DAYS, f"it is not older than {days} days")


class _Period(NamedTuple):
    code: Why
    noun: str
    of: Callable[[date], Any]
    said: Callable[[date], str]


def _week(day: date) -> tuple[int, int]:
    year, week, _ = day.isocalendar()
    return year, week


_PERIODS = (
    _Period(Why.DAILY, "days", lambda day: day, date.isoformat),
    _Period(Why.WEEKLY, "weeks", _week, lambda day: "{:04}-W{:02}".format(*_week(day))),
    _Period(Why.MONTHLY, "months", lambda day: (day.year, day.month), lambda day: day.isoformat()[:7]),
    _Period(Why.YEARLY, "years", lambda day: day.year, lambda day: day.isoformat()[:4]),
)


def _periods(view: View) -> Reasons:
    for period in _PERIODS:
        count = getattr(view.policy, period.code.lower())
        if count and view.policy.days is not None:
            chosen = _last_of_each(view, period)
            for key in sorted(chosen, reverse=True)[:count]:
                for each in {each.name: each for each in chosen[key].values()}.values():
                    said = period.said(each.taken.day)
                    text = f"it stands for {said}, one of the newest {count} {period.noun} that have a set"
                    yield each.name, Reason(period.code, text)


def _last_of_each(view: View, period: _Period) -> dict[Any, dict[str, Dated]]:
    """Of each period the last set of every table: one by hand of a few tables takes no other table's place. A set with
    all its tables is better than a later one without some."""
    chosen: dict[Any, dict[str, Dated]] = {}
    is_complete = {each.name: _is_complete(view, each) for each in view.counted}
    for each in view.counted:
        for table in each.found.tables:
            of_period = chosen.setdefault(period.of(each.taken.day), {})
            standing = of_period.get(table)
            if standing is None or is_complete[each.name] >= is_complete[standing.name]:
                of_period[table] = each
    return chosen


def _is_complete(view: View, each: Dated) -> bool:
    is_whole = not each.found.broken and view.bases[each.name] <= view.bases.keys()
    return each.found.status is FoundStatus.COMPLETE and is_whole


def _minimum(view: View) -> Reasons:
    """A set whose chain is broken does not help to reach the minimum, but stays if it is one of the newest."""
    minimum = view.policy.minimum
    complete = [each.name for each in view.counted if each.found.status is FoundStatus.COMPLETE]
    whole = [each.name for each in view.counted if _is_complete(view, each)]
    newest = {*complete[-minimum:], *whole[-minimum:]} if minimum else set()
    for name in sorted(newest):
        yield name, Reason(Why.MINIMUM, f"it is one of the newest {minimum} COMPLETE sets")


def _newest(view: View) -> Reasons:
    """The newest good set of each table. Where its chain is broken, the newest with a whole one as well: what the other
    one misses may come back. Of a day and a moment of that day nobody knows which is newer: both. And the newest by
    name, which is what restores of the latest set and increments take."""
    newest = _Newest(view)
    for each in view.counted:
        tables = tuple(sorted(table for table in each.found.tables if newest.has(each, table)))
        if tables:
            yield each.name, Reason(Why.NEWEST, f"it is the newest good set of {listed(tables)}", tables)


class _Newest:
    """Per table, of all sets that have it (False), and of those that are good for it (True)."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._from_ms: dict[tuple[str, bool], int] = {}
        self._name: dict[tuple[str, bool], str] = {}
        for each in view.counted:
            for table in each.found.tables:
                for key in self._keys(each, table):
                    self._from_ms[key] = each.taken.from_ms
                    self._name[key] = max(self._name.get(key, ""), each.name)

    def has(self, each: Dated, table: str) -> bool:
        keys = self._keys(each, table)
        return any(each.taken.until_ms > self._from_ms[key] or each.name == self._name[key] for key in keys)

    def _keys(self, each: Dated, table: str) -> list[tuple[str, bool]]:
        return [(table, False), (table, True)] if self._view.is_good(each.found, table) else [(table, False)]


# --- whatever the policy ---------------------------------------------------------------------------------------------


def _in_use(view: View) -> Reasons:
    for each in view.sets:
        if each.status is FoundStatus.OPEN:
            yield each.backup_date, Reason(Why.OPEN, "it is still being made")
        if each.is_shielded:
            yield each.backup_date, Reason(Why.SHIELDED, "it is shielded: somebody marked it to be kept")
        if each.is_read:
            yield each.backup_date, Reason(Why.RESTORE_READS, "a restore reads it right now")


def _not_known(view: View) -> Reasons:
    from_ms = {each.name: each.taken.from_ms for each in view.dated}
    for each in view.sets:
        name = each.backup_date
        if each.status is FoundStatus.UNREADABLE:
            text = "its manifest cannot be read; a newer tablevault may read it, otherwise remove it by hand"
            yield name, Reason(Why.UNREADABLE, text)
        if name not in from_ms:
            yield name, Reason(Why.UNDATED, "its name is no date of the calendar; remove it by hand")
        elif from_ms[name] > view.now_ms:
            yield name, Reason(Why.FUTURE, "it is dated in the future: a clock is wrong, or was")


def _may_be_needed(view: View) -> Reasons:
    """Nobody knows what an unreadable set builds on, and whoever reads it must find that: nothing before it goes."""
    until_ms = {each.name: each.taken.until_ms for each in view.dated}
    unknown = [each.backup_date for each in view.sets if each.status is FoundStatus.UNREADABLE and not each.tables]
    for each in view.dated:
        later = (name for name in unknown if each.taken.from_ms < until_ms.get(name, _EVER_MS))
        names = tuple(name for name in later if name != each.name)
        if names:
            text = f"what these sets build on cannot be read, and it may be this one: {listed(names)}"
            yield each.name, Reason(Why.MAY_BE_NEEDED, text, names)


RULES: tuple[Callable[[View], Reasons], ...] = (
    _within_days,
    _periods,
    _minimum,
    _newest,
    _in_use,
    _not_known,
    _may_be_needed,
)
