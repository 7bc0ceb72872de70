"""Items that DynamoDB refuses: the operator reads why, how many and where, whatever happens to the workers."""

import json

import pytest

from tests.functional.restore.faults import Killed, client_error, is_to_target, quiet
from tests.functional.restore.world import BUCKET, numbered

SECRET = "x" * 410_000  # more than an item may have


def too_large(number: int):
    return {"id": {"S": f"large-{number}"}, "blob": {"S": SECRET}}


OTHER_KEY_TYPE = {"id": {"N": "1"}}


def rejections(restore) -> list[str]:
    return [failure for failure in restore["failures"] if " rejected" in failure]


def told(restore) -> int:
    """How many items the reasons speak of."""
    return sum(int(text.split(": ")[1].split()[0]) for text in rejections(restore))


def kept(world, restore):
    """The rejected lines in the bucket, below the prefix that the table's result names."""
    prefix = restore["tables"][0]["rejected_prefix"]
    found = world.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    bodies = [world.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in found]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def ledger_texts(world) -> str:
    pages = world.dynamodb.get_paginator("scan").paginate(TableName=world.services.settings.ledger_table)
    return "".join(repr(page["Items"]) for page in pages)


@pytest.mark.parametrize("partitions", [1, 4])
def test_each_reason_is_told_with_its_count_and_first_place_and_the_receipt_says_the_same(world, partitions):
    world.create_table("orders")
    items = [*numbered(60), *map(too_large, range(3)), OTHER_KEY_TYPE]
    world.back_up({"orders": items}, partitions=partitions)
    restore = world.restore()
    assert (restore["status"], restore["tables"][0]["rejected"]) == ("PARTIAL", 4)
    large, other = rejections(restore)
    assert large.startswith("orders: 3 items rejected: ValidationException: Item size has exceeded")
    assert other.startswith("orders: 1 item rejected: ValidationException: One or more parameter values")
    lines = {(line["data_file"], line["line"]) for line in kept(world, restore)}
    for text in (large, other):
        data_file, line = text.rsplit("(first: data file ", 1)[1].removesuffix(")").split(", line ")
        assert (data_file, int(line)) in lines
    receipt = world.receipt(restore["restore_id"])
    assert (receipt["failures"], receipt["tables"]) == (restore["failures"], restore["tables"])


def test_without_rejected_items_there_is_neither_a_reason_nor_a_prefix(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(20)})
    restore = world.restore()
    assert (restore["failures"], restore["tables"][0]["rejected_prefix"]) == ([], None)
    assert "REJECTED#" not in ledger_texts(world)


def test_a_table_without_a_single_good_item_tells_why_and_how_many_are_left_unexplained(world):
    """The items' key is of another kind than the table's: DynamoDB says so of each, and names no value."""
    world.create_table("orders")
    # Lines of 40 different reasons in one file: only the first are told, the rest is counted.
    reasons = [{"id": {"S": f"{number:02d}"}, f"a{number}": {"N": "1" * (40 + number)}} for number in range(40)]
    world.back_up({"orders": reasons}, partitions=1)

    def refuse(name, request):
        if is_to_target(name, request):
            writes = request["RequestItems"]["orders"]
            if "PutRequest" not in writes[0]:
                return  # CHECKING's probe of the permission
            number = writes[0]["PutRequest"]["Item"]["id"]["S"]
            error = client_error("ValidationException", "BatchWriteItem")
            error.response["Error"]["Message"] = f"reason {'i' * int(number)}" if len(writes) == 1 else "many"
            raise error

    world.hook = refuse
    restore = world.settle(world.ask())
    assert restore["tables"][0]["rejected"] == told(restore) == 40
    *reasons_told, rest = rejections(restore)
    assert len(reasons_told) == 3
    prefix = restore["tables"][0]["rejected_prefix"]
    assert rest == f"orders: 37 items rejected for other reasons; each is under {prefix}"


@pytest.mark.parametrize("kill_at", [3, 12, 20, 28])
def test_whenever_a_worker_dies_the_reasons_are_told_exactly_once(world, kill_at):
    world.create_table("orders")
    items = numbered(200)
    items[10] = items[60] = items[150] = OTHER_KEY_TYPE
    world.back_up({"orders": items}, partitions=1)
    restore_id = world.ask(max_workers=1)
    calls = 0

    def kill(name, request):
        nonlocal calls
        if is_to_target(name, request):
            world.clock.now_ms += 600  # so that checkpoints are written on the way
            calls += 1
            if calls == kill_at:
                raise Killed

    world.hook = kill
    try:
        world.run_until_quiet()
    except Killed:
        world.hook = quiet
        world.services = world.new_process()
    restore = world.settle(restore_id)
    assert (restore["status"], restore["tables"][0]["rejected"], told(restore)) == ("PARTIAL", 3, 3)
    assert len(rejections(restore)) == 1


def test_a_lost_answer_of_the_transaction_that_ends_a_shard_doubles_no_reason(world):
    world.create_table("orders")
    world.back_up({"orders": [*numbered(5), too_large(0)]}, partitions=1)
    restore_id = world.ask()
    lost: list[object] = []

    def lose(name, request):
        ends = name == "transact_write_items" and "REJECTED#" in repr(request)
        if ends and not lost:
            lost.append(request)
            world.dynamodb.transact_write_items(**request)  # it takes effect; its answer does not arrive

    world.hook = lose
    restore = world.settle(restore_id)
    assert lost
    assert (restore["status"], restore["tables"][0]["rejected"], told(restore)) == ("PARTIAL", 1, 1)


@pytest.mark.parametrize("cancelled", [False, True])
def test_reasons_are_told_while_the_shard_is_still_open_and_stay_to_the_end(world, cancelled):
    world.create_table("orders")
    world.back_up({"orders": [OTHER_KEY_TYPE, *numbered(900)]}, partitions=1)
    restore_id = world.ask(max_workers=1)

    def slow(name, request):
        if is_to_target(name, request):
            world.clock.now_ms += 700

    world.hook = slow
    seen = world.services.desk.describe(restore_id)
    for _ in range(30):  # invocations of 30 s each: the file takes several
        for record in world.messages():
            world.work(record, timeout_ms=30_000)
        seen = world.services.desk.describe(restore_id)
        if seen["tables"][0]["rejected"]:
            break
    assert (seen["status"], seen["tables"][0]["shards_ended"]) == ("LOADING", 0)
    assert told(seen) == seen["tables"][0]["rejected"] == 1
    assert seen["tables"][0]["rejected_prefix"] == f"restores/{restore_id}/rejected/orders/"
    assert "(first: data file " in rejections(seen)[0]
    if cancelled:
        world.services.desk.cancel(restore_id)
    ended = world.settle(restore_id)
    assert (ended["status"], ended["tables"][0]["rejected"]) == ("CANCELLED" if cancelled else "PARTIAL", 1)
    assert rejections(ended) == rejections(seen)


def test_no_reason_in_the_ledger_or_the_answer_holds_item_content(world):
    keys = (("id", "S", "HASH"), ("n", "N", "RANGE"))
    world.create_table("orders", keys)
    bad = {"id": {"S": "SECRETKEY"}, "n": {"S": "SECRETVALUE"}}
    world.back_up({"orders": [bad, too_large(1) | {"n": {"N": "1"}}]}, keys=keys, partitions=1)
    restore = world.restore()
    assert restore["tables"][0]["rejected"] == told(restore) == 2
    everything = ledger_texts(world) + repr(restore) + repr(world.receipt(restore["restore_id"]))
    for secret in ("SECRETKEY", "SECRETVALUE", "x" * 50, "large-1"):
        assert secret not in everything
