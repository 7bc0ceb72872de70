"""Whole runs of retention over a bucket: what goes is gone in every version, and what stays is untouched."""

import logging

import pytest

from chalicelib.backup.retention.found import SetPolicy
from tests.functional.backup.pruning.world import PruningWorld
from tests.functional.backup.world import BUCKET, PREFIX

OLD, OLDER, YOUNG, NEWEST = "2026-11-10", "2026-11-09T120000Z", "2026-11-19", "2026-11-20"


def put_all(world: PruningWorld) -> None:
    for date in (OLDER, OLD, YOUNG, NEWEST):
        world.put_set(date)


def test_old_sets_go_with_all_versions_and_rows_and_the_others_stay_as_they_are(world):
    put_all(world)
    before = {date: (world.versions(date), world.rows(date)) for date in (YOUNG, NEWEST)}
    result = world.prune()
    assert result == {"kept": [YOUNG, NEWEST], "removed": [OLD, OLDER], "left": [], "failures": []}
    world.assert_gone(OLD, OLDER)
    assert {date: (world.versions(date), world.rows(date)) for date in (YOUNG, NEWEST)} == before
    assert world.marked() == []


def test_there_is_one_pause_for_all_and_none_where_nothing_goes(world):
    put_all(world)
    world.prune()
    assert world.slept_s == [10]
    assert world.prune() == {"kept": [YOUNG, NEWEST], "removed": [], "left": [], "failures": []}
    assert world.slept_s == [10]


def test_what_an_increment_that_stays_builds_on_stays(world):
    world.put_set(OLDER)
    world.put_set(OLD)
    world.put_set("2026-11-11", {"orders": [OLD]})
    world.put_set(NEWEST, {"orders": [OLD, "2026-11-11"]})
    assert world.prune()["removed"] == [OLDER]
    world.assert_whole()


def test_sets_go_before_those_they_build_on(world):
    chain = ["2026-11-10", "2026-11-11", "2026-11-12"]
    for number, date in enumerate(chain):
        world.put_set(date, {"orders": chain[:number]})
    world.put_set(NEWEST)
    hidden = []

    def before(name, request):
        if name == "delete_object":
            hidden.append(request["Key"].split("/")[1])
            world.assert_whole()

    world.before = before
    assert world.prune()["removed"] == hidden == [*reversed(chain)]


def test_all_that_stands_beside_sets_stays(world):
    put_all(world)
    others = ["2026-11-10/manifest.json", f"{PREFIX}/notes/a.txt", f"{PREFIX}/2026-11-100/x", f"{PREFIX}-old/{OLD}/x"]
    others += [f"{PREFIX}/2026-11-1", "restores/r-1/receipt.json", f"other/{PREFIX}/{OLD}/manifest.json"]
    for key in others:
        world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"not ours")
    world.prune()
    assert set(others) <= set(world.all_keys())


def test_a_folder_of_others_that_is_named_as_a_set_is_left_alone(world):
    put_all(world)
    keys = [f"{PREFIX}/2020-01-01/orders/AWSDynamoDB/01577836800000-0123abcd/data/a.json.gz"]
    keys += [f"{PREFIX}/2020-01-02/readme.txt", f"{PREFIX}/2020-01-03/orders/table.json.bak"]
    for key in keys:
        world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"not ours")
    assert world.prune()["removed"] == [OLD, OLDER]
    assert set(keys) <= set(world.all_keys())
    assert world.pruner().plan()["not_ours"] == ["2020-01-01", "2020-01-02", "2020-01-03"]


def test_a_set_without_a_manifest_goes_if_something_says_that_it_is_ours(world):
    put_all(world)
    world.put_set("2026-10-01", manifest=False, rows=False)  # its table.json
    world.put_set("2026-10-02", {}, manifest=False, rows=True)  # the ledger alone
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/2026-10-03/orders/AWSDynamoDB/x", Body=b"")
    world.put_rows("2026-10-03", {"orders": ()})
    assert world.prune()["removed"] == [OLD, OLDER, "2026-10-03", "2026-10-02", "2026-10-01"]
    world.assert_gone("2026-10-01", "2026-10-02", "2026-10-03")


def test_sets_whose_rows_are_lost_go_all_the_same(world):
    put_all(world)
    for date in (OLDER, OLD, YOUNG, NEWEST):
        world.lose_rows(date)
    assert world.prune() == {"kept": [YOUNG, NEWEST], "removed": [OLD, OLDER], "left": [], "failures": []}
    world.assert_gone(OLD, OLDER)


def test_a_set_of_another_bucket_or_prefix_stays_known(world):
    put_all(world)
    world.put_rows("2026-09-01", {"orders": ()}, prefix="another")
    assert "2026-09-01" not in [each["backup_date"] for each in world.pruner().plan()["sets"]]
    world.put_rows(OLD, {"orders": ()}, prefix="another")
    assert world.prune()["removed"] == [OLD, OLDER]
    assert (world.rows("2026-09-01"), world.rows(OLD)) == (["EXPORT#orders", "SET"], ["EXPORT#orders", "SET"])
    assert world.versions(OLD) == []


def test_an_open_set_stays_with_all_that_its_exports_build_on(world):
    put_all(world)
    world.put_set("2026-11-11", {"orders": [OLD]}, manifest=False, is_open=True)
    assert world.prune()["removed"] == [OLDER]
    world.assert_whole()


def test_an_open_set_with_a_row_that_cannot_be_read_keeps_all_before_it(world):
    put_all(world)
    world.put_set("2026-11-11", {"orders": [OLD]}, manifest=False, is_open=True)
    world.dynamodb.update_item(
        TableName=world.settings.ledger_table,
        Key={"pk": {"S": "BACKUP#2026-11-11"}, "sk": {"S": "EXPORT#orders"}},
        UpdateExpression="SET part = :text",
        ExpressionAttributeValues={":text": {"S": "?"}},
    )
    assert world.prune()["removed"] == []


def test_a_set_that_was_opened_again_stays_although_it_has_a_manifest(world):
    put_all(world)
    world.put_rows(OLD, {"orders": (), "users": (OLDER,)}, is_open=True)
    assert world.prune()["removed"] == []
    assert [each["status"] for each in world.pruner().plan()["sets"] if each["backup_date"] == OLD] == ["OPEN"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 99}', b"[]"], ids=str)
def test_a_manifest_that_cannot_be_read_keeps_its_set_and_all_before_it(world, caplog, content):
    put_all(world)
    world.put_set("2026-11-12")
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{OLD}/manifest.json", Body=content)
    world.lose_rows(OLD)
    with caplog.at_level(logging.WARNING, "tablevault"):
        assert world.prune()["removed"] == ["2026-11-12"]
    assert {record.backup_date for record in caplog.records if "cannot be read" in record.message} == {OLD}
    world.put_rows(OLD, {"orders": ()})  # now it is known that it builds on nothing
    assert world.prune()["removed"] == [OLDER]
    world.put_rows(OLD, {"orders": (OLDER,)})
    assert OLD in world.sets()


def test_what_the_ledger_knows_of_an_unreadable_set_stays_with_it(world):
    put_all(world)
    world.put_set("2026-11-08")
    world.put_set(OLD, {"orders": [OLDER]})
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{OLD}/manifest.json", Body=b"?")
    assert world.prune()["removed"] == ["2026-11-08"]


def test_a_shielded_set_and_one_that_is_read_stay(world):
    put_all(world)
    world.shields.keep(OLDER, "ann")
    world.reads = [OLD]
    assert world.prune()["removed"] == []
    world.reads = []
    world.shields.release(OLDER)
    assert world.prune()["removed"] == [OLD, OLDER]
    world.assert_gone(OLD, OLDER)


def test_with_retention_off_nothing_goes_but_what_is_going_already(world):
    put_all(world)
    world.take_mark(OLD)
    world.removals.begin(world.take_mark(OLDER))
    world.settings = world.settings._replace(retention=world.settings.retention._replace(days=None))
    assert world.prune() == {"kept": [], "removed": [OLDER], "left": [], "failures": []}
    world.assert_gone(OLDER)
    assert world.sets() == [OLD, YOUNG, NEWEST]
    assert world.marked() == []


def test_a_set_that_was_marked_in_a_run_before_and_now_stays_is_as_before(world):
    put_all(world)
    world.take_mark(YOUNG)
    world.take_mark("2026-01-01")  # of which there is nothing
    world.prune()
    assert world.sets() == [YOUNG, NEWEST]
    assert world.marked() == []


def test_many_objects_go(plain):
    world = plain
    put_all(world)
    world.put_set("2026-11-01", data_files=1010)
    sizes = []
    world.before = lambda name, request: (
        sizes.append(len(request["Delete"]["Objects"])) if name == "delete_objects" else None
    )
    assert "2026-11-01" in world.prune()["removed"]
    world.assert_gone("2026-11-01")
    assert max(sizes) == 1000


def test_months_of_sets_cost_two_calls_each_and_no_more(plain):
    for month in range(1, 5):
        for day in range(1, 29):
            plain.put_set(f"2026-{month:02d}-{day:02d}", data_files=0)
    plain.settings = plain.settings._replace(retention=plain.settings.retention._replace(days=1000))
    plain.watch()
    assert len(plain.prune()["kept"]) == 112
    of_s3 = [name for name in plain.calls if name in ("list_objects_v2", "get_object", "get_paginator")]
    assert len(of_s3) <= 2 * 112 + 2
    assert len(plain.calls) - len(of_s3) < 20


# --- clocks ---------------------------------------------------------------------------------------------------------


def test_with_a_clock_that_is_far_behind_nothing_goes(world):
    put_all(world)
    world.clock.advance(-365 * 24 * 3600 * 1000)
    assert world.prune()["removed"] == []


def test_with_a_clock_that_is_far_ahead_the_newest_stays(world):
    put_all(world)
    world.clock.advance(3650 * 24 * 3600 * 1000)
    assert world.prune()["kept"] == [NEWEST]


# --- plans ----------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_a_run_does_and_does_nothing(world):
    put_all(world)
    keys = world.all_keys()
    world.watch()
    plan = world.pruner().plan()
    assert not [name for name in world.calls if name.startswith(("put", "delete", "update", "transact", "batch_write"))]
    assert plan["removals"] == [OLD, OLDER]
    assert {each["backup_date"]: each["is_kept"] for each in plan["sets"]} == {
        NEWEST: True,
        YOUNG: True,
        OLD: False,
        OLDER: False,
    }
    assert plan["sets"][-1]["reasons"][0]["code"] == "EXPIRED"
    assert plan["policy"]["days"] == 3
    assert world.all_keys() == keys
    assert world.prune()["removed"] == plan["removals"]


def test_a_plan_may_be_asked_for_by_another_policy(world):
    put_all(world)
    plan = world.pruner().plan(SetPolicy(days=1, minimum=1))
    assert plan["removals"] == [YOUNG, OLD, OLDER]
    assert plan["policy"]["days"] == 1
    assert world.prune()["removed"] == [OLD, OLDER]


def test_a_plan_says_what_is_being_removed(world):
    put_all(world)
    world.removals.begin(world.take_mark(OLD))
    plan = world.pruner().plan()
    assert plan["being_removed"] == [OLD]
    assert plan["removals"] == [OLDER]


def test_a_policy_comes_from_the_settings(aws):
    world = PruningWorld(RETENTION_DAILY="2", RETENTION_WEEKLY="3", BACKUP_TIMEZONE="Europe/Berlin")
    policy = world.pruner().plan()["policy"]
    assert (policy["daily"], policy["weekly"], policy["minimum"]) == (2, 3, 1)
    assert policy["timezone"] == "Europe/Berlin"
