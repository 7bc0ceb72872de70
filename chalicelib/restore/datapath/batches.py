"""Lines made up into batches: what one request, or one step of progress, is made of."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

BATCH_LINES = 25  # BatchWriteItem's limit
BATCH_BODY_BYTES = 15_000_000  # its request may have 16 MB; the rest is room for the envelope
LINE_OVERHEAD_BYTES = len(b'{"PutRequest":},')
RUN_LINES = 100_000  # of a file in which little is looked for: about as many as are searched in a tenth of a second


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What is to be done with `line_count` consecutive lines of one file from `first_line` on, counted from 0: `lines`,
    as they stand at `places` of the file, each with its newline. Of the others `elsewhere` belong to another turn of
    their table; the rest was not asked for, or is not the last word on its key."""

    first_line: int
    line_count: int
    lines: tuple[bytes, ...]
    places: Sequence[int]
    elsewhere: int = 0

    @classmethod
    def of(cls, first_line: int, lines: tuple[bytes, ...]) -> "Batch":
        """Of consecutive lines, all of which were asked for."""
        return cls(first_line, len(lines), lines, range(first_line, first_line + len(lines)))


class Picked(NamedTuple):
    """Which of some consecutive lines are to be acted on, and which belong to another turn, by their indexes among
    these lines, in ascending order."""

    wanted: Sequence[int]
    elsewhere: Sequence[int] = ()


class LineFilter(Protocol):
    """What `DataFileReader.matches` asks about each line once: a decision that depends on the line alone."""

    def pick(self, lines: Sequence[bytes]) -> Picked:
        """Of consecutive lines of a file, each with its newline or without."""
        ...


def batched(blocks: Iterator[list[bytes]], first_line: int) -> Iterator[Batch]:
    """All lines. Greedy: a batch ends at 25 lines, or where the next line would make its body too large."""
    held: list[bytes] = []
    for lines in blocks:
        held += lines
        held_bytes = _body_bytes(held)
        begin = 0
        if held_bytes <= BATCH_BODY_BYTES:  # then none of its batches is too large either
            for begin in range(0, len(held) - BATCH_LINES + 1, BATCH_LINES):
                yield Batch.of(first_line + begin, tuple(held[begin : begin + BATCH_LINES]))
            begin = len(held) - len(held) % BATCH_LINES
        while len(held) - begin >= BATCH_LINES or held_bytes > BATCH_BODY_BYTES:
            batch = Batch.of(first_line + begin, _next_batch(held, begin))
            held_bytes -= _body_bytes(batch.lines)
            begin += len(batch.lines)
            yield batch
        first_line += begin
        held = held[begin:]
    if held:
        yield Batch.of(first_line, tuple(held))


def picked_batches(blocks: Iterator[list[bytes]], line_filter: LineFilter, first_line: int) -> Iterator[Batch]:
    """The lines that `line_filter` wants. Greedy: a batch ends after its 25th line, before the one that would make its
    body too large, or where it covers 100,000 lines."""
    run = _Run(first_line)
    for lines in blocks:
        yield from run.take(lines, line_filter.pick(lines))
    yield from run.rest()


class _Run:
    """The lines since the last batch ended."""

    def __init__(self, first_line: int) -> None:
        self._begin = self._end = first_line
        self._lines: list[bytes] = []
        self._places: list[int] = []
        self._body_bytes = 0
        self._elsewhere = 0  # before `_end`, in the blocks that were taken whole

    def take(self, lines: list[bytes], picked: Picked) -> Iterator[Batch]:
        elsewhere, counted = picked.elsewhere, 0

        def closed(end: int) -> Batch:
            nonlocal counted
            passed = bisect_left(elsewhere, end - self._end)
            batch = self._closed(end, self._elsewhere + passed - counted)
            self._elsewhere, counted = 0, passed
            return batch

        for index in picked.wanted:
            place, line = self._end + index, lines[index]
            size_bytes = len(line) + LINE_OVERHEAD_BYTES
            while place >= self._begin + RUN_LINES:
                yield closed(self._begin + RUN_LINES)
            if self._lines and self._body_bytes + size_bytes > BATCH_BODY_BYTES:
                yield closed(place)
            self._lines.append(line)
            self._places.append(place)
            self._body_bytes += size_bytes
            if len(self._lines) == BATCH_LINES:
                yield closed(place + 1)
        while self._end + len(lines) >= self._begin + RUN_LINES:
            yield closed(self._begin + RUN_LINES)
        self._elsewhere += len(elsewhere) - counted
        self._end += len(lines)

    def rest(self) -> Iterator[Batch]:
        if self._end > self._begin:
            yield self._closed(self._end, self._elsewhere)

    def _closed(self, end: int, elsewhere: int) -> Batch:
        batch = Batch(self._begin, end - self._begin, tuple(self._lines), tuple(self._places), elsewhere)
        self._begin = end
        self._lines, self._places, self._body_bytes = [], [], 0
        return batch


def _next_batch(lines: list[bytes], begin: int) -> tuple[bytes, ...]:
    """The lines from `begin` on that make one batch; at least one, even if it is too large by itself."""
    batch = lines[begin : begin + BATCH_LINES]
    while len(batch) > 1 and _body_bytes(batch) > BATCH_BODY_BYTES:
        batch.pop()
    return tuple(batch)


def _body_bytes(lines: Sequence[bytes]) -> int:
    return sum(map(len, lines)) + len(lines) * LINE_OVERHEAD_BYTES
