"""When a set was taken, as far as its name says. Pure; times are epoch milliseconds.

A day's name does not say at which moment of the day: retention takes the one that keeps the set longer.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from dateutil import tz

from chalicelib.backup import layout
from chalicelib.clock import epoch_ms

_DAY_LENGTH = len("YYYY-MM-DD")
_SECOND_MS = 1000


class Taken(NamedTuple):
    """At some moment from `from_ms` on and before `until_ms`; `day` in the schedule's time zone."""

    day: date
    from_ms: int
    until_ms: int


def zone_of(timezone: str) -> tzinfo:
    """Raises ValueError for a name that is no IANA time zone."""
    zone = tz.gettz(timezone)
    if zone is None:
        raise ValueError(f"unknown time zone {timezone!r}")
    return zone


def taken(backup_date: str, zone: tzinfo) -> Taken | None:
    """`2026-11-21` is that day in the schedule's time zone, `2026-11-21T093000Z` that second in UTC. None for a name
    that is no moment of the calendar, whoever gave it."""
    if not layout.BACKUP_DATE.match(backup_date):
        return None
    try:
        return _day(backup_date, zone) if len(backup_date) == _DAY_LENGTH else _second(backup_date, zone)
    except (ValueError, OverflowError):
        return None


def _day(text: str, zone: tzinfo) -> Taken:
    day = date.fromisoformat(text)
    return Taken(day, _begin_ms(day, zone), _begin_ms(day + timedelta(days=1), zone))


def _begin_ms(day: date, zone: tzinfo) -> int:
    """Where a clock change leaves midnight out, the day begins after the gap."""
    return epoch_ms(tz.resolve_imaginary(datetime.combine(day, time(), zone)))


def _second(text: str, zone: tzinfo) -> Taken:
    moment = datetime.strptime(text, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC)
    from_ms = epoch_ms(moment)
    return Taken(moment.astimezone(zone).date(), from_ms, from_ms + _SECOND_MS)
