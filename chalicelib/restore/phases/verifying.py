"""VERIFYING, one table per shard: what every data file's line count became, against what the export recorded.

Reads the ledger's shards only, and leaves one line per data file in the bucket as the restore's proof. What a file was
cut into (slices, or turns of a chain that is resolved) is added up first: memory grows with the files that are begun
and not complete, by some 700 bytes each. The lines go through a file on disk, so that none has to be held.
"""

import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import error_code
from chalicelib.backup import layout
from chalicelib.restore.model import LOADED, FileCheckpoint, Job, Kind, PlannedFile, Shard, Stage, Table
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings

_COUNT_NAMES = ("written", "unchanged", "skipped", "deleted", "rejected", "filtered")
_HELD_BYTES = 1024 * 1024  # of results: more of them are on disk


def verify_table(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    balanced = unbalanced = 0
    with tempfile.SpooledTemporaryFile(_HELD_BYTES) as lines:
        for result in _results(around.records.shards(job.restore_id, Kind.LOAD, table.number)):
            balanced += result.is_balanced
            unbalanced += not result.is_balanced
            lines.write(result.line())
        lines.seek(0)
        _keep(around, layout.data_file_results_key(job.restore_id, table.source), job.bucket, lines)
    failure = _lost_target(around, table)
    return Ended(failure=failure, table_set={"balanced": balanced, "unbalanced": unbalanced})


def _lost_target(around: Surroundings, table: Table) -> str | None:
    """Whether the target is gone, or another table of its name stands there now: what was written is not in it."""
    if table.target_id is None:
        return None
    try:
        described = around.dynamodb.describe_table(TableName=table.target)["Table"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return f"{table.target} was deleted while it was restored: restore again"
    if described.get("TableId") != table.target_id:
        return f"{table.target} was deleted and made anew while it was restored, and lacks items: restore again"
    return None


def _keep(around: Surroundings, key: str, bucket: str, lines: IO[bytes]) -> None:
    around.s3.put_object(Bucket=bucket, Key=key, Body=lines, ContentType="application/x-ndjson")


class _Result:
    """What became of one data file, over all of its parts that were seen so far."""

    __slots__ = ("_counts", "_failure", "_is_good", "_item_count", "_key", "_lines", "_link", "_parts", "_turns")

    def __init__(self, file: PlannedFile, link: int) -> None:
        self._key, self._item_count, self._turns = file.key, file.item_count, file.turns
        self._link = link
        self._counts = array("q", [0] * len(_COUNT_NAMES))
        self._lines = 0
        self._parts = 0
        self._is_good = True
        self._failure: str | None = None

    def add(self, part: PlannedFile, checkpoint: FileCheckpoint, shard: Shard) -> None:
        self._parts += 1
        self._lines += part.line_count
        all_lines = checkpoint.accounted + checkpoint.elsewhere == part.line_count
        self._is_good &= all_lines and checkpoint.verified and shard.stage in LOADED
        for position, name in enumerate(_COUNT_NAMES):
            self._counts[position] += getattr(checkpoint, name)
        if shard.stage is Stage.FAILED:
            self._failure = self._failure or shard.reason

    @property
    def is_complete(self) -> bool:
        """Whether its parts cover every line as often as it is read."""
        return self._lines == self._item_count * self._turns and self._parts >= self._turns

    @property
    def is_balanced(self) -> bool:
        return self.is_complete and self._is_good and sum(self._counts) == self._item_count

    def line(self) -> bytes:
        result = {
            "data_file": self._key,
            "link": self._link,
            "item_count": self._item_count,
            "balanced": self.is_balanced,
            **dict(zip(_COUNT_NAMES, self._counts, strict=True)),
            "failure": self._failure,
        }
        return msgspec.json.encode(result) + b"\n"


def _results(shards: Iterator[Shard]) -> Iterator[_Result]:
    """One per data file, as soon as its last part was seen; in the end those of which parts are missing."""
    begun: dict[str, _Result] = {}
    for shard in shards:
        for part, checkpoint in zip(shard.planned_files(), shard.file_checkpoints(), strict=True):
            result = begun.pop(part.key, None)
            if result is None:
                result = _Result(part, shard.link)
            result.add(part, checkpoint, shard)
            if result.is_complete:
                yield result
            else:
                begun[part.key] = result
    yield from begun.values()
