"""What keeps backups, what removes them, and how the ledger learns of what it does not know: each thing once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from chalicelib.backup.backup_names import safety_name
from chalicelib.backup.catalog import set_key
from chalicelib.backup.on_demand.runs import table_key
from chalicelib.backup.on_demand.shown import BACKUP_TYPE
from chalicelib.backup.states import ExportState
from chalicelib.ledger import Put
from sandbox.exports.administration import age_backups, steer_exports
from sandbox.exports.course import Course, Outcome
from sandbox.sandbox import scheduled_event
from tests.e2e.conftest import wait_for
from tests.e2e.privilege import marked
from tests.e2e.privilege.notices import is_told
from tests.e2e.privilege.stand import Stand

OLD = "2025-06-01"  # retention removes it
_OF_AN_OLD_RESTORE = "r-20250601T000000Z-0123abcd"
_FAILURE = Course(Outcome.FAILED, failure_code="S3AccessDenied", failure_message="Access Denied (Status Code: 403)")


# --- retention --------------------------------------------------------------------------------------------------------


def shield(stand: Stand, kept: str, released: str) -> None:
    for backup_date in (kept, kept, released):
        assert stand.ask("POST", f"/backups/{backup_date}/keep").body["shielded"]
    assert stand.ask("POST", f"/backups/{released}/release").body["shielded"] is False
    assert stand.ask("POST", "/retention/plan", {}).body["removals"] == [OLD]


@contextmanager
def pruning(stand: Stand) -> Iterator[None]:
    """Retention runs meanwhile: it waits for ten seconds between marking what goes and removing it."""
    backup_arn = expired_backup(stand)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stand.invoke, "prune", scheduled_event("prune"))
        yield
        said, error = running.result()
    assert error is None
    assert (said["sets"]["removed"], said["on_demand"]["deleted"]) == ([OLD], [backup_arn])
    assert not keys_of_set(stand, OLD)


def keys_of_set(stand: Stand, backup_date: str) -> list[str]:
    """What stands in the bucket of it."""
    pages = stand.sandbox.client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=stand.sandbox.stage.backup_bucket, Prefix=f"native-exports/{backup_date}/")
    return [each["Key"] for page in found for each in page.get("Contents", [])]


def remove_set(stand: Stand, backup_date: str) -> None:
    """From bucket and ledger, with the mark of its removal."""
    for key in keys_of_set(stand, backup_date):
        stand.sandbox.client("s3").delete_object(Bucket=stand.sandbox.stage.backup_bucket, Key=key)
    stand.forget(set_key(backup_date).pk)


def expired_backup(stand: Stand) -> str:
    """The ARN of a safety backup that is older than any may be. All others are as old then, and stay as the newest of
    their tables."""
    name = safety_name("sandbox", _OF_AN_OLD_RESTORE)
    made = stand.sandbox.client("dynamodb").create_backup(TableName=marked.DEVICES, BackupName=name)
    age_backups(stand.sandbox.endpoint_url, 400)
    return str(made["BackupDetails"]["BackupArn"])


# --- on-demand backups ------------------------------------------------------------------------------------------------


def run_on_demand(stand: Stand) -> dict[str, Any]:
    """A run by hand after one reconcile. Of one of its tables a backup is being made, and no list of the run's shows it
    yet; so DynamoDB is asked for that one."""
    tables = [marked.DEVICES, marked.ORDERS]
    asked = stand.ask("POST", "/backups", {"backup_type": BACKUP_TYPE, "tables": tables})
    assert asked.status == 202, asked
    name = asked.body["backup_date"]
    made = stand.sandbox.client("dynamodb").create_backup(TableName=marked.DEVICES, BackupName="in-no-list-of-the-run")
    row = {
        "backup_date": name,
        "table_name": marked.DEVICES,
        "status": "CREATING",
        "attempt": 1,
        "backup_arn": made["BackupDetails"]["BackupArn"],
    }
    stand.ledger.write(Put(table_key(name, marked.DEVICES), row))
    assert stand.invoke_schedule("reconcile") is None
    shown: dict[str, Any] = stand.ask("GET", f"/on-demand-backups/{name}").body
    return shown


# --- what the ledger does not know ------------------------------------------------------------------------------------


def fail_an_export_into(stand: Stand, backup_date: str) -> None:
    """Somebody's own, of another table: it is in the set's place, and the set's ledger rows know nothing of it."""
    dynamodb, table = stand.sandbox.client("dynamodb"), marked.ORDERS
    steer_exports(stand.sandbox.endpoint_url, table, _FAILURE)
    export = dynamodb.export_table_to_point_in_time(
        TableArn=dynamodb.describe_table(TableName=table)["Table"]["TableArn"],
        S3Bucket=stand.sandbox.stage.backup_bucket,
        S3Prefix=f"native-exports/{backup_date}/{table}",
    )["ExportDescription"]

    def look() -> bool:
        described = dynamodb.describe_export(ExportArn=export["ExportArn"])["ExportDescription"]
        return bool(described["ExportStatus"] == "FAILED")

    wait_for("the export's failure", look)


def adopt_by_event(stand: Stand, backup_date: str) -> str | None:
    """What went wrong when the event of an export came whose set the ledger does not know. The set is of increments, so
    older sets are looked through, and there is a table whose export failed."""
    key = lose_set(stand, backup_date, marked.DEVICES)
    event = {"s3": {"bucket": {"name": stand.sandbox.stage.backup_bucket}, "object": {"key": key}}}
    said, error = stand.invoke("record_export", {"Records": [event]})
    if error or said[0]["result"] != "adopted":
        return error or str(said)
    if not (stand.has_manifest(backup_date) and stand.is_closed(backup_date)):
        return "the set has no manifest"
    if not stand.definition(backup_date, marked.DEVICES)["autoscaling"]:
        return "the backup does not say how the table's capacity was scaled"
    row = stand.catalog.export_row(backup_date, marked.ORDERS)
    failure = row and row.failure_code
    return None if failure == _FAILURE.failure_code else f"why the other table's export failed is told as {failure}"


def rebuild(stand: Stand, known: str, increments: str, unknown: str) -> None:
    """The ledger has lost three sets; manifest and a definition of the last two are gone, too, and of a table of the
    last one only the beginning of an export is left. Then comes the schedule to it, and exports that table again."""
    stand.forget(set_key(known).pk)
    for backup_date in (increments, unknown):
        lose_set(stand, backup_date, marked.DEVICES)
    begun = f"native-exports/{unknown}/{marked.UNPROTECTED}/AWSDynamoDB/01700000000000-abcdef01/_started"
    stand.sandbox.client("s3").put_object(Bucket=stand.sandbox.stage.backup_bucket, Key=begun, Body=b"")
    assert stand.ask("POST", "/ledger/rebuild").status == 202
    assert stand.invoke_schedule("reconcile") is None
    rebuilt = stand.ask("GET", "/ledger/rebuild").body
    assert (rebuilt["status"], rebuilt["adopted"], rebuilt["problems"]) == ("COMPLETED", 3, []), rebuilt
    lost = stand.catalog.export_row(unknown, marked.UNPROTECTED)
    assert lost is not None
    assert (lost.status, lost.failure_code) == (ExportState.FAILED, "ExportLost")
    assert stand.invoke_schedule("reconcile") is None
    assert stand.await_backup(unknown)["status"] == "PARTIAL"
    assert stand.invoke_schedule("start_exports") is None
    begun_again = stand.catalog.export_row(unknown, marked.UNPROTECTED)
    assert begun_again is not None
    assert begun_again.failure_code == "PointInTimeRecoveryUnavailableException"
    assert stand.await_backup(unknown)["status"] == "PARTIAL"


def lose_set(stand: Stand, backup_date: str, table: str) -> str:
    """The ledger has lost the set; its manifest, and what stood there of how `table` is defined, are gone. The key of
    the summary of the table's newest export."""
    stand.forget(set_key(backup_date).pk)
    for key in (f"{backup_date}/manifest.json", f"{backup_date}/{table}/table.json"):
        stand.sandbox.client("s3").delete_object(Bucket=stand.sandbox.stage.backup_bucket, Key=f"native-exports/{key}")
    keys = keys_of_set(stand, backup_date)
    return max(key for key in keys if f"/{table}/" in key and key.endswith("/manifest-summary.json"))


def keep_and_adopt(stand: Stand, *, kept: str, released: str, increments: str, known: str, today: str) -> None:
    """All of the above but what goes on while restores run."""
    shield(stand, kept, released)
    assert run_on_demand(stand)["status"] == "COMPLETE"
    fail_an_export_into(stand, increments)
    assert adopt_by_event(stand, increments) is None
    rebuild(stand, known, increments, today)
    assert stand.invoke_schedule("reconcile") is None
    wait_for("a notice of each kind", lambda: all(is_told(stand, name) for name in (released, increments)))
