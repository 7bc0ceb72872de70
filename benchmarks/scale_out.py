"""Scale-out: how near 1 to 64 workers come to what a table takes, in virtual time.

The whole service in the simulation (tests/simulation), without faults; only the target is another one: a table of 16
partitions, each of which takes 1,000 write units a second, and what is beyond comes back unprocessed
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html). A partition may save up
one second of units; the burst capacity of real ones, and their splitting when hot, are left out: both would help.

Each data file holds a part of one partition's key range, as in an export: one per partition, which is the least that
AWS writes, or eight. Shuffled: the service as it is. Unshuffled: the objects' names are chosen such that what the
planner makes of them has the order of the partitions, as a planner that takes the files as they stand would have it.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from benchmarks.aws import DirectClient, GivenClients, nothing_set_up
from benchmarks.figures import Figures, Size, Table, Target, say
from benchmarks.sets import BUCKET, DATE, PREFIX, TABLE, TABLE_ARN, put_manifest
from chalicelib.backup import layout
from chalicelib.restore.model import Kind, Shard
from chalicelib.restore.requests import parse_restore_request
from chalicelib.services import Services
from sandbox.exports.layout import DataFile, ExportFacts, ExportKeys, files_manifest, one_part_etag, partition_of
from sandbox.exports.partitions import Partitions
from sandbox.exports.writer import WrittenExport
from tests.simulation.aws.dynamodb import Answer, Request, error
from tests.simulation.aws.exports import Staging
from tests.simulation.aws.s3 import stored
from tests.simulation.faults import NoFaults
from tests.simulation.sets import create_table
from tests.simulation.world import LEDGER, World

_MADE_AT_MS = 1_795_136_400_000
_SEED = 1
_UNITS_PER_S = 1_000  # of one partition
_BURST_S = 1.0
_LEAST_SHARE = 0.9
_MOST_MINUTES = 60


@dataclass(frozen=True)
class Load:
    files_per_partition: int
    is_shuffled: bool = True
    partitions: int = 16
    items: int = 160_000
    workers: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)

    @property
    def files(self) -> int:
        return self.partitions * self.files_per_partition

    @property
    def ceiling(self) -> int:
        return self.partitions * _UNITS_PER_S


@dataclass(frozen=True)
class Run:
    items_per_s: float  # of virtual time, in LOADING
    requests: int
    throttled_share: float  # of the items sent: how many came back


_LOADS = {
    "1 file per partition": Load(files_per_partition=1),
    "8, shuffled": Load(files_per_partition=8),
    "8, unshuffled": Load(files_per_partition=8, is_shuffled=False),
}
_TINY = {
    "shuffled": Load(files_per_partition=2, partitions=2, items=1_000, workers=(2,)),
    "unshuffled": Load(files_per_partition=2, partitions=2, items=1_000, workers=(2,), is_shuffled=False),
}


def measure(size: Size) -> Figures:
    loads = _TINY if size.is_tiny else _LOADS
    runs: dict[str, dict[int, Run]] = {name: {} for name in loads}
    for name, load in loads.items():
        for workers in load.workers:
            began_s = time.monotonic()
            run = runs[name][workers] = _run(load, workers)
            share, wall_s = run.items_per_s / load.ceiling, time.monotonic() - began_s
            say(f"  {name}, {workers} workers: {share:.0%} ({wall_s:.0f} s)")
    load = next(iter(loads.values()))
    return Figures(
        title="Scale-out",
        tables=[_table(loads, runs)],
        targets=[_target(name, loads[name], runs[name]) for name in loads if loads[name].is_shuffled],
        notes=[
            f"{load.items:,} items of one write unit in {load.partitions} partitions of {_UNITS_PER_S:,} write units a"
            f" second each: the ceiling is {load.ceiling:,} items/s. Virtual time, of LOADING.",
            "Calls to AWS take 1 to 16 ms of virtual time, computing takes none: what one worker's CPU allows stands in"
            " the write path's tables.",
            "came back: how many items were returned unprocessed, for each one written.",
        ],
        raw={name: {workers: vars(run) for workers, run in of_load.items()} for name, of_load in runs.items()},
    )


def _target(name: str, load: Load, runs: Mapping[int, Run]) -> Target:
    best = max(run.items_per_s for run in runs.values()) / load.ceiling
    return Target(f"best share of the ceiling, {name}", f"≥ {_LEAST_SHARE:.0%}", f"{best:.0%}", best >= _LEAST_SHARE)


def _table(loads: Mapping[str, Load], runs: Mapping[str, Mapping[int, Run]]) -> Table:
    columns = ["workers"]
    for name in loads:
        columns += [f"{name}: items/s", "of the ceiling", "came back"]
    rows = []
    for workers in next(iter(loads.values())).workers:
        row = [str(workers)]
        for name, load in loads.items():
            run = runs[name][workers]
            row += [f"{run.items_per_s:,.0f}", f"{run.items_per_s / load.ceiling:.0%}", f"{run.throttled_share:.0%}"]
        rows.append(row)
    return Table(columns, rows)


class _Partitions:
    """In front of the simulation's table: each partition's units, which come back with time."""

    def __init__(self, world: World, count: int) -> None:
        self._world = world
        self._count = count
        self._write = world.effects[("dynamodb", "batch_write_item")]
        self.requests = 0
        self.returned = 0
        world.effects[("dynamodb", "batch_write_item")] = self.batch_write_item
        self.empty()

    def empty(self) -> None:
        """Nothing is saved up: from here on no more can be written than the ceiling says."""
        self._units = [0.0] * self._count
        self._filled_at_us = [self._world.scheduler.now_us] * self._count

    def batch_write_item(self, request: Request) -> Answer:
        writes = request["RequestItems"].get(TABLE)
        if writes is None:
            return self._write(request)
        taken: list[Any] = []
        left: list[Any] = []
        for write in writes:
            is_taken = "DeleteRequest" in write or self._take(write["PutRequest"]["Item"])
            (taken if is_taken else left).append(write)
        self.requests += 1
        self.returned += len(left)
        if not taken:
            raise error("ProvisionedThroughputExceededException", "BatchWriteItem")
        answer = self._write({"RequestItems": {TABLE: taken}})
        capacity = [{"TableName": TABLE, "CapacityUnits": float(len(taken))}]
        return {**answer, "UnprocessedItems": {TABLE: left} if left else {}, "ConsumedCapacity": capacity}

    def _take(self, item: dict[str, Any]) -> bool:
        number = partition_of(item, "id", self._count)
        now_us = self._world.scheduler.now_us
        gained = (now_us - self._filled_at_us[number]) * _UNITS_PER_S / 1e6
        self._units[number] = min(_UNITS_PER_S * _BURST_S, self._units[number] + gained)
        self._filled_at_us[number] = now_us
        if self._units[number] < 1:
            return False
        self._units[number] -= 1
        return True


def _run(load: Load, workers: int) -> Run:
    world = World(_SEED, NoFaults(), (TABLE,), concurrency=max(2, workers))
    world.dynamodb.page_items = world.s3.page_keys = 1_000
    partition_by_key = _put_set(world, load)
    create_table(world, TABLE, [])
    world.effects.setdefault(("dynamodb", "describe_kinesis_streaming_destination"), nothing_set_up)
    partitions = _Partitions(world, load.partitions)
    moved_at_us = _watch_moves(world, partitions)
    with world.in_place():
        world.operate(lambda: world.api(lambda services: _ask(services, workers)))
        world.bus.start_ticking()
        world.run(lambda: "VERIFYING" in moved_at_us, _MOST_MINUTES)
    written = len(world.dynamodb.tables[TABLE].items)
    if "VERIFYING" not in moved_at_us or written != load.items:
        raise RuntimeError(f"{written} of {load.items} items; {list(moved_at_us)}; {world.watch.violations}")
    _check_order(world, load, partition_by_key)
    loading_s = (moved_at_us["VERIFYING"] - moved_at_us["LOADING"]) / 1e6
    return Run(load.items / loading_s, partitions.requests, partitions.returned / load.items)


def _ask(services: Services, workers: int) -> None:
    services.desk.accept(parse_restore_request({"max_workers": workers}), "benchmark")


def _watch_moves(world: World, partitions: _Partitions) -> dict[str, int]:
    """When the restore moved to a status, in microseconds of virtual time. What the simulation watches for itself is
    left out: it looks at every item, and the faults it looks for are not injected."""
    moved_at_us: dict[str, int] = {}

    def wrote(table: Any, key: tuple[Any, ...], old: Any, new: Any) -> None:
        if table.name == LEDGER and key[1] == "JOB" and new is not None:
            status = new["status"]["S"]
            if status == "LOADING" and status not in moved_at_us:
                partitions.empty()
            moved_at_us.setdefault(status, world.scheduler.now_us)

    world.dynamodb.on_write = wrote
    return moved_at_us


def _check_order(world: World, load: Load, partition_by_key: Mapping[str, int]) -> None:
    """That the shards are what the names of the data files were chosen for: those of one partition in one shard, or
    from all over the table. RuntimeError if not: there would be nothing to compare."""
    shards = [[partition_by_key[file.key] for file in shard.planned_files()] for shard in _load_shards(world)]
    spread = sum(max(of_one) - min(of_one) for of_one in shards) / len(shards)
    most = max(partition_by_key.values())
    is_told = load.files_per_partition > 1 and max(map(len, shards)) > 2
    if is_told and (spread > most / 4) is not load.is_shuffled:
        raise RuntimeError(f"a shard's data files are {spread:.1f} of {most} partitions apart; {load}")


def _load_shards(world: World) -> Iterator[Shard]:
    records = Services(world.settings, GivenClients({"dynamodb": DirectClient(world.dynamodb)})).records
    restore_ids = [pk.removeprefix("RESTORE#") for pk, sk in world.ledger.items if sk == "JOB"]
    for restore_id in restore_ids:
        yield from records.shards(restore_id, Kind.LOAD)


class _MemoryS3(Staging):
    def body(self, key: str) -> bytes:
        return self.objects[key][0]


@cache
def _exported(load: Load) -> list[tuple[bytes, int]]:
    """Each data file's content and number of items, in order of the key ranges."""
    items = ({"id": {"S": f"{number:08d}"}, "n": {"N": str(number)}} for number in range(load.items))
    with Partitions(load.files) as partitions:
        partitions.fill(items, ["id"])
        return [(partition.content.read(), partition.item_count) for partition in partitions]


def _put_set(world: World, load: Load) -> dict[str, int]:
    """A finished set; which partition each data file is of, by its key."""
    random = Random(load.files)
    prefix = layout.export_prefix(PREFIX, DATE, TABLE)
    keys = ExportKeys(prefix, f"{_MADE_AT_MS:014d}-00000000")
    names = [keys.data_file(random.randbytes(16)) for _ in range(load.files)]
    if not load.is_shuffled:
        names.sort(key=_planned_place)
    s3 = _MemoryS3()
    files = []
    for name, (content, item_count) in zip(names, _exported(load), strict=True):
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        files.append(DataFile(name, item_count, digest, one_part_etag(digest)))
        s3.objects[name] = (content, one_part_etag(digest))
    facts = ExportFacts(keys.export_id, TABLE_ARN, "0", BUCKET, prefix, _MADE_AT_MS, _MADE_AT_MS)
    s3.put_object(Bucket=BUCKET, Key=keys.manifest_files, Body=files_manifest(files))
    put_manifest(s3, WrittenExport(facts, keys, tuple(files), load.items, 0, _MADE_AT_MS), load.files)
    for key, (body, etag) in s3.objects.items():
        world.s3.objects[key] = stored(body, etag)
    return {name: number // load.files_per_partition for number, name in enumerate(names)}


def _planned_place(key: str) -> bytes:
    """Where the planner's shuffle puts a data file; `_check_order` tells when it is another one."""
    return hashlib.blake2b(key.encode(), digest_size=8).digest()
