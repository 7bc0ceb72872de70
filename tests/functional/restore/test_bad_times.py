"""What goes wrong while a restore runs: throttling for minutes, a target that changes, items DynamoDB refuses."""

import gzip
import json
from typing import Any

import pytest

from chalicelib.errors import Conflict, InvalidRequest
from chalicelib.restore.model import Status
from sandbox.exports.incremental import Delete
from tests.functional.restore.faults import client_error, counts, is_to_target, prepared, quiet, status_of
from tests.functional.restore.world import BUCKET, World, numbered
from tests.hostile.test_restores import replace_data
from tests.thorough import thorough


def is_write(name: str, request: dict[str, Any]) -> bool:
    return is_to_target(name, request) or (name == "put_item" and request["TableName"] == "orders")


@pytest.mark.parametrize("mode", ["overwrite", *thorough(("missing_only", "changed_only"))])
def test_a_target_throttled_for_minutes_gets_everything_in_the_end(world, mode):
    prepared(world, count=120, partitions=3)
    restore_id = world.ask(mode=mode, max_workers=2)
    until_ms = world.clock() + 7 * 60_000

    def throttle(name, request):
        if is_write(name, request) and status_of(world, restore_id) is Status.LOADING and world.clock() < until_ms:
            raise client_error("ProvisionedThroughputExceededException", name)

    world.hook = throttle
    restore = world.settle(restore_id)
    assert world.clock() > until_ms
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": 120})
    assert world.items("orders") == numbered(120)


@pytest.mark.parametrize("mode", ["overwrite", *thorough(("missing_only", "changed_only"))])
def test_a_target_that_is_deleted_in_the_middle_ends_it_failed_and_says_so(world, mode):
    prepared(world, count=120, partitions=3)
    restore_id = world.ask(mode=mode, max_workers=2)

    def vanish(name, request):
        if is_write(name, request) and status_of(world, restore_id) is Status.LOADING:
            world.hook = quiet
            world.dynamodb.delete_table(TableName="orders")

    world.hook = vanish
    restore = world.settle(restore_id)
    # PARTIAL where another thread's write came in between.
    assert (restore["status"], restore["status_code"]) in (("FAILED", 500), ("PARTIAL", 207))
    assert "orders" in restore["failures"][0]
    assert world.locks() == world.open_work() == []


@pytest.mark.parametrize("mode", ["overwrite", *thorough(("missing_only", "changed_only"))])
@pytest.mark.parametrize(
    "keys", [(("other", "S", "HASH"),), (("id", "N", "HASH"),), (("id", "S", "HASH"), ("m", "S", "RANGE"))]
)
def test_a_target_made_anew_with_other_keys_in_the_middle_is_never_completed(world, mode, keys):
    prepared(world, count=60, partitions=2)
    restore_id = world.ask(mode=mode, max_workers=1)
    writes = [0]

    def change(name, request):
        if is_write(name, request) and status_of(world, restore_id) is Status.LOADING:
            writes[0] += 1
            if writes[0] == 2:
                world.hook = quiet
                world.dynamodb.delete_table(TableName="orders")
                world.create_table("orders", keys)

    world.hook = change
    restore = world.settle(restore_id)
    assert restore["status"] in ("PARTIAL", "FAILED")
    (table,) = restore["tables"]
    assert table["rejected"] or restore["failures"]
    assert world.items("orders") == []
    assert "item-000" not in repr(restore)
    assert world.locks() == world.open_work() == []


@pytest.mark.parametrize("mode", ["missing_only", *thorough(("overwrite", "changed_only"))])
def test_lines_that_are_no_items_are_rejected_one_by_one_and_kept(world, mode):
    world.export = prepared(world, count=30, partitions=1)
    bad = [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"Item":{}}',
        b'{"Item":null}',
        b'{"Item":{"id":{"S":"a"}}} trailing',
        b'{"Item":{"id":{"S":"\xff\xfe"}}}',
        b'{"Item":{"id":{"S":""}}}',
        b'{"Item":{"id":{"N":"1"}}}',
        b'{"Item":{"n":{"N":"1"}}}',
        b'{"Item":{"id":{"S":"big"},"b":{"S":"' + b"x" * (400 * 1024) + b'"}}}',
    ]
    replace_data(world, lambda content: content + b"".join(line + b"\n" for line in bad), extra_items=len(bad))
    restore = world.restore(mode=mode)
    assert (restore["status"], restore["status_code"]) == ("PARTIAL", 207)
    assert counts(restore) == {"written": 30, "rejected": len(bad)}
    assert world.items("orders") == numbered(30)
    prefix = restore["tables"][0]["rejected_prefix"]
    kept = [
        json.loads(line)
        for each in world.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        for line in world.s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read().splitlines()
    ]
    assert sorted(each["line"] for each in kept) == list(range(31, 31 + len(bad)))


@pytest.mark.parametrize("mode", ["missing_only", *thorough(("overwrite", "changed_only"))])
def test_of_duplicate_keys_in_a_data_file_every_line_is_accounted_for(world, mode):
    """No export has any. Were there one, the later line stays where lines are written in their order."""
    world.export = prepared(world, count=10, partitions=1)
    again = b'{"Item":{"id":{"S":"item-00003"},"n":{"N":"33"}}}\n'
    replace_data(world, lambda content: content + again * 2, extra_items=2)
    restore = world.restore(mode=mode)
    assert restore["status"] == "COMPLETED", restore
    assert sum(counts(restore).values()) == 12
    expected = numbered(10)
    if mode != "missing_only":
        expected[3] = {"id": {"S": "item-00003"}, "n": {"N": "33"}}
    assert world.items("orders") == expected


def test_empty_data_files_are_balanced_too(world):
    export = prepared(world, count=2, partitions=6)
    assert sum(not file.item_count for file in export.files) >= 4
    for body in ({}, {"mode": "missing_only"}, {"keys": [{"id": {"S": "item-00001"}}]}, {"verify": "full"}):
        restore = world.restore(**body)
        assert restore["status"] == "COMPLETED"
        assert restore["tables"][0]["data_files_balanced"] == 6


@pytest.mark.parametrize(
    "body", [{"mode": "missing_only"}, {"keys": [{"id": {"S": "item-00001"}}]}, {"verify": "full"}]
)
def test_a_data_file_replaced_after_checking_is_not_used_in_any_mode(world, body):
    export = prepared(world, count=40)
    key = next(file.key for file in export.files if file.item_count > 2)
    restore_id = world.ask(**body)

    def replace(name, request):
        if name == "get_object" and request["Key"] == key and status_of(world, restore_id) is Status.LOADING:
            world.hook = quiet
            evil = gzip.compress(b'{"Item":{"id":{"S":"item-00001"},"evil":{"S":"x"}}}\n')
            world.s3.put_object(Bucket=BUCKET, Key=key, Body=evil)

    world.hook = replace
    restore = world.settle(restore_id)
    assert restore["status"] in ("PARTIAL", "FAILED")
    assert "changed since it was checked" in " ".join(restore["failures"])
    assert not [item for item in world.items("orders") if "evil" in item]


def test_an_increment_replaced_after_checking_stops_a_chain_that_is_resolved_before_it_writes(world):
    prepared(world, count=20)
    increment = world.back_up_increment("2026-11-22", {"orders": [Delete(item) for item in numbered(5)]}, partitions=1)
    key = increment["orders"].files[0].key
    restore_id = world.ask(mode="changed_only")

    def replace(name, request):
        if name == "get_object" and request["Key"] == key and status_of(world, restore_id) is Status.LOADING:
            world.hook = quiet
            world.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(b""))

    world.hook = replace
    restore = world.settle(restore_id)
    assert restore["status"] == "FAILED"
    assert world.items("orders") == []


def test_two_restores_of_one_target_never_run_together_whatever_they_ask_for(world):
    prepared(world, count=20)
    first = world.ask(keys=[{"id": {"S": "item-00001"}}])
    for body in ({}, {"mode": "missing_only"}, {"mode": "changed_only"}, {"keys": [{"id": {"S": "item-00002"}}]}):
        with pytest.raises(Conflict, match=first):
            world.ask(**body)
    world.settle(first)
    assert world.restore()["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:dynamodb:eu-west-1:999999999999:table/orders",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
        "orders/index/by-n",
        "../orders",
        "or",
    ],
)
def test_a_target_name_that_is_an_arn_or_none_at_all_is_refused(world, name):
    prepared(world)
    with pytest.raises(InvalidRequest) as raised:
        world.ask(target_tables={"orders": name})
    assert raised.value.faults[0].path.startswith("$.target_tables")
    assert world.locks() == world.open_work() == []


def settled(world: World, **body: Any) -> dict[str, Any]:
    restore = world.restore(**body)
    assert world.locks() == world.open_work() == []
    return restore


def test_an_item_of_one_byte_more_than_400_kb_is_found_and_rejected(world):
    world.create_table("orders")
    room = 400 * 1024 - len("id") - len("a") - len("b")
    fits = {"id": {"S": "a"}, "b": {"S": "x" * 400_000}}  # moto's own limit is a little below 400 KB
    too_large = {"id": {"S": "c"}, "b": {"S": "x" * (room + 1)}}
    world.back_up({"orders": [fits, too_large]}, partitions=1)
    assert "1 lines are items of more than 400 KB" in " ".join(settled(world, dry_run=True)["warnings"])
    restore = settled(world)
    assert counts(restore) == {"written": 1, "rejected": 1}
    assert [item["id"] for item in world.items("orders")] == [{"S": "a"}]
