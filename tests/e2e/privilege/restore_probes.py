"""Probes of restores: what workers, reconcile and the dead-letter queue's function do for them."""

import json
from typing import Any

from chalicelib.restore.model import TERMINAL
from tests.e2e.privilege import every_kind, marked
from tests.e2e.privilege.whole_run import WholeRun, lose_message, start_restore

_MADE = "marked-made-by-a-probe"


def restore_and_clear(whole: WholeRun) -> str | None:
    """One worker does all of a restore: every phase, the safety backup and the clearing too."""
    return _work_alone(whole, {"clear_existing_data": True}, expected="COMPLETED")


def restore_keys(whole: WholeRun) -> str | None:
    return _work_alone(whole, {"keys": every_kind.asked_keys()}, expected="COMPLETED")


def restore_what_changed(whole: WholeRun) -> str | None:
    return _work_alone(whole, {"mode": "changed_only", "verify": "full"}, expected="COMPLETED")


def look_at_capacity(whole: WholeRun) -> str | None:
    """Whether the target's capacity is scaled: without the right a restore goes on, and says that it does not know."""
    stand = whole.stand
    restore_id = start_restore(stand, whole.small_backup_date, dry_run=True)
    try:
        _, error = stand.invoke_message("restore_shards", stand.message_of(restore_id))
        warnings = stand.ask("GET", f"/restores/{restore_id}").body["warnings"]
        return error or next((text for text in warnings if "is not known" in text), None)
    finally:
        stand.forget(f"RESTORE#{restore_id}")


def make_a_table(whole: WholeRun) -> str | None:
    trouble = _work_alone(whole, every_kind.into(_MADE), expected="COMPLETED")
    if _MADE in whole.stand.sandbox.client("dynamodb").list_tables()["TableNames"]:
        whole.stand.drop_table(_MADE)
    return trouble


def clear_a_ledger(whole: WholeRun) -> str | None:
    """Well is, here, that it is refused."""
    other = {marked.DEVICES: marked.LEDGER_OF_ANOTHER_STAGE}
    return _work_alone(whole, {"clear_existing_data": True, "target_tables": other}, expected="FAILED")


def _work_alone(whole: WholeRun, more: dict[str, Any], *, expected: str) -> str | None:
    stand = whole.stand
    restore_id = start_restore(stand, whole.small_backup_date, **more)
    try:
        _, error = stand.invoke_message("restore_shards", stand.message_of(restore_id))
        said = stand.ask("GET", f"/restores/{restore_id}").body
        reasons = "; ".join((*said["blockers"], *said["failures"]))
        if error or said["status"] != expected or said["receipt_key"] is None:
            return f"the restore is {said['status']}: {error or reasons}"
        return None
    finally:
        stand.forget(f"RESTORE#{restore_id}")


def wake_another_worker(whole: WholeRun) -> str | None:
    """A worker that moves a restore on wakes the slots whose messages are lost."""
    stand = whole.stand
    accepted = {"backup_date": whole.backup_date, "dry_run": True, "max_workers": 2}
    restore_id = stand.ask("POST", "/restores", accepted).body["restore_id"]
    try:
        lose_message(stand, restore_id, slot=1)
        _, error = stand.invoke_message("restore_shards", stand.message_of(restore_id))
        woken = json.loads(stand.message_of(restore_id, slot=1))["wake"] > 1
        return error or (None if woken else "nobody was woken")
    finally:
        stand.forget(f"RESTORE#{restore_id}")


def wake_by_reconcile(whole: WholeRun) -> str | None:
    stand = whole.stand
    restore_id = start_restore(stand, whole.small_backup_date)
    try:
        lose_message(stand, restore_id)
        return stand.invoke_schedule("reconcile")
    finally:
        stand.forget(f"RESTORE#{restore_id}")


def close_by_reconcile(whole: WholeRun) -> str | None:
    """A restore whose worker ended it and died before its receipt was written."""
    stand = whole.stand
    job = stand.job(whole.restore_id)
    assert job.status in TERMINAL
    stand.reopen(whole.restore_id)
    error = stand.invoke_schedule("reconcile")
    is_open = stand.job(whole.restore_id).open_kind is not None
    return error or ("the restore is never closed" if is_open else None)


def know_dead_letter(whole: WholeRun) -> str | None:
    return whole.stand.invoke_message("record_dead_letter", whole.stand.message_of(whole.restore_id))[1]


def keep_strange_dead_letter(whole: WholeRun) -> str | None:
    return whole.stand.invoke_message("record_dead_letter", "nothing of ours")[1]
