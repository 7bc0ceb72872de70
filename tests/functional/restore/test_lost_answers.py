"""Writes that took effect although their answer was lost: the client sends them again, and meets its own effect."""

import pytest

from chalicelib.errors import Conflict, Unavailable
from chalicelib.restore.model import Kind
from tests.functional.restore.faults import prepared, quiet
from tests.functional.restore.world import LEDGER, numbered


def answer_lost(world, operation, concerns, meanwhile=lambda: None):
    """The first such call takes effect, its answer is lost, something happens, and the client sends it again."""

    def hook(name, request):
        if name == operation and concerns(request):
            world.hook = quiet
            getattr(world.dynamodb, name)(**request)
            meanwhile()

    world.hook = hook


def is_job(request):
    return (request.get("Key") or request["Item"])["sk"]["S"] == "JOB"


def values(request):
    return [value.get("S") for value in request.get("ExpressionAttributeValues", {}).values()]


def test_a_restore_whose_first_row_was_written_twice_is_accepted(world):
    prepared(world)
    answer_lost(world, "put_item", is_job)
    assert world.settle(world.ask())["status"] == "COMPLETED"


def test_a_conflict_whose_job_was_taken_back_twice_is_told(world):
    prepared(world)
    holder = world.ask()
    answer_lost(world, "delete_item", is_job)
    with pytest.raises(Conflict, match="is being restored by"):
        world.ask()
    assert world.settle(holder)["status"] == "COMPLETED"
    assert world.open_work() == world.locks() == []


def test_a_restore_that_workers_took_up_before_its_request_was_answered_keeps_its_locks(world):
    prepared(world)
    seen = []

    def reconcile_and_work():
        world.tick()
        records = world.messages()
        assert records
        world.hook = look_at_locks
        for record in records:
            world.work(record)
        world.hook = quiet

    def look_at_locks(name, request):
        if name == "batch_write_item" and LEDGER not in request["RequestItems"]:
            seen.append(world.locks())

    answer_lost(
        world, "update_item", lambda request: is_job(request) and "PLANNING" in values(request), reconcile_and_work
    )
    restore_id = world.ask()
    assert seen
    assert all(locks == ["LOCK#orders"] for locks in seen)
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert world.items("orders") == numbered(60)


def lose(world, restore_id, sk):
    world.dynamodb.delete_item(TableName=LEDGER, Key={"pk": {"S": f"RESTORE#{restore_id}"}, "sk": {"S": sk}})


def test_a_restore_that_lost_a_shard_is_cancelled_and_says_why(world):
    prepared(world, partitions=4)
    restore_id = world.ask(max_workers=1)
    lose(world, restore_id, "SHARD#verify#0000#000000")
    world.run_until_quiet()
    assert world.services.desk.describe(restore_id)["status"] == "VERIFYING"
    for _ in range(8):
        world.tick()
        world.run_until_quiet()
    restore = world.services.desk.describe(restore_id)
    assert (restore["status"], restore["cancelled_in"]) == ("CANCELLED", "VERIFYING")
    assert "the ledger has 0 of the 1 shards that VERIFYING still counts" in restore["reason"]
    assert world.locks() == world.open_work() == []
    assert world.receipt(restore_id)["status"] == "CANCELLED"


def test_a_restore_that_lost_a_table_is_cancelled_and_says_why(world):
    prepared(world)
    restore_id = world.ask()
    lose(world, restore_id, "TABLE#0000")
    for _ in range(4):
        world.tick()
    job = world.services.records.job(restore_id)
    assert job.status == "CANCELLED"
    assert "0 of the restore's 1 TABLE rows" in job.reason
    assert world.locks() == world.open_work() == []


def test_a_paused_restore_is_not_taken_for_a_lost_one(world):
    prepared(world)
    restore_id = world.ask(max_workers=1)
    shard = world.services.records.shard(restore_id, "SHARD#plan#0000#000000")
    key = {"pk": {"S": f"RESTORE#{restore_id}"}, "sk": {"S": shard.sk}}
    world.dynamodb.update_item(
        TableName=LEDGER,
        Key=key,
        UpdateExpression="SET paused_until_ms = :until",
        ExpressionAttributeValues={":until": {"N": str(world.clock() + 900_000)}},
    )
    for _ in range(12):
        world.run_until_quiet()
        world.tick()
    assert world.services.desk.describe(restore_id)["status"] == "PLANNING"
    assert world.settle(restore_id)["status"] == "COMPLETED"


def test_the_ledger_keeps_no_key_of_an_item_after_clearing(world):
    prepared(world)
    world.put("orders", numbered(2_300, start=1_000))
    world.restore(clear_existing_data=True, safety_backup=False, max_workers=1)
    rows = world.dynamodb.scan(TableName=LEDGER)["Items"]
    assert any(row["sk"]["S"].startswith("SHARD#clear") for row in rows)
    assert "item-0" not in repr(rows)


def test_a_worker_does_not_end_a_shard_while_a_write_without_an_answer_may_still_take_effect(world):
    prepared(world)
    restore_id = world.ask(max_workers=1)
    waited_from: list[int] = []

    def unanswered(name, request):
        is_to_target = name == "batch_write_item" and LEDGER not in request["RequestItems"]
        if is_to_target and not waited_from and world.services.records.job(restore_id).status == "LOADING":
            waited_from.append(world.clock())
            world.services.unanswered.note()

    world.hook = unanswered
    world.work(world.messages()[0])
    assert world.clock() - waited_from[0] >= 15_000
    world.hook = quiet
    assert world.settle(restore_id)["status"] == "COMPLETED"


def test_a_worker_near_its_deadline_leaves_its_claim_to_lapse_instead(world):
    prepared(world, count=300, partitions=1)
    restore_id = world.ask(max_workers=1)

    def unanswered(name, request):
        if name == "batch_write_item" and LEDGER not in request["RequestItems"]:
            world.services.unanswered.note()

    world.hook = unanswered
    world.work(world.messages()[0], timeout_ms=12_000)
    assert world.services.records.has_live_claim(restore_id, world.clock())
    world.hook = quiet
    world.services = world.new_process()
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert world.items("orders") == numbered(300)


def test_a_request_whose_rows_may_arrive_late_is_taken_back(world):
    prepared(world)

    def unanswered(name, request):
        if name == "batch_write_item":
            world.services.unanswered.note()

    world.hook = unanswered
    with pytest.raises(Unavailable, match="nothing was started"):
        world.ask()
    world.hook = quiet
    assert world.locks() == []
    world.tick()
    assert world.open_work() == world.messages() == []
    (head,), _ = world.services.desk.list_page(10, None)
    assert (head["status"], head["status_code"]) == ("FAILED", 500)


def test_a_cancel_does_not_lose_what_a_shard_did_that_somebody_claims_at_that_moment(world):
    """Whoever claims a shard of a cancelled restore gives it back; meanwhile its counts are not settled."""
    prepared(world, count=500, partitions=1)
    restore_id = world.ask(max_workers=1)

    def slowly(name, request):
        if name == "batch_write_item" and LEDGER not in request["RequestItems"]:
            world.clock.now_ms += 2_000

    world.hook = slowly
    world.work(world.messages()[0], timeout_ms=40_000)
    world.hook = quiet
    shard = next(world.services.records.shards(restore_id, Kind.LOAD))
    assert shard.claimed_until_ms == 0
    assert shard.checkpoint is not None
    key = {"pk": {"S": f"RESTORE#{restore_id}"}, "sk": {"S": shard.sk}}

    def claimed_until(until_ms):
        world.dynamodb.update_item(
            TableName=LEDGER,
            Key=key,
            UpdateExpression="SET claimed_until_ms = :until",
            ExpressionAttributeValues={":until": {"N": str(until_ms)}},
        )

    def claim_after_the_look_for_claims(name, request):
        if name == "query" and "SHARD#clear#" in repr(request["ExpressionAttributeValues"]):
            world.hook = quiet
            claimed_until(world.clock() + 60_000)

    world.hook = claim_after_the_look_for_claims
    world.services.desk.cancel(restore_id)
    world.services.conductor.advance(restore_id, hop=0)
    assert world.services.records.job(restore_id).status == "CANCELLING"
    claimed_until(0)
    restore = world.settle(restore_id)
    assert restore["status"] == "CANCELLED"
    assert 0 < restore["tables"][0]["written"] <= len(world.items("orders"))
