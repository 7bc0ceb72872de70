"""Probes of what keeps backups, removes them, tells of them, and adopts what the ledger does not know."""

from chalicelib.backup.notices import Outbox, What
from chalicelib.backup.on_demand.runs import run_key
from chalicelib.backup.pruning.removals import Removals
from chalicelib.clock import system_clock
from chalicelib.ledger import Key
from tests.e2e.privilege import keeping
from tests.e2e.privilege.stand import Stand
from tests.e2e.privilege.whole_run import WholeRun

_GOING = "2025-06-02"
_NEVER_STARTED = "2026-01-03"


def release_a_shield(whole: WholeRun) -> str | None:
    stand, backup_date = whole.stand, whole.small_backup_date
    assert stand.ask("POST", f"/backups/{backup_date}/keep").status == 200
    said = stand.ask("POST", f"/backups/{backup_date}/release")
    still = [key for key in keeping.keys_of_set(stand, backup_date) if key.endswith("/keep.json")]
    for key in still:
        stand.sandbox.client("s3").delete_object(Bucket=stand.sandbox.stage.backup_bucket, Key=key)
    return f"the set stays shielded, and its release answers {said.status}" if still or said.status != 200 else None


def adopt(whole: WholeRun) -> str | None:
    return keeping.adopt_by_event(whole.stand, whole.increment_date)


# --- reconcile --------------------------------------------------------------------------------------------------------


def tell(whole: WholeRun) -> str | None:
    """Of a schedule that never was: the notice stays open where one of those who are to hear of it cannot be told."""
    stand = whole.stand
    assert Outbox(stand.ledger, "sandbox", system_clock).not_started(_NEVER_STARTED, "no table could be found")
    key = Key(f"NOTICE#{What.NOT_STARTED}#{_NEVER_STARTED}#1", "NOTICE")
    try:
        error = stand.invoke_schedule("reconcile")
        row = stand.ledger.get(key) or {}
        is_told = row.get("outcome") == "TOLD"
        return error or (None if is_told else f"the notice stays open, with {row.get('failures')} failures")
    finally:
        stand.forget(key.pk)


def make_on_demand_backups(whole: WholeRun) -> str | None:
    run = keeping.run_on_demand(whole.stand)
    whole.stand.forget(run_key(run["backup_date"]).pk)
    failures = [str(each["failure_message"]) for each in run["tables"] if each["failure_message"]]
    return None if run["status"] == "COMPLETE" else f"the run is {run['status']}: {'; '.join(failures)}"


# --- prune ------------------------------------------------------------------------------------------------------------


def remove_a_set(whole: WholeRun) -> str | None:
    """One whose removal was begun by a run that stopped: there is no pause then, as there is before one is begun."""
    stand = whole.stand
    for name in ("manifest.json", "marked-devices/table.json"):
        key = f"native-exports/{_GOING}/{name}"
        stand.sandbox.client("s3").put_object(Bucket=stand.sandbox.stage.backup_bucket, Key=key, Body=b"{}")
    _begin_removal(stand)
    try:
        error = stand.invoke_schedule("prune")
        left = len(keeping.keys_of_set(stand, _GOING)) + len(list(stand.ledger.query(f"BACKUP#{_GOING}")))
        return error or (f"{left} objects or rows of the set are left" if left else None)
    finally:
        keeping.remove_set(stand, _GOING)


def _begin_removal(stand: Stand) -> None:
    removals = Removals(stand.ledger, system_clock)
    assert removals.begin(removals.mark(_GOING, "it is a probe's"))


def decide_about_sets(whole: WholeRun) -> str | None:
    """Whoever cannot read what a set builds on, and what builds on it, keeps it, and says so."""
    before = len(_kept_unread(whole))
    error = whole.stand.invoke_schedule("prune")
    return error or (None if len(_kept_unread(whole)) == before else "sets are kept whatever their age")


def _kept_unread(whole: WholeRun) -> list[str]:
    lines = whole.stand.sandbox.logs("prune")
    return [line for line in lines if "whatever its age" in line and whole.small_backup_date in line]


def remove_an_on_demand_backup(whole: WholeRun) -> str | None:
    stand = whole.stand
    backup_arn = keeping.expired_backup(stand)
    error = stand.invoke_schedule("prune")
    is_there = _delete(stand, backup_arn)
    return error or ("the backup is not removed" if is_there else None)


def _delete(stand: Stand, backup_arn: str) -> bool:
    """Whether it was there."""
    dynamodb = stand.sandbox.client("dynamodb")
    try:
        dynamodb.delete_backup(BackupArn=backup_arn)
    except dynamodb.exceptions.BackupNotFoundException:
        return False
    return True
