"""`max_write_units`: what all workers of a restore together write to a target, by the clock of the small world."""

from typing import Any

import pytest

from chalicelib.restore.datapath.writer import BatchWriter
from chalicelib.restore.model import Status
from chalicelib.restore.phases import clearing
from tests.functional.restore.faults import counts, is_to_target, prepared, status_of
from tests.functional.restore.world import World, numbered

WRITING = (Status.CLEARING, Status.LOADING)


class Meter:
    """What is consumed of `orders`, and when. moto says no units of a batch, so it is made to: one of the table for
    each write, and `indexes` more of its indexes."""

    def __init__(self, world: World, restore_id: str, *, indexes: int = 0, workers: int = 1) -> None:
        self.consumed: list[tuple[int, int]] = []
        self._world, self._restore_id = world, restore_id
        self._units = 1 + indexes
        self._depth, self._deepest = 0, workers - 1
        self._write = world.dynamodb.batch_write_item
        world.dynamodb.batch_write_item = self.batch_write_item
        world.hook = self.others_work_meanwhile

    def batch_write_item(self, **request: Any) -> Any:
        answer = self._write(**request)
        if is_to_target("batch_write_item", request) and status_of(self._world, self._restore_id) in WRITING:
            assert request["ReturnConsumedCapacity"] == "TOTAL"
            units = self._units * len(request["RequestItems"]["orders"])
            self.consumed.append((self._world.clock(), units))
            answer["ConsumedCapacity"] = [{"TableName": "orders", "CapacityUnits": float(units)}]
        return answer

    def others_work_meanwhile(self, name: str, request: dict[str, Any]) -> None:
        """As many workers as there may be, each inside of a write of another one."""
        if not is_to_target(name, request) or self._depth >= self._deepest:
            return
        self._depth += 1
        for record in self._world.messages():
            self._world.work(record)
        self._depth -= 1

    def most_in(self, seconds: float) -> int:
        """The most that was consumed in any window of so many seconds."""
        starts = [at_ms for at_ms, _ in self.consumed]
        return max(
            sum(units for at_ms, units in self.consumed if start <= at_ms < start + seconds * 1000) for start in starts
        )

    @property
    def total(self) -> int:
        return sum(units for _, units in self.consumed)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Of many threads on one clock, each one's waiting would make the others late."""
    monkeypatch.setattr(BatchWriter, "concurrency", 1)
    monkeypatch.setattr(clearing, "_THREADS", 1)


@pytest.mark.parametrize("partitions", [1, 12])
def test_no_second_of_one_worker_has_more_than_the_limit(world, partitions):
    """Also where its shards are smaller than what a second allows: each goes on from what the last one used."""
    prepared(world, count=300, partitions=partitions)
    restore_id = world.ask(max_write_units=10, max_workers=1)
    meter = Meter(world, restore_id)
    begun_ms = world.clock()
    restore = world.settle(restore_id)
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": 300})
    assert world.items("orders") == numbered(300)
    assert meter.total == 300
    assert meter.most_in(10) <= 10 * 10 + 10  # a second's units may be saved up
    assert meter.consumed[-1][0] - begun_ms >= 28_000
    assert restore["max_write_units"] == 10


@pytest.mark.parametrize("partitions", [2, 24])
def test_several_workers_keep_to_the_limit_together_and_use_it(world, partitions):
    prepared(world, count=400, partitions=partitions)
    restore_id = world.ask(max_write_units=20, max_workers=4)
    meter = Meter(world, restore_id, workers=4)
    restore = world.settle(restore_id)
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": 400})
    # Each worker's share of a second may be saved up, and one that others work inside of is counted late.
    assert meter.most_in(5) <= 20 * 5 + 2 * 20


@pytest.mark.parametrize("partitions", [1, 12])
def test_what_indexes_consume_counts_too(world, partitions):
    prepared(world, count=300, partitions=partitions)
    restore_id = world.ask(max_write_units=30, max_workers=1)
    meter = Meter(world, restore_id, indexes=2)
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert meter.total == 900
    # The first request's estimate knows of no index: what it exceeds is waited for afterwards.
    assert meter.most_in(10) <= 30 * 10 + 3 * 30


def test_clearing_keeps_to_the_limit_too(world):
    prepared(world, count=3)
    world.put("orders", numbered(200))
    restore_id = world.ask(max_write_units=10, clear_existing_data=True, safety_backup=False, max_workers=2)
    meter = Meter(world, restore_id)
    restore = world.settle(restore_id)
    assert (restore["status"], restore["tables"][0]["cleared"]) == ("COMPLETED", 200)
    assert meter.total == 203
    assert meter.most_in(10) <= 10 * 10 + 10


def test_without_a_limit_nothing_waits_and_no_units_are_asked_for(world):
    prepared(world, count=300)
    restore_id = world.ask(max_workers=1)
    asked = []

    def watch(name, request):
        if is_to_target(name, request):
            asked.append(request.get("ReturnConsumedCapacity"))

    world.hook = watch
    begun_ms = world.clock()
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert world.clock() == begun_ms
    assert set(asked) == {None}
