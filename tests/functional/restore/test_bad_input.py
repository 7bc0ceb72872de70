"""Everything that can be wrong with a request or a backup: a clear error, and nothing lost."""

import gzip
import json

import msgspec
import pytest

from chalicelib import entry
from chalicelib.backup.export_files import md5_of
from chalicelib.errors import Conflict, InvalidRequest, LedgerEntryCorrupt, ManifestInvalid, NotFound
from chalicelib.restore.dead_letter import DeadLetters
from tests.functional.restore.world import BUCKET, DATE, LEDGER, PREFIX, numbered

MANIFEST = f"{PREFIX}/{DATE}/manifest.json"


def prepared(world, count: int = 40):
    world.create_table("orders")
    world.put("orders", numbered(3))
    return world.back_up({"orders": numbered(count)})["orders"]


def assert_untouched(world, restore):
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    assert world.items("orders") == numbered(3)
    assert world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []
    assert world.locks() == world.open_work() == []


def full_file(export):
    return next(file for file in export.files if file.item_count > 2)


# --- the request ---------------------------------------------------------------------------------------------


def test_an_unknown_date_is_refused_and_the_existing_ones_are_named(world):
    prepared(world)
    with pytest.raises(NotFound, match=DATE) as raised:
        world.ask(backup_date="2020-01-01")
    assert raised.value.code == "backup_not_found"


def test_an_unknown_table_is_refused_and_the_existing_ones_are_named(world):
    prepared(world)
    for body in ({"tables": ["users"]}, {"target_tables": {"users": "copy"}}):
        with pytest.raises(NotFound, match="orders") as raised:
            world.ask(**{"backup_date": DATE, **body})
        assert raised.value.code == "table_not_in_backup"


def test_a_set_without_a_manifest_is_not_complete(world):
    prepared(world)
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/2026-11-22/orders/AWSDynamoDB/x/_started", Body=b"")
    with pytest.raises(Conflict) as raised:
        world.ask(backup_date="2026-11-22")
    assert raised.value.code == "backup_not_complete"


def test_a_table_that_failed_in_the_set_is_refused_with_its_reason_and_others_can_be_named(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(5)}, failed={"users": "point-in-time recovery is off"})
    with pytest.raises(Conflict, match="point-in-time recovery is off") as raised:
        world.ask(backup_date=DATE)
    assert raised.value.code == "backup_not_complete"
    assert world.restore(backup_date=DATE, tables=["orders"])["status"] == "COMPLETED"


def test_a_target_under_another_restore_is_refused_naming_it(world):
    prepared(world)
    first = world.ask()
    with pytest.raises(Conflict, match=first) as raised:
        world.ask()
    assert raised.value.code == "target_locked"
    assert world.settle(first)["status"] == "COMPLETED"
    assert world.restore()["status"] == "COMPLETED"


def test_a_refused_restore_gives_back_the_locks_it_took(world):
    world.create_table("aaa")
    world.create_table("bbb")
    world.back_up({"aaa": numbered(2), "bbb": numbered(2)})
    holder = world.ask(tables=["bbb"])
    with pytest.raises(Conflict):
        world.ask()
    assert world.locks() == ["LOCK#bbb"]
    assert world.open_work() == [f"RESTORE#{holder}"]


def test_a_dry_run_takes_no_lock(world):
    prepared(world)
    first = world.ask()
    assert world.settle(world.ask(dry_run=True))["status"] == "COMPLETED"
    assert world.settle(first)["status"] == "COMPLETED"


def test_two_sources_on_one_target_are_refused_also_when_the_tables_come_from_the_set(world):
    world.create_table("aaa")
    world.back_up({"aaa": numbered(2), "bbb": numbered(2)})
    with pytest.raises(InvalidRequest, match="aaa and bbb"):
        world.ask(backup_date=DATE, target_tables={"bbb": "aaa"})


# --- the target ----------------------------------------------------------------------------------------------


def test_a_missing_target_is_a_blocker(world):
    world.back_up({"orders": numbered(3)})
    restore = world.restore()
    assert restore["status"] == "FAILED"
    assert "orders does not exist" in restore["blockers"][0]


@pytest.mark.parametrize(
    "keys",
    [
        (("other", "S", "HASH"),),
        (("id", "N", "HASH"),),
        (("id", "S", "HASH"), ("n", "N", "RANGE")),
    ],
)
def test_a_target_with_other_keys_is_a_blocker(world, keys):
    world.back_up({"orders": numbered(3)})
    world.create_table("orders", keys)
    restore = world.restore(clear_existing_data=True)
    assert restore["status"] == "FAILED"
    assert "has the keys" in restore["blockers"][0]
    assert world.items("orders") == []


# --- the data files ------------------------------------------------------------------------------------------


def test_a_missing_data_file_is_found_before_anything_is_cleared(world):
    export = prepared(world)
    world.s3.delete_object(Bucket=BUCKET, Key=full_file(export).key)
    restore = world.restore(clear_existing_data=True)
    assert_untouched(world, restore)
    assert full_file(export).key in restore["blockers"][0]


def test_a_truncated_data_file_is_found_before_anything_is_cleared(world):
    export = prepared(world)
    key = full_file(export).key
    body = world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=body[:-20])
    restore = world.restore(clear_existing_data=True)
    assert_untouched(world, restore)
    assert key in restore["blockers"][0]


def test_a_changed_data_file_is_found_before_anything_is_cleared(world):
    export = prepared(world)
    key = full_file(export).key
    lines = gzip.decompress(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    changed = gzip.compress(lines.replace(b'"N":"', b'"N":"1'))
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=changed)
    restore = world.restore(clear_existing_data=True)
    assert_untouched(world, restore)
    assert "MD5" in restore["blockers"][0]


def test_every_blocker_is_named_at_once(world):
    export = prepared(world)
    for file in export.files:
        if file.item_count:
            world.s3.put_object(Bucket=BUCKET, Key=file.key, Body=b"not gzip")
    world.dynamodb.delete_table(TableName="orders")
    world.create_table("orders", (("other", "S", "HASH"),))
    restore = world.restore()
    damaged = sum(1 for file in export.files if file.item_count)
    assert len(restore["blockers"]) == damaged + 1


def test_a_copied_bucket_whose_etags_differ_is_read_and_restored(world):
    export = prepared(world)
    for file in export.files:
        body = world.s3.get_object(Bucket=BUCKET, Key=file.key)["Body"].read()
        world.s3.put_object(Bucket=BUCKET, Key=file.key, Body=body)
    restore = world.restore()
    assert restore["status"] == "COMPLETED"
    assert restore["tables"][0]["data_files_read_in_checking"] == len(export.files)


def test_a_data_file_replaced_after_checking_is_not_written(world):
    export = prepared(world)
    key = full_file(export).key

    def replace(name, request):
        if name == "get_object" and request["Key"] == key:
            world.hook = lambda name, request: None
            world.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(b'{"Item":{"id":{"S":"evil"}}}\n'))

    world.hook = replace
    restore = world.restore()
    assert restore["status"] == "PARTIAL"
    assert "changed since it was checked" in restore["failures"][0]
    assert {"id": {"S": "evil"}} not in world.items("orders")


def test_a_changed_file_list_is_not_trusted(world):
    export = prepared(world)
    body = world.s3.get_object(Bucket=BUCKET, Key=export.files_key)["Body"].read()
    world.s3.put_object(Bucket=BUCKET, Key=export.files_key, Body=body.replace(b'"itemCount":', b'"itemCount":1'))
    restore = world.restore(clear_existing_data=True)
    assert_untouched(world, restore)


def test_a_file_list_that_points_outside_of_its_export_is_not_followed(world):
    export = prepared(world)
    body = world.s3.get_object(Bucket=BUCKET, Key=export.files_key)["Body"].read()
    line = json.loads(body.splitlines()[0])
    line["dataFileS3Key"] = "somewhere/else.json.gz"
    hostile = json.dumps(line).encode() + b"\n"
    world.s3.put_object(Bucket=BUCKET, Key=export.files_key, Body=hostile)
    manifest = json.loads(world.s3.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read())
    manifest["tables"][0]["manifest_files_md5"] = md5_of(hostile)
    world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=json.dumps(manifest))
    restore = world.restore()
    assert_untouched(world, restore)
    assert "outside" in restore["blockers"][0]


# --- the manifest --------------------------------------------------------------------------------------------


def with_manifest(world, **changes):
    prepared(world)
    manifest = json.loads(world.s3.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read())
    manifest.update(changes)
    world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=json.dumps(manifest))


def test_a_manifest_of_a_newer_schema_is_refused_whatever_else_it_holds(world):
    with_manifest(world, schema_version=3, tables="another shape altogether")
    with pytest.raises(ManifestInvalid, match="newer tablevault"):
        world.ask(backup_date=DATE)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(world, content):
    prepared(world)
    world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=content)
    with pytest.raises(ManifestInvalid, match="is not a manifest of ours"):
        world.ask(backup_date=DATE)


def test_a_manifest_of_another_set_is_refused(world):
    with_manifest(world, backup_date="2026-11-20")
    with pytest.raises(ManifestInvalid, match="2026-11-20"):
        world.ask(backup_date=DATE)


def test_a_manifest_that_names_another_bucket_is_restored_from_the_one_it_was_read_from(world):
    with_manifest(world, s3_bucket="somebody-elses")
    restore = world.restore(backup_date=DATE)
    assert restore["status"] == "COMPLETED"


# --- ledger and queue ----------------------------------------------------------------------------------------


def corrupt(world, restore_id):
    world.dynamodb.update_item(
        TableName=LEDGER,
        Key={"pk": {"S": f"RESTORE#{restore_id}"}, "sk": {"S": "JOB"}},
        UpdateExpression="SET max_workers = :w",
        ExpressionAttributeValues={":w": {"S": "many"}},
    )


def test_a_corrupt_ledger_entry_is_named_and_other_restores_go_on(world):
    prepared(world)
    world.create_table("users")
    world.back_up({"users": numbered(2)}, date="2026-11-20")
    broken = world.ask(backup_date=DATE)
    whole = world.ask(backup_date="2026-11-20")
    world.messages()
    corrupt(world, broken)
    with pytest.raises(LedgerEntryCorrupt, match=f"RESTORE#{broken}/JOB"):
        world.services.desk.describe(broken)
    world.tick()
    world.tick()
    assert world.settle(whole)["status"] == "COMPLETED"
    heads, unreadable = world.services.desk.list_page(10, None)
    assert [head["restore_id"] for head in heads] == [whole]
    assert unreadable == [broken]


@pytest.mark.parametrize(
    "body", ["", "hello", "{}", "[]", '{"restore_id": "r", "slot": "0", "wake": 1, "hop": 0}', "\ud83d"]
)
def test_a_message_that_is_not_ours_is_kept_in_quarantine(world, body):
    entry.restore_shards(world.services, {"messageId": "m-1/../x", "body": body}, None)
    kept = world.s3.list_objects_v2(Bucket=BUCKET, Prefix="quarantine/")["Contents"]
    assert len(kept) == 1
    assert ".." not in kept[0]["Key"]
    content = json.loads(world.s3.get_object(Bucket=BUCKET, Key=kept[0]["Key"])["Body"].read())
    assert content["body"] == body


def test_dead_letters_that_are_not_ours_or_of_no_restore_are_kept_in_quarantine(world):
    letters: DeadLetters = world.services.dead_letters
    unknown = msgspec.json.encode({"restore_id": "r-x", "slot": 0, "wake": 1, "hop": 0}).decode()
    for number, body in enumerate(("not ours", unknown)):
        letters.record({"messageId": f"m-{number}", "body": body})
    assert world.s3.list_objects_v2(Bucket=BUCKET, Prefix="quarantine/")["KeyCount"] == 2
