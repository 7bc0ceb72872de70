"""What an incremental set exports of a table: the windows that continue its chain, or why it has to be a full export.

Pure; times are epoch milliseconds. An incremental export covers 15 minutes to 24 hours, from a moment, inclusive, to a
moment, exclusive, both whole seconds and inside the table's point-in-time recovery
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html). Windows that overlap do
no harm; a gap between them would be changes that no export has.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from chalicelib.backup.chain import reach_ms_of
from chalicelib.backup.manifest import MOST_LINKS, BaseLink
from chalicelib.backup.timing import RecoveryWindow

_SECOND_MS = 1000
_LEAST_MS = 15 * 60 * _SECOND_MS
_MOST_MS = 24 * 3600 * _SECOND_MS
FULL_EVERY_MS = 7 * 24 * 3600 * _SECOND_MS


class Window(msgspec.Struct, frozen=True):
    """From `from_ms`, inclusive, to `to_ms`, exclusive; whole seconds."""

    from_ms: int
    to_ms: int


class FullExport(msgspec.Struct, frozen=True):
    """A full export is made instead; `why`, for people."""

    why: str


def next_windows(
    links: Sequence[BaseLink], recovery: RecoveryWindow, requested_ms: int | None
) -> tuple[Window, ...] | FullExport:
    """The windows from where the chain `links` ends to the moment asked for (None: the latest that can be had).

    Longer than 24 hours, it is split evenly; shorter than 15 minutes, it begins earlier.
    """
    if not links:
        return FullExport("there is no export of it that increments could build on")
    full_ms, reached_ms, latest_ms = reach_ms_of(links[0]), reach_ms_of(links[-1]), recovery.latest_ms
    if full_ms is None or reached_ms is None:
        return FullExport("its last export does not say of when it is")
    if recovery.earliest_ms is None or latest_ms is None:
        return FullExport("DynamoDB does not say from when to when its changes are known")
    to_ms = _whole_second(latest_ms if requested_ms is None else min(requested_ms, latest_ms))
    if to_ms <= reached_ms:
        return FullExport("nothing newer than its last export can be exported yet")
    from_ms = min(_whole_second(reached_ms), to_ms - _LEAST_MS)
    if _whole_second(reached_ms) < recovery.earliest_ms:
        why = "point-in-time recovery was switched on since, or keeps too few days (RecoveryPeriodInDays)"
        return FullExport(f"its changes since its last export are not all known: {why}")
    if from_ms < recovery.earliest_ms:
        return FullExport("point-in-time recovery knows less than the 15 minutes that an increment takes")
    if to_ms - full_ms >= FULL_EVERY_MS:
        return FullExport("its last full export is a week old")
    windows = _split(from_ms, to_ms)
    if len(links) + len(windows) > MOST_LINKS:
        return FullExport(f"its chain would have more than {MOST_LINKS} exports")
    return windows


def _split(from_ms: int, to_ms: int) -> tuple[Window, ...]:
    parts = -(-(to_ms - from_ms) // _MOST_MS)
    bounds = [_whole_second(from_ms + (to_ms - from_ms) * part // parts) for part in range(parts + 1)]
    return tuple(Window(begin, end) for begin, end in pairwise(bounds))


def _whole_second(moment_ms: int) -> int:
    return moment_ms // _SECOND_MS * _SECOND_MS
