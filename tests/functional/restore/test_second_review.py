"""What an adversarial review of modes, chains, resume and creation showed, each as the story it was found by."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.exports.incremental import Delete, Update
from tests.functional.restore.world import BUCKET, DATE, LEDGER, numbered


def item(number: int, value: int) -> dict[str, Any]:
    return {"id": {"S": f"item-{number:05d}"}, "n": {"N": str(value)}}


def moves_to(status: str, name: str, request: dict[str, Any]) -> bool:
    """Whether a call to the ledger moves a restore to this status."""
    return name == "update_item" and {"S": status} in request.get("ExpressionAttributeValues", {}).values()


def test_a_restore_cancelled_while_it_cleared_is_checked_and_backed_up_again_before_it_clears_on(world):
    world.create_table("orders")
    world.put("orders", numbered(60))
    exports = world.back_up({"orders": numbered(60)})
    restore_id = world.ask(clear_existing_data=True)
    deleted = 0

    def hook(name: str, request: dict[str, Any]) -> None:
        nonlocal deleted
        entries = request.get("RequestItems", {}).get("orders", [])
        if name == "batch_write_item" and "DeleteRequest" in (entries or [{}])[0]:
            deleted += 1
            if deleted == 2:
                world.services.desk.cancel(restore_id)

    world.hook = hook
    assert world.settle(restore_id)["status"] == "CANCELLED"
    world.hook = lambda name, request: None
    world.s3.delete_object(Bucket=BUCKET, Key=exports["orders"].files[0].key)
    left = world.items("orders")

    world.services.desk.resume(restore_id)
    ended = world.settle(restore_id)

    assert (ended["status"], world.items("orders")) == ("FAILED", left)
    assert "missing" in ended["blockers"][0]
    assert ended["tables"][0]["cleared"] == 60 - len(left)


def test_a_resumed_restore_takes_another_safety_backup_and_names_both(world):
    world.create_table("orders")
    world.put("orders", numbered(60))
    world.back_up({"orders": numbered(60)})
    restore_id = world.ask(clear_existing_data=True)

    def hook(name: str, request: dict[str, Any]) -> None:
        if name == "scan" and request["TableName"] == "orders" and "Segment" not in request and request["Limit"] > 1:
            world.services.desk.cancel(restore_id)

    world.hook = hook
    assert world.settle(restore_id)["cancelled_in"] == "CLEARING"
    world.hook = lambda name, request: None
    world.services.desk.resume(restore_id)
    ended = world.settle(restore_id)

    backups = world.dynamodb.list_backups(TableName="orders")["BackupSummaries"]
    first, second = sorted(backups, key=lambda backup: len(backup["BackupName"]))
    assert (ended["status"], ended["cancelled_in"]) == ("COMPLETED", None)
    assert ended["tables"][0]["safety_backup_arn"] == first["BackupArn"]
    assert any(second["BackupArn"] in step for step in ended["tables"][0]["undo"])


def test_a_target_that_appears_after_planning_is_not_taken_for_cleared(world):
    world.back_up({"orders": numbered(5)})
    restore_id = world.ask(clear_existing_data=True, create_missing_tables=True)

    def hook(name: str, request: dict[str, Any]) -> None:
        if name == "get_object" and request["Key"].endswith("table.json"):
            world.hook = lambda name, request: None
            world.create_table("orders")
            world.put("orders", [item(900, 1)])

    world.hook = hook
    ended = world.settle(restore_id)
    assert ended["status"] == "FAILED"
    assert any("appeared" in text for text in ended["blockers"])
    assert world.items("orders") == [item(900, 1)]


def test_an_index_that_lacks_an_increment_is_not_used(world):
    world.create_table("orders")
    world.put("orders", [item(number, number + 100) for number in range(4)])
    world.back_up({"orders": numbered(4)})
    increment = {"orders": [Update(item(number, number), item(number, number + 100)) for number in range(4)]}
    world.back_up_increment("2026-11-22", increment, partitions=1)
    restore_id = world.ask(backup_date="2026-11-22", mode="changed_only", max_workers=1)

    def lose_the_increment(name: str, request: dict[str, Any]) -> None:
        if not moves_to("LOADING", name, request):
            return
        world.hook = lambda name, request: None
        rows = world.dynamodb.query(
            TableName=LEDGER,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
            ExpressionAttributeValues={":pk": {"S": f"RESTORE#{restore_id}"}, ":sk": {"S": "SHARD#load#"}},
        )["Items"]
        (lost,) = (row for row in rows if row["link"]["N"] == "1")
        world.dynamodb.delete_item(TableName=LEDGER, Key={"pk": lost["pk"], "sk": lost["sk"]})

    world.hook = lose_the_increment
    ended = world.settle(restore_id)
    assert ended["status"] != "COMPLETED"
    assert world.items("orders") == [item(number, number + 100) for number in range(4)]


def test_a_lock_of_a_version_that_noted_no_holder_is_given_back(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(3)})
    ended = world.restore()
    lock = {"pk": {"S": "LOCK#orders"}, "sk": {"S": "LOCK"}, "restore_id": {"S": ended["restore_id"]}}
    world.dynamodb.put_item(TableName=LEDGER, Item=lock)
    assert world.restore()["status"] == "COMPLETED"
    assert world.locks() == []


def test_clearing_keeps_to_the_limit_too(world):
    world.create_table("orders")
    world.put("orders", numbered(200))
    world.back_up({"orders": []})
    moments: list[int] = []

    def note(name: str, request: dict[str, Any]) -> None:
        entries = request.get("RequestItems", {}).get("orders", [{}])
        if name == "batch_write_item" and entries[0].get("DeleteRequest", {}).get("Key", {}).keys() == {"id"}:
            assert request["ReturnConsumedCapacity"] == "TOTAL"
            moments.extend([world.clock()] * len(entries))

    world.hook = note
    # moto counts one unit for a whole request, so the limit is only felt until the first answer.
    ended = world.restore(clear_existing_data=True, safety_backup=False, max_write_units=5, max_workers=1)
    assert (ended["status"], ended["tables"][0]["cleared"], len(moments)) == ("COMPLETED", 200, 200)
    assert moments[-1] > moments[0]


def test_a_restore_of_keys_of_which_none_could_be_written_restored_nothing(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(50)})

    def deny(name: str, request: dict[str, Any]) -> None:
        entries = request.get("RequestItems", {}).get("orders", [])
        if name == "batch_write_item" and "PutRequest" in (entries or [{}])[0]:
            error: Any = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(error, "BatchWriteItem")

    world.hook = deny
    ended = world.restore(keys=[{"id": {"S": "item-00007"}}])
    assert (ended["status"], ended["status_code"]) == ("FAILED", 500)


@pytest.mark.parametrize("verify", ["sample", "full"])
def test_asked_keys_are_all_compared(world, verify):
    world.create_table("orders")
    world.back_up({"orders": numbered(500)}, partitions=1)
    ended = world.restore(keys=[{"id": {"S": f"item-{number:05d}"}} for number in (7, 301)], verify=verify)
    assert (ended["status"], ended["tables"][0]["items_compared"]) == ("COMPLETED", 2)


def test_a_sample_of_a_chain_compares_where_few_lines_have_the_last_word(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(400)}, partitions=1)
    changes = [Update(item(number, number), item(number, 1_000)) for number in range(399)] + [Delete(item(399, 399))]
    world.back_up_increment("2026-11-22", {"orders": changes}, partitions=1)
    ended = world.restore(backup_date="2026-11-22", verify="sample")
    assert ended["status"] == "COMPLETED"
    assert ended["tables"][0]["items_compared"] >= 100


def test_restoring_into_a_table_that_another_restore_left_unfinished_says_so(world):
    world.back_up({"orders": numbered(5)})
    restore_id = world.ask(create_missing_tables=True)

    def cancel(name: str, request: dict[str, Any]) -> None:
        if name == "batch_write_item" and "orders" in request["RequestItems"]:
            world.services.desk.cancel(restore_id)

    world.hook = cancel
    assert world.settle(restore_id)["status"] == "CANCELLED"
    world.hook = lambda name, request: None
    ended = world.restore(backup_date=DATE)
    assert ended["status"] == "COMPLETED"
    assert any(restore_id in text and "not finished" in text for text in ended["warnings"])

    fresh = world.restore(create_missing_tables=True, target_tables={"orders": "another"})
    assert fresh["status"] == "COMPLETED"
    again = world.restore(target_tables={"orders": "another"})
    assert not any("not finished" in text for text in again["warnings"])


def test_a_round_of_reopening_that_fails_ends_as_the_restore_had_ended_and_can_be_tried_again(world):
    world.create_table("orders")
    world.back_up({"orders": numbered(40)})

    def deny(name: str, request: dict[str, Any]) -> None:
        entries = request.get("RequestItems", {}).get("orders", [])
        if name == "batch_write_item" and "PutRequest" in (entries or [{}])[0]:
            error: Any = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(error, "BatchWriteItem")

    def deny_reopening(name: str, request: dict[str, Any]) -> None:
        updates = [each["Update"]["Key"]["sk"]["S"] for each in request.get("TransactItems", []) if "Update" in each]
        if any(sk.startswith(("SHARD#load#", "SHARD#verify#")) for sk in updates):
            error: Any = {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(error, "TransactWriteItems")

    world.hook = deny
    ended = world.restore()
    assert ended["status"] == "FAILED"
    restore_id = ended["restore_id"]
    world.hook = deny_reopening
    world.services.desk.retry_failed(restore_id)
    assert world.settle(restore_id)["status"] == "FAILED"
    world.hook = lambda name, request: None
    world.services.desk.retry_failed(restore_id)
    ended = world.settle(restore_id)
    assert (ended["status"], ended["tables"][0]["written"]) == ("COMPLETED", 40)
