"""Restores of every kind, once each, of the table that has all a table can have: what the workers' rights are for."""

import base64
from typing import Any

from chalicelib.restore.slots import slot_key
from tests.e2e.privilege import marked
from tests.e2e.privilege.stand import Stand
from tests.unit.policies.documents import Part, without

MADE = "marked-made"
LEDGER_TO_BE_MADE = "tablevault-new-ledger"


def restore_in_every_way(stand: Stand, backup_date: str) -> list[dict[str, Any]]:
    """`backup_date`: a set of DEVICES alone, which is as it was backed up. The decisions of IAM meanwhile, without the
    one that was forced."""
    _spare_and_compare(stand, backup_date)
    _restore_keys(stand, backup_date)
    _cancel_and_resume(stand, backup_date)
    decisions = stand.take_decisions()
    _make_a_table(stand, backup_date)
    decisions += [each for each in stand.take_decisions() if each["action"] != "dynamodb:UpdateTimeToLive"]
    _retry_what_failed(stand)
    _refuse_ledgers(stand, backup_date)
    return decisions


def _restored(stand: Stand, backup_date: str, *, status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    restore_id = stand.ask("POST", "/restores", {"backup_date": backup_date, **more}).body["restore_id"]
    restore = stand.await_restore(restore_id)
    assert restore["status"] == status, restore
    return restore


def _spare_and_compare(stand: Stand, backup_date: str) -> None:
    dynamodb = stand.sandbox.client("dynamodb")
    first, second, _ = marked.devices()
    dynamodb.delete_item(TableName=marked.DEVICES, Key={"id": first["id"]})
    [table] = _restored(stand, backup_date, mode="missing_only", verify="sample")["tables"]
    assert (table["written"], table["skipped"], table["items_compared"]) == (1, 2, 3)
    dynamodb.put_item(TableName=marked.DEVICES, Item={**second, "note": {"S": "other"}})
    [table] = _restored(stand, backup_date, mode="changed_only", verify="full")["tables"]
    assert (table["written"], table["unchanged"], table["items_compared"]) == (1, 2, 3)


def asked_keys() -> list[dict[str, Any]]:
    """One that the backup has, and one that it has not."""
    return [
        {"id": {"B": base64.b64encode(key).decode()}}
        for key in (marked.devices()[0]["id"]["B"], marked.BINARY_KEY_MARK + b"none")
    ]


def _restore_keys(stand: Stand, backup_date: str) -> None:
    """Asked for twice with one Idempotency-Key: there is one restore."""
    body = {"backup_date": backup_date, "keys": asked_keys(), "max_workers": 1}
    ids = {stand.ask("POST", "/restores", body, Idempotency_Key="once").body["restore_id"] for _ in range(2)}
    assert len(ids) == 1
    [table] = stand.await_restore(ids.pop())["tables"]
    assert (table["written"], table["filtered"], table["keys_not_in_backup"]) == (1, 2, [1])
    wrong = {**body, "keys": [{"id": {"S": marked.KEY_MARK}}]}
    assert stand.ask("POST", "/restores", wrong).status == 422


def _cancel_and_resume(stand: Stand, backup_date: str) -> None:
    with stand.paused_workers():
        restore_id = stand.ask("POST", "/restores", {"backup_date": backup_date}).body["restore_id"]
        assert stand.ask("POST", f"/restores/{restore_id}/cancel").status == 202
        assert stand.invoke_schedule("reconcile") is None
    assert stand.await_restore(restore_id)["cancelled_in"] == "PLANNING"
    assert stand.ask("POST", f"/restores/{restore_id}/retry-failed").status == 409
    assert stand.ask("POST", f"/restores/{restore_id}/resume").status == 202
    # The message of before was lost with the pause.
    stand.set_row(slot_key(restore_id, 0), sent_at_ms=0)
    assert stand.invoke_schedule("reconcile") is None
    restore = stand.await_restore(restore_id)
    assert (restore["status"], restore["resumes"]) == ("COMPLETED", 1)


def _make_a_table(stand: Stand, backup_date: str) -> None:
    """Its TTL cannot be put on for want of a right, which is given back before it is tried again."""
    with stand.policy("restore_shards", without(_part("FinishCreatedTargets", "dynamodb:UpdateTimeToLive"))):
        restore = _restored(stand, backup_date, status="PARTIAL", **into(MADE))
    assert "turn on TTL" in str(restore["failures"])
    stand.made_id = restore["restore_id"]


def _retry_what_failed(stand: Stand) -> None:
    assert stand.ask("POST", f"/restores/{stand.made_id}/retry-failed").status == 202
    restore = stand.await_restore(stand.made_id)
    assert (restore["status"], restore["failures"]) == ("COMPLETED", []), restore
    dynamodb = stand.sandbox.client("dynamodb")
    assert dynamodb.describe_time_to_live(TableName=MADE)["TimeToLiveDescription"]["AttributeName"] == marked.EXPIRY
    described = dynamodb.describe_table(TableName=MADE)["Table"]
    assert described["DeletionProtectionEnabled"]
    assert [each["IndexName"] for each in described["GlobalSecondaryIndexes"]] == [marked.INDEX]
    assert stand.scaled(MADE) == stand.scaled(marked.DEVICES)


def _refuse_ledgers(stand: Stand, backup_date: str) -> None:
    """IAM lets nobody read one by restoring into it, nor make one."""
    other = {"target_tables": {marked.DEVICES: marked.LEDGER_OF_ANOTHER_STAGE}, "mode": "changed_only"}
    assert "dynamodb:BatchGetItem" in str(_restored(stand, backup_date, status="FAILED", **other)["blockers"])
    failures = _restored(stand, backup_date, status="FAILED", **into(LEDGER_TO_BE_MADE))["failures"]
    assert "dynamodb:CreateTable" in str(failures)


def into(target: str) -> dict[str, Any]:
    """A request for a table that is to be made."""
    return {"target_tables": {marked.DEVICES: target}, "create_missing_tables": True}


def _part(sid: str, action: str) -> Part:
    return Part("restore_shards", sid, "Action", action)
