"""`create_missing_tables`: a target that is not there is made as the source was, loaded, and then finished."""

from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.backup import layout
from chalicelib.backup.capture import capture_table
from chalicelib.backup.definition import TableDefinition, encode_definition
from chalicelib.restore.model import Status
from chalicelib.restore.new_table import OWNER_TAG
from tests.functional.restore.faults import (
    Killed,
    client_error,
    counts,
    is_to_target,
    prepared,
    quiet,
    settled_after_death,
    status_of,
)
from tests.functional.restore.world import BUCKET, DATE, PREFIX, REGION, World, numbered
from tests.thorough import thorough

SOURCE: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "id", "AttributeType": "S"},
        {"AttributeName": "n", "AttributeType": "N"},
        {"AttributeName": "by", "AttributeType": "S"},
    ],
    "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    "Tags": [{"Key": "team", "Value": "sales"}],
    "DeletionProtectionEnabled": True,
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-whom",
            "KeySchema": [{"AttributeName": "by", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]},
            "ProvisionedThroughput": {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
        }
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "local",
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "by", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}
KEYS = (("id", "S", "HASH"), ("n", "N", "RANGE"))
ITEMS = numbered(60, by={"S": "somebody"})
LAST_CALLS = ("update_time_to_live", "update_continuous_backups", "update_table")


def capture(world: World, name: str) -> TableDefinition:
    autoscaling = boto3.client("application-autoscaling", region_name=REGION)
    return capture_table(world.dynamodb, name, world.clock(), lambda: autoscaling).definition


def back_up_a_table_that_is_gone(world: World) -> TableDefinition:
    world.dynamodb.create_table(TableName="orders", **SOURCE)
    world.dynamodb.update_time_to_live(
        TableName="orders", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    world.dynamodb.update_continuous_backups(
        TableName="orders", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    definition = capture(world, "orders")
    world.back_up({"orders": ITEMS}, keys=KEYS)
    world.s3.put_object(
        Bucket=BUCKET, Key=layout.definition_key(PREFIX, DATE, "orders"), Body=encode_definition(definition)
    )
    world.dynamodb.update_table(TableName="orders", DeletionProtectionEnabled=False)
    world.dynamodb.delete_table(TableName="orders")
    return definition


def assert_made(world: World, restore: dict[str, Any], definition: TableDefinition, name: str) -> None:
    assert restore["status"] == "COMPLETED", restore
    assert world.items(name) == ITEMS
    made = capture(world, name)
    changes = {
        "table_name": name,
        "table_arn": made.table_arn,
        "captured_at": made.captured_at,
        "tags": {"team": "sales", OWNER_TAG: f"{restore['restore_id']} finished"},
    }
    assert made == msgspec.structs.replace(definition, **changes)
    assert made.time_to_live_attribute == "expires"
    assert made.deletion_protection
    assert made.point_in_time_recovery
    (table,) = restore["tables"]
    assert (table["created"], table["safety_backup_arn"]) == (True, None)
    assert f"aws dynamodb delete-table --table-name {name}" in table["undo"][0]
    assert world.locks() == world.open_work() == []


@pytest.mark.parametrize("name", ["orders", "another-name"])
def test_a_missing_target_is_made_as_the_source_was(world, name):
    definition = back_up_a_table_that_is_gone(world)
    restore_id = world.ask(create_missing_tables=True, target_tables={"orders": name}, verify="full", max_workers=2)
    calls: list[tuple[str, str]] = []

    def watch(call, request):
        if call in ("create_table", *LAST_CALLS) and request["TableName"] == name:
            calls.append((call, status_of(world, restore_id).value))

    world.hook = watch
    assert_made(world, world.settle(restore_id), definition, name)
    assert calls == [("create_table", "CREATING"), *((call, "FINISHING") for call in LAST_CALLS)]


@pytest.mark.parametrize("is_after", [True, *thorough((False,))])
@pytest.mark.parametrize("call", ["create_table", *thorough(("list_tags_of_resource", *LAST_CALLS))])
def test_a_worker_killed_at_any_of_its_calls_leaves_what_the_next_one_finishes(world, call, is_after):
    definition = back_up_a_table_that_is_gone(world)
    restore_id = world.ask(create_missing_tables=True, max_workers=2)

    def kill(name, request):
        if name == call:
            world.hook = quiet
            if is_after:
                getattr(world.dynamodb, name)(**request)
            raise Killed

    restore = settled_after_death(world, kill, restore_id)
    assert_made(world, restore, definition, "orders")


def test_a_table_that_a_stranger_makes_meanwhile_is_not_touched(world):
    back_up_a_table_that_is_gone(world)
    restore_id = world.ask(create_missing_tables=True)

    def appear(name, request):
        if name == "create_table":
            world.hook = quiet
            world.create_table("orders")
            world.put("orders", [{"id": {"S": "theirs"}}])

    world.hook = appear
    restore = world.settle(restore_id)
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    assert "did not make" in " ".join(restore["failures"])
    assert world.items("orders") == [{"id": {"S": "theirs"}}]
    assert restore["tables"][0]["undo"] == []
    assert world.locks() == world.open_work() == []


def test_a_target_that_is_there_is_restored_into_as_it_is(world):
    prepared(world, count=20)
    world.put("orders", [{"id": {"S": "stranger"}}])
    restore = world.restore(create_missing_tables=True)
    assert (restore["status"], counts(restore)) == ("COMPLETED", {"written": 20})
    assert restore["tables"][0]["created"] is False
    assert len(world.items("orders")) == 21


def test_without_the_flag_a_missing_target_is_a_blocker_that_names_it(world):
    back_up_a_table_that_is_gone(world)
    restore = world.restore()
    assert restore["status"] == "FAILED"
    assert "create_missing_tables" in restore["blockers"][0]
    assert "orders" not in world.dynamodb.list_tables()["TableNames"]


def test_a_dry_run_makes_nothing_and_says_what_the_new_table_takes(world):
    back_up_a_table_that_is_gone(world)
    dry = world.restore(create_missing_tables=True, dry_run=True)
    assert dry["status"] == "COMPLETED"
    (table,) = dry["tables"]
    assert (table["estimate"]["warm_write_units_per_s"], table["estimate"]["write_units"]) == (6, 60 * 3)
    assert "orders" not in world.dynamodb.list_tables()["TableNames"]
    restore = world.restore(create_missing_tables=True, plan_digest=dry["plan_digest"])
    assert (restore["status"], restore["tables"][0]["created"]) == ("COMPLETED", True)


@pytest.mark.parametrize(
    "change",
    [
        {"billing_mode": "FREE"},
        {"keys": ()},
        {"attributes": ()},
        {"table_class": "GOLD"},
        {"stream": {"StreamEnabled": True, "StreamViewType": "EVERYTHING"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_hostile_definition_is_a_blocker_and_makes_nothing(world, change):
    definition = back_up_a_table_that_is_gone(world)
    names = {"stream": next(name for name in definition.__struct_fields__ if "stream" in name)}
    hostile = {names.get(name, name): value for name, value in change.items()}
    body = msgspec.json.encode(msgspec.to_builtins(definition) | hostile)
    world.s3.put_object(Bucket=BUCKET, Key=layout.definition_key(PREFIX, DATE, "orders"), Body=body)
    restore = world.restore(create_missing_tables=True)
    assert restore["status"] == "FAILED"
    assert restore["blockers"]
    assert "orders" not in world.dynamodb.list_tables()["TableNames"]
    assert world.locks() == world.open_work() == []


def test_no_permission_to_make_a_table_ends_it_with_nothing_written(world):
    back_up_a_table_that_is_gone(world)

    def deny(name, request):
        if name == "create_table":
            raise client_error("AccessDeniedException", "CreateTable")

    world.hook = deny
    restore = world.restore(create_missing_tables=True)
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    assert "orders could not be made: AccessDeniedException" in restore["failures"][0]


@pytest.mark.parametrize("call", LAST_CALLS)
def test_a_setting_that_cannot_be_put_on_is_told_and_put_on_by_a_retry(world, call):
    definition = back_up_a_table_that_is_gone(world)
    restore_id = world.ask(create_missing_tables=True)

    def deny(name, request):
        if name == call:
            raise client_error("AccessDeniedException", name)

    world.hook = deny
    restore = world.settle(restore_id)
    assert (restore["status"], counts(restore)) == ("PARTIAL", {"written": 60})
    assert "orders was loaded, but some of its settings are missing" in restore["failures"][0]
    world.hook = quiet
    world.services.desk.retry_failed(restore_id)
    assert_made(world, world.settle(restore_id), definition, "orders")


def test_no_safety_backup_is_tried_of_a_table_that_is_made(world):
    back_up_a_table_that_is_gone(world)
    made: list[str] = []

    def watch(name, request):
        if name == "create_backup":
            made.append(request["TableName"])

    world.hook = watch
    restore = world.restore(create_missing_tables=True, clear_existing_data=True)
    assert (restore["status"], made) == ("COMPLETED", [])


def test_some_targets_are_made_and_others_are_there(world):
    for name in ("aaa", "bbb"):
        world.create_table(name)
    world.back_up({"aaa": numbered(5), "bbb": numbered(6)})
    world.dynamodb.delete_table(TableName="bbb")
    restore = world.restore(create_missing_tables=True, safety_backup=True)
    assert restore["status"] == "COMPLETED"
    assert [(table["created"], table["safety_backup_arn"] is None) for table in restore["tables"]] == [
        (False, False),
        (True, True),
    ]
    assert (len(world.items("aaa")), len(world.items("bbb"))) == (5, 6)


def test_a_restore_into_a_new_table_that_was_cancelled_goes_on_in_the_table_it_made(world):
    definition = back_up_a_table_that_is_gone(world)
    restore_id = world.ask(create_missing_tables=True, max_workers=1)

    def cancel(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            world.services.desk.cancel(restore_id)

    world.hook = cancel
    assert world.settle(restore_id)["status"] == "CANCELLED"
    world.hook = quiet
    world.services.desk.resume(restore_id)
    assert_made(world, world.settle(restore_id), definition, "orders")
