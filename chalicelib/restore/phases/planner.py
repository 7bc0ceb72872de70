"""Which data files go into which shard. Pure, and the same for the same input: a planner that was cut off and runs
again writes the same shards.

A data file holds one partition's key range, and DynamoDB takes 1,000 write units a second per partition: files of a
shard therefore come from all over the table, and its worker, which could send to forty partitions, interleaves them. A
very large file is cut into slices.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from chalicelib.restore.model import PlannedFile

FILES_PER_SHARD = 16
# Whoever goes on with a shard inflates it from the beginning: this much takes seconds of an invocation's minutes.
SHARD_BYTES = 1024 * 1024 * 1024
# A data file that is larger is cut into slices. Where a slice begins is only found by inflating all that stands before
# it, which is quick beside writing; smaller slices would inflate a file more often than it has parts worth the time.
SLICE_BYTES = 256 * 1024 * 1024
_SEGMENT_BYTES = 64 * 1024 * 1024
_SEGMENTS_PER_WORKER = 4
_MARK_BYTES, _NUMBER_BYTES = 8, 4


class Files(Protocol):
    """Planned data files by name, whole ones."""

    def __iter__(self) -> Iterator[PlannedFile]: ...

    def __getitem__(self, name: str) -> PlannedFile: ...

    def name_of(self, file: PlannedFile) -> str: ...


class Parts:
    """The files and slices of files of an export, shuffled: their order depends on their keys alone. Of each only its
    name is kept, so that they can be gone through again without all of them being held."""

    def __init__(self, files: Files) -> None:
        self._files = files
        marks = (
            _mark(part) + number.to_bytes(_NUMBER_BYTES) + files.name_of(file).encode()
            for file in files
            for number, part in enumerate(slices_of(file))
        )
        self._marks = sorted(marks)

    def __len__(self) -> int:
        return len(self._marks)

    def __iter__(self) -> Iterator[PlannedFile]:
        for mark in self._marks:
            number = int.from_bytes(mark[_MARK_BYTES : _MARK_BYTES + _NUMBER_BYTES])
            file = self._files[mark[_MARK_BYTES + _NUMBER_BYTES :].decode()]
            yield slices_of(file)[number]


def slices_of(file: PlannedFile) -> list[PlannedFile]:
    """The whole file, or ranges of its lines, none of them empty, for about SLICE_BYTES each. The last one has no end:
    reading it ends with the file, whose MD5 and number of lines are then known."""
    count = min(-(-file.size_bytes // SLICE_BYTES), file.item_count)
    if count <= 1:
        return [file]
    begins = [file.item_count * number // count for number in range(count)]
    return [
        msgspec.structs.replace(file, first_line=begin, end_line=end)
        for begin, end in zip(begins, [*begins[1:], None], strict=True)
    ]


def gather(parts: Iterable[PlannedFile], part_count: int, max_workers: int) -> Iterator[list[PlannedFile]]:
    """Shards of up to FILES_PER_SHARD parts, in their order; fewer where that would leave workers without a shard."""
    per_shard = max(1, min(FILES_PER_SHARD, part_count // max_workers))
    gathered: list[PlannedFile] = []
    gathered_bytes = 0
    for part in parts:
        part_bytes = _share_bytes(part)
        if gathered and (len(gathered) >= per_shard or gathered_bytes + part_bytes > SHARD_BYTES):
            yield gathered
            gathered, gathered_bytes = [], 0
        gathered.append(part)
        gathered_bytes += part_bytes
    if gathered:
        yield gathered


def _share_bytes(part: PlannedFile) -> int:
    """How much of its file a part is."""
    return part.size_bytes * part.line_count // part.item_count if part.item_count else part.size_bytes


def _mark(part: PlannedFile) -> bytes:
    text = part.key if part.first_line == 0 else f"{part.key}#{part.first_line}"
    return hashlib.blake2b(text.encode(), digest_size=_MARK_BYTES).digest()


def clear_segments(table_size_bytes: int, max_workers: int) -> int:
    """Scan segments to empty a table in: one per 64 MB, and no more than keep the workers busy."""
    return max(1, min(table_size_bytes // _SEGMENT_BYTES + 1, max_workers * _SEGMENTS_PER_WORKER))


def start_position(slot: int, max_workers: int, load_totals: Sequence[int]) -> tuple[int, int]:
    """Where among all load shards a slot begins to look, as (table number, shard number): slots start far apart,
    so that they do not all try to claim the same shard."""
    position = sum(load_totals) * slot // max(1, max_workers)
    for number, total in enumerate(load_totals):
        if position < total:
            return number, position
        position -= total
    return 0, 0
