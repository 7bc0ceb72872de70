"""`verify`: what was restored is read back and compared with the data files."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.errors import Conflict
from chalicelib.restore.model import Status
from sandbox.exports.incremental import Delete, Update
from tests.functional.restore.faults import (
    Killed,
    client_error,
    counts,
    prepared,
    quiet,
    settled_after_death,
    status_of,
)
from tests.functional.restore.world import BUCKET, World, numbered

Change = Callable[[World], None]


def compared(restore: dict[str, Any]) -> tuple[str, int, int]:
    (table,) = restore["tables"]
    return restore["status"], table["items_compared"], table["items_that_differ"]


def change_before_comparing(world: World, restore_id: str, change: Change) -> None:
    def hook(name, request):
        if name == "batch_get_item" and status_of(world, restore_id) is Status.COMPARING:
            world.hook = quiet
            change(world)

    world.hook = hook


def test_all_items_are_compared_or_some_of_every_data_file(world):
    prepared(world, count=500, partitions=2)
    assert compared(world.restore(verify="full")) == ("COMPLETED", 500, 0)
    status, some, differing = compared(world.restore(verify="sample"))
    assert (status, differing) == ("COMPLETED", 0)
    assert 200 <= some < 500
    assert compared(world.restore()) == ("COMPLETED", 0, 0)


def put_another(world: World) -> None:
    world.put("orders", [{**numbered(60)[7], "n": {"N": "-1"}}])


def put_more(world: World) -> None:
    world.put("orders", [{**numbered(60)[7], "more": {"NULL": True}}])


def take_away(world: World) -> None:
    world.dynamodb.delete_item(TableName="orders", Key={"id": {"S": "item-00007"}})


@pytest.mark.parametrize(
    ("change", "found"), [(put_another, "Different"), (put_more, "Different"), (take_away, "Missing")]
)
def test_an_item_that_is_not_as_in_the_backup_is_found_and_told_where(world, change, found):
    prepared(world, count=60)
    restore_id = world.ask(verify="full")
    change_before_comparing(world, restore_id, change)
    restore = world.settle(restore_id)
    assert compared(restore) == ("PARTIAL", 60, 1)
    assert restore["status_code"] == 207
    assert counts(restore) == {"written": 60}
    listed = world.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"restores/{restore_id}/differing/")["Contents"]
    (line,) = [
        json.loads(line)
        for each in listed
        for line in world.s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read().splitlines()
    ]
    assert line["found"] == found
    assert line["line"] > 0
    assert "item-00007" not in repr(line) + repr(restore)


def test_numbers_and_sets_that_dynamodb_writes_otherwise_are_no_difference(world):
    world.create_table("orders")
    values = {"n": {"N": "1.500"}, "s": {"SS": ["b", "a"]}, "ns": {"NS": ["2.0", "1"]}, "b": {"B": b"\x00"}}
    items = [{"id": {"S": "a"}, **values}]
    world.back_up({"orders": items}, partitions=1)
    assert compared(world.restore(verify="full")) == ("COMPLETED", 1, 0)


@pytest.mark.parametrize("mode", ["overwrite", "changed_only", "missing_only"])
def test_of_a_chain_the_last_word_on_each_key_is_compared(world, mode):
    full = numbered(30)
    prepared(world, count=30)
    new = {**full[1], "v": {"S": "new"}}
    world.back_up_increment("2026-11-22", {"orders": [Update(full[1], new), Delete(full[2])]})
    restore_id = world.ask(mode=mode, verify="full")

    def bring_back(world: World) -> None:
        world.put("orders", [full[2]])

    change_before_comparing(world, restore_id, bring_back)
    status, number, differing = compared(world.settle(restore_id))
    if mode == "missing_only":  # removes nothing, so what is there may be anybody's
        assert (status, differing) == ("COMPLETED", 0)
    else:
        assert (status, number, differing) == ("PARTIAL", 30, 1)


def test_a_worker_killed_while_it_compares_compares_nothing_twice(world):
    prepared(world, count=200, partitions=2)
    restore_id = world.ask(verify="full", max_workers=1)
    reads = [0]

    def kill(name, request):
        if name == "batch_get_item" and status_of(world, restore_id) is Status.COMPARING:
            world.clock.now_ms += 500
            reads[0] += 1
            if reads[0] == 5:
                world.hook = quiet
                raise Killed

    restore = settled_after_death(world, kill, restore_id)
    assert compared(restore) == ("COMPLETED", 200, 0)


def test_what_could_not_be_read_back_keeps_it_from_being_completed_and_is_compared_by_a_retry(world):
    prepared(world, count=120, partitions=3)
    restore_id = world.ask(verify="full", max_workers=1)

    def deny(name, request):
        if name == "batch_get_item" and status_of(world, restore_id) is Status.COMPARING:
            raise client_error("AccessDeniedException", "BatchGetItem")

    world.hook = deny
    restore = world.settle(restore_id)
    assert restore["status"] == "PARTIAL"
    assert counts(restore) == {"written": 120}
    assert "BatchGetItem" in " ".join(restore["failures"])
    world.hook = quiet
    world.services.desk.retry_failed(restore_id)
    restore = world.settle(restore_id)
    assert compared(restore) == ("COMPLETED", 120, 0)
    assert counts(restore) == {"written": 120}


def test_what_was_compared_before_a_failure_counts_once_when_it_is_tried_again(world):
    prepared(world, count=400, partitions=1)
    restore_id = world.ask(verify="full", max_workers=1)
    reads = [0]

    def deny_later(name, request):
        if name == "batch_get_item" and status_of(world, restore_id) is Status.COMPARING:
            world.clock.now_ms += 1_500
            reads[0] += 1
            if reads[0] > 6:
                raise client_error("AccessDeniedException", "BatchGetItem")

    world.hook = deny_later
    assert world.settle(restore_id)["status"] == "PARTIAL"
    world.hook = quiet
    world.services.desk.retry_failed(restore_id)
    assert compared(world.settle(restore_id)) == ("COMPLETED", 400, 0)


def test_a_difference_stays_a_difference_after_a_retry(world):
    prepared(world, count=60)
    restore_id = world.ask(verify="full")
    change_before_comparing(world, restore_id, take_away)
    assert compared(world.settle(restore_id)) == ("PARTIAL", 60, 1)
    with pytest.raises(Conflict, match="was written since"):
        world.services.desk.retry_failed(restore_id)


def test_verify_without_the_permission_to_read_is_a_blocker(world):
    prepared(world)

    def deny(name, request):
        if name == "batch_get_item" and "orders" in request["RequestItems"]:
            raise client_error("AccessDeniedException", "BatchGetItem")

    world.hook = deny
    restore = world.restore(verify="sample")
    assert restore["status"] == "FAILED"
    assert "dynamodb:BatchGetItem" in restore["blockers"][0]
    assert world.items("orders") == []
