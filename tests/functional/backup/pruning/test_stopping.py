"""A run ends after any one of its calls that change something, or another runs at the same time: the next run brings
all to the same end, and whatever can be read meanwhile is whole."""

import itertools

import pytest

from tests.functional.backup.pruning.world import Meanwhile, PruningWorld
from tests.functional.backup.world import Stopped

CHAIN = ["2026-11-09", "2026-11-10"]
KEPT = ["2026-11-05", "2026-11-20"]
_MOST_CALLS = 60


def put_all(world: PruningWorld) -> None:
    """A chain that goes; a set that was never finished; and one that stays, with what it builds on. What is there from
    before stays."""
    sets = {date: CHAIN[:number] for number, date in enumerate(CHAIN)} | {KEPT[0]: [], KEPT[1]: KEPT[:1]}
    for date in sorted(set(sets) - set(world.sets())):
        world.put_set(date, {"orders": sets[date]}, data_files=1)
    world.put_set("2026-11-07", manifest=False, data_files=0)


def assert_ended(world: PruningWorld) -> None:
    assert world.sets() == KEPT
    world.assert_gone(*CHAIN, "2026-11-07")
    assert world.marked() == []
    world.assert_whole()


def stopped_after(world: PruningWorld, calls: int) -> bool:
    stop = world.stop_after(calls)
    try:
        world.prune()
    except Stopped:
        pass
    finally:
        world.mend()
    return stop.was_reached


@pytest.mark.thorough
@pytest.mark.parametrize("versioned", [True, False])
def test_a_run_that_stops_after_any_call_is_brought_to_its_end_by_the_next(aws, versioned):
    world = PruningWorld(versioned=versioned)
    for calls in itertools.count(1):
        assert calls < _MOST_CALLS
        put_all(world)
        was_stopped = stopped_after(world, calls)
        world.assert_whole()
        world.prune()
        assert_ended(world)
        if not was_stopped:
            break
    assert calls > 15


def test_runs_that_stop_after_every_call_come_to_the_end(world):
    """Each run gets a little further than the marks, if it can do so much as that."""
    put_all(world)
    for _ in range(40):
        stopped_after(world, 8)
        world.assert_whole()
    world.prune()
    assert_ended(world)


@pytest.mark.parametrize("stage", ["MARKED", "REMOVING"])
def test_what_was_begun_goes_whatever_the_policy_says_and_what_was_only_marked_is_decided_again(world, stage):
    put_all(world)
    mark = world.take_mark(CHAIN[-1])
    if stage == "REMOVING":
        world.removals.begin(mark)
    world.settings = world.settings._replace(retention=world.settings.retention._replace(days=1000))
    removed = world.prune()["removed"]
    assert removed == ([CHAIN[-1]] if stage == "REMOVING" else [])
    assert world.marked() == []
    world.assert_whole()


@pytest.mark.thorough  # the simulated year has two runs at once as well
@pytest.mark.parametrize("versioned", [True, False])
def test_two_runs_at_the_same_time_come_to_the_end(aws, versioned):
    """The second one runs from its beginning to its end after the n-th call of the first, for each n."""
    world = PruningWorld(versioned=versioned)
    for nth in itertools.count(1):
        assert nth < _MOST_CALLS
        put_all(world)
        calls = itertools.count(1)
        has_run: list[str] = []

        def after(name, request, calls=calls, nth=nth, has_run=has_run):
            is_write = name.startswith(("put_item", "transact", "update", "delete", "batch_write"))
            if is_write and not has_run and next(calls) >= nth:
                has_run.append(name)
                world.prune()
                world.assert_whole()

        world.after = after
        result = world.prune()
        world.mend()
        assert result["failures"] == []
        world.prune()
        assert_ended(world)
        if not has_run:
            break
    assert nth > 15


def test_a_run_that_pauses_while_another_one_takes_the_marks_back_removes_nothing(world):
    """In between, somebody may have begun to restore: none of what the first run has seen is true any more."""
    put_all(world)

    def take_back_and_mark_anew():
        for date in CHAIN:
            world.lose_mark(date)
            world.take_mark(date)

    world.asleep = take_back_and_mark_anew
    assert world.prune()["removed"] == ["2026-11-07"]
    assert world.sets() == sorted([*KEPT, *CHAIN])


def test_no_old_manifest_is_uncovered_while_a_set_goes(aws):
    world = PruningWorld(versioned=True)
    put_all(world)
    gone = set()

    def after(name, request):
        if name == "delete_object":
            gone.add(request["Key"].split("/")[1])
        assert not gone & set(world.sets()), f"a manifest is there again after {name}"

    def before(name, request):
        """What is asked for at once is done in any order."""
        if name != "delete_objects":
            return
        keys = {each["Key"] for each in request["Delete"]["Objects"] if each["Key"].endswith("/manifest.json")}
        asked = {each["VersionId"] for each in request["Delete"]["Objects"]}
        for key in keys:
            stands = world.s3.list_object_versions(Bucket="tablevault-tests", Prefix=key)
            if asked & {each["VersionId"] for each in stands.get("DeleteMarkers", [])}:
                assert not stands.get("Versions")

    world.before, world.after = before, after
    world.prune()
    assert gone == {*CHAIN, "2026-11-07"}


def test_what_there_is_no_time_for_stays_whole_and_can_be_used(world):
    put_all(world)
    Meanwhile(world, "batch_write_item", lambda: world.clock.advance(3600 * 1000))
    result = world.prune()
    assert (len(result["removed"]), len(result["left"])) == (1, 2)
    assert world.marked() == []
    world.assert_whole()
    world.prune()
    assert_ended(world)


def test_a_set_that_takes_longer_than_there_is_time_is_gone_on_with(world):
    put_all(world)
    Meanwhile(world, "list_object_versions", lambda: world.clock.advance(3600 * 1000))
    result = world.prune()
    assert result["removed"] == result["failures"] == []
    assert world.marked() == [CHAIN[-1]]
    assert CHAIN[-1] not in world.sets()
    world.after = lambda name, request: None
    assert CHAIN[-1] in world.prune()["removed"]
    assert_ended(world)


def test_with_too_little_time_nothing_is_marked(world):
    put_all(world)
    world.watch()
    result = world.prune(seconds=25)
    assert sorted(result["left"]) == ["2026-11-07", *CHAIN]
    assert "put_item" not in world.calls
    assert world.slept_s == []


def test_an_export_that_ends_while_its_set_goes_leaves_nothing_behind(world):
    put_all(world)
    late = f"native-exports/{CHAIN[-1]}/orders/AWSDynamoDB/late/manifest-summary.json"
    Meanwhile(world, "delete_objects", lambda: world.s3.put_object(Bucket="tablevault-tests", Key=late, Body=b"{}"))
    world.prune()
    assert_ended(world)
