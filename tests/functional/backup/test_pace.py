"""Sets of very many tables: no more calls in a second than AWS allows, one run at a time, and the rest later."""

from collections import Counter

import pytest

from tests.fake_exports import refusal
from tests.functional.backup.world import World


def names(count: int) -> tuple[str, ...]:
    return tuple(f"table-{number:03}" for number in range(count))


def test_what_the_pace_leaves_no_time_for_is_left_to_reconcile_and_is_no_trouble(aws):
    world = World(names(150))
    answer = world.service.start_by_hand(None)
    # Fifteen seconds, eight calls in each; the clock stands still here.
    assert len(world.dynamodb.exports) == 120
    backup_date = str(answer["backup_date"])
    left = [world.export_row(name, backup_date) for name in names(150)]
    assert all("failure_code" not in row for row in left)
    assert Counter(row.get("status") for row in left)["IN_PROGRESS"] == 120
    # Of what is left, only the tables that the ten threads had begun with were asked about.
    assert Counter(row.get("status") for row in left)[None] >= 20
    world.reconcile_a_minute_later()
    assert len(world.dynamodb.exports) == 150


def test_a_set_that_a_run_is_starting_is_left_to_it(aws):
    world = World(("orders",))
    seen: list[list[str]] = []

    def before(name, request):
        if name == "export_table_to_point_in_time" and not seen:
            calls: list[str] = []
            seen.append(calls)
            other = world.new_process()
            world.before = lambda name, request: calls.append(name)
            other.reconcile()
            world.mend()

    world.before = before
    world.service.start_scheduled()
    assert "query" in seen[0]
    assert not {"describe_table", "export_table_to_point_in_time"} & set(seen[0])
    assert len(world.dynamodb.exports) == 1


def test_a_run_that_has_ended_leaves_nothing_in_the_way_of_the_next_one(world):
    throttled = refusal("ThrottlingException", "DescribeTimeToLive")
    world.refuse("describe_time_to_live", throttled, when=lambda request: True)
    world.service.start_scheduled()
    assert world.statuses() == {"orders": "PENDING", "catalog": "PENDING"}
    world.mend()
    world.service.reconcile()
    assert set(world.statuses().values()) == {"IN_PROGRESS"}
    assert "starting_until_ms" not in world.set_row()


@pytest.mark.thorough
def test_a_throttled_run_goes_on_at_half_the_pace(aws):
    """Of the tables that fit into fifteen seconds, half fit once one was throttled."""
    world = World(names(100))
    throttled = refusal("ThrottlingException", "ListTagsOfResource")
    world.refuse("list_tags_of_resource", throttled, when=lambda request: "table-000" in str(request))
    answer = world.service.start_by_hand(None)
    assert 50 <= len(world.dynamodb.exports) <= 70
    backup_date = str(answer["backup_date"])
    assert world.export_row("table-000", backup_date)["failure_code"] == "ThrottlingException"
    world.mend()
    world.reconcile_a_minute_later()
    assert len(world.dynamodb.exports) == 100


def test_a_set_with_nothing_to_start_asks_for_no_lease_and_not_about_the_bucket(world):
    world.service.start_scheduled()
    world.watch()
    world.service.reconcile()
    assert "head_bucket" not in world.calls
    assert world.calls.count("update_item") == 2  # that the two exports were looked at


@pytest.mark.thorough
def test_very_many_running_exports_are_looked_at_in_turns(aws):
    world = World(names(100))
    world.service.start_scheduled()
    asked: list[str] = []

    def before(name, request):
        if name == "describe_export":
            asked.append(request["ExportArn"])

    world.before = before
    world.reconcile_a_minute_later()
    assert len(set(asked)) == len(asked) == 80
    world.reconcile_a_minute_later()
    assert len(asked) == 160
    assert len(set(asked)) == 100


def test_an_event_reads_the_whole_set_only_where_it_may_be_the_last(aws):
    """A thousand events would otherwise read a thousand rows each."""
    world = World(names(12))
    world.service.start_scheduled()
    keys = sorted(world.dynamodb.complete_all())  # threads start them in any order; by name, the last one ends last
    world.watch()
    for key in keys[:-1]:
        assert world.send(key) == "recorded"
    assert world.calls.count("query") <= 3
    world.send(keys[-1])
    assert world.manifest().successful_exports == 12
    assert not world.is_open()


def test_a_set_is_finished_by_whichever_event_is_last_and_whoever_remembers_what(aws):
    """In turns by two processes, of which each remembers an export as running that the other one has recorded since."""
    world = World(names(6))
    world.service.start_scheduled()
    keys = world.dynamodb.complete_all()
    processes = [world.new_process(), world.new_process()]
    for number, key in enumerate(reversed(keys)):
        world.service = processes[number % 2]
        world.send(key)
    assert world.manifest().status == "COMPLETE"
    assert not world.is_open()
