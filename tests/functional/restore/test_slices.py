"""Large data files are cut into slices of their lines, which are shards of their own."""

from typing import Any

import pytest

from chalicelib.restore.model import Kind, Status
from chalicelib.restore.phases import planner
from tests.functional.restore.faults import (
    Killed,
    counts,
    is_to_target,
    prepared,
    quiet,
    settled_after_death,
    status_of,
)
from tests.functional.restore.world import World, numbered

COUNT = 400


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(planner, "SLICE_BYTES", 300)
    monkeypatch.setattr(planner, "SHARD_BYTES", 300)


def assert_sliced(world: World, restore: dict[str, Any]) -> None:
    shards = list(world.services.records.shards(restore["restore_id"], Kind.LOAD))
    files = [file for shard in shards for file in shard.planned_files()]
    assert len(shards) > 4
    assert len({file.key for file in files}) == 1
    assert restore["tables"][0]["data_files_balanced"] == restore["tables"][0]["data_files"] == 1


@pytest.mark.parametrize("mode", ["overwrite", "missing_only", "changed_only"])
def test_a_file_in_many_slices_is_restored_and_balanced_as_one(world, mode):
    prepared(world, count=COUNT, partitions=1)
    restore = world.restore(mode=mode, verify="full", max_workers=3)
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == numbered(COUNT)
    assert counts(restore) == {"written": COUNT}
    assert restore["tables"][0]["items_compared"] == COUNT
    assert_sliced(world, restore)


def test_a_dry_run_surveys_every_line_of_it_once(world):
    prepared(world, count=COUNT, partitions=1)
    (table,) = world.restore(dry_run=True)["tables"]
    assert (table["estimate"]["items"], table["estimate"]["write_units"]) == (COUNT, COUNT)


def test_keys_are_found_in_whichever_slice_they_are(world):
    prepared(world, count=COUNT, partitions=1)
    asked = [{"id": {"S": f"item-{number:05d}"}} for number in (0, 133, 399, 400)]
    restore = world.restore(keys=asked)
    assert (restore["status"], restore["tables"][0]["keys_not_in_backup"]) == ("COMPLETED", [3])
    assert counts(restore) == {"written": 3, "filtered": COUNT - 3}


@pytest.mark.parametrize("write", [1, 5, 9])
def test_a_worker_killed_inside_of_a_slice_loses_nothing_and_counts_nothing_twice(world, write):
    prepared(world, count=COUNT, partitions=1)
    restore_id = world.ask(max_workers=2)
    writes = [0]

    def kill(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            world.clock.now_ms += 600
            writes[0] += 1
            if writes[0] == write:
                world.dynamodb.batch_write_item(**request)
                world.hook = quiet
                raise Killed

    restore = settled_after_death(world, kill, restore_id)
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": COUNT})
    assert world.items("orders") == numbered(COUNT)
    assert_sliced(world, restore)


def test_a_slice_that_fails_leaves_the_file_unbalanced_until_it_is_tried_again(world):
    prepared(world, count=COUNT, partitions=1)
    restore_id = world.ask(max_workers=1)
    poisoned = [0]

    def kill(name, request):
        """The first slice that is read in LOADING kills every worker that takes it."""
        if (
            name != "get_object"
            or not request["Key"].endswith(".gz")
            or status_of(world, restore_id) is not Status.LOADING
        ):
            return
        held = [slot.shard for slot in world.services.slots.all(restore_id).values()]
        if held and str(held[0]).endswith("#000000"):
            poisoned[0] += 1
            raise Killed

    world.hook = kill
    for _ in range(60):
        for record in world.messages():
            try:
                world.work(record)
            except Killed:
                world.services = world.new_process()
        if not world.open_work():
            break
        world.tick(5.5)
    restore = world.services.desk.describe(restore_id)
    assert poisoned[0] == 5
    assert restore["status"] == "PARTIAL"
    assert restore["tables"][0]["data_files_balanced"] == 0
    assert 0 < restore["tables"][0]["written"] == len(world.items("orders")) < COUNT
    world.hook = quiet
    world.services.desk.retry_failed(restore_id)
    restore = world.settle(restore_id)
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": COUNT})
    assert_sliced(world, restore)
