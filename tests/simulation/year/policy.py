"""Which sets must stay, said naively: every rule is a loop over all sets. Knows nothing of the service's own rules,
only what README and DESIGN promise of them. Times are epoch milliseconds; the schedule's time zone is UTC."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.simulation.replay import Document, gap_of, links

_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Policy:
    days: int
    minimum: int
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    on_demand_days: int = 7


@dataclass(frozen=True)
class Seen:
    """A set as it is now: what its manifest says, whether it is still being made, marked by an operator. `building_on`:
    other sets that it will build on, of one that is being made."""

    name: str
    manifest: Document | None
    is_open: bool = False
    is_shielded: bool = False
    building_on: frozenset[str] = frozenset()

    @property
    def completed(self) -> list[Document]:
        tables = self.manifest["tables"] if self.manifest else []
        return [table for table in tables if table["status"] == "COMPLETED"]

    @property
    def needs(self) -> set[str]:
        """The other sets that its tables are restored from, at first hand."""
        named = {set_of(link) for table in self.completed for link in links(table)}
        return (named | self.building_on) - {self.name}

    @property
    def begins_ms(self) -> int:
        return _moments(self.name)[0]

    @property
    def ends_ms(self) -> int:
        return _moments(self.name)[1]


def set_of(link: Document) -> str:
    """The set in whose place an export stands."""
    return str(link["manifest_files_key"]).split("/")[1]


def _moments(name: str) -> tuple[int, int]:
    """A day's name may be any moment of that day."""
    if "T" in name:
        second = datetime.strptime(name, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC)
        return _ms(second), _ms(second) + 1000
    day = datetime.combine(date.fromisoformat(name), datetime.min.time(), UTC)
    return _ms(day), _ms(day + timedelta(days=1))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@dataclass
class _Verdict:
    """Why each of the sets stays."""

    why: dict[str, list[str]] = field(default_factory=dict)

    def keep(self, name: str, reason: str) -> None:
        self.why.setdefault(name, []).append(reason)


def sets_to_keep(sets: Iterable[Seen], policy: Policy, now_ms: int) -> dict[str, list[str]]:
    """By name those that must stay, each with all reasons."""
    found = {each.name: each for each in sets}
    verdict = _Verdict()
    for each in found.values():
        if now_ms - each.ends_ms < policy.days * _DAY_MS:
            verdict.keep(each.name, "young")
        if each.is_open:
            verdict.keep(each.name, "open")
        if each.is_shielded:
            verdict.keep(each.name, "shielded")
    ended = [each for each in found.values() if each.manifest and not each.is_open and each.begins_ms <= now_ms]
    ended.sort(key=lambda each: (each.begins_ms, each.name))
    _keep_minimum(verdict, ended, found, policy.minimum)
    _keep_periods(verdict, ended, found, policy)
    _keep_newest(verdict, ended, found)
    _keep_needed(verdict, found)
    return verdict.why


def _is_whole(each: Seen, found: Mapping[str, Seen]) -> bool:
    """Every table can be restored from it."""
    is_complete = each.manifest is not None and each.manifest["status"] == "COMPLETE"
    return is_complete and all(_is_restorable(table, found) for table in each.completed)


def _is_restorable(table: Document, found: Mapping[str, Seen]) -> bool:
    return gap_of(table) is None and all(set_of(link) in found for link in links(table))


def _keep_minimum(verdict: _Verdict, ended: list[Seen], found: Mapping[str, Seen], minimum: int) -> None:
    complete = [each for each in ended if each.manifest and each.manifest["status"] == "COMPLETE"]
    whole = [each for each in ended if _is_whole(each, found)]
    for each in [*complete[len(complete) - minimum :], *whole[max(0, len(whole) - minimum) :]]:
        verdict.keep(each.name, "one of the minimum")


def _keep_periods(verdict: _Verdict, ended: list[Seen], found: Mapping[str, Seen], policy: Policy) -> None:
    periods: tuple[tuple[int, Callable[[date], Any]], ...] = (
        (policy.daily, lambda day: day),
        (policy.weekly, lambda day: day.isocalendar()[:2]),
        (policy.monthly, lambda day: (day.year, day.month)),
    )
    for count, period_of in periods:
        by_period: dict[Any, list[Seen]] = {}
        for each in ended:
            if each.completed:
                by_period.setdefault(period_of(date.fromisoformat(each.name[:10])), []).append(each)
        for period in sorted(by_period)[max(0, len(by_period) - count) :]:
            _keep_last(verdict, by_period[period], found, f"the last of {period}")


def _keep_last(verdict: _Verdict, sets: list[Seen], found: Mapping[str, Seen], reason: str) -> None:
    """Of every table; a set with all its tables is better than a later one without some."""
    for table in {each["table_name"] for one in sets for each in one.completed}:
        having = [each for each in sets if _has(each, table, found, is_good=False)]
        whole = [each for each in having if _is_whole(each, found)]
        verdict.keep((whole or having)[-1].name, reason)


def _keep_newest(verdict: _Verdict, ended: list[Seen], found: Mapping[str, Seen]) -> None:
    """Of every table. A day's set and one of a moment of that day may each be the newer one; and whoever restores the
    latest goes by the names."""
    for table in {each["table_name"] for one in ended for each in one.completed}:
        for is_good in (False, True):
            having = [each for each in ended if _has(each, table, found, is_good=is_good)]
            for each in having:
                is_last = each.ends_ms > having[-1].begins_ms or each.name == max(other.name for other in having)
                if is_last:
                    verdict.keep(each.name, f"the newest of {table}")


def _has(each: Seen, table: str, found: Mapping[str, Seen], *, is_good: bool) -> bool:
    entries = [entry for entry in each.completed if entry["table_name"] == table]
    return any(not is_good or _is_restorable(entry, found) for entry in entries)


def _keep_needed(verdict: _Verdict, found: Mapping[str, Seen]) -> None:
    waiting = list(verdict.why)
    while waiting:
        name = waiting.pop()
        for base in found[name].needs:
            if base in found:
                if base not in verdict.why:
                    waiting.append(base)
                verdict.keep(base, f"needed by {name}")


def backups_to_keep(backups: Iterable[tuple[str, int]], policy: Policy, now_ms: int) -> set[str]:
    """Of one table's scheduled on-demand backups (name of each, and when it was made) those that must stay."""
    by_age = sorted(backups, key=lambda each: each[1])
    young = [name for name, made_ms in by_age if now_ms - made_ms < policy.on_demand_days * _DAY_MS]
    if len(young) < policy.minimum:
        return {name for name, _ in by_age}
    newest = {name for name, made_ms in by_age if made_ms == by_age[-1][1]}
    return {*young, *newest}
