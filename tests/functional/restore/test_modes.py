"""What becomes of an item that is there: missing_only never touches it, changed_only writes only what differs."""

from typing import Any

import pytest

from chalicelib.restore.datapath.missing_only import MissingOnlyWriter
from chalicelib.restore.model import Kind, Status
from sandbox.exports.incremental import Delete, Insert, Update
from tests.functional.restore.faults import Killed, client_error, counts, is_to_target, prepared, quiet, status_of
from tests.functional.restore.world import World, numbered


def is_exact(restore: dict[str, Any]) -> bool:
    return not restore["tables"][0]["split_is_approximate"]


def item(number: int, **attributes: Any) -> dict[str, Any]:
    return {"id": {"S": f"item-{number:05d}"}, **attributes}


def own(number: int) -> dict[str, Any]:
    """What somebody else has under the key of an item of the backup."""
    return item(number, mine={"BOOL": True})


class Writes:
    """The items that are put into `orders`, or deleted from it, while a restore is LOADING."""

    def __init__(self, world: World, restore_id: str) -> None:
        self.put: list[Any] = []
        self.deleted: list[Any] = []
        self._world = world
        self._restore_id = restore_id
        world.hook = self

    def __call__(self, name: str, request: dict[str, Any]) -> None:
        if not is_to_target(name, request) or status_of(self._world, self._restore_id) is not Status.LOADING:
            return
        for write in request["RequestItems"]["orders"]:
            if "PutRequest" in write:
                self.put.append(write["PutRequest"]["Item"])
            else:
                self.deleted.append(write["DeleteRequest"]["Key"])


# --- missing_only ----------------------------------------------------------------------------------------------------


def test_missing_only_puts_what_is_missing_and_leaves_every_other_item_as_it_is(world):
    prepared(world, count=60)
    mine = [own(number) for number in range(0, 60, 3)]
    world.put("orders", mine)
    restore = world.restore(mode="missing_only", max_workers=3)
    assert restore["status"] == "COMPLETED"
    assert world.items("orders") == sorted([*mine, *(i for n, i in enumerate(numbered(60)) if n % 3)], key=repr)
    assert counts(restore) == {"written": 40, "skipped": 20}
    assert is_exact(restore)
    again = world.restore(mode="missing_only")
    assert (again["status"], counts(again)) == ("COMPLETED", {"skipped": 60})


def test_an_item_that_appears_right_before_its_put_is_not_touched(world):
    """Nothing is read first: the condition of the put itself decides."""
    prepared(world, count=30)
    restore_id = world.ask(mode="missing_only")
    appeared: list[dict[str, Any]] = []

    def appear(name, request):
        if name == "put_item" and "id" in request["Item"] and len(appeared) < 10:
            appeared.append({**request["Item"], "mine": {"BOOL": True}})
            world.dynamodb.put_item(TableName="orders", Item=appeared[-1])

    world.hook = appear
    restore = world.settle(restore_id)
    assert counts(restore) == {"written": 20, "skipped": 10}
    keys = [each["id"] for each in appeared]
    assert world.items("orders") == sorted([*appeared, *(i for i in numbered(30) if i["id"] not in keys)], key=repr)


def test_a_worker_killed_in_missing_only_makes_the_split_approximate_and_loses_nothing(world):
    prepared(world, count=100, partitions=1)
    world.put("orders", [own(1), own(2)])
    restore_id = world.ask(mode="missing_only", max_workers=1)
    puts = 0

    def kill(name, request):
        nonlocal puts
        puts += name == "put_item" and "id" in request["Item"]
        if puts == 40:
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.run_until_quiet()
    world.hook = quiet
    world.services = world.new_process()
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED"
    assert world.items("orders") == sorted(
        [own(1), own(2), *(i for n, i in enumerate(numbered(100)) if n not in (1, 2))], key=repr
    )
    told = counts(restore)
    assert told["written"] + told["skipped"] == 100
    assert told["skipped"] > 2  # some of its own
    assert not is_exact(restore)
    assert world.receipt(restore_id)["tables"][0]["split_is_approximate"]


def test_a_worker_that_ends_in_good_order_in_the_middle_keeps_the_split_exact(world, monkeypatch):
    monkeypatch.setattr(MissingOnlyWriter, "concurrency", 1)  # many threads move the one clock too fast
    prepared(world, count=400, partitions=1)
    world.put("orders", [own(number) for number in range(10)])
    restore_id = world.ask(mode="missing_only", max_workers=1)

    def slowly(name, request):
        if name == "put_item" and "id" in request["Item"]:
            world.clock.now_ms += 150

    world.hook = slowly
    invocations = 0
    while records := world.messages():
        for record in records:
            world.work(record, timeout_ms=60_000)
            invocations += 1
    restore = world.settle(restore_id)
    assert invocations > 1
    assert (counts(restore), is_exact(restore)) == ({"written": 390, "skipped": 10}, True)


def test_a_worker_killed_in_checking_does_not_make_the_split_approximate(world):
    prepared(world, count=20, partitions=1)
    restore_id = world.ask(mode="missing_only", max_workers=1)

    def kill(name, request):
        claims = name == "transact_write_items" and "SHARD#load" in repr(request)
        ends = claims and ":stage" not in repr(request) and "CHECKED" in repr(request)
        if ends and status_of(world, restore_id) is Status.CHECKING:
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.run_until_quiet()
    world.hook = quiet
    world.services = world.new_process()
    restore = world.settle(restore_id)
    (shard,) = world.services.records.shards(restore_id, Kind.LOAD)
    assert shard.attempt >= 3
    assert (restore["status"], counts(restore), is_exact(restore)) == ("COMPLETED", {"written": 20}, True)


def test_missing_only_removes_nothing_whatever_an_increment_says(world):
    prepared(world, count=10)
    changes = [Delete(numbered(10)[1]), Update(numbered(10)[2], item(2, v={"S": "new"})), Insert(item(50))]
    world.back_up_increment("2026-11-22", {"orders": changes})
    world.put("orders", [own(1), own(2)])
    restore = world.restore(mode="missing_only", verify="full")
    assert restore["status"] == "COMPLETED", restore["failures"]
    expected = [own(1), own(2), item(50), *(i for n, i in enumerate(numbered(10)) if n not in (1, 2))]
    assert world.items("orders") == sorted(expected, key=repr)
    # The removal of item 1 and the new item 2 are skipped; their lines in the full export are not the last.
    assert counts(restore) == {"written": 9, "skipped": 2, "filtered": 2}


def test_missing_only_without_the_permission_to_put_is_a_blocker(world):
    prepared(world)

    def deny(name, request):
        if name == "put_item" and request["TableName"] == "orders":
            raise client_error("AccessDeniedException", "PutItem")

    world.hook = deny
    restore = world.restore(mode="missing_only")
    assert restore["status"] == "FAILED"
    assert "no permission for dynamodb:PutItem on orders" in restore["blockers"][0]


# --- changed_only ----------------------------------------------------------------------------------------------------


def test_changed_only_writes_only_what_differs(world):
    prepared(world, count=90)
    world.put("orders", numbered(60))
    changed = [own(number) for number in range(5)]
    world.put("orders", [*changed, {"id": {"S": "stranger"}}])
    restore_id = world.ask(mode="changed_only", max_workers=3)
    writes = Writes(world, restore_id)
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED"
    assert world.items("orders") == sorted([*numbered(90), {"id": {"S": "stranger"}}], key=repr)
    assert counts(restore) == {"written": 35, "unchanged": 55}
    expected = [i for n, i in enumerate(numbered(90)) if n < 5 or n >= 60]
    assert sorted(writes.put, key=repr) == sorted(expected, key=repr)
    assert is_exact(restore)
    again = world.ask(mode="changed_only")
    writes = Writes(world, again)
    assert counts(world.settle(again)) == {"unchanged": 90}
    assert writes.put == writes.deleted == []


def test_what_is_equal_by_value_is_unchanged_however_it_is_written(world):
    world.create_table("orders")
    there = item(
        1,
        n={"N": "1.0"},
        big={"N": "1E+3"},
        s={"SS": ["a", "b", "c"]},
        ns={"NS": ["1", "2.50"]},
        bs={"BS": [b"x", b"y"]},
        m={"M": {"one": {"L": [{"N": "7.10"}, {"NULL": True}]}, "two": {"B": b"\x00\xff"}}},
    )
    same = {
        "m": {"M": {"two": {"B": b"\x00\xff"}, "one": {"L": [{"N": "7.1"}, {"NULL": True}]}}},
        "bs": {"BS": [b"y", b"x"]},
        "ns": {"NS": ["2.5", "1"]},
        "s": {"SS": ["c", "a", "b"]},
        "big": {"N": "1000"},
        "n": {"N": "1"},
        "id": {"S": "item-00001"},
    }
    other_list = item(2, l={"L": [{"N": "1"}, {"N": "2"}]})
    other_type = item(3, v={"S": "1"})
    other_more = item(4)
    world.put(
        "orders", [there, item(2, l={"L": [{"N": "2"}, {"N": "1"}]}), item(3, v={"N": "1"}), item(4, x={"S": ""})]
    )
    world.back_up({"orders": [same, other_list, other_type, other_more]}, partitions=1)
    restore_id = world.ask(mode="changed_only")
    writes = Writes(world, restore_id)
    restore = world.settle(restore_id)
    assert counts(restore) == {"written": 3, "unchanged": 1}
    assert sorted(writes.put, key=repr) == sorted([other_list, other_type, other_more], key=repr)
    assert there in world.items("orders")


def test_changed_only_removes_what_a_chain_removed_and_only_that(world):
    full = numbered(30)
    prepared(world, count=30)
    changes = [Delete(full[1]), Delete(full[2]), Update(full[3], item(3, v={"S": "new"})), Insert(item(60))]
    world.back_up_increment("2026-11-22", {"orders": changes})
    world.put("orders", [*full[:2], *full[3:20], {"id": {"S": "stranger"}}])
    restore_id = world.ask(mode="changed_only", verify="full")
    writes = Writes(world, restore_id)
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED", restore["failures"]
    expected = [full[0], *full[4:], item(3, v={"S": "new"}), item(60), {"id": {"S": "stranger"}}]
    assert world.items("orders") == sorted(expected, key=repr)
    # Written: items 20 to 29, 3 and 60. Item 2 was not there, so that its removal changes nothing.
    assert counts(restore) == {"written": 12, "deleted": 1, "unchanged": 18, "filtered": 3}
    assert writes.deleted == [{"id": full[1]["id"]}]


def test_a_worker_killed_in_changed_only_loses_nothing_and_says_that_its_split_is_approximate(world):
    prepared(world, count=100, partitions=1)
    restore_id = world.ask(mode="changed_only", max_workers=1)
    batches = 0

    def kill(name, request):
        nonlocal batches
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            batches += 1
            if batches == 3:
                raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.run_until_quiet()
    world.hook = quiet
    world.services = world.new_process()
    restore = world.settle(restore_id)
    assert (restore["status"], is_exact(restore)) == ("COMPLETED", False)
    assert world.items("orders") == numbered(100)
    told = counts(restore)
    assert told["unchanged"] > 0  # written by the one that was killed
    assert told["written"] + told["unchanged"] == 100


def test_changed_only_without_the_permission_to_read_is_a_blocker(world):
    prepared(world)

    def deny(name, request):
        if name == "batch_get_item" and "orders" in request["RequestItems"]:
            raise client_error("AccessDeniedException", "BatchGetItem")

    world.hook = deny
    restore = world.restore(mode="changed_only")
    assert restore["status"] == "FAILED"
    assert "no permission for dynamodb:BatchGetItem on orders" in restore["blockers"][0]
    assert world.items("orders") == []


@pytest.mark.parametrize("mode", ["missing_only", "changed_only"])
def test_an_item_that_dynamodb_refuses_is_isolated_in_every_mode(world, mode):
    world.create_table("orders")
    bad = {"id": {"S": "too-large"}, "blob": {"S": "x" * 410_000}}
    world.back_up({"orders": [*numbered(30), bad]}, partitions=1)
    restore = world.restore(mode=mode)
    assert (restore["status"], restore["status_code"]) == ("PARTIAL", 207)
    assert counts(restore) == {"written": 30, "rejected": 1}
    assert world.items("orders") == numbered(30)
