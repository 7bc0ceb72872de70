"""Restores and the retention of backup sets: no restore begins to read a set that is being removed, and no set is
removed that a restore reads, whichever of the two comes first."""

from threading import Lock
from typing import Any

import pytest

from chalicelib.backup.pruning.pruner import SetPruner
from chalicelib.backup.pruning.removals import Removals
from chalicelib.errors import Conflict
from chalicelib.ledger import Update
from chalicelib.restore.model import Status
from chalicelib.restore.records import job_key
from chalicelib.settings import Retention
from tests.functional.restore.faults import prepared, quiet, status_of
from tests.functional.restore.test_chains import back_up_chain
from tests.functional.restore.test_resuming import CancelIn
from tests.functional.restore.world import DATE, World, numbered

MIDDLE, LAST = "2026-11-22", "2026-11-23"
HOUR_MS = 3600 * 1000


def removals(world: World) -> Removals:
    return Removals(world.services.ledger, world.clock)


def pruner(world: World, pause: Any = lambda seconds: None) -> SetPruner:
    """Everything goes but the newest set."""
    settings = world.services.settings._replace(retention=Retention(days=1, minimum=1))
    services, records = world.services, world.services.records
    world.clock.now_ms += 400 * 24 * HOUR_MS
    s3 = services.surroundings.s3
    return SetPruner(settings, services.ledger, s3, world.clock, pause, lambda: set(records.not_ended().values()))


def refused(change: Any) -> None:
    with pytest.raises(Conflict) as raised:
        change()
    assert raised.value.code == "backup_being_removed"


@pytest.mark.parametrize("marked", [DATE, MIDDLE, LAST])
def test_a_restore_of_a_set_that_is_being_removed_or_builds_on_one_is_refused_and_leaves_nothing(world, marked):
    expected = back_up_chain(world)
    mark = removals(world).mark(marked, "a test wants it")
    refused(lambda: world.ask(backup_date=LAST))
    assert world.locks() == []
    assert world.services.records.not_ended() == {}
    removals(world).take_away(mark)
    world.restore(backup_date=LAST, clear_existing_data=True)
    assert world.items("orders") == expected


@pytest.mark.thorough
def test_a_mark_on_another_set_is_no_reason_to_refuse(world):
    back_up_chain(world)
    world.back_up({"orders": numbered(3)}, date="2026-11-01")
    removals(world).mark("2026-11-01", "a test wants it")
    removals(world).mark(LAST, "a test wants it")
    assert world.restore(backup_date=MIDDLE)["status"] == "COMPLETED"


def test_a_mark_that_comes_right_after_the_restore_is_written_down_is_seen(world):
    prepared(world)

    def hook(name, request):
        if name == "put_item" and "JOB" in repr(request):
            world.hook = quiet
            removals(world).mark(DATE, "a test wants it")

    world.hook = hook
    refused(world.ask)
    assert world.locks() == []
    assert world.services.records.not_ended() == {}


def cancelled(world: World) -> str:
    prepared(world)
    restore_id = world.ask(max_workers=1)
    CancelIn(world, restore_id, "LOADING")
    assert world.settle(restore_id)["status"] == "CANCELLED"
    return restore_id


@pytest.mark.thorough
def test_a_cancelled_restore_is_not_resumed_while_its_set_is_being_removed(world):
    restore_id = cancelled(world)
    mark = removals(world).mark(DATE, "a test wants it")
    refused(lambda: world.services.desk.resume(restore_id))
    assert status_of(world, restore_id) is Status.CANCELLED
    world.tick()
    assert (world.locks(), world.services.records.not_ended()) == ([], {})
    removals(world).take_away(mark)
    world.services.desk.resume(restore_id)
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert world.items("orders") == numbered(60)


def test_a_restore_is_not_resumed_while_a_set_that_its_set_builds_on_is_being_removed(world):
    back_up_chain(world)
    restore_id = world.ask(backup_date=LAST, max_workers=1)
    CancelIn(world, restore_id, "LOADING")
    assert world.settle(restore_id)["status"] == "CANCELLED"
    removals(world).mark(DATE, "a test wants it")
    refused(lambda: world.services.desk.resume(restore_id))


@pytest.mark.thorough
def test_what_failed_is_not_tried_again_while_its_set_is_being_removed(world):
    written = prepared(world)
    restore_id = world.ask()
    body: dict[str, bytes] = {}

    def damage(name, request):
        if name == "get_object" and status_of(world, restore_id) is Status.LOADING and not body:
            key = written.files[0].key
            body[key] = world.s3.get_object(Bucket="tablevault-tests", Key=key)["Body"].read()
            world.s3.put_object(Bucket="tablevault-tests", Key=key, Body=b"another")

    world.hook = damage
    assert world.settle(restore_id)["status"] in ("PARTIAL", "FAILED")
    world.hook = quiet
    mark = removals(world).mark(DATE, "a test wants it")
    refused(lambda: world.services.desk.retry_failed(restore_id))
    assert status_of(world, restore_id) in (Status.PARTIAL, Status.FAILED)
    removals(world).take_away(mark)
    world.tick()  # its locks are given back once more
    assert world.services.desk.retry_failed(restore_id).status is Status.REOPENING


@pytest.mark.thorough
def test_restores_that_have_not_ended_are_known_with_their_sets(world):
    records = world.services.records
    prepared(world)
    world.back_up({"orders": numbered(3)}, date=MIDDLE)
    first = world.ask(backup_date=DATE, dry_run=True)
    second = world.ask(backup_date=MIDDLE, dry_run=True)
    assert records.not_ended() == {first: DATE, second: MIDDLE}
    records.ledger.write(Update(job_key(first), set={"status": "?"}))  # it still reads
    assert records.not_ended() == {first: DATE, second: MIDDLE}
    records.ledger.write(Update(job_key(first), set={"status": "PLANNING"}))
    world.settle(first)
    world.settle(second)
    assert records.not_ended() == {}


def test_a_restore_that_began_before_its_set_was_marked_comes_to_its_end(world):
    expected = back_up_chain(world)
    world.back_up({"orders": numbered(3)}, date="2026-12-24")
    restore_id = world.ask(backup_date=LAST, clear_existing_data=True)
    assert pruner(world).run(world.clock() + HOUR_MS)["removed"] == []
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert world.items("orders") == expected
    assert pruner(world).run(world.clock() + HOUR_MS)["removed"] == [LAST, MIDDLE, DATE]


def test_a_restore_that_comes_between_the_plan_and_the_mark_is_seen_after_it(world):
    back_up_chain(world)
    world.back_up({"orders": numbered(3)}, date="2026-12-24")
    asked: list[str] = []
    lock = Lock()

    def hook(name, request):
        if name == "put_item" and "REMOVAL" in repr(request):
            with lock:  # none of the marks is made before
                if not asked:
                    asked.append(world.ask(backup_date=MIDDLE, clear_existing_data=True))

    world.hook = hook
    assert pruner(world).run(world.clock() + HOUR_MS)["removed"] == [LAST]
    assert removals(world).all() == []
    assert world.settle(asked[0])["status"] == "COMPLETED"


@pytest.mark.thorough
def test_a_restore_during_the_pause_is_refused_and_one_after_it_finds_no_set(world):
    back_up_chain(world)
    world.back_up({"orders": numbered(3)}, date="2026-12-24")

    def pause(seconds: float) -> None:
        for date in (DATE, MIDDLE, LAST):
            refused(lambda date=date: world.ask(backup_date=date))

    assert pruner(world, pause).run(world.clock() + HOUR_MS)["removed"] == [LAST, MIDDLE, DATE]
    assert world.restore(clear_existing_data=True)["status"] == "COMPLETED"
    assert world.items("orders") == numbered(3)
