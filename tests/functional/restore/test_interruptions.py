"""Restores that are cut off, repeated, delayed and cancelled. Each test ends with: is the data right, are the counts
right, is nothing left open."""

import msgspec
import pytest
from botocore.exceptions import ClientError

from chalicelib.restore.datapath.writer import BatchWriter
from chalicelib.restore.model import Status
from chalicelib.restore.slots import HOP_LIMIT
from chalicelib.restore.worker import CLAIM_MARGIN_MS, FRUITLESS_LIMIT
from tests.functional.restore.world import BUCKET, LEDGER, numbered
from tests.thorough import thorough


class Killed(BaseException):
    """Not an Exception: nothing in the code under test may catch it, as nothing catches a killed process."""


def prepared(world, count: int = 60, **backup):
    world.create_table("orders")
    world.put("orders", [{"id": {"S": "stranger"}}])
    world.back_up({"orders": numbered(count)}, **backup)


def assert_whole(world, restore, count: int = 60, cleared: bool = False):
    strangers = [] if cleared else [{"id": {"S": "stranger"}}]
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == sorted([*numbered(count), *strangers], key=repr)
    table = restore["tables"][0]
    assert table["written"] == table["item_count"] == count
    assert world.locks() == world.open_work() == []


def kill_at(world, call_number: int):
    """Ends the process at an AWS call, before its effect. A restarted process lives on."""
    calls = 0

    def hook(name, request):
        nonlocal calls
        calls += 1
        if calls == call_number:
            world.hook = lambda name, request: None
            raise Killed

    world.hook = hook
    return lambda: calls


def settle_after_kills(world, restore_id):
    for _ in range(60):
        for record in world.messages():
            try:
                world.work(record)
            except Killed:
                world.services = world.new_process()
                # Lambda's timeout passes, and with it every claim the dead worker held.
                world.clock.now_ms += 300_000 + CLAIM_MARGIN_MS
        restore = world.services.desk.describe(restore_id)
        if restore["status"] in ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED") and not world.open_work():
            return restore
        world.tick()
    raise AssertionError(f"does not converge: {restore}")


@pytest.mark.parametrize("call_number", [1, 21, 37, 53, *thorough({*range(1, 80, 4)} - {1, 21, 37, 53})])
def test_a_worker_killed_at_any_call_loses_nothing_and_counts_nothing_twice(world, call_number):
    prepared(world)
    restore_id = world.ask(clear_existing_data=True, max_workers=2)
    kill_at(world, call_number)
    assert_whole(world, settle_after_kills(world, restore_id), cleared=True)


def test_the_kills_above_reach_to_the_end_of_the_restore(world):
    prepared(world)
    restore_id = world.ask(clear_existing_data=True, max_workers=2)
    calls = kill_at(world, 10_000)
    world.run_until_quiet()
    assert world.services.desk.describe(restore_id)["status"] == "COMPLETED"
    assert 60 < calls() < 160


@pytest.mark.parametrize("call_number", [2, 5, *thorough((3, 4, 6, 7, 8))])
def test_an_api_call_killed_while_accepting_leaves_nothing_locked(world, call_number):
    prepared(world)
    kill_at(world, call_number)
    try:
        restore_id = world.ask()
    except Killed:
        world.services = world.new_process()
        for _ in range(4):
            world.tick()
            world.run_until_quiet()
        assert world.locks() == world.open_work() == []
        restore_id = world.ask()
    assert_whole(world, world.settle(restore_id))


def test_messages_delivered_twice_and_late_change_nothing(world):
    prepared(world)
    restore_id = world.ask(max_workers=3)
    seen = []
    for _ in range(50):
        records = world.messages()
        if not records:
            break
        for record in records:
            seen.append(record)
            world.work(record)
            world.work(record)
    for record in reversed(seen):
        world.work(record)
    assert_whole(world, world.settle(restore_id))


def test_a_second_worker_for_a_held_slot_ends_without_effect(world):
    prepared(world)
    restore_id = world.ask(max_workers=1)
    record = world.messages()[0]
    outcomes = []

    def deliver_again(name, request):
        if name == "batch_write_item":
            world.hook = lambda name, request: None
            outcomes.append(world.work(record))

    world.hook = deliver_again
    world.work(record)
    assert outcomes == ["stale"]
    assert_whole(world, world.settle(restore_id))


def test_lost_messages_are_sent_again_by_reconcile(world):
    prepared(world)
    restore_id = world.ask(max_workers=2)
    assert world.messages()
    world.tick()
    assert world.messages() == []  # woken less than a minute ago by the clock of the ledger: give it time
    world.tick()
    assert_whole(world, world.settle(restore_id))


def test_a_worker_near_its_deadline_passes_on_and_the_next_one_continues(world):
    prepared(world, count=600, partitions=1)
    restore_id = world.ask(max_workers=1)

    def slowly(name, request):
        if name == "batch_write_item" and "orders" in request["RequestItems"]:
            world.clock.now_ms += 2_000

    world.hook = slowly
    invocations = 0
    for _ in range(30):
        records = world.messages()
        if not records:
            break
        for record in records:
            world.work(record, timeout_ms=20_000)
            invocations += 1
    assert invocations > 2
    world.hook = lambda name, request: None
    assert_whole(world, world.settle(restore_id), count=600)


def test_a_chain_of_messages_ends_at_its_hop_limit_and_reconcile_begins_another(world, monkeypatch):
    monkeypatch.setattr(BatchWriter, "concurrency", 1)  # else a message writes as many batches as threads happen to run
    prepared(world, count=1_500, partitions=1)
    restore_id = world.ask(max_workers=1)

    def slowly(name, request):
        if name == "batch_write_item" and "orders" in request["RequestItems"]:
            world.clock.now_ms += 4_000

    world.hook = slowly
    hops = []
    while records := world.messages():
        for record in records:
            hops.append(msgspec.json.decode(record["body"])["hop"])
            world.work(record, timeout_ms=20_000)
    assert max(hops) == HOP_LIMIT
    assert world.services.desk.describe(restore_id)["status"] == "LOADING"
    world.hook = lambda name, request: None
    world.tick()
    assert msgspec.json.decode(world.messages()[0]["body"])["hop"] == 0
    assert_whole(world, world.settle(restore_id), count=1_500)


def test_a_dead_workers_shard_is_not_taken_over_before_its_claim_lapses(world):
    prepared(world, partitions=1)
    restore_id = world.ask(max_workers=1)

    def kill(name, request):
        is_target = name == "batch_write_item" and "orders" in request["RequestItems"]
        if is_target and world.services.records.job(restore_id).status is Status.LOADING:
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.work(world.messages()[0], timeout_ms=300_000)
    world.hook = lambda name, request: None
    world.services = world.new_process()
    world.tick(4)
    assert world.messages() == []
    assert world.services.records.has_live_claim(restore_id, world.clock())
    world.tick(1.3)
    assert len(world.messages()) == 1
    world.tick(1.3)
    assert_whole(world, world.settle(restore_id))


def test_a_shard_that_kills_every_worker_is_given_up_and_the_rest_is_restored(world):
    prepared(world, count=200, partitions=4)
    poison = next(
        item["Key"]
        for item in world.s3.list_objects_v2(Bucket=BUCKET, Prefix="native-exports/")["Contents"]
        if item["Key"].endswith(".json.gz")
    )
    restore_id = world.ask(max_workers=4)
    kills = 0

    def kill(name, request):
        nonlocal kills
        if name == "get_object" and request["Key"] == poison:
            kills += 1
            raise Killed

    world.hook = kill
    restore = settle_after_kills(world, restore_id)
    assert kills == FRUITLESS_LIMIT
    assert restore["status"] == "PARTIAL"
    assert "given up" in restore["failures"][0]
    table = restore["tables"][0]
    assert 0 < table["written"] < 200
    assert len(world.items("orders")) == table["written"] + 1


def test_a_throttled_ledger_only_delays(world):
    prepared(world)
    restore_id = world.ask()
    count = 0

    def throttle(name, request):
        nonlocal count
        if name == "query" and request["TableName"] == LEDGER:
            count += 1
            if count % 3 == 0:
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "Query")

    world.hook = throttle
    for _ in range(20):
        for record in world.messages():
            try:
                world.work(record)
            except ClientError:
                continue  # Lambda would deliver the message again; reconcile wakes the slot too
        if not world.open_work():
            break
        try:
            world.tick(6)
        except ClientError:
            continue
    world.hook = lambda name, request: None
    assert_whole(world, world.settle(restore_id))


def test_a_target_that_vanishes_in_the_middle_ends_failed_with_its_reason(world):
    prepared(world)
    restore_id = world.ask()

    def vanish(name, request):
        is_target = name == "batch_write_item" and "orders" in request["RequestItems"]
        if is_target and world.services.records.job(restore_id).status is Status.LOADING:
            world.hook = lambda name, request: None
            world.dynamodb.delete_table(TableName="orders")

    world.hook = vanish
    restore = world.settle(restore_id)
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    assert any("orders" in failure for failure in restore["failures"])
    assert world.locks() == []


@pytest.mark.parametrize("phase", ["PLANNING", "CHECKING", "SAFEGUARDING", "CLEARING", "LOADING", "VERIFYING"])
def test_a_restore_can_be_cancelled_in_every_phase(world, phase):
    prepared(world, count=100, partitions=2)
    restore_id = world.ask(clear_existing_data=True, max_workers=2)

    def cancel(name, request):
        job = world.services.records.job(restore_id) if name in ("transact_write_items",) else None
        if job is not None and job.status.value == phase:
            world.hook = lambda name, request: None
            world.services.desk.cancel(restore_id)

    world.hook = cancel
    restore = world.settle(restore_id)
    assert restore["status"] == "CANCELLED"
    assert restore["cancelled_in"] == phase
    assert world.locks() == world.open_work() == []
    assert world.receipt(restore_id)["status"] == "CANCELLED"
    if phase in ("PLANNING", "CHECKING"):
        assert world.items("orders") == [{"id": {"S": "stranger"}}]


def test_a_cancelled_restore_counts_what_was_written(world):
    prepared(world, count=500, partitions=1)
    restore_id = world.ask(max_workers=1)
    writes = 0

    def cancel_in_the_middle(name, request):
        nonlocal writes
        if name == "batch_write_item" and "orders" in request["RequestItems"]:
            writes += 1
            world.clock.now_ms += 1_000
            if writes == 8:
                world.services.desk.cancel(restore_id)

    world.hook = cancel_in_the_middle
    restore = world.settle(restore_id)
    assert restore["status"] == "CANCELLED"
    assert 0 < restore["tables"][0]["written"] < 500
    assert len(world.items("orders")) >= restore["tables"][0]["written"]
    assert world.receipt(restore_id)["tables"] == restore["tables"]


def test_cancelling_waits_for_the_claim_of_a_dead_worker(world):
    prepared(world, partitions=1)
    restore_id = world.ask(max_workers=1)

    def kill(name, request):
        if name == "get_object" and request["Key"].endswith(".gz"):
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.work(world.messages()[0])
    world.hook = lambda name, request: None
    world.services = world.new_process()
    world.services.desk.cancel(restore_id)
    world.tick(4)
    world.run_until_quiet()
    assert world.services.desk.describe(restore_id)["status"] == "CANCELLING"
    assert world.locks() == ["LOCK#orders"]
    world.tick(1.3)
    assert world.services.desk.describe(restore_id)["status"] == "CANCELLED"
    assert world.locks() == []


def test_a_dead_letter_frees_the_slot_and_fails_the_shard_its_workers_died_on(world):
    prepared(world, partitions=1)
    restore_id = world.ask(max_workers=1)
    record = world.messages()[0]

    def kill(name, request):
        if name == "get_object" and request["Key"].endswith(".gz"):
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.work(record)
    world.hook = lambda name, request: None
    world.services = world.new_process()
    assert world.services.dead_letters.record(record) == "slot freed: False, shard failed: False"
    world.clock.now_ms += 300_000 + CLAIM_MARGIN_MS
    assert world.services.dead_letters.record(record) == "slot freed: True, shard failed: True"
    assert world.services.dead_letters.record(record) == "slot freed: True, shard failed: False"
    restore = world.settle(restore_id)
    assert restore["status"] == "FAILED"
    assert "died again and again" in restore["failures"][0]
