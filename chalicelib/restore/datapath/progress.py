"""How far each data file is: the prefix of lines that is done, with the counts of exactly that prefix.

Batches end in any order, because many threads write them. A checkpoint may only name a line before
which *every* line is written or rejected: going on from there neither loses a line nor counts one
twice. What ended beyond that line is written again after a restart, which is harmless, and counted
then for the first time.
"""

import msgspec


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What became of data lines; each line is counted under exactly one name. Those that belong to another turn of
    their table are counted there: here they are `elsewhere`."""

    written: int = 0
    unchanged: int = 0
    skipped: int = 0
    deleted: int = 0
    rejected: int = 0
    filtered: int = 0
    elsewhere: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        # Written out, for it is done for every batch: in a loop over the fields it takes five times as long.
        return Counts(
            self.written + other.written,
            self.unchanged + other.unchanged,
            self.skipped + other.skipped,
            self.deleted + other.deleted,
            self.rejected + other.rejected,
            self.filtered + other.filtered,
            self.elsewhere + other.elsewhere,
        )

    @property
    def total(self) -> int:
        written_or_not = self.written + self.unchanged + self.skipped + self.deleted
        return written_or_not + self.rejected + self.filtered + self.elsewhere


class FileProgress:
    """Progress of one data file. Pure and not thread-safe: call it under one lock.

    `first_line` and `counts` are those of the last checkpoint, or the first line of the file or slice and nothing.
    """

    def __init__(self, first_line: int = 0, counts: Counts | None = None) -> None:
        self._line = first_line
        self._counts = counts or Counts()
        self._ended_by_first_line: dict[int, tuple[int, Counts]] = {}

    def add(self, first_line: int, line_count: int, counts: Counts) -> None:
        """Takes a batch that ended. ValueError: it was added before, or its counts do not balance."""
        if line_count < 1 or counts.total != line_count:
            raise ValueError(f"a batch of {line_count} lines at {first_line} counts {counts.total}")
        if first_line < self._line or first_line in self._ended_by_first_line:
            raise ValueError(f"the batch at line {first_line} was added before")
        if first_line > self._line:
            self._ended_by_first_line[first_line] = (line_count, counts)
            return
        self._take(line_count, counts)
        while self._line in self._ended_by_first_line:
            self._take(*self._ended_by_first_line.pop(self._line))

    def position(self) -> tuple[int, Counts]:
        """The line before which every line is done, and the counts of exactly the lines before it."""
        return self._line, self._counts

    def _take(self, line_count: int, counts: Counts) -> None:
        self._line += line_count
        self._counts += counts
