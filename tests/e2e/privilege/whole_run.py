"""Everything the service does, once, with marked items: what the permissions are for, and all it says meanwhile.

Every step checks its own outcome: a run that did not happen would prove nothing.
"""

import base64
import gzip
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from chalicelib.ledger import Key
from chalicelib.restore.model import Kind
from chalicelib.restore.records import job_key, shard_sk
from chalicelib.restore.slots import slot_key
from sandbox import seed
from sandbox.exports.administration import advance_clock
from tests.e2e.conftest import wait_for
from tests.e2e.privilege import every_kind, keeping, marked, notices
from tests.e2e.privilege.stand import Stand

TODAY = time.strftime("%Y-%m-%d", time.gmtime())
_CONTINUED = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))  # yesterday's set, which stays as it is


@dataclass
class WholeRun:
    """What a whole run leaves behind. `tokens`: every bearer token that was presented, right and wrong."""

    stand: Stand
    decisions: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, bytes] = field(default_factory=dict)
    backup_date: str = ""  # both tables, one data file with refused lines
    small_backup_date: str = ""  # DEVICES alone, untouched
    reread_backup_date: str = "2026-01-01"  # DEVICES alone, recorded again and again; shielded
    increment_date: str = ""  # DEVICES alone, an increment, and an export of ORDERS that failed
    dry_run_id: str = ""
    restore_id: str = ""


def run(stand: Stand) -> WholeRun:
    whole = WholeRun(stand)
    stand.take_decisions()
    notices.listen(stand)
    dynamodb = stand.sandbox.client("dynamodb")
    marked.create_tables(dynamodb)
    marked.furnish_devices(dynamodb, stand.sandbox.client("application-autoscaling"))
    seed.put_items(dynamodb, marked.ORDERS, marked.orders())
    seed.put_items(dynamodb, marked.DEVICES, marked.devices())
    _back_up(whole)
    _back_up_what_was_missed(whole)
    _back_up_changes(whole)
    _keep_and_adopt(whole)
    with keeping.pruning(stand):
        _restore(whole)
    whole.decisions = stand.take_decisions()
    whole.decisions += every_kind.restore_in_every_way(stand, whole.small_backup_date)
    _cancel(whole)
    _lose_and_kill(whole)
    _send_strange_messages(whole)
    _knock(whole)
    whole.decisions += stand.take_decisions()
    return whole


def _back_up(whole: WholeRun) -> None:
    stand = whole.stand
    assert stand.invoke_schedule("start_exports") is None
    backup = stand.await_backup(TODAY)
    assert backup["status"] == "PARTIAL"
    assert {each["table_name"] for each in backup["tables"] if each["status"] == "FAILED"} == {marked.UNPROTECTED}
    whole.backup_date = stand.finished_backup(marked.ORDERS, marked.DEVICES)
    whole.small_backup_date = stand.finished_backup(marked.DEVICES)
    assert stand.start_backup(marked.UNPROTECTED)["status"] == "PARTIAL"
    assert stand.ask("GET", "/backups").status == 200
    _spoil_a_data_file(stand, whole.backup_date)


def _back_up_what_was_missed(whole: WholeRun) -> None:
    """Sets that only reconcile, a second run of the schedule or a repeated event can finish."""
    stand = whole.stand
    missed = (keeping.OLD, whole.reread_backup_date)
    for backup_date in missed:
        stand.plan_set_hours_ago(backup_date, whole.small_backup_date, marked.DEVICES)
    assert stand.invoke_schedule("reconcile") is None
    for backup_date in missed:
        assert stand.await_backup(backup_date)["status"] == "COMPLETE"
    stand.plan_set_hours_ago(TODAY, whole.small_backup_date, marked.DEVICES)
    _remove_manifest(stand, TODAY)
    assert stand.invoke_schedule("start_exports") is None  # finds the export that runs, or ran, in its place
    assert stand.invoke_schedule("reconcile") is None
    assert stand.await_backup(TODAY)["status"] == "COMPLETE"
    for keep_manifest in (False, True):  # True: all but the last step was done by a run that was cut off
        # Its event never came; and the other time it comes again.
        stand.unrecord_export(whole.reread_backup_date, marked.DEVICES, keep_manifest=keep_manifest)
        assert stand.invoke_schedule("reconcile") is None
        assert is_finished(stand, whole.reread_backup_date)
        key = stand.unrecord_export(whole.reread_backup_date, marked.DEVICES, keep_manifest=keep_manifest)
        assert record_export(stand, key) is None
        assert is_finished(stand, whole.reread_backup_date)


def _back_up_changes(whole: WholeRun) -> None:
    """Increments, by hand and on schedule, for which older sets are looked through."""
    stand = whole.stand
    stand.plan_set_hours_ago(_CONTINUED, whole.small_backup_date, marked.DEVICES)
    assert stand.invoke_schedule("reconcile") is None
    assert stand.await_backup(_CONTINUED)["status"] == "COMPLETE"
    advance_clock(stand.sandbox.endpoint_url, 7_200)
    started = stand.ask("POST", "/backups", {"tables": [marked.DEVICES], "export_type": "INCREMENTAL_EXPORT"})
    assert started.body["tables"][0]["export_type"] == "INCREMENTAL_EXPORT"
    whole.increment_date = started.body["backup_date"]
    assert stand.await_backup(whole.increment_date)["status"] == "COMPLETE"
    stand.forget(f"BACKUP#{TODAY}")
    _remove_manifest(stand, TODAY)
    assert stand.invoke_schedule("start_exports") is None
    assert stand.invoke_schedule("reconcile") is None  # of one table it is the export that ran already
    assert stand.await_backup(TODAY)["status"] == "PARTIAL"


def _keep_and_adopt(whole: WholeRun) -> None:
    keeping.keep_and_adopt(
        whole.stand,
        kept=whole.reread_backup_date,
        released=whole.small_backup_date,
        increments=whole.increment_date,
        known=_CONTINUED,
        today=TODAY,
    )


def _remove_manifest(stand: Stand, backup_date: str) -> None:
    bucket = stand.sandbox.stage.backup_bucket
    stand.sandbox.client("s3").delete_object(Bucket=bucket, Key=f"native-exports/{backup_date}/manifest.json")


def _restore(whole: WholeRun) -> None:
    stand = whole.stand
    body = {"backup_date": whole.backup_date, "max_workers": 2}
    whole.dry_run_id = stand.ask("POST", "/restores", {**body, "dry_run": True}).body["restore_id"]
    dry_run = stand.await_restore(whole.dry_run_id)
    assert dry_run["status"] == "COMPLETED", dry_run
    assert dry_run["warnings"]
    whole.restore_id = stand.ask("POST", "/restores", {**body, "clear_existing_data": True}).body["restore_id"]
    restore = stand.await_restore(whole.restore_id)
    assert restore["status"] == "PARTIAL", restore
    counts = {table["source_table"]: table for table in restore["tables"]}
    assert counts[marked.ORDERS]["rejected"] == len(marked.refused_lines())
    assert counts[marked.ORDERS]["cleared"] == counts[marked.ORDERS]["written"] == marked.ORDER_COUNT
    missing = {"backup_date": whole.small_backup_date, "target_tables": {marked.DEVICES: marked.ORDERS}}
    blocked = stand.ask("POST", "/restores", missing).body["restore_id"]
    assert stand.await_restore(blocked)["blockers"]
    of_a_ledger = {**missing, "target_tables": {marked.DEVICES: marked.LEDGER_OF_ANOTHER_STAGE}}
    refused = stand.ask("POST", "/restores", {**of_a_ledger, "clear_existing_data": True}).body["restore_id"]
    assert "dynamodb:Scan" in str(stand.await_restore(refused)["blockers"])
    assert stand.ask("GET", "/restores").status == 200
    assert stand.ask("POST", "/restores", {"backup_date": "latest", "tables": ["nobodys"]}).status == 404


def _cancel(whole: WholeRun) -> None:
    """Cancelled before any worker came; and in the middle of LOADING, ended by reconcile and by a worker."""
    stand = whole.stand
    with stand.paused_workers():
        restore_id = start_restore(stand, whole.small_backup_date)
        locked = stand.ask("POST", "/restores", {"backup_date": whole.small_backup_date})
        assert (locked.status, locked.body["code"]) == (409, "target_locked")
        assert stand.ask("POST", f"/restores/{restore_id}/cancel").status == 202
        assert stand.invoke_schedule("reconcile") is None
        assert stand.await_restore(restore_id)["status"] == "CANCELLED"
    restore_id = start_restore(stand, whole.small_backup_date)
    assert stand.await_restore(restore_id)["status"] == "COMPLETED"
    for is_worker_left in (False, True):
        stand.uncancel(restore_id)
        assert stand.ask("GET", f"/restores/{restore_id}").body["status"] == "CANCELLING"
        if is_worker_left:
            stand.set_row(slot_key(restore_id, 0), state="WOKEN", busy_until_ms=0)
            assert stand.invoke_message("restore_shards", stand.message_of(restore_id)) == (["rested"], None)
        else:
            assert stand.invoke_schedule("reconcile") is None
        assert stand.await_restore(restore_id)["status"] == "CANCELLED"


def _lose_and_kill(whole: WholeRun) -> None:
    """A message that is lost is sent again; a worker that died three times leaves its message as a dead letter."""
    stand = whole.stand
    with stand.paused_workers():
        restore_id = start_restore(stand, whole.small_backup_date)
        lose_message(stand, restore_id)
        assert stand.invoke_schedule("reconcile") is None
        assert json.loads(stand.message_of(restore_id))["wake"] == 2
        leave_a_dead_workers_claim(stand, restore_id)
        said, error = stand.invoke_message("record_dead_letter", stand.message_of(restore_id))
        assert (said, error) == (["slot freed: True, shard failed: True"], None)
    assert stand.invoke_schedule("reconcile") is None
    ended = stand.await_restore(restore_id)
    assert (ended["status"], len(ended["failures"])) == ("FAILED", 1)


def _send_strange_messages(whole: WholeRun) -> None:
    """Taken from both queues, as events come; a message may hold anything, and its content is kept as it is."""
    stand = whole.stand
    stage = stand.sandbox.stage
    strange = b'{"restore_id": "r-unknown", "slot": 1, "wake": 1, "hop": 0, "more": true}'
    for queue in (stage.restore_queue, stage.restore_dead_letter_queue):
        stand.sandbox.client("sqs").send_message(QueueUrl=stand.queue_url(queue), MessageBody=strange.decode())
    listing = {"Bucket": stage.backup_bucket, "Prefix": "quarantine/"}
    wait_for("both messages", lambda: stand.sandbox.client("s3").list_objects_v2(**listing).get("KeyCount") == 2)


def _knock(whole: WholeRun) -> None:
    """Tokens that are wrong, nearly right, or in odd places."""
    stand = whole.stand
    right = stand.sandbox.token
    nearly = right[:-1] + ("A" if right[-1] != "A" else "B")
    garbage = "garbage." + hashlib.sha256(right.encode()).hexdigest()
    whole.tokens = {"the token": right.encode(), "a nearly right token": nearly.encode(), "garbage": garbage.encode()}
    for token, status in ((f"Bearer {nearly}", 403), (f"Bearer {garbage}", 403), (f"Basic {right}", 403), (right, 403)):
        assert stand.ask("GET", "/backups", token=token).status == status
    assert stand.ask("GET", "/backups", token=None, X_Api_Token=right, Cookie=f"token={right}").status == 401
    assert stand.ask("GET", "/backups", User_Agent=right, X_Amzn_Trace_Id=f"Root={right}").status == 200
    assert (
        stand.ask("POST", "/restores", {"dry_run": right, "max_workers": right, "tables": {"x": right}}).status == 422
    )
    assert stand.ask("POST", "/restores", f'{{"tables": ["{right}"'.encode()).status == 400
    assert stand.ask("GET", f"/backups?limit={right}").status == 422
    assert stand.ask("POST", "/restores", marked.refused_lines()[5]).status == 400
    _say_the_token(stand, right)


def _say_the_token(stand: Stand, right: str) -> None:
    """The token where a name is asked for: the answer tells its caller which name is wrong."""
    for odd in ({"backup_date": right}, {right: 1}, {"tables": [right]}, {"target_tables": {right: right}}):
        assert stand.ask("POST", "/restores", odd).status in (404, 422), odd
    for path in (f"/restores/{right}", f"/backups/{right}", f"/backups?{right}=1", f"/restores?before={right}"):
        assert stand.ask("GET", path).status in (404, 422), path


def start_restore(stand: Stand, backup_date: str, **more: Any) -> str:
    accepted = stand.ask("POST", "/restores", {"backup_date": backup_date, "max_workers": 1, **more})
    assert accepted.status == 202, accepted
    return str(accepted.body["restore_id"])


def record_export(stand: Stand, summary_key: str) -> str | None:
    """Why the export of this summary was not recorded, if it was not."""
    event = {"s3": {"bucket": {"name": stand.sandbox.stage.backup_bucket}, "object": {"key": summary_key}}}
    said, error = stand.invoke("record_export", {"Records": [event]})
    return error or (None if said[0]["result"] == "recorded" else str(said))


def is_finished(stand: Stand, backup_date: str) -> bool:
    return stand.has_manifest(backup_date) and stand.is_closed(backup_date)


def lose_message(stand: Stand, restore_id: str, slot: int = 0) -> None:
    """The slot was woken so long ago that its message must be lost."""
    stand.set_row(slot_key(restore_id, slot), sent_at_ms=0)


def leave_a_dead_workers_claim(stand: Stand, restore_id: str) -> None:
    """What a worker leaves that died on the table's planning, when its claim has lapsed."""
    sk = shard_sk(Kind.PLAN, 0, 0)
    wake = json.loads(stand.message_of(restore_id))["wake"]
    stand.set_row(Key(job_key(restore_id).pk, sk), attempt=1, claimed_until_ms=1, claimed_slot=0)
    stand.set_row(slot_key(restore_id, 0), state="BUSY", busy_until_ms=1, shard=sk, shard_attempt=1, shard_wake=wake)


def _spoil_a_data_file(stand: Stand, backup_date: str) -> None:
    """Adds refused lines to one data file, and to all that vouches for it, as if the export had written them."""
    s3, bucket = stand.sandbox.client("s3"), stand.sandbox.stage.backup_bucket
    manifest_key = f"native-exports/{backup_date}/manifest.json"

    def read(key: str) -> bytes:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def write(key: str, content: bytes) -> str:
        return str(s3.put_object(Bucket=bucket, Key=key, Body=content)["ETag"]).strip('"')

    manifest = json.loads(read(manifest_key))
    table = next(each for each in manifest["tables"] if each["table_name"] == marked.ORDERS)
    entries = [json.loads(line) for line in read(table["manifest_files_key"]).splitlines()]
    entry = max(entries, key=lambda each: each["itemCount"])
    lines = marked.refused_lines()
    content = gzip.compress(gzip.decompress(read(entry["dataFileS3Key"])) + b"\n".join(lines) + b"\n")
    entry["etag"] = write(entry["dataFileS3Key"], content)
    entry["md5Checksum"] = _md5(content)
    entry["itemCount"] += len(lines)
    files = b"\n".join(json.dumps(each).encode() for each in entries) + b"\n"
    write(table["manifest_files_key"], files)
    table["manifest_files_md5"] = _md5(files)
    table["item_count"] += len(lines)
    manifest["total_items_exported"] += len(lines)
    write(manifest_key, json.dumps(manifest).encode())


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()
