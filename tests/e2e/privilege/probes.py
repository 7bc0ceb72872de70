"""For every statement of every policy, the smallest thing the service does with it.

A probe says what went wrong, as the operator would see it (an error answer, a failed export, a restore that is blocked
or does not end); None when all is well. It cleans up behind itself, so that the next one begins as it did.
"""

import time
from collections.abc import Callable
from typing import Any

from tests.e2e.privilege import every_kind, keeping, keeping_probes, marked, restore_probes
from tests.e2e.privilege.stand import Stand
from tests.e2e.privilege.whole_run import (
    TODAY,
    WholeRun,
    is_finished,
    record_export,
)

Probe = Callable[[WholeRun], str | None]
_MISSED = "2026-01-02"


# --- the API ----------------------------------------------------------------------------------------------------


def _asks(path: str, expected: int, body: Any = None) -> Probe:
    def probe(whole: WholeRun) -> str | None:
        said = whole.stand.ask("GET" if body is None else "POST", path, body)
        return None if said.status == expected else f"{path} answers {said.status} instead of {expected}"

    return probe


def read_ledger(whole: WholeRun) -> str | None:
    return _asks(f"/restores/{whole.restore_id}", 200)(whole)


list_restores = _asks("/restores", 200)
look_for_the_latest = _asks("/restores", 404, {"backup_date": "latest", "tables": ["nobodys"]})


def read_manifest(whole: WholeRun) -> str | None:
    return _asks(f"/backups/{whole.small_backup_date}", 200)(whole)


def accept_restore(whole: WholeRun) -> str | None:
    """A restore that is accepted wakes a worker, whom nobody lets take the message here."""
    stand = whole.stand
    said = stand.ask("POST", "/restores", {"backup_date": whole.small_backup_date, "dry_run": True})
    if said.status != 202:
        return f"POST /restores answers {said.status} instead of 202"
    restore_id = said.body["restore_id"]
    stand.forget(f"RESTORE#{restore_id}")
    is_woken = any(restore_id in body for body in stand.waiting_messages())
    return None if is_woken else "no worker is woken for an accepted restore"


def back_up_by_hand(whole: WholeRun) -> str | None:
    started = whole.stand.start_backup(marked.DEVICES)
    [table] = started["tables"]
    if table["status"] == "FAILED":
        return f"the export is {table['status']}: {table['failure_message']}"
    whole.stand.await_backup(started["backup_date"])
    return _unknown_scaling(whole, started["backup_date"])


def find_tables_by_hand(whole: WholeRun) -> str | None:
    answer = whole.stand.ask("POST", "/backups", {"tables": [marked.DEVICES]})
    if answer.status != 202:
        return str(answer.body)
    whole.stand.await_backup(answer.body["backup_date"])
    return None


def find_tables(whole: WholeRun) -> str | None:
    """A day's first run, which looks for tables, and for what their increments continue."""
    error = _run_first_of_the_day(whole.stand)
    if error:
        return error
    row = whole.stand.catalog.export_row(TODAY, marked.DEVICES)
    if row is None or row.parameters is None:
        return f"no export was started: {row.failure_message if row else 'it has no row'}"
    return None if row.parameters.window is not None else "a full export is made where an increment would do"


def _run_first_of_the_day(stand: Stand) -> str | None:
    """When the event of an export of before comes only now, the set is adopted, and no first one: then once more."""
    for _ in range(5):
        stand.forget(f"BACKUP#{TODAY}")
        error = stand.invoke_schedule("start_exports")
        if error or (row := stand.catalog.set_row(TODAY)) is None:
            return error or "there is no set of the day"
        if not row.adopted_revisions:
            return None
    raise AssertionError("each time the set was adopted before the schedule came")


def _unknown_scaling(whole: WholeRun, backup_date: str) -> str | None:
    """A table made from such a backup would have the capacity of one moment for ever."""
    is_known = whole.stand.definition(backup_date, marked.DEVICES)["autoscaling"]
    return None if is_known else "the backup does not say how the table's capacity was scaled"


def ask_for_keys(whole: WholeRun) -> str | None:
    body = {"backup_date": whole.small_backup_date, "keys": every_kind.asked_keys(), "dry_run": True}
    said = whole.stand.ask("POST", "/restores", body)
    if said.status != 202:
        return f"POST /restores with keys answers {said.status} instead of 202"
    whole.stand.forget(f"RESTORE#{said.body['restore_id']}")
    return None


def let_in(whole: WholeRun) -> str | None:
    """The authorizer, without the tokens it has read before."""
    stand = whole.stand
    stand.cool_down("authorize")
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {stand.sandbox.token}",
        "methodArn": "arn:aws:execute-api:us-east-1:000000000000:api/api/GET/restores",
    }
    said, error = stand.invoke("authorize", event)
    if error:
        return error
    return None if said["context"]["scopes"] else "the right token gives no scope"


# --- backups ----------------------------------------------------------------------------------------------------


def run_schedule(whole: WholeRun) -> str | None:
    """The day's set was planned eight hours ago, and its only export is not started: it has to be looked for among
    those that run, and then to be started."""
    stand = whole.stand
    _plan(whole, TODAY)
    error = stand.invoke_schedule("start_exports")
    return error or _export_trouble(whole, TODAY)


def find_missed_set(whole: WholeRun) -> str | None:
    """The same by reconcile."""
    _plan(whole, _MISSED)
    error = whole.stand.invoke_schedule("reconcile")
    trouble = error or _export_trouble(whole, _MISSED)
    keeping.remove_set(whole.stand, _MISSED)
    return trouble


def _plan(whole: WholeRun, backup_date: str) -> None:
    """A folder nothing was exported to, so that no export is found there."""
    folder = f"unseen-{time.monotonic_ns()}"
    whole.stand.plan_set_hours_ago(backup_date, whole.small_backup_date, marked.DEVICES, folder=folder)


def _export_trouble(whole: WholeRun, backup_date: str) -> str | None:
    row = whole.stand.catalog.export_row(backup_date, marked.DEVICES)
    if row is None or row.export_arn is None:
        return f"no export was started: {row.failure_message if row else 'it has no row'}"
    return _unknown_scaling(whole, backup_date)


def record_by_event(whole: WholeRun) -> str | None:
    stand = whole.stand
    key = stand.unrecord_export(whole.reread_backup_date, marked.DEVICES)
    error = record_export(stand, key)
    if error is None and not is_finished(stand, whole.reread_backup_date):
        return "the set has no manifest"
    return error


def record_by_reconcile(whole: WholeRun) -> str | None:
    stand = whole.stand
    stand.unrecord_export(whole.reread_backup_date, marked.DEVICES)
    error = stand.invoke_schedule("reconcile")
    finished = is_finished(stand, whole.reread_backup_date)
    return error or (None if finished else "the export stays unrecorded")


PROBES: dict[tuple[str, str], Probe] = {
    ("api_handler", "UseLedger"): read_ledger,
    ("api_handler", "ListLedger"): list_restores,
    ("api_handler", "ReadManifests"): read_manifest,
    ("api_handler", "ReleaseShields"): keeping_probes.release_a_shield,
    ("api_handler", "KeepAskedKeys"): ask_for_keys,
    ("api_handler", "ListBackups"): look_for_the_latest,
    ("api_handler", "WakeWorkers"): accept_restore,
    ("api_handler", "FindTables"): find_tables_by_hand,
    ("api_handler", "DescribeTables"): back_up_by_hand,
    ("api_handler", "SeeAutoscaling"): back_up_by_hand,
    ("api_handler", "StartExports"): back_up_by_hand,
    ("api_handler", "WriteExports"): back_up_by_hand,
    ("authorize", "ReadTokens"): let_in,
    ("start_exports", "UseLedger"): run_schedule,
    ("start_exports", "FindTables"): find_tables,
    ("start_exports", "ListLedger"): find_tables,
    ("start_exports", "ReadManifests"): find_tables,
    ("start_exports", "ListBackups"): find_tables,
    ("start_exports", "DescribeTables"): run_schedule,
    ("start_exports", "SeeAutoscaling"): run_schedule,
    ("start_exports", "StartExports"): run_schedule,
    ("start_exports", "ListExports"): run_schedule,
    ("start_exports", "DescribeExports"): run_schedule,
    ("start_exports", "WriteExports"): run_schedule,
    ("record_export", "UseLedger"): record_by_event,
    ("record_export", "ReadExportManifests"): record_by_event,
    ("record_export", "WriteManifest"): record_by_event,
    ("record_export", "ListBackups"): record_by_event,
    ("record_export", "DescribeExports"): record_by_event,
    ("record_export", "ListLedger"): keeping_probes.adopt,
    ("record_export", "DescribeTables"): keeping_probes.adopt,
    ("record_export", "SeeAutoscaling"): keeping_probes.adopt,
    ("record_export", "ListExports"): keeping_probes.adopt,
    ("restore_shards", "UseLedger"): restore_probes.restore_and_clear,
    ("restore_shards", "WakeWorkers"): restore_probes.wake_another_worker,
    ("restore_shards", "ReadBackups"): restore_probes.restore_and_clear,
    ("restore_shards", "ReadAskedKeys"): restore_probes.restore_keys,
    ("restore_shards", "ListBackups"): restore_probes.restore_and_clear,
    ("restore_shards", "WriteReceipts"): restore_probes.restore_and_clear,
    ("restore_shards", "DescribeTargets"): restore_probes.restore_and_clear,
    ("restore_shards", "SeeAutoscaling"): restore_probes.look_at_capacity,
    ("restore_shards", "WriteTargets"): restore_probes.restore_and_clear,
    ("restore_shards", "ReadTargets"): restore_probes.restore_what_changed,
    ("restore_shards", "CreateTargets"): restore_probes.make_a_table,
    ("restore_shards", "FinishCreatedTargets"): restore_probes.make_a_table,
    ("restore_shards", "ScaleCreatedTargets"): restore_probes.make_a_table,
    ("restore_shards", "ScanTargetsToClear"): restore_probes.restore_and_clear,
    ("restore_shards", "NeverTargetLedgers"): restore_probes.clear_a_ledger,
    ("restore_shards", "TakeSafetyBackups"): restore_probes.restore_and_clear,
    ("restore_shards", "ListSafetyBackups"): restore_probes.restore_and_clear,
    ("restore_shards", "DescribeSafetyBackups"): restore_probes.restore_and_clear,
    ("record_dead_letter", "UseLedger"): restore_probes.know_dead_letter,
    ("record_dead_letter", "WriteQuarantine"): restore_probes.keep_strange_dead_letter,
    ("reconcile", "UseLedger"): restore_probes.wake_by_reconcile,
    ("reconcile", "ListLedger"): restore_probes.wake_by_reconcile,
    ("reconcile", "DescribeTables"): find_missed_set,
    ("reconcile", "SeeAutoscaling"): find_missed_set,
    ("reconcile", "StartExports"): find_missed_set,
    ("reconcile", "ListExports"): find_missed_set,
    ("reconcile", "DescribeExports"): find_missed_set,
    ("reconcile", "WriteExports"): find_missed_set,
    ("reconcile", "ReadExportManifests"): record_by_reconcile,
    ("reconcile", "ListBackups"): record_by_reconcile,
    ("reconcile", "WriteReceipts"): restore_probes.close_by_reconcile,
    ("reconcile", "WakeWorkers"): restore_probes.wake_by_reconcile,
    ("reconcile", "TellTopics"): keeping_probes.tell,
    ("reconcile", "TellBus"): keeping_probes.tell,
    ("reconcile", "MakeOnDemandBackups"): keeping_probes.make_on_demand_backups,
    ("reconcile", "ListOnDemandBackups"): keeping_probes.make_on_demand_backups,
    ("reconcile", "DescribeOnDemandBackups"): keeping_probes.make_on_demand_backups,
    ("prune", "UseLedger"): keeping_probes.remove_a_set,
    ("prune", "ListLedger"): keeping_probes.remove_a_set,
    ("prune", "ReadManifests"): keeping_probes.decide_about_sets,
    ("prune", "ListBackups"): keeping_probes.remove_a_set,
    ("prune", "RemoveBackups"): keeping_probes.remove_a_set,
    ("prune", "ListOnDemandBackups"): keeping_probes.remove_an_on_demand_backup,
    ("prune", "RemoveOnDemandBackups"): keeping_probes.remove_an_on_demand_backup,
}
