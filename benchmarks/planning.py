"""PLANNING of one table with very many data files: seconds, and the peak of the process' memory.

`python -m benchmarks.planning <data files>` plans once and prints both. The real phase, by the real worker, until the
restore moves on to CHECKING; the file list and the listing come from disk, and the ledger, in this process, counts the
load shards and forgets them.
"""

import json
import sys
from functools import partial
from typing import Any

from benchmarks.aws import InMemoryDynamoDB
from benchmarks.child import found_by_module
from benchmarks.figures import Figures, Size, Table, Target, interleaved, median
from benchmarks.listed_set import ListedSet
from benchmarks.machine import peak_bytes
from benchmarks.world import World
from tests.simulation.aws.dynamodb import Answer, Request

_DATA_FILES = (1_000, 10_000, 100_000)
_MOST_S, _MOST_BYTES = 60, 256_000_000
_MOST_ROUNDS = 3
Run = dict[str, float]


def measure(size: Size) -> Figures:
    data_files = (50,) if size.is_tiny else _DATA_FILES
    contenders = {f"{count:,}": partial(_planned, count) for count in data_files}
    runs = interleaved(contenders, 1 if size.is_tiny else min(size.rounds, _MOST_ROUNDS))
    rows = [
        (
            name,
            f"{median(run['wall_s'] for run in of_one):.2f}",
            f"{median(run['peak_bytes'] for run in of_one) / 1e6:.0f}",
            f"{of_one[0]['shards']:,.0f}",
        )
        for name, of_one in runs.items()
    ]
    largest = list(runs.values())[-1]
    wall_s = median(run["wall_s"] for run in largest)
    peak = median(run["peak_bytes"] for run in largest)
    return Figures(
        title="Planning",
        tables=[Table(("data files", "s", "peak RSS, MB", "load shards"), rows)],
        targets=[
            Target(f"{data_files[-1]:,} data files", "< 60 s", f"{wall_s:.1f} s", wall_s < _MOST_S),
            Target("peak RSS", "< 256 MB", f"{peak / 1e6:.0f} MB", peak < _MOST_BYTES),
        ],
        notes=[
            "Calls to AWS take no time here: S3 lists 1,000 objects and DynamoDB writes 25 rows in one call, so that"
            f" {data_files[-1]:,} files also take {data_files[-1] // 1_000:,} and"
            f" {round(largest[0]['shards'] / 25):,} calls, one after another.",
        ],
        raw=runs,
    )


class _Planned(BaseException):
    """Ends the worker as soon as the phase is over; no `except Exception` of it holds this up."""


class _ForgetfulDynamoDB(InMemoryDynamoDB):
    """Counts the load shards that are written, and does not keep them: they are DynamoDB's, not the worker's."""

    shards = 0

    def batch_write_item(self, request: Request) -> Answer:
        kept: dict[str, list[Any]] = {}
        for table, writes in request["RequestItems"].items():
            others = [write for write in writes if not _is_load_shard(write)]
            self.shards += len(writes) - len(others)
            if others:
                kept[table] = others
        return super().batch_write_item({"RequestItems": kept}) if kept else {"UnprocessedItems": {}}


def _is_load_shard(write: dict[str, Any]) -> bool:
    row = write.get("PutRequest", {}).get("Item", {})
    return str(row.get("sk", {}).get("S", "")).startswith("SHARD#load#")


def _planned(data_files: int) -> Run:
    ListedSet(data_files)  # made now, outside of what is measured
    run: Run = found_by_module("benchmarks.planning", data_files)
    return run


def main(data_files: int) -> None:
    dynamodb = _ForgetfulDynamoDB()
    s3 = ListedSet(data_files).client()
    world = World(s3.bucket, dynamodb=dynamodb, s3=s3)
    world.create_target()

    def stop_after(status: str) -> None:
        if status not in ("ACCEPTING", "PLANNING"):
            raise _Planned(status)

    world.on_move = stop_after
    restore_id = world.ask(max_workers=5)
    try:
        world.work()
    except _Planned as over:
        tables = world.services.records.tables(restore_id)
        if str(over) != "CHECKING" or tables[0].data_files != data_files:
            raise RuntimeError(f"planning ended in {over} with {tables[0].data_files} data files") from None
    wall_s, cpu_s = world.took("PLANNING")
    figures = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_bytes": peak_bytes(), "shards": dynamodb.shards}
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]))
