"""`keys`: only some items of a table, found in its data files."""

from typing import Any

import pytest

from chalicelib.errors import ExportInvalid, InvalidRequest
from chalicelib.restore.model import Status
from sandbox.exports.incremental import Delete, Insert, Update
from tests.functional.restore.faults import Killed, counts, is_to_target, prepared, quiet, status_of
from tests.functional.restore.world import BUCKET, DATE, LEDGER, PREFIX, numbered


def key(number: int) -> dict[str, dict[str, str]]:
    return {"id": {"S": f"item-{number:05d}"}}


def faults_of(world, **body: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as raised:
        world.ask(**body)
    assert world.locks() == world.open_work() == []
    return {fault.path: fault.message for fault in raised.value.faults}


def test_one_key_brings_back_one_item_and_touches_no_other(world):
    prepared(world, count=200)
    world.put("orders", [{**key(5), "mine": {"BOOL": True}}, {**key(6), "mine": {"BOOL": True}}])
    restore = world.restore(keys=[key(5)], verify="full")
    assert restore["status"] == "COMPLETED", restore["failures"]
    assert world.items("orders") == [numbered(6)[5], {**key(6), "mine": {"BOOL": True}}]
    assert counts(restore) == {"written": 1, "filtered": 199}
    (table,) = restore["tables"]
    assert (table["keys_not_in_backup"], table["data_files_balanced"], restore["key_count"]) == ([], 4, 1)


def test_keys_that_the_backup_does_not_have_are_told_by_position(world):
    prepared(world, count=50)
    asked = [{"id": {"S": "nobody"}}, key(3), {"id": {"S": "item-0000"}}, key(49), {"id": {"S": "ITEM-00003"}}]
    restore = world.restore(keys=asked)
    assert restore["status"] == "COMPLETED"
    assert restore["tables"][0]["keys_not_in_backup"] == [0, 2, 4]
    assert world.receipt(restore["restore_id"])["tables"][0]["keys_not_in_backup"] == [0, 2, 4]
    assert world.items("orders") == [numbered(50)[3], numbered(50)[49]]


def test_a_thousand_keys_are_found_and_more_are_refused(world):
    prepared(world, count=1_100)
    restore = world.restore(keys=[key(number) for number in range(1_000)])
    assert counts(restore) == {"written": 1_000, "filtered": 100}
    assert world.items("orders") == numbered(1_000)
    assert "at most 1000 keys" in faults_of(world, keys=[key(number) for number in range(1_001)])["$.keys"]
    assert set(faults_of(world, keys=[])) == {"$.keys"}


KINDS: dict[str, Any] = {
    "number": ((("n", "N", "HASH"),), {"n": {"N": "12"}}, {"n": {"N": "1.20e1"}}),
    "binary": ((("b", "B", "HASH"),), {"b": {"B": b"\x00\xffkey"}}, {"b": {"B": "AP9rZXk="}}),
    "composite": (
        (("id", "S", "HASH"), ("n", "N", "RANGE")),
        {"id": {"S": 'sl"ash\\ü'}, "n": {"N": "-0.50"}},
        {"n": {"N": "-0.5"}, "id": {"S": 'sl"ash\\ü'}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_every_kind_are_found_by_value(world, kind):
    keys, item, asked = KINDS[kind]
    wanted = {**item, "said": {"S": "wanted"}}
    names = [name for name, _, _ in keys]
    other_items: dict[str, list[dict[str, Any]]] = {
        "number": [{"n": {"N": str(number)}} for number in (1, 2, 112, 120)],
        "binary": [{"b": {"B": bytes([number])}} for number in range(4)],
        # The same values, but in other attributes, or inside of others.
        "composite": [
            {"id": {"S": 'sl"ash\\ü'}, "n": {"N": "7"}, "other": {"M": {"id": {"S": 'sl"ash\\ü'}, "n": {"N": "-0.5"}}}},
            {"id": {"S": "x"}, "n": {"N": "-0.5"}, "z": {"S": 'sl"ash\\ü'}},
        ],
    }
    others = other_items[kind]
    world.create_table("orders", keys)
    world.back_up({"orders": [*others, wanted]}, keys=keys, partitions=2)
    restore = world.restore(keys=[asked], verify="full")
    assert (restore["status"], restore["tables"][0]["keys_not_in_backup"]) == ("COMPLETED", [])
    assert [{name: each[name] for name in names} for each in world.items("orders")] == [
        {name: wanted[name] for name in names}
    ]
    assert counts(restore) == {"written": 1, "filtered": len(others)}


def test_keys_that_are_none_of_the_table_are_refused_each_with_its_path(world):
    prepared(world)
    found = faults_of(
        world,
        keys=[
            key(1),
            {"id": {"N": "1"}},
            {"other": {"S": "x"}},
            {"id": {"S": ""}},
            {"id": {"S": "x"}, "more": {"S": "y"}},
            {"id": {"S": "x" * 2_049}},
        ],
    )
    assert {path.split("]")[0] for path in found} == {f"$.keys[{number}" for number in range(1, 6)}
    assert not any("x" * 50 in text for text in found.values())


@pytest.mark.parametrize(
    "bad",
    [{}, "a", 1, None, {"id": "a"}, {"id": {}}, {"id": {"S": "a", "N": "1"}}, {"id": {"BOOL": True}}, {"id": {"S": 1}}],
)
def test_what_is_no_key_at_all_is_refused_before_any_table_is_looked_at(world, bad):
    prepared(world)
    assert any(path.startswith("$.keys[1]") for path in faults_of(world, keys=[key(1), bad]))


def test_the_same_key_twice_is_refused_also_where_it_is_written_otherwise(world):
    keys = (("n", "N", "HASH"),)
    world.create_table("orders", keys)
    world.back_up({"orders": [{"n": {"N": "1"}}]}, keys=keys)
    assert any(path.startswith("$.keys[1]") for path in faults_of(world, keys=[{"n": {"N": "1"}}, {"n": {"N": "1.0"}}]))


def test_keys_over_two_tables_are_refused_and_of_one_of_them_restored(world):
    for name in ("orders", "users"):
        world.create_table(name)
    world.back_up({"orders": numbered(5), "users": numbered(5)})
    assert "name it in tables" in faults_of(world, keys=[key(1)])["$.keys"]
    restore = world.restore(keys=[key(1)], tables=["users"])
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": 1, "filtered": 4})
    assert (world.items("orders"), len(world.items("users"))) == ([], 1)


def test_keys_with_clearing_are_refused(world):
    prepared(world)
    assert "all other items would be lost" in faults_of(world, keys=[key(1)], clear_existing_data=True)["$.keys"]


def test_a_definition_that_cannot_be_read_refuses_the_keys(world):
    prepared(world)
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/orders/table.json", Body=b"{}")
    with pytest.raises(ExportInvalid, match=r"table\.json"):
        world.ask(keys=[key(1)])
    assert world.locks() == world.open_work() == []


def test_of_a_chain_a_key_has_its_last_image_and_a_removed_one_is_not_in_the_backup(world):
    full = numbered(40)
    prepared(world, count=40)
    new = {**full[1], "v": {"S": "new"}}
    newer = {**full[1], "v": {"S": "newer"}}
    world.back_up_increment(
        "2026-11-22", {"orders": [Update(full[1], new), Delete(full[2]), Delete(full[3]), Insert({**key(77)})]}
    )
    world.back_up_increment(
        "2026-11-23", {"orders": [Update(new, newer), Insert(full[3] | {"v": {"S": "again"}})]}, base="2026-11-22"
    )
    world.put("orders", [full[2], full[4]])
    asked = [key(1), key(2), key(3), key(5), key(77), key(500)]
    restore = world.restore(backup_date="2026-11-23", keys=asked, verify="full", max_workers=3)
    assert restore["status"] == "COMPLETED", restore["failures"]
    expected = [newer, full[3] | {"v": {"S": "again"}}, full[5], key(77), full[4]]
    assert world.items("orders") == sorted(expected, key=repr)
    assert restore["tables"][0]["keys_not_in_backup"] == [1, 5]
    # 40 lines and 6 records: all but five are not asked for, or not the last word on their key.
    assert counts(restore) == {"written": 4, "deleted": 1, "filtered": 41}


@pytest.mark.parametrize("mode", ["missing_only", "changed_only"])
def test_keys_go_with_every_mode(world, mode):
    full = numbered(20)
    prepared(world, count=20)
    world.back_up_increment("2026-11-22", {"orders": [Delete(full[2])]})
    mine = {**key(1), "mine": {"BOOL": True}}
    world.put("orders", [mine, full[2], full[3]])
    restore = world.restore(keys=[key(1), key(2), key(3), key(4)], mode=mode)
    if mode == "missing_only":
        assert world.items("orders") == sorted([mine, *full[2:5]], key=repr)
        assert counts(restore) == {"written": 1, "skipped": 3, "filtered": 17}
    else:
        assert world.items("orders") == [full[1], full[3], full[4]]
        assert counts(restore) == {"written": 2, "deleted": 1, "unchanged": 1, "filtered": 17}


def test_a_dry_run_of_keys_surveys_only_them_and_says_which_are_missing(world):
    prepared(world, count=100)
    restore = world.restore(keys=[key(1), key(500), key(2)], dry_run=True)
    assert restore["status"] == "COMPLETED"
    (table,) = restore["tables"]
    assert (table["estimate"]["items"], table["estimate"]["write_units"]) == (2, 2)
    assert table["keys_not_in_backup"] == [1]
    assert world.items("orders") == []


def test_which_keys_were_found_survives_a_worker_that_is_killed(world):
    prepared(world, count=300, partitions=1)
    restore_id = world.ask(keys=[key(1), key(299), {"id": {"S": "nobody"}}], max_workers=1)

    def kill(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            world.hook = quiet
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.run_until_quiet()
    world.services = world.new_process()
    restore = world.settle(restore_id)
    assert (restore["status"], restore["tables"][0]["keys_not_in_backup"]) == ("COMPLETED", [2])
    assert counts(restore) == {"written": 2, "filtered": 298}


def test_the_asked_keys_stand_in_the_bucket_and_nowhere_in_the_ledger(world):
    prepared(world, count=10)
    restore = world.restore(keys=[{"id": {"S": "SECRET-KEY"}}, key(1)])
    rows = repr(world.dynamodb.scan(TableName=LEDGER)["Items"])
    for text in (rows, repr(restore), repr(world.receipt(restore["restore_id"]))):
        assert "SECRET-KEY" not in text
        assert "item-00001" not in text


def test_asked_keys_that_were_changed_in_the_bucket_meanwhile_are_not_used(world):
    prepared(world, count=10)
    restore_id = world.ask(keys=[key(1)])
    names = [
        each["Key"] for each in world.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"restores/{restore_id}/")["Contents"]
    ]
    assert len(names) == 1
    world.s3.put_object(Bucket=BUCKET, Key=names[0], Body=b'[{"id":{"S":"item-00002"}}]')
    restore = world.settle(restore_id)
    assert restore["status"] == "FAILED"
    assert "no longer holds the keys that were asked for" in " ".join(restore["failures"])
    assert world.items("orders") == []
