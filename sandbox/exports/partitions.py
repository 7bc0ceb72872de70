"""A table's items, spread over temporary gzip files by key hash: what an export's data objects will hold.

Promises that memory stays flat, however many items there are, and that a partition without items still is a
valid gzip file of 20 bytes, as in a real export.
"""

import gzip
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import BufferedRandom
from types import TracebackType
from typing import Self

from sandbox.exports.layout import Item, item_line, partition_of


class Partition:
    """One partition's lines. `content` is the compressed file, rewound, once the partition is sealed."""

    def __init__(self, content: BufferedRandom) -> None:
        self.content = content
        self.item_count = 0
        self.md5_digest = b""
        # No name, no time, level 6: AWS' gzip header, and the same bytes for the same items.
        self._gzip = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=content, mtime=0)

    def add(self, line: bytes) -> None:
        self._gzip.write(line)
        self.item_count += 1

    def seal(self) -> None:
        self._gzip.close()
        self.content.seek(0)
        self.md5_digest = hashlib.file_digest(self.content, "md5").digest()
        self.content.seek(0)

    def close(self) -> None:
        self._gzip.close()
        self.content.close()


class Partitions:
    """`with Partitions(4) as partitions: partitions.fill(items, key_names)`; the files vanish at the end."""

    def __init__(self, count: int) -> None:
        self._stack = ExitStack()
        self._partitions = [self._open() for _ in range(count)]

    def fill(self, items: Iterable[Item], key_names: Sequence[str]) -> None:
        """Takes every item and seals the files. `key_names` is the partition key, then the sort key if any."""
        for item in items:
            self.add(item, key_names, item_line(item, key_names))
        self.seal()

    def add(self, item: Item, key_names: Sequence[str], line: bytes) -> None:
        """A line to where the item with these keys belongs. To be sealed after the last one."""
        self._partitions[partition_of(item, key_names[0], len(self._partitions))].add(line)

    def seal(self) -> None:
        for partition in self._partitions:
            partition.seal()

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._partitions)

    def __len__(self) -> int:
        return len(self._partitions)

    @property
    def item_count(self) -> int:
        return sum(partition.item_count for partition in self._partitions)

    def _open(self) -> Partition:
        partition = Partition(tempfile.TemporaryFile())  # noqa: SIM115 the stack closes it
        self._stack.callback(partition.close)
        return partition

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
