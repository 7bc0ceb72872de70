"""Time as the rest of the code takes it: an argument, in epoch milliseconds, written as ISO 8601 in UTC."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]


def system_clock() -> int:
    return time.time_ns() // 1_000_000


def iso(epoch_ms: int) -> str:
    """`2026-11-21T01:00:00.000Z`, the form AWS uses in export manifests."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def from_iso(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 text; raises ValueError for anything else, or without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return epoch_ms(moment)
