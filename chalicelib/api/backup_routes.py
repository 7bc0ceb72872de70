"""The HTTP routes of backups: take the request apart, ask a service, answer."""

import msgspec
from chalice.app import Response

from chalicelib.api.answers import (
    SHOWN_BACKUP,
    Backup,
    BackupList,
    LedgerRebuild,
    OnDemandList,
    OnDemandRun,
    RetentionPlanned,
    Shielded,
    StartedBackup,
    StartedOnDemandRun,
)
from chalicelib.api.endpoints import current_request, endpoint, principal_of
from chalicelib.api.operations import built
from chalicelib.api.parsing import read_body
from chalicelib.api.problems import answer
from chalicelib.api.requests import BackupPage, BackupRequest, Nothing, RetentionRequest
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.on_demand.shown import BACKUP_TYPE as ON_DEMAND
from chalicelib.backup.pruning.pruner import policy_of
from chalicelib.errors import Fault, InvalidRequest
from chalicelib.idempotency import HEADER
from chalicelib.services import services

_OF_SHIELDS = ("backup_not_found", "backup_not_complete", "backup_being_removed", "ledger_entry_corrupt")
_PLAN_MS = 20 * 1000  # API Gateway answers after 29 s, whatever the function does


@endpoint(
    "POST",
    "/backups",
    StartedBackup,
    StartedOnDemandRun,
    status=202,
    scope="backup:write",
    body=BackupRequest,
    is_repeatable=True,
    codes=("backup_exists", "backup_being_removed", "ledger_entry_corrupt", "selection_failed"),
)
def start_backup() -> Response:
    """Start a backup set, or a run of on-demand backups, now."""
    request = current_request()
    asked = read_body(request, BackupRequest)
    if asked.backup_type == ON_DEMAND and asked.export_type == "INCREMENTAL_EXPORT":
        raise InvalidRequest([Fault("$.export_type", f"must be left out with the backup_type {ON_DEMAND}")])
    key = request.headers.get(HEADER)
    if key is None:
        return _started(asked, services().backups.new_name())
    # The name is chosen with the key, and starting what was begun under a name goes on with it.
    body = msgspec.to_builtins(asked)
    chosen = services().idempotency_keys.choose(key, principal_of(request), body, services().backups.new_name)
    return _started(asked, chosen.name)


def _started(asked: BackupRequest, name: str) -> Response:
    backups = services().backups
    if asked.backup_type == ON_DEMAND:
        # Reconcile makes them: it alone may.
        chosen, now_ms = backups.choose(asked.tables), services().clock()
        run = services().on_demand.start(name, lambda: chosen, by_hand=True, stop_at_ms=now_ms)
        return answer(built(StartedOnDemandRun, {**run, "links": {"self": f"/on-demand-backups/{name}"}}), 202)
    return answer(built(StartedBackup, backups.start_by_hand(asked.tables, name, asked.export_type)), 202)


@endpoint("GET", "/backups", BackupList, scope="backup:read", query=BackupPage)
def list_backups(page: BackupPage) -> Response:
    """Backup sets, newest first."""
    return answer(built(BackupList, services().backups.list_page(page.limit, page.before)))


@endpoint(
    "GET",
    "/backups/{backup_date}",
    *SHOWN_BACKUP,
    scope="backup:read",
    codes=("backup_not_found", "backup_not_complete", "manifest_invalid", "ledger_entry_corrupt"),
)
def get_backup(backup_date: str) -> Response:
    """One backup set with its tables."""
    shown = services().backups.describe(backup_date)
    return answer(built(Manifest if "schema_version" in shown else Backup, shown))


@endpoint(
    "POST",
    "/backups/{backup_date}/keep",
    Shielded,
    scope="backup:write",
    body=Nothing,
    codes=_OF_SHIELDS,
)
def keep_backup(backup_date: str) -> Response:
    """Shield a backup set: retention does not remove it, however old it is."""
    request = current_request()
    read_body(request, Nothing)
    shield = services().shields.keep(backup_date, principal_of(request))
    shown = Shielded(backup_date=backup_date, shielded=True, kept_at=shield.kept_at, kept_by=shield.kept_by)
    return answer(shown)


@endpoint(
    "POST",
    "/backups/{backup_date}/release",
    Shielded,
    scope="backup:write",
    body=Nothing,
    codes=_OF_SHIELDS,
)
def release_backup(backup_date: str) -> Response:
    """Take the shield off a backup set: retention decides about it as about any other."""
    read_body(current_request(), Nothing)
    services().shields.release(backup_date)
    return answer(Shielded(backup_date=backup_date, shielded=False, kept_at=None, kept_by=None))


@endpoint("GET", "/on-demand-backups", OnDemandList, scope="backup:read", query=BackupPage)
def list_on_demand_backups(page: BackupPage) -> Response:
    """Runs of native on-demand backups, newest first."""
    return answer(built(OnDemandList, services().on_demand.list_page(page.limit, page.before)))


@endpoint(
    "GET",
    "/on-demand-backups/{backup_date}",
    OnDemandRun,
    scope="backup:read",
    codes=("backup_not_found", "ledger_entry_corrupt"),
)
def get_on_demand_backups(backup_date: str) -> Response:
    """One run of native on-demand backups with its tables."""
    return answer(built(OnDemandRun, services().on_demand.describe(backup_date)))


@endpoint(
    "POST",
    "/retention/plan",
    RetentionPlanned,
    scope="backup:read",
    body=RetentionRequest,
    codes=("ledger_entry_corrupt",),
)
def plan_retention() -> Response:
    """What retention would remove now, and why each other set stays. Changes nothing."""
    asked = read_body(current_request(), RetentionRequest)
    policy = policy_of(services().settings)
    named = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not None}
    stop_at_ms = services().clock() + _PLAN_MS
    planned = services().set_pruner.plan(msgspec.structs.replace(policy, **named), stop_at_ms)
    return answer(built(RetentionPlanned, planned))


@endpoint(
    "POST",
    "/ledger/rebuild",
    LedgerRebuild,
    status=202,
    scope="backup:write",
    body=Nothing,
    codes=("ledger_entry_corrupt",),
)
def rebuild_ledger() -> Response:
    """Make the ledger's backup side from the bucket. It goes on by itself; one that runs already is answered."""
    request = current_request()
    read_body(request, Nothing)
    return answer(built(LedgerRebuild, services().backups.rebuild.start(principal_of(request))), 202)


@endpoint(
    "GET",
    "/ledger/rebuild",
    LedgerRebuild,
    scope="backup:read",
    codes=("rebuild_not_found", "ledger_entry_corrupt"),
)
def get_ledger_rebuild() -> Response:
    """How far the rebuild of the ledger is, or how the last one ended."""
    return answer(built(LedgerRebuild, services().backups.rebuild.describe()))
