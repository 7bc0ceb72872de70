"""Situations an adversarial review thought of: answers lost on their way, work done twice, what nobody moves on, and
what must be known before anything is cleared."""

import gzip

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import Conflict, InvalidRequest
from chalicelib.restore.model import PHASES, Kind, Shard, Status
from chalicelib.restore.phases import planner
from chalicelib.restore.records import shard_sk
from tests.functional.restore.faults import client_error, is_to_target, prepared, quiet, status_of
from tests.functional.restore.world import BUCKET, LEDGER, LambdaContext, numbered

# --- answers lost on their way -------------------------------------------------------------------------------


def test_a_lost_answer_to_the_move_that_accepts_leaves_the_restore_locked(world):
    prepared(world)

    def lose_answer(name, request):
        values = request.get("ExpressionAttributeValues", {}).values()
        if name == "update_item" and {"S": "PLANNING"} in values:
            world.hook = quiet
            world.dynamodb.update_item(**request)  # took effect; botocore sends it a second time

    world.hook = lose_answer
    restore_id = world.ask()
    assert world.locks() == ["LOCK#orders"]
    assert world.settle(restore_id)["status"] == "COMPLETED"


def test_a_lost_answer_to_a_cancel_still_cancels(world):
    prepared(world)
    restore_id = world.ask()

    def lose_answer(name, request):
        if name == "update_item" and {"S": "CANCELLING"} in request["ExpressionAttributeValues"].values():
            world.hook = quiet
            world.dynamodb.update_item(**request)

    world.hook = lose_answer
    assert world.services.desk.cancel(restore_id).status is Status.CANCELLING
    assert world.settle(restore_id)["status"] == "CANCELLED"


# --- planning twice ------------------------------------------------------------------------------------------


def test_planning_that_is_repeated_with_fewer_segments_leaves_none_of_the_first_ones(world):
    """A stray clear shard would be counted among the others: loading would begin while one of them still deletes."""
    prepared(world)
    world.put("orders", numbered(100, start=60))
    restore_id = world.ask(clear_existing_data=True, max_workers=4)
    job = world.services.records.job(restore_id)
    strays = [
        Shard(sk=shard_sk(kind, 0, number), kind=kind, source="orders", number=number, segments=8)
        for kind in (Kind.CLEAR, Kind.LOAD)
        for number in range(8)
    ]
    world.services.records.put_shards(job, strays)  # a first planner, killed before it could end its shard
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED"
    table = world.services.records.tables(restore_id)[0]
    for status in set(PHASES) - {Status.COMPARING}:
        assert table.phase(status).ended == table.phase(status).total
    assert len(list(world.services.records.shards(restore_id, Kind.CLEAR))) == table.clearing_total
    assert len(list(world.services.records.shards(restore_id, Kind.LOAD))) == table.loading_total


# --- before anything is cleared ------------------------------------------------------------------------------


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_data_files_that_were_moved_to_an_archive_are_found_before_anything_is_cleared(world, storage_class):
    export = prepared(world)
    world.put("orders", numbered(3))
    for file in export.files:
        body = world.s3.get_object(Bucket=BUCKET, Key=file.key)["Body"].read()
        world.s3.put_object(Bucket=BUCKET, Key=file.key, Body=body, StorageClass=storage_class)
    restore = world.restore(clear_existing_data=True)
    assert restore["status"] == "FAILED"
    assert f"{len(export.files)} data files are archived ({storage_class})" in "".join(restore["blockers"])
    assert world.items("orders") == numbered(3)


def test_the_ledger_is_never_a_target(world):
    prepared(world)
    with pytest.raises(InvalidRequest, match="ledger"):
        world.ask(backup_date="2026-11-21", target_tables={"orders": LEDGER}, clear_existing_data=True)


def test_a_set_without_tables_is_refused_instead_of_completed(world):
    world.back_up({})
    with pytest.raises(Conflict, match="no tables"):
        world.ask(backup_date="2026-11-21")


def test_a_set_of_more_tables_than_one_restore_takes_is_refused_at_once(world, monkeypatch):
    monkeypatch.setattr("chalicelib.restore.acceptance.MAX_TABLES", 2)
    world.back_up({name: numbered(1) for name in ("aaa", "bbb", "ccc")})
    with pytest.raises(InvalidRequest, match="has 3 tables, one restore takes at most 2"):
        world.ask(backup_date="2026-11-21")


# --- damage, refusals and failures ---------------------------------------------------------------------------


def test_a_damaged_data_file_does_not_sink_the_others_of_its_shard(world):
    export = prepared(world, count=400, partitions=8)
    key = next(file.key for file in export.files if file.item_count > 2)
    damaged_items = next(file.item_count for file in export.files if file.key == key)
    world.services = world.new_process()
    restore_id = world.ask(max_workers=1)

    def replace(name, request):
        if name == "get_object" and request["Key"] == key:
            world.hook = quiet
            world.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(b"another\n"))

    world.hook = replace
    restore = world.settle(restore_id)
    assert restore["status"] == "PARTIAL"
    assert "changed since it was checked" in restore["failures"][0]
    assert restore["tables"][0]["written"] == len(world.items("orders")) == 400 - damaged_items


def test_what_was_written_counts_also_when_refused_lines_cannot_be_kept(world):
    world.create_table("orders")
    too_large = {"id": {"S": "zz-large"}, "blob": {"S": "x" * 410_000}}
    world.back_up({"orders": [*numbered(300), too_large]}, partitions=1)
    restore_id = world.ask(max_workers=1)

    def hook(name, request):
        if is_to_target(name, request):
            world.clock.now_ms += 1_500  # so that checkpoints are written on the way
        if name == "put_object" and "/rejected/" in request["Key"]:
            raise client_error("AccessDenied", "PutObject", 403)

    world.hook = hook
    restore = world.settle(restore_id)
    assert restore["status"] == "PARTIAL"
    assert any("AccessDenied" in failure for failure in restore["failures"])
    assert restore["tables"][0]["written"] > 0


def test_an_outage_of_minutes_gives_no_shard_up(world):
    prepared(world, count=200, partitions=4)
    restore_id = world.ask(max_workers=2)
    outage_ends_ms = world.clock() + 4 * 60_000

    def away(name, request):
        is_data = name == "get_object" and request["Key"].endswith(".gz")
        if is_data and world.clock() < outage_ends_ms:
            world.clock.now_ms += 300
            raise client_error("SlowDown", "GetObject", 503)

    world.hook = away
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED", restore["failures"]


def test_a_table_that_clears_slower_than_a_page_for_each_worker_is_not_given_up(world):
    prepared(world, count=5)
    world.put("orders", numbered(400, start=100))
    restore_id = world.ask(clear_existing_data=True, safety_backup=False, max_workers=1)
    left = [0]

    def crawl(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.CLEARING:
            left[0] += 1
            if left[0] > 2:  # two batches for each invocation, then only throttling
                raise client_error("ThrottlingException", "BatchWriteItem")

    world.hook = crawl
    for _ in range(80):
        for record in world.messages():
            left[0] = 0
            world.work(record, timeout_ms=20_000)
        if not world.open_work():
            break
        world.tick()
    restore = world.services.desk.describe(restore_id)
    assert restore["status"] == "COMPLETED", restore
    assert restore["tables"][0]["cleared"] == 300


def test_a_backup_that_is_already_being_made_only_delays_the_safety_backup(world):
    prepared(world)
    busy = [3]

    def in_use(name, request):
        if name == "create_backup" and busy[0]:
            busy[0] -= 1
            raise client_error("BackupInUseException", "CreateBackup")

    world.hook = in_use
    assert world.restore(clear_existing_data=True)["status"] == "COMPLETED"
    assert busy == [0]


# --- what nobody moves on ------------------------------------------------------------------------------------


def test_a_restore_that_fails_in_reconcile_does_not_stop_those_behind_it(world):
    for name in ("aaa", "bbb"):
        world.create_table(name)
    world.back_up({"aaa": numbered(5), "bbb": numbered(5)})
    first, second = world.ask(tables=["aaa"]), world.ask(tables=["bbb"])
    world.messages()
    world.services.desk.cancel(first)
    world.messages()

    def deny(name, request):
        if name == "put_object" and first in request["Key"]:
            raise client_error("AccessDenied", "PutObject", 403)

    world.hook = deny
    for _ in range(4):
        with pytest.raises(ClientError):
            world.tick()
        for record in world.messages():
            if second in record["body"]:
                world.work(record)
    assert status_of(world, second) is Status.COMPLETED
    world.hook = quiet
    assert world.settle(first)["status"] == "CANCELLED"


def test_a_corrupt_shard_does_not_stop_the_others_and_the_restore_can_be_cancelled(world, monkeypatch):
    monkeypatch.setattr(planner, "FILES_PER_SHARD", 1)
    prepared(world, count=200, partitions=4)
    restore_id = world.ask(max_workers=1)

    def corrupt(name, request):
        if name == "transact_write_items" and status_of(world, restore_id) is Status.LOADING:
            world.hook = quiet
            world.dynamodb.update_item(
                TableName=LEDGER,
                Key={"pk": {"S": f"RESTORE#{restore_id}"}, "sk": {"S": shard_sk(Kind.LOAD, 0, 1)}},
                UpdateExpression="SET attempt = :a",
                ExpressionAttributeValues={":a": {"S": "many"}},
            )

    world.hook = corrupt
    world.run_until_quiet()
    table = world.services.records.tables(restore_id)[0]
    assert table.phase(Status.LOADING).remaining == 1
    assert status_of(world, restore_id) is Status.LOADING
    world.services.desk.cancel(restore_id)
    assert world.settle(restore_id)["status"] == "CANCELLED"
    assert world.locks() == world.open_work() == []


def test_a_throttled_table_leaves_its_worker_time_to_write_down_where_it_is(world):
    prepared(world, count=300, partitions=1)
    restore_id = world.ask(max_workers=1)

    def throttle(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            raise client_error("ThrottlingException", "BatchWriteItem")

    world.hook = throttle
    context = LambdaContext(world.clock, 300_000)
    world.work(world.messages()[0])
    assert context.get_remaining_time_in_millis() > 10_000
    assert world.services.slots.get(restore_id, 0).busy_until_ms == 0
    world.hook = quiet
    assert world.settle(restore_id)["status"] == "COMPLETED"
