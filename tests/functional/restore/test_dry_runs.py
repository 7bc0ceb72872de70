"""Dry runs: what they say of cost and time, what they find in the data files, and the plan they can be held to."""

import gzip
from typing import Any

import pytest

from tests.functional.restore.faults import prepared
from tests.functional.restore.world import BUCKET, PREFIX, World, numbered
from tests.hostile.test_restores import replace_data
from tests.thorough import thorough

INDEXED = {
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "by", "AttributeType": "N"},
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-all",
            "KeySchema": [{"AttributeName": "by", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        },
        {
            "IndexName": "by-keys",
            "KeySchema": [{"AttributeName": "by", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        },
    ],
}


def estimate_of(restore: dict[str, Any]) -> dict[str, Any]:
    assert restore["status"] == "COMPLETED", restore
    estimate: dict[str, Any] = restore["tables"][0]["estimate"]
    return estimate


def test_items_bytes_and_units_are_those_of_a_reckoning_by_hand(world):
    world.dynamodb.create_table(TableName="orders", **INDEXED)
    small = [{"id": {"S": f"s{number}"}, "by": {"N": "7"}} for number in range(10)]
    # id takes 2 + 2 bytes, by 2 + 2, blob 4 + 3,000:
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    large = [{"id": {"S": f"l{number}"}, "by": {"N": "7"}, "blob": {"S": "x" * 3_000}} for number in range(4)]
    unindexed = [{"id": {"S": f"u{number}"}} for number in range(3)]
    world.back_up({"orders": [*small, *large, *unindexed]}, partitions=2)
    estimate = estimate_of(world.restore(dry_run=True))
    assert estimate["items"] == 17
    # Sizes of items of less than 1 KB are projected from some of them.
    assert estimate["item_bytes"] == pytest.approx(10 * 8 + 4 * (8 + 3_004) + 3 * 4, rel=0.001)
    in_table, in_all, in_keys = 10 + 4 * 3 + 3, 10 + 4 * 3, 10 + 4
    assert estimate["index_write_units"] == in_all + in_keys
    assert estimate["write_units"] == in_table + in_all + in_keys
    assert estimate["clearing_write_units"] == estimate["read_units"] == 0
    assert estimate["usd"] == round(estimate["write_units"] * estimate["write_usd_per_million"] / 1e6, 4)
    assert estimate["prices_as_of"]
    assert estimate["price_source"].startswith("https://")
    assert world.items("orders") == []


def test_the_time_is_that_of_the_slowest_limit_and_it_is_named(world):
    prepared(world, count=500, partitions=4)
    slow = estimate_of(world.restore(dry_run=True, max_write_units=5))
    assert (slow["limited_by"], slow["expected_s"], slow["limits_s"]["max_write_units"]) == (
        "max_write_units",
        100,
        100,
    )
    fast = estimate_of(world.restore(dry_run=True))
    assert fast["limited_by"] != "max_write_units"
    assert fast["expected_s"] < 100


def test_what_is_read_first_is_paid_as_reads(world):
    prepared(world, count=30)
    estimate = estimate_of(world.restore(dry_run=True, mode="changed_only"))
    assert (estimate["read_units"], estimate["write_units"]) == (30, 30)
    assert estimate["usd"] > 0 or estimate["read_usd_per_million"] > 0


def test_clearing_is_reckoned_too(world):
    prepared(world, count=30)
    world.put("orders", numbered(50))
    estimate = estimate_of(world.restore(dry_run=True, clear_existing_data=True))
    assert estimate["clearing_write_units"] >= 50
    assert estimate["write_units"] == 30 + estimate["clearing_write_units"]
    assert len(world.items("orders")) == 50


def test_a_restore_that_is_no_dry_run_has_no_estimate(world):
    prepared(world, count=3)
    assert world.restore()["tables"][0]["estimate"] is None


def replace_lines(world: Any, export: Any, lines: list[bytes]) -> None:
    """The content of one data file, with a file list and a manifest that fit: what an export may really hold."""
    world.export = export
    have = next(file.item_count for file in export.files if file.item_count)
    body = b"".join(line + b"\n" for line in lines)
    replace_data(world, lambda content: body, extra_items=len(lines) - have)


def test_what_will_be_rejected_is_found_and_told_without_content(world):
    export = prepared(world, count=20, partitions=1)
    good = [b'{"Item":{"id":{"S":"good-%d"}}}' % number for number in range(5)]
    bad = [
        b"not json SECRET",
        b'{"Item":{"id":{"N":"77"}}}',
        b'{"Item":{"other":{"S":"SECRET"}}}',
        b'{"Item":{"id":{"S":"large"},"b":{"S":"' + b"x" * 410_000 + b'"}}}',
        b'{"Item":{"id":{"S":"\xff\xfe SECRET"}}}',
    ]
    replace_lines(world, export, [*good, *bad])
    dry = world.restore(dry_run=True)
    assert dry["status"] == "COMPLETED"
    text = " ".join(dry["warnings"])
    for words in ("2 lines are no items", "2 lines lack a key of orders", "1 lines are items of more than 400 KB"):
        assert words in text, text
    assert "(first: 7, 8)" in text
    assert "SECRET" not in repr(dry) + repr(world.receipt(dry["restore_id"]))
    restore = world.restore()
    assert (restore["status"], restore["tables"][0]["rejected"], restore["tables"][0]["written"]) == ("PARTIAL", 5, 5)


def test_items_that_would_expire_at_once_are_counted(world):
    world.create_table("orders")
    world.dynamodb.update_time_to_live(
        TableName="orders", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    now_s = world.clock() // 1000
    expired = [{"id": {"S": f"e{number}"}, "expires": {"N": str(now_s - 3_600)}} for number in range(7)]
    alive = [{"id": {"S": f"a{number}"}, "expires": {"N": str(now_s + 3_600)}} for number in range(3)]
    no_time = [{"id": {"S": "n"}, "expires": {"S": "1"}}]
    world.back_up({"orders": [*expired, *alive, *no_time]}, partitions=1)
    dry = world.restore(dry_run=True)
    (told,) = [text for text in dry["warnings"] if "expires" in text]
    assert "orders deletes the 7 items whose time has passed" in told
    assert told in world.receipt(dry["restore_id"])["warnings"]
    (told,) = world.restore()["warnings"]  # which counts nothing beforehand
    assert "orders deletes items whose time has passed" in told


def test_every_data_file_is_read_and_a_damaged_one_is_a_blocker_that_names_it(world):
    export = prepared(world, count=60, partitions=4)
    whole = world.restore(dry_run=True)
    assert whole["tables"][0]["data_files_read_in_checking"] == 4
    assert whole["tables"][0]["uncompressed_bytes_read_in_checking"] > 60 * 30
    key = next(file.key for file in export.files if file.item_count)
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(b'{"Item":{"id":{"S":"evil"}}}\n'))
    damaged = world.restore(dry_run=True)
    assert damaged["status"] == "FAILED"
    assert key in " ".join(damaged["blockers"])
    assert world.items("orders") == []


# --- plan_digest -----------------------------------------------------------------------------------------------------


def digest_of(world: World, **body: Any) -> str:
    digest: str = world.restore(dry_run=True, **body)["plan_digest"]
    assert len(digest) == 64
    return digest


@pytest.mark.parametrize("body", [{}, {"max_workers": 40}, {"max_write_units": 10_000}, {"verify": "full"}])
def test_the_reviewed_plan_is_carried_out_whoever_writes_how_fast(world, body):
    prepared(world, count=40)
    restore = world.restore(plan_digest=digest_of(world), **body)
    assert restore["status"] == "COMPLETED"
    assert world.items("orders") == numbered(40)


def other_option(world: World) -> dict[str, Any]:
    return {"mode": "changed_only"}


def other_data(world: World) -> dict[str, Any]:
    world.back_up({"orders": numbered(41)})
    return {}


def other_bytes(world: World) -> dict[str, Any]:
    """A data file stored anew, as it was, has another ETag: it may be any content."""
    listed = world.s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX)["Contents"]
    key = next(each["Key"] for each in listed if each["Key"].endswith(".json.gz"))
    body = world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return {}


def other_target(world: World) -> dict[str, Any]:
    world.create_table("copy")
    return {"target_tables": {"orders": "copy"}}


def another_table_of_that_name(world: World) -> dict[str, Any]:
    world.dynamodb.delete_table(TableName="orders")
    world.create_table("orders")
    return {}


def another_index(world: World) -> dict[str, Any]:
    world.dynamodb.update_table(
        TableName="orders",
        AttributeDefinitions=INDEXED["AttributeDefinitions"],
        GlobalSecondaryIndexUpdates=[{"Create": INDEXED["GlobalSecondaryIndexes"][0]}],
    )
    return {}


def other_set(world: World) -> dict[str, Any]:
    world.back_up({"orders": numbered(40)}, date="2026-11-20")
    return {"backup_date": "2026-11-20"}


def other_keys(world: World) -> dict[str, Any]:
    return {"keys": [{"id": {"S": "item-00001"}}]}


def clearing(world: World) -> dict[str, Any]:
    return {"clear_existing_data": True}


CHANGES = [other_data, another_index, clearing]
MORE_CHANGES = [other_option, other_bytes, other_target, another_table_of_that_name, other_set, other_keys]


@pytest.mark.parametrize("change", [*CHANGES, *thorough(MORE_CHANGES)], ids=lambda change: change.__name__)
def test_another_plan_than_the_reviewed_one_touches_nothing(world, change):
    prepared(world, count=40)
    digest = digest_of(world)
    body = change(world)
    before = world.items("orders")
    restore = world.restore(plan_digest=digest, **body)
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    assert restore["reason"].startswith("plan_changed")
    assert world.items("orders") == before
    assert world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []
    assert world.locks() == world.open_work() == []
    # A dry run of it says its own digest, by which it can be done.
    again = world.restore(plan_digest=digest_of(world, **body), **body)
    assert again["status"] == "COMPLETED"


def test_a_table_that_is_yet_to_be_made_is_part_of_the_plan(world):
    world.back_up({"orders": numbered(10)})
    digest = digest_of(world, create_missing_tables=True)
    world.create_table("orders")
    assert world.restore(create_missing_tables=True, plan_digest=digest)["reason"].startswith("plan_changed")
    world.dynamodb.delete_table(TableName="orders")
    restore = world.restore(create_missing_tables=True, plan_digest=digest)
    assert (restore["status"], restore["tables"][0]["created"]) == ("COMPLETED", True)
