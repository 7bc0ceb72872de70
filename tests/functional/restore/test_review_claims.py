"""Situations an adversarial review thought of: dead letters, pauses, late workers, a busy ledger, two ends at once."""

import contextlib

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import Conflict
from chalicelib.restore.claims import ClaimLost
from chalicelib.restore.model import PHASES, Kind, Stage, Status
from chalicelib.restore.slots import SlotMessage, slot_key
from chalicelib.restore.work import Ended
from chalicelib.restore.worker import CLAIM_MARGIN_MS
from tests.functional.restore.faults import Killed, client_error, is_to_target, prepared, quiet, status_of
from tests.functional.restore.world import LEDGER, numbered

# --- dead letters --------------------------------------------------------------------------------------------


def test_a_dead_letter_does_not_fail_a_shard_whose_last_phase_ended_well(world):
    """Its slot still names the shard it worked on in CHECKING, at the same attempt, when LOADING begins."""
    prepared(world, partitions=1)
    restore_id = world.ask(max_workers=1)
    record = world.messages()[0]

    def kill(name, request):
        if name == "query" and status_of(world, restore_id) is Status.LOADING:
            raise Killed

    world.hook = kill
    with pytest.raises(Killed):
        world.work(record)
    world.hook = quiet
    world.services = world.new_process()
    world.clock.now_ms += 300_000 + CLAIM_MARGIN_MS
    assert world.services.dead_letters.record(record) == "slot freed: True, shard failed: False"
    assert world.settle(restore_id)["status"] == "COMPLETED"


def test_a_dead_letter_does_not_fail_a_shard_that_was_given_back(world):
    prepared(world, partitions=1)
    restore_id = world.ask(max_workers=1)
    record = world.messages()[0]
    given_back = []

    def fail_then_kill(name, request):
        if name == "get_object" and request["Key"].endswith(".gz"):
            raise client_error("InternalError", "GetObject", 500)
        if name == "update_item" and request["Key"]["sk"]["S"].startswith("SHARD#load"):
            given_back.append(request)
        elif given_back and name == "query":
            raise Killed

    world.hook = fail_then_kill
    with pytest.raises(Killed):
        world.work(record)
    world.hook = quiet
    world.services = world.new_process()
    world.clock.now_ms += 600_000 + CLAIM_MARGIN_MS
    assert world.services.dead_letters.record(record) == "slot freed: True, shard failed: False"
    assert world.settle(restore_id)["status"] == "COMPLETED"


# --- pauses --------------------------------------------------------------------------------------------------


def test_a_paused_shard_does_not_hold_up_a_cancel_and_its_counts_are_kept(world):
    prepared(world, count=300, partitions=1)
    restore_id = world.ask(max_workers=1)

    def break_off(name, request):
        """The file's first five batches are written, in whatever order threads send them, and nothing after them."""
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            put = [each["PutRequest"]["Item"]["id"]["S"] for each in request["RequestItems"]["orders"]]
            if min(put) >= "item-00125":
                raise client_error("ThrottlingException", "BatchWriteItem")

    world.hook = break_off
    world.work(world.messages()[0])
    world.hook = quiet
    shard = next(world.services.records.shards(restore_id, Kind.LOAD))
    assert (shard.stage, shard.claimed_until_ms) == (Stage.CHECKED, 0)
    assert shard.checkpoint is not None
    world.services.desk.cancel(restore_id)
    world.run_until_quiet()
    restore = world.services.desk.describe(restore_id)
    assert restore["status"] == "CANCELLED"
    assert restore["tables"][0]["written"] > 0


def test_live_progress_does_not_go_back_while_a_slot_waits_for_its_next_worker(world):
    prepared(world, count=600, partitions=1)
    restore_id = world.ask(max_workers=1)

    def slowly(name, request):
        if is_to_target(name, request):
            world.clock.now_ms += 2_000

    world.hook = slowly
    world.work(world.messages()[0], timeout_ms=20_000)
    written = world.services.desk.describe(restore_id)["tables"][0]["written"]
    assert 0 < written < 600
    shard = next(world.services.records.shards(restore_id, Kind.LOAD))
    assert written == sum(file.written for file in shard.file_checkpoints())


# --- claims --------------------------------------------------------------------------------------------------


def test_nothing_is_written_under_a_claim_that_lapsed_and_went_to_another_worker(world):
    prepared(world, partitions=1)
    restore_id = world.ask(max_workers=1)
    services, records = world.services, world.services.records
    claims = services.surroundings.claims
    shard = next(records.shards(restore_id, Kind.PLAN))

    def take_and_claim(now_ms):
        wake = services.slots.get(restore_id, 0).wake
        message = SlotMessage(restore_id, 0, wake, 0)
        assert services.slots.take(message, now_ms=now_ms, busy_until_ms=now_ms + 1_000)
        task, slot = PHASES[Status.PLANNING][0], slot_key(restore_id, 0)
        times = {"now_ms": now_ms, "until_ms": now_ms + 1_000}
        current = records.shard(restore_id, shard.sk)
        return claims.claim(restore_id, Status.PLANNING, task, current, slot=slot, wake=wake, **times)

    late = take_and_claim(world.clock())
    current = take_and_claim(world.clock() + 1_000)
    answer = Ended(table_add={"written": 7})
    with pytest.raises(ClaimLost):
        claims.checkpoint(restore_id, late, "[]")
    with pytest.raises(ClaimLost):
        claims.end_shard(restore_id, late, answer)
    assert records.tables(restore_id)[0].written == 0
    claims.end_shard(restore_id, current, answer)
    claims.end_shard(restore_id, current, answer)  # its first answer was lost
    assert records.tables(restore_id)[0].written == 7


# --- limits --------------------------------------------------------------------------------------------------


def test_looking_at_a_restore_with_failed_shards_does_not_read_all_its_shards(world):
    export = prepared(world, count=60, partitions=12)
    full = {file.key for file in export.files if file.item_count}
    restore_id = world.ask(max_workers=3)

    def deny(name, request):
        if name == "get_object" and request["Key"] in full:
            raise client_error("AccessDenied", "GetObject", 403)

    world.hook = deny
    world.run_until_quiet()
    prefixes = []

    def listen(name, request):
        if name == "query":
            prefixes.append(request["ExpressionAttributeValues"][":sk"]["S"])

    world.hook = listen
    restore = world.services.desk.describe(restore_id)
    assert restore["status"] in ("FAILED", "PARTIAL")
    assert len(restore["failures"]) == restore["tables"][0]["shards_failed"] > 1
    assert not [prefix for prefix in prefixes if prefix.startswith("SHARD#")]


# --- for the ledger, the worker and the end of a restore -----------------------------------------------------


def test_a_cancel_that_meets_a_claim_in_a_transaction_is_tried_again(world):
    prepared(world)
    restore_id = world.ask()

    def conflict(name, request):
        if name == "update_item":
            world.hook = quiet
            raise client_error("TransactionConflictException", "UpdateItem")

    world.hook = conflict
    assert world.services.desk.cancel(restore_id).status is Status.CANCELLING


def test_a_transaction_cancelled_for_throughput_is_tried_again(world):
    prepared(world)
    restore_id = world.ask()

    def throttle(name, request):
        if name == "transact_write_items":
            world.hook = quiet
            error = client_error("TransactionCanceledException", "TransactWriteItems")
            reasons = [{"Code": "None"}, {"Code": "ProvisionedThroughputExceeded"}, {"Code": "None"}]
            error.response["CancellationReasons"] = reasons
            raise error

    world.hook = throttle
    world.run_until_quiet()
    assert status_of(world, restore_id) is Status.COMPLETED


def test_planning_survives_a_ledger_partition_that_throttles_whole_batches(world):
    prepared(world, count=600, partitions=60)
    restore_id = world.ask(max_workers=10)
    calls = [0]

    def throttle(name, request):
        if name == "batch_write_item" and LEDGER in request["RequestItems"]:
            calls[0] += 1
            if calls[0] % 2:
                raise client_error("ProvisionedThroughputExceededException", "BatchWriteItem")

    world.hook = throttle
    assert world.settle(restore_id)["status"] == "COMPLETED"


def test_a_worker_that_fails_leaves_its_slot_to_the_next_sweep(world):
    prepared(world)
    world.ask(max_workers=1)

    def fail(name, request):
        if name == "transact_write_items":
            world.hook = quiet
            raise client_error("ThrottlingException", "TransactWriteItems")

    world.hook = fail
    with pytest.raises(ClientError):
        world.work(world.messages()[0])
    world.tick()
    assert len(world.messages()) == 1


def test_the_receipt_tells_the_end_that_stands_when_two_end_a_restore_at_once(world):
    prepared(world)
    restore_id = world.ask(max_workers=1)

    def cancel_meanwhile(name, request):
        if name == "put_object" and request["Key"].endswith("receipt.json"):
            world.hook = quiet
            with contextlib.suppress(Conflict):  # or it has ended already
                world.services.desk.cancel(restore_id)
            world.services.restore_sweep.run()  # ends it as cancelled while this worker's receipt is on its way

    world.hook = cancel_meanwhile
    world.work(world.messages()[0])
    restore = world.settle(restore_id)
    receipt = world.receipt(restore_id)
    assert (restore["status"], restore["finished_at"]) == (receipt["status"], receipt["finished_at"])


def test_a_segment_that_is_given_up_counts_what_it_cleared(world):
    prepared(world, count=2)
    world.put("orders", numbered(1_200, start=100))
    restore_id = world.ask(clear_existing_data=True, safety_backup=False, max_workers=1)
    scans = [0]

    def kill(name, request):
        if name == "scan" and "ExclusiveStartKey" in request and request["TableName"] == "orders":
            scans[0] += 1
            raise Killed

    world.hook = kill
    for _ in range(60):
        for record in world.messages():
            try:
                world.work(record)
            except Killed:
                world.services = world.new_process()
                world.clock.now_ms += 300_000 + CLAIM_MARGIN_MS
        if not world.open_work():
            break
        world.tick()
    restore = world.services.desk.describe(restore_id)
    assert restore["status"] == "PARTIAL"
    assert restore["tables"][0]["cleared"] == 1_000
