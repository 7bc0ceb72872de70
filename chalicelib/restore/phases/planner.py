"""Which data files go into which shard. Pure, and the same for the same input: a planner that was cut off and runs
again writes the same shards.

A data file holds one partition's key range, and DynamoDB takes 1,000 write units a second per partition: files of a
shard therefore come from all over the table, and its worker interleaves them.
"""

import hashlib
from collections.abc import Iterator, Sequence

from chalicelib.restore.model import PlannedFile

FILES_PER_SHARD = 8
# A shard of this size takes one worker well under one invocation; a larger file is a shard of its own.
SHARD_BYTES = 64 * 1024 * 1024
_SHARDS_PER_WORKER = 4


def gather(files: Sequence[PlannedFile], max_workers: int) -> Iterator[list[PlannedFile]]:
    """Shards of up to FILES_PER_SHARD files, fewer where that would leave workers without a shard."""
    per_shard = max(1, min(FILES_PER_SHARD, len(files) // (max_workers * _SHARDS_PER_WORKER)))
    gathered: list[PlannedFile] = []
    size_bytes = 0
    for file in sorted(files, key=_shuffled):
        if gathered and (len(gathered) >= per_shard or size_bytes + file.size_bytes > SHARD_BYTES):
            yield gathered
            gathered, size_bytes = [], 0
        gathered.append(file)
        size_bytes += file.size_bytes
    if gathered:
        yield gathered


def _shuffled(file: PlannedFile) -> bytes:
    return hashlib.blake2b(file.key.encode(), digest_size=8).digest()


def clear_segments(table_size_bytes: int, max_workers: int) -> int:
    """Scan segments to empty a table in: one per 64 MB, and no more than keep the workers busy."""
    return max(1, min(table_size_bytes // SHARD_BYTES + 1, max_workers * _SHARDS_PER_WORKER))


def start_position(slot: int, max_workers: int, load_totals: Sequence[int]) -> tuple[int, int]:
    """Where among all load shards a slot begins to look, as (table number, shard number): slots start far apart,
    so that they do not all try to claim the same shard."""
    position = sum(load_totals) * slot // max(1, max_workers)
    for number, total in enumerate(load_totals):
        if position < total:
            return number, position
        position -= total
    return 0, 0
