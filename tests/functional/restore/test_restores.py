"""Restores from request to receipt, with workers in process and moto as AWS."""

import pytest

from tests.functional.restore.world import BUCKET, numbered


def test_deleted_and_changed_items_come_back_and_others_stay(world):
    world.create_table("orders")
    items = numbered(300)
    world.back_up({"orders": items})
    world.put("orders", [{**item, "n": {"N": "-1"}} for item in items[:50]] + [{"id": {"S": "stranger"}}])
    restore = world.restore()
    assert restore["status"] == "COMPLETED"
    assert restore["status_code"] == 200
    assert world.items("orders") == sorted([*items, {"id": {"S": "stranger"}}], key=repr)
    table = restore["tables"][0]
    assert (table["written"], table["rejected"], table["item_count"]) == (300, 0, 300)
    assert table["data_files_balanced"] == table["data_files"] == 4


def test_the_receipt_says_what_the_api_says_and_locks_are_given_back(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(10)})
    restore = world.restore(max_workers=2)
    receipt = world.receipt(restore["restore_id"])
    assert {name: receipt[name] for name in ("status", "status_code", "finished_at", "tables")} == {
        name: restore[name] for name in ("status", "status_code", "finished_at", "tables")
    }
    assert world.locks() == world.open_work() == []


def test_clearing_leaves_exactly_the_backup_and_names_the_safety_backup(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(60)})
    world.put("orders", numbered(200, start=40))
    restore = world.restore(clear_existing_data=True)
    assert restore["status"] == "COMPLETED"
    assert world.items("orders") == sorted(numbered(60), key=repr)
    table = restore["tables"][0]
    assert table["cleared"] == 160
    backup = world.dynamodb.describe_backup(BackupArn=table["safety_backup_arn"])["BackupDescription"]
    assert backup["BackupDetails"]["BackupStatus"] == "AVAILABLE"


def test_clearing_without_a_safety_backup_takes_none(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(5)})
    restore = world.restore(clear_existing_data=True, safety_backup=False)
    assert restore["status"] == "COMPLETED"
    assert world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []


def test_a_safety_backup_can_be_asked_for_without_clearing(world):
    world.create_table("orders")
    world.put("orders", numbered(3))
    world.back_up({"orders": numbered(5)})
    restore = world.restore(safety_backup=True)
    assert restore["status"] == "COMPLETED"
    assert restore["tables"][0]["safety_backup_arn"]
    assert len(world.items("orders")) == 5


def test_a_dry_run_reads_every_file_and_touches_nothing(world):
    world.create_table("orders")
    world.put("orders", numbered(3))
    world.back_up({"orders": numbered(40)})
    restore = world.restore(dry_run=True, clear_existing_data=True)
    assert restore["status"] == "COMPLETED"
    assert "nothing was written" in restore["reason"]
    table = restore["tables"][0]
    assert table["data_files_read_in_checking"] == table["data_files"] == 4
    assert table["uncompressed_bytes_read_in_checking"] > 0
    assert (table["written"], table["cleared"]) == (0, 0)
    assert len(world.items("orders")) == 3
    assert world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []


def test_many_tables_into_other_names(world):
    tables = {name: numbered(30) for name in ("aaa", "bbb", "ccc")}
    for name in ("aaa-copy", "bbb", "ccc"):
        world.create_table(name)
    world.back_up(tables)
    restore = world.restore(tables=["aaa", "ccc"], target_tables={"aaa": "aaa-copy"}, max_workers=3)
    assert restore["status"] == "COMPLETED"
    assert len(world.items("aaa-copy")) == len(world.items("ccc")) == 30
    assert world.items("bbb") == []


def test_a_composite_key_and_every_type_come_back_as_they_were(world):
    keys = (("b", "B", "HASH"), ("n", "N", "RANGE"))
    world.create_table("typed", keys)
    items = [
        {
            "b": {"B": bytes([number, 255])},
            "n": {"N": str(number)},
            "s": {"S": 'ü\u2028\n"quoted"'},
            "ss": {"SS": ["a", "b"]},
            "ns": {"NS": ["1", "2.5"]},
            "bs": {"BS": [b"\x00", b"\xff\xfe"]},
            "l": {"L": [{"B": b"deep"}, {"NULL": True}, {"BOOL": False}]},
            "m": {"M": {"inner": {"M": {"b": {"B": b"\x01\x02"}}}}},
        }
        for number in range(60)
    ]
    world.put("typed", items)
    before = world.items("typed")
    world.back_up({"typed": items}, keys=keys)
    assert world.restore(clear_existing_data=True)["status"] == "COMPLETED"
    assert world.items("typed") == before


def test_an_empty_table_is_completed(world):
    world.create_table("empty")
    world.back_up({"empty": []})
    restore = world.restore()
    assert (restore["status"], restore["status_code"]) == ("COMPLETED", 200)


def test_a_refused_item_is_kept_with_its_reason_and_the_others_are_written(world):
    world.create_table("orders")
    items = numbered(60)
    too_large = {"id": {"S": "large"}, "blob": {"S": "x" * 410_000}}
    world.back_up({"orders": [*items, too_large]})
    restore = world.restore()
    assert (restore["status"], restore["status_code"]) == ("PARTIAL", 207)
    table = restore["tables"][0]
    assert (table["written"], table["rejected"]) == (60, 1)
    assert world.items("orders") == sorted(items, key=repr)
    kept = world.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"restores/{restore['restore_id']}/rejected/")["Contents"]
    assert len(kept) == 1
    line = world.s3.get_object(Bucket=BUCKET, Key=kept[0]["Key"])["Body"].read().decode()
    assert "ValidationException" in line
    assert "x" * 1000 in line


def test_latest_is_the_newest_set_in_which_the_asked_tables_succeeded(world):
    world.create_table("orders")
    world.create_table("users")
    world.back_up({"orders": numbered(3), "users": numbered(1)}, date="2026-11-19")
    world.back_up({"orders": numbered(5)}, date="2026-11-20", failed={"users": "no PITR"})
    assert world.restore(tables=["orders"])["backup_date"] == "2026-11-20"
    assert world.restore(tables=["users"])["backup_date"] == "2026-11-19"
    assert world.restore()["backup_date"] == "2026-11-19"


@pytest.mark.parametrize("max_workers", [1, 3, 40])
def test_any_number_of_workers_gives_the_same_counts(world, max_workers):
    world.create_table("orders")
    world.back_up({"orders": numbered(200)}, partitions=12)
    restore = world.restore(max_workers=max_workers)
    assert restore["status"] == "COMPLETED"
    assert restore["tables"][0]["written"] == 200
    assert len(world.items("orders")) == 200
