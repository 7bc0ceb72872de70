"""Why items were rejected: by reason, with a count and the place of the first one. Never with item content.

Reasons ride in the checkpoint of their data file and cover exactly the lines whose counts it holds; what a killed
worker saw beyond it is seen again. A shard that ends leaves its reasons in a row of the ledger, written in the
transaction that moves the totals. Only the first reasons are kept: how many items they leave unexplained is told by
the counts, and every rejected line stands with its own reason in the bucket.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from chalicelib.restore.model import PlacedReason, Reason, Shard

MOST_PER_FILE = 3
MOST_PER_SHARD = 10
MOST_SHOWN = 10
_MESSAGE_CHARACTERS = 300

R = TypeVar("R", bound=Reason)


class FileReasons:
    """The reasons of one data file's rejected lines. Not thread-safe: call it under the lock of its FileProgress.

    Batches end in any order; their reasons wait until the file's position has passed them.
    """

    def __init__(self, reasons: Sequence[Reason] = ()) -> None:
        self._reasons = tuple(reasons)
        self._waiting: dict[int, tuple[Reason, ...]] = {}  # by the first line of their batch

    def add(self, first_line: int, rejected: Iterable[Reason]) -> None:
        self._waiting[first_line] = merged(rejected, MOST_PER_FILE)

    def before(self, line: int) -> tuple[Reason, ...]:
        """Those of the batches before a line that the position has reached. Lines never go back."""
        passed = [first_line for first_line in sorted(self._waiting) if first_line < line]
        for first_line in passed:
            self._reasons = merged((*self._reasons, *self._waiting.pop(first_line)), MOST_PER_FILE)
        return self._reasons


def reason(code: str, message: str, line: int) -> Reason:
    """Of one rejected line, counted from 1. `message` is free of item content; it is made one short line."""
    return Reason(code, " ".join(message.split())[:_MESSAGE_CHARACTERS], 1, line)


def merged(reasons: Iterable[R], most: int | None) -> tuple[R, ...]:
    """One of each code and message: the first of them, with the count of all. The first `most` of these."""
    by_text: dict[tuple[str, str], R] = {}
    for one in reasons:
        first = by_text.setdefault((one.code, one.message), one)
        if first is not one:
            count = first.count + one.count
            by_text[one.code, one.message] = msgspec.structs.replace(first, count=count)
    return tuple(by_text.values())[:most]


def shard_reasons(shard: Shard) -> tuple[PlacedReason, ...]:
    """What a shard's checkpoint of LOADING says."""
    files = zip(shard.planned_files(), shard.file_checkpoints(), strict=True)
    placed = (
        PlacedReason(one.code, one.message, one.count, one.line, file.key)
        for file, checkpoint in files
        for one in checkpoint.reasons
    )
    return merged(placed, MOST_PER_SHARD)


def texts(source: str, reasons: Iterable[PlacedReason], rejected: int, prefix: str) -> list[str]:
    """What the operator reads of a table with `rejected` items in all, the most frequent reason first."""
    shown = sorted(merged(reasons, None), key=lambda one: -one.count)[:MOST_SHOWN]
    told = [
        f"{source}: {_items(one.count)} rejected: {one.code}{': ' if one.message else ''}{one.message}"
        f" (first: data file {one.data_file}, line {one.line})"
        for one in shown
    ]
    rest = rejected - sum(one.count for one in shown)
    if rest > 0:
        told.append(f"{source}: {_items(rest)} rejected{' for other reasons' if told else ''}; each is under {prefix}")
    return told


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"
