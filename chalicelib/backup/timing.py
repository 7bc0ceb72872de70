"""When a backup is "as of", and the name of its set. Pure; times are epoch milliseconds.

Set names sort by time: `2026-11-21` < `2026-11-21T093000Z` (asked for by hand that day) < `2026-11-22`.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import msgspec
from dateutil import tz

from chalicelib.clock import epoch_ms
from chalicelib.settings import AsOf

_SECOND_MS = 1000


class RecoveryWindow(msgspec.Struct, frozen=True):
    """The times a table's point-in-time recovery can show; None where DynamoDB did not say."""

    earliest_ms: int | None
    latest_ms: int | None


def backup_date_of(now_ms: int, as_of: AsOf, *, by_hand: bool) -> str:
    """`YYYY-MM-DD`, the day in the schedule's time zone, or `YYYY-MM-DDTHHMMSSZ` in UTC for a set asked for by hand."""
    if by_hand:
        return f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%dT%H%M%SZ}"
    return _local(now_ms, _zone(as_of)).date().isoformat()


def requested_export_time(now_ms: int, as_of: AsOf) -> int | None:
    """The latest moment, not after now, that shows what `as_of` asks for; None for now itself.

    A day the month lacks is its last one. A local time that a clock change leaves out is moved on by the gap; of
    one that comes twice, the later one that has passed counts.
    """
    if as_of.day is None and as_of.second_of_day is None:
        return None
    zone = _zone(as_of)
    now = _local(now_ms, zone)
    moments = [epoch_ms(moment) for moment in _moments(now, as_of, zone)]
    latest_ms = max(moment for moment in moments if moment <= now_ms)
    is_time_of_run = as_of.second_of_day is None and latest_ms // _SECOND_MS == now_ms // _SECOND_MS
    return None if is_time_of_run else latest_ms


def usable_export_time(requested_ms: int | None, window: RecoveryWindow) -> int | None:
    """The time to send as ExportTime: whole seconds, as the API takes them, inside the table's window.

    None means that none is sent and the export shows its start. That is also the answer to a window so young that
    it holds no whole second.
    """
    if requested_ms is None:
        return None
    seconds = requested_ms // _SECOND_MS
    if window.earliest_ms is not None:
        seconds = max(seconds, -(-window.earliest_ms // _SECOND_MS))
    if window.latest_ms is not None and seconds * _SECOND_MS > window.latest_ms:
        seconds = window.latest_ms // _SECOND_MS
        if window.earliest_ms is not None and seconds * _SECOND_MS < window.earliest_ms:
            return None
    return seconds * _SECOND_MS


def _moments(now: datetime, as_of: AsOf, zone: tzinfo) -> Iterator[datetime]:
    """The moments of this period and of those before it, among which one has passed for certain."""
    of_run = now.time().replace(microsecond=0)
    wanted = of_run if as_of.second_of_day is None else _time_of(as_of.second_of_day)
    for day in _days(now.date(), as_of.day):
        for fold in (0, 1):
            yield tz.resolve_imaginary(datetime.combine(day, wanted.replace(fold=fold), zone))


def _days(today: date, day_of_month: int | None) -> Iterator[date]:
    if day_of_month is None:
        yield from (today - timedelta(days=back) for back in range(3))
        return
    first = today.replace(day=1)
    for _ in range(3):
        yield first.replace(day=min(day_of_month, monthrange(first.year, first.month)[1]))
        first = (first - timedelta(days=1)).replace(day=1)


def _time_of(second_of_day: int) -> time:
    return time(second_of_day // 3600, second_of_day // 60 % 60, second_of_day % 60)


def _zone(as_of: AsOf) -> tzinfo:
    zone = tz.gettz(as_of.timezone)
    if zone is None:
        raise ValueError(f"unknown time zone {as_of.timezone!r}")
    return zone


def _local(now_ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(now_ms // _SECOND_MS, zone)
