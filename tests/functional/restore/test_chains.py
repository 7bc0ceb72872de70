"""Sets of increments, restored from end to end: what a chain comes to, in every mode, whatever it is planned into."""

from typing import Any

import pytest

from chalicelib.restore.phases import planner, planning
from sandbox.exports.incremental import Change, Delete, Insert, Update
from tests.functional.restore.world import World, numbered

LAST = "2026-11-23"
ONE, TWO = {"said": {"S": "one"}}, {"said": {"S": "two"}}


def item(number: int, **attributes: Any) -> dict[str, Any]:
    return {"id": {"S": f"item-{number:05d}"}, "n": {"N": str(number)}, **attributes}


def back_up_chain(world: World) -> list[dict[str, Any]]:
    """A full export and two increments; the items there are at their end. An item is changed twice, one is removed and
    comes back, and one comes and is removed."""
    world.create_table("orders")
    world.back_up({"orders": numbered(20)}, partitions=2)
    first: list[Change] = [Update(item(1), item(1, **ONE)), Delete(item(2)), Delete(item(3)), Insert(item(100, **ONE))]
    world.back_up_increment("2026-11-22", {"orders": first}, partitions=2)
    second: list[Change] = [Update(item(1, **ONE), item(1, **TWO)), Insert(item(3, **TWO)), Delete(item(100))]
    world.back_up_increment(LAST, {"orders": second}, base="2026-11-22", view="NEW_IMAGE", partitions=2)
    return sorted([*(item(n) for n in range(20) if n not in (1, 2, 3)), item(1, **TWO), item(3, **TWO)], key=repr)


def counts(described: dict[str, Any]) -> dict[str, int]:
    (table,) = described["tables"]
    names = ("item_count", "written", "unchanged", "skipped", "deleted", "rejected", "filtered", "data_files_balanced")
    return {name: table[name] for name in names if table[name]}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("overwrite", {"written": 24, "deleted": 3}),
        ("changed_only", {"written": 19, "unchanged": 2, "filtered": 6}),
        ("missing_only", {"written": 19, "skipped": 2, "filtered": 6}),
    ],
)
def test_a_chain_comes_to_what_the_table_was_at_its_end(world, mode, expected):
    wanted = back_up_chain(world)
    described = world.restore(mode=mode)
    assert (described["status"], described["failures"]) == ("COMPLETED", [])
    assert world.items("orders") == wanted
    assert counts(described) == {"item_count": 27, "data_files_balanced": 6, **expected}


def test_what_a_chain_removed_is_removed_from_the_target_too(world):
    wanted = back_up_chain(world)
    world.put("orders", [item(2, **ONE), item(3, **ONE), item(100), item(500)])
    described = world.restore(mode="changed_only")
    assert described["status"] == "COMPLETED"
    assert world.items("orders") == sorted([*wanted, item(500)], key=repr)
    assert counts(described)["deleted"] == 2


def test_turns_and_slices_change_neither_the_items_nor_the_counts(world, monkeypatch):
    monkeypatch.setattr(planner, "SLICE_BYTES", 100)
    monkeypatch.setattr(planning, "turns_needed", lambda records: 2)
    wanted = back_up_chain(world)
    described = world.restore(mode="changed_only")
    assert (described["status"], described["failures"]) == ("COMPLETED", [])
    assert world.items("orders") == wanted
    assert described["tables"][0]["shards"] > 12
    expected = {"item_count": 27, "data_files_balanced": 6, "written": 19, "unchanged": 2, "filtered": 6}
    assert counts(described) == expected


def test_the_set_in_the_middle_of_a_chain_is_restored_by_itself(world):
    back_up_chain(world)
    described = world.restore(backup_date="2026-11-22")
    assert described["status"] == "COMPLETED"
    kept = [item(number) for number in range(20) if number not in (1, 2, 3)]
    assert world.items("orders") == sorted([*kept, item(1, **ONE), item(100, **ONE)], key=repr)


def test_the_newest_set_may_be_one_of_increments(world):
    back_up_chain(world)
    assert world.restore(tables=["orders"], dry_run=True)["backup_date"] == LAST
