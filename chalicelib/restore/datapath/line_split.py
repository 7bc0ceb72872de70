"""From text to lines: split, counted, and skipped at the speed of inflating."""

import io
from collections.abc import Iterator

from chalicelib.restore.datapath.data_file import DataFile

LINE_LIMIT_BYTES = 16_000_000  # an item has at most 400 KB: such a line is damage, or hostile


class LineSplitter:
    """Splits one data file's text. `count`: the lines so far, skipped ones too.

    Splits on byte 0x0A only, as files of bytes do; str.splitlines would also split inside of strings (U+2028).
    """

    def __init__(self, file: DataFile) -> None:
        self.count = 0
        self._file = file
        self._begun: list[bytes] = []  # parts of a line that has begun; joined once, so a long one costs no square
        self._begun_bytes = 0

    def blocks(self, inflated: Iterator[bytes], first_line: int) -> Iterator[list[bytes]]:
        """The lines from `first_line` on, each with its newline, in lists of one inflated block each.

        Raises DataFileDamaged: more lines than the manifest says, at once, because it may be a gzip bomb of newlines;
        a line that is too long; a last one without a newline.
        """
        for block in inflated:
            if self.count < first_line:
                block = self._after_skipped(block, first_line)
            lines = self._split(block) if block else []
            if lines:
                yield lines
        if self._begun_bytes:
            raise self._file.damaged("its last line does not end with a newline")

    def _split(self, block: bytes) -> list[bytes]:
        lines = io.BytesIO(block).readlines()
        tail = b"" if block.endswith(b"\n") else lines.pop()
        if not lines:
            self._begin(tail)
            return []
        if self._begun:
            self._begin(lines[0])
            lines[0] = b"".join(self._begun)
        self._begun, self._begun_bytes = ([tail], len(tail)) if tail else ([], 0)
        self._add(len(lines))
        return lines

    def _begin(self, part: bytes) -> None:
        self._grow(part)
        self._begun.append(part)

    def _after_skipped(self, block: bytes, first_line: int) -> bytes:
        """What of `block` belongs to `first_line` and the lines after it."""
        newlines = sum(1 for _ in io.BytesIO(block))
        if not block.endswith(b"\n"):
            newlines -= 1
        if self.count + newlines < first_line:
            self._add(newlines)
            if newlines:
                self._begun_bytes = 0
            self._grow(block[block.rfind(b"\n") + 1 :] if newlines else block)
            return b""
        end = 0
        for _ in range(first_line - self.count):
            end = block.index(b"\n", end) + 1
        self._add(first_line - self.count)
        self._begun_bytes = 0
        return block[end:]

    def _grow(self, part: bytes) -> None:
        """A line that has begun has `part` too, which may end with its newline."""
        self._begun_bytes += len(part)
        if self._begun_bytes - part.endswith(b"\n") > LINE_LIMIT_BYTES:
            raise self._file.damaged(f"it has a line longer than {LINE_LIMIT_BYTES} bytes")

    def _add(self, lines: int) -> None:
        self.count += lines
        if self.count > self._file.item_count:
            raise self._file.damaged(f"it has more lines than the manifest says, {self._file.item_count}")
