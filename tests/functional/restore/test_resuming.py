"""Restores that ended and go on: cancelled ones where they were, those with failures from their checkpoints."""

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.errors import Conflict, Unavailable
from chalicelib.restore.datapath.writer import BatchWriter
from chalicelib.restore.decision import ACCEPTING_LIMIT_MS
from chalicelib.restore.model import Status
from chalicelib.restore.phases import planner
from tests.functional.restore.faults import (
    Killed,
    client_error,
    counts,
    is_to_target,
    prepared,
    quiet,
    settled_after_death,
    status_of,
)
from tests.functional.restore.world import World, numbered
from tests.thorough import thorough

STRANGER = {"id": {"S": "stranger"}}
# In the order in which a restore that asks for all of them goes through them.
EVERY_PHASE = [
    "PLANNING",
    "CHECKING",
    "SAFEGUARDING",
    "CREATING",
    "CLEARING",
    "LOADING",
    "FINISHING",
    "COMPARING",
    "VERIFYING",
]
ALL = {"clear_existing_data": True, "create_missing_tables": True, "verify": "full", "max_workers": 2}


class CancelIn:
    """Cancels a restore at the `number`th ledger transaction of a phase: a claim, or the end of a shard."""

    def __init__(self, world: World, restore_id: str, phase: str, number: int = 1) -> None:
        self._world, self._restore_id, self._phase, self._left = world, restore_id, phase, number
        world.hook = self

    def __call__(self, name: str, request: dict[str, Any]) -> None:
        if name != "transact_write_items" or status_of(self._world, self._restore_id).value != self._phase:
            return
        self._left -= 1
        if not self._left:
            self._world.hook = quiet
            self._world.services.desk.cancel(self._restore_id)


def cancel_while_loading(world: World, restore_id: str, writes: int) -> None:
    """At the start of this write to the target; every write takes a second, so that checkpoints are written."""
    left = [writes]

    def cancel(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            world.clock.now_ms += 1_000
            left[0] -= 1
            if not left[0]:
                world.services.desk.cancel(restore_id)

    world.hook = cancel


def resume(world: World, restore_id: str) -> dict[str, Any]:
    world.hook = quiet
    world.services.desk.resume(restore_id)
    return world.settle(restore_id)


def assert_whole(world: World, restore: dict[str, Any], count: int, resumes: int = 1) -> None:
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == numbered(count)
    assert counts(restore) == {"written": count}
    assert (restore["resumes"], restore["cancelled_in"], restore["failures"]) == (resumes, None, [])
    receipt = world.receipt(restore["restore_id"])
    assert (receipt["status"], receipt["tables"]) == ("COMPLETED", restore["tables"])
    assert world.locks() == world.open_work() == []


@pytest.mark.parametrize("number", [2, *thorough((1,))])
@pytest.mark.parametrize("phase", [*EVERY_PHASE[::3], *thorough([*EVERY_PHASE[1::3], *EVERY_PHASE[2::3]])])
def test_a_restore_cancelled_in_any_phase_goes_on_to_its_end(world, phase, number):
    prepared(world, count=80, partitions=2)
    world.put("orders", [STRANGER])
    restore_id = world.ask(**ALL)
    CancelIn(world, restore_id, phase, number)
    ended = world.settle(restore_id)
    assert (ended["status"], ended["cancelled_in"]) == ("CANCELLED", phase)
    assert world.locks() == world.open_work() == []
    restore = resume(world, restore_id)
    assert_whole(world, restore, 80)
    assert restore["tables"][0]["items_compared"] == 80
    assert restore["tables"][0]["cleared"] == 1
    assert restore["tables"][0]["safety_backup_arn"]


@pytest.mark.parametrize("phase", ["PLANNING", "CHECKING"])
def test_a_dry_run_that_was_cancelled_goes_on_and_says_the_same(world, phase):
    prepared(world, count=40)
    whole = world.restore(dry_run=True)
    restore_id = world.ask(dry_run=True, max_workers=2)
    CancelIn(world, restore_id, phase, 2)
    assert world.settle(restore_id)["status"] == "CANCELLED"
    other = world.ask()  # a dry run holds no lock, also when it goes on
    restore = resume(world, restore_id)
    assert (restore["status"], restore["plan_digest"]) == ("COMPLETED", whole["plan_digest"])
    assert restore["tables"][0]["estimate"] == whole["tables"][0]["estimate"]
    assert world.settle(other)["status"] == "COMPLETED"


def test_counts_are_exact_when_it_was_cancelled_and_resumed_again_and_again(world):
    prepared(world, count=1500, partitions=1)
    restore_id = world.ask(max_workers=1)
    written = 0
    for round_number in range(1, 4):
        cancel_while_loading(world, restore_id, 6)
        ended = world.settle(restore_id)
        assert ended["status"] == "CANCELLED"
        assert written < ended["tables"][0]["written"] < 1500
        written = ended["tables"][0]["written"]
        world.hook = quiet
        world.services.desk.resume(restore_id)
        assert world.services.desk.resume(restore_id).resumes == round_number  # asked for twice
    assert_whole(world, world.settle(restore_id), 1500, resumes=3)


def test_nothing_is_cleared_again_once_loading_has_begun(world):
    prepared(world, count=300, partitions=1)
    world.put("orders", [STRANGER])
    restore_id = world.ask(clear_existing_data=True, max_workers=1)
    cancel_while_loading(world, restore_id, 5)
    assert world.settle(restore_id)["cancelled_in"] == "LOADING"
    world.put("orders", [{"id": {"S": "written since"}}])
    deletes: list[Any] = []

    def watch(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) in (Status.CLEARING, Status.LOADING):
            deletes.extend(write for write in request["RequestItems"]["orders"] if "DeleteRequest" in write)

    world.hook = watch
    world.services.desk.resume(restore_id)
    restore = world.settle(restore_id)
    assert (restore["status"], deletes) == ("COMPLETED", [])
    assert world.items("orders") == [*numbered(300), {"id": {"S": "written since"}}]


def test_missing_only_goes_on_and_says_that_its_split_is_approximate_only_where_it_is(world, monkeypatch):
    monkeypatch.setattr(planner, "FILES_PER_SHARD", 1)
    prepared(world, count=200, partitions=4)
    world.put("orders", [{**numbered(200)[7], "mine": {"BOOL": True}}])
    restore_id = world.ask(mode="missing_only", max_workers=1)
    CancelIn(world, restore_id, "LOADING", 3)  # the second claim: no shard is half written
    assert world.settle(restore_id)["status"] == "CANCELLED"
    restore = resume(world, restore_id)
    assert restore["status"] == "COMPLETED"
    assert counts(restore) == {"written": 199, "skipped": 1}
    assert restore["tables"][0]["split_is_approximate"] is False


# --- who may go on ---------------------------------------------------------------------------------------------------


def cancelled(world: World, count: int = 60) -> str:
    prepared(world, count=count)
    restore_id: str = world.ask()
    CancelIn(world, restore_id, "LOADING")
    assert world.settle(restore_id)["status"] == "CANCELLED"
    return restore_id


def test_a_target_that_another_restore_holds_refuses_it_and_leaves_all_as_it_was(world):
    restore_id = cancelled(world)
    before = world.services.desk.describe(restore_id)
    other = world.ask()
    with pytest.raises(Conflict, match=other) as raised:
        world.services.desk.resume(restore_id)
    assert raised.value.code == "target_locked"
    assert status_of(world, restore_id) is Status.CANCELLED
    world.tick()  # closes it again
    assert world.services.desk.describe(restore_id) == before
    assert world.locks() == ["LOCK#orders"]
    assert world.settle(other)["status"] == "COMPLETED"
    world.tick(5)
    assert world.services.desk.describe(restore_id) == before
    assert_whole(world, resume(world, restore_id), 60)


def test_only_a_cancelled_restore_is_resumed_and_only_one_that_failed_is_retried(world):
    desk = world.services.desk
    prepared(world, count=10)
    completed = world.restore()["restore_id"]
    world.dynamodb.delete_table(TableName="orders")
    failed = world.restore()["restore_id"]
    world.create_table("orders")
    running = world.ask()
    for restore_id, call, words in (
        (completed, desk.resume, "nothing left to do"),
        (completed, desk.retry_failed, "nothing failed"),
        (failed, desk.resume, "retry-failed"),
        (failed, desk.retry_failed, "before anything was written"),
        (running, desk.resume, "only a cancelled one"),
        (running, desk.retry_failed, "once it has ended"),
    ):
        with pytest.raises(Conflict, match=words):
            call(restore_id)
    assert world.settle(running)["status"] == "COMPLETED"
    again = world.ask()
    world.services.desk.cancel(again)
    assert world.settle(again)["status"] == "CANCELLED"
    with pytest.raises(Conflict, match="/resume"):
        desk.retry_failed(again)


def test_refused_items_are_no_reason_to_retry(world):
    world.create_table("orders")
    world.back_up({"orders": [*numbered(5), {"id": {"S": "large"}, "b": {"S": "x" * 410_000}}]}, partitions=1)
    restore = world.restore()
    assert restore["status"] == "PARTIAL"
    with pytest.raises(Conflict, match="are refused again"):
        world.services.desk.retry_failed(restore["restore_id"])
    assert world.services.desk.describe(restore["restore_id"]) == restore


# --- retry-failed ----------------------------------------------------------------------------------------------------


def denied(key: str) -> Callable[[str, dict[str, Any]], None]:
    def hook(name, request):
        if name == "get_object" and request["Key"] == key:
            raise client_error("AccessDenied", "GetObject", 403)

    return hook


def test_what_failed_is_tried_again_and_only_that(world):
    export = prepared(world, count=400, partitions=8)
    key = next(file.key for file in export.files if file.item_count)
    lost = next(file.item_count for file in export.files if file.key == key)
    restore_id = world.ask(max_workers=2, verify="full")
    world.hook = denied(key)
    ended = world.settle(restore_id)
    assert (ended["status"], counts_of(ended)["written"]) == ("PARTIAL", 400 - lost)
    retried = []

    def watch(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            retried.extend(request["RequestItems"]["orders"])

    world.hook = watch
    world.services.desk.retry_failed(restore_id)
    restore = world.settle(restore_id)
    assert_whole(world, restore, 400)
    assert len(retried) == lost
    assert restore["tables"][0]["items_compared"] == 400


def counts_of(restore: dict[str, Any]) -> dict[str, int]:
    """Of a restore that does not balance."""
    (table,) = restore["tables"]
    return {name: table[name] for name in ("written", "rejected", "deleted")}


def test_a_retry_that_fails_too_is_partial_again_with_the_same_counts(world):
    export = prepared(world, count=200, partitions=4)
    key = next(file.key for file in export.files if file.item_count)
    restore_id = world.ask()
    world.hook = denied(key)
    first = world.settle(restore_id)
    world.services.desk.retry_failed(restore_id)
    second = world.settle(restore_id)
    assert (second["status"], counts_of(second), second["failures"]) == ("PARTIAL", counts_of(first), first["failures"])
    world.hook = quiet
    world.services.desk.retry_failed(restore_id)
    assert_whole(world, world.settle(restore_id), 200, resumes=2)


def lose_target(world: World, restore_id: str, writes: int) -> None:
    """At this write of LOADING the target is deleted."""
    left = [writes]

    def vanish(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            left[0] -= 1
            if not left[0]:
                world.hook = quiet
                world.dynamodb.delete_table(TableName="orders")

    world.hook = vanish


def test_a_table_made_anew_in_place_of_a_half_restored_one_is_never_taken_for_a_whole_one(world):
    """What was written into the one that is gone is not written again."""
    prepared(world, count=100, partitions=4)
    restore_id = world.ask(max_workers=1)
    lose_target(world, restore_id, 4)
    assert world.settle(restore_id)["status"] == "PARTIAL"
    world.create_table("orders")
    world.services.desk.retry_failed(restore_id)
    restore = world.settle(restore_id)
    assert (restore["status"], restore["status_code"]) == ("PARTIAL", 207)
    assert "orders was deleted and made anew while it was restored" in " ".join(restore["failures"])
    assert 0 < len(world.items("orders")) < 100
    assert world.restore()["status"] == "COMPLETED"
    assert world.items("orders") == numbered(100)


def test_a_table_made_anew_with_the_same_keys_in_the_middle_is_never_taken_for_a_whole_one(world, monkeypatch):
    monkeypatch.setattr(BatchWriter, "concurrency", 1)  # no other thread writes while there is no table
    prepared(world, count=100, partitions=4)
    restore_id = world.ask(max_workers=1)

    def replace(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING and world.items("orders"):
            world.hook = quiet
            world.dynamodb.delete_table(TableName="orders")
            world.create_table("orders")

    world.hook = replace
    restore = world.settle(restore_id)
    assert (restore["status"], restore["tables"][0]["written"]) == ("PARTIAL", 100)
    assert len(world.items("orders")) < 100


def test_a_target_that_is_gone_in_the_end_was_not_restored(world):
    prepared(world, count=20)
    restore_id = world.ask()

    def vanish(name, request):
        if name == "transact_write_items" and status_of(world, restore_id) is Status.VERIFYING:
            world.hook = quiet
            world.dynamodb.delete_table(TableName="orders")

    world.hook = vanish
    restore = world.settle(restore_id)
    assert restore["status"] == "PARTIAL"
    assert "orders was deleted while it was restored" in restore["failures"][0]


def test_a_segment_that_could_not_be_cleared_is_never_cleared_later(world):
    prepared(world, count=30)
    world.put("orders", [STRANGER])
    restore_id = world.ask(clear_existing_data=True)

    def deny(name, request):
        if name == "scan" and request["TableName"] == "orders" and "Limit" in request and request["Limit"] > 1:
            raise client_error("AccessDeniedException", "Scan")

    world.hook = deny
    restore = world.settle(restore_id)
    assert restore["status"] == "PARTIAL"
    assert STRANGER in world.items("orders")
    world.hook = quiet
    with pytest.raises(Conflict, match="never done once loading has begun"):
        world.services.desk.retry_failed(restore_id)
    assert STRANGER in world.items("orders")


# --- cut off ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["resume", "retry_failed"])
def test_a_request_to_go_on_cut_off_at_any_call_falls_back_or_goes_on(world, call):
    restore_id = cancelled(world) if call == "resume" else partial(world)
    before = world.services.desk.describe(restore_id)
    outcomes = set()
    for number in range(1, 40):
        made = [0]

        def kill(name, request, made=made, number=number):
            made[0] += 1
            if made[0] == number:
                world.hook = quiet
                raise Killed

        world.hook = kill
        try:
            getattr(world.services.desk, call)(restore_id)
        except Killed:
            world.services = world.new_process()
        else:
            world.hook = quiet
            break
        standing = status_of(world, restore_id)
        outcomes.add(standing.value)
        if standing is Status.REOPENING:  # it was written down completely: only the wake is lacking
            break
        world.clock.now_ms += ACCEPTING_LIMIT_MS
        world.tick()
        world.tick()
        assert status_of(world, restore_id).value == before["status"]
        assert world.locks() == world.open_work() == []
        shown = world.services.desk.describe(restore_id)
        assert {**shown, "finished_at": None} == {**before, "finished_at": None}
    assert outcomes == {before["status"], "RESUMING", "REOPENING"}
    assert_whole(world, world.settle(restore_id), 60)


def partial(world: World) -> str:
    export = prepared(world, count=60)
    restore_id: str = world.ask()
    world.hook = denied(next(file.key for file in export.files if file.item_count))
    assert world.settle(restore_id)["status"] == "PARTIAL"
    world.hook = quiet
    return restore_id


def test_a_request_to_go_on_that_took_too_long_does_nothing(world):
    restore_id = cancelled(world)

    def slow(name, request):
        if name == "transact_write_items" and "SHARD#reopen" in repr(request):
            world.hook = quiet
            world.clock.now_ms += ACCEPTING_LIMIT_MS + 1
            world.tick()

    world.hook = slow
    with pytest.raises(Unavailable, match="was given up"):
        world.services.desk.resume(restore_id)
    world.tick()
    assert status_of(world, restore_id) is Status.CANCELLED
    assert world.locks() == world.open_work() == []
    assert_whole(world, resume(world, restore_id), 60)


def test_one_that_is_cancelled_while_it_is_reopened_can_go_on_again(world):
    restore_id = cancelled(world)
    world.services.desk.resume(restore_id)
    world.services.desk.cancel(restore_id)
    ended = world.settle(restore_id)
    assert (ended["status"], ended["cancelled_in"]) == ("CANCELLED", "LOADING")
    assert_whole(world, resume(world, restore_id), 60, resumes=2)


@pytest.mark.parametrize("number", [7, 19, *thorough({*range(1, 40, 3)} - {7, 19})])
def test_a_worker_killed_while_it_reopens_or_after_that_loses_nothing(world, number):
    prepared(world, count=200, partitions=4)
    restore_id = world.ask(max_workers=2, verify="full")
    cancel_while_loading(world, restore_id, 5)
    assert world.settle(restore_id)["status"] == "CANCELLED"
    world.hook = quiet
    world.services.desk.resume(restore_id)
    made = [0]

    def kill(name, request):
        made[0] += 1
        if made[0] == number:
            world.hook = quiet
            raise Killed

    restore = settled_after_death(world, kill, restore_id)
    assert_whole(world, restore, 200)
