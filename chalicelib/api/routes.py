"""The HTTP routes: take the request apart, ask a service, answer. Those of backups stand in a module of their own."""

from functools import cache

import msgspec
from chalice.app import Request, Response

from chalicelib.api import backup_routes
from chalicelib.api.answers import AcceptedRestore, Health, Restore, RestoreLinks, RestoreList, as_many_as_fit
from chalicelib.api.endpoints import current_request, endpoint, operations, principal_of, require_scope, routes
from chalicelib.api.openapi import Description, describe
from chalicelib.api.operations import built
from chalicelib.api.parsing import json_object, read_body
from chalicelib.api.problems import JSON, answer
from chalicelib.api.requests import Nothing, RestorePage
from chalicelib.idempotency import HEADER
from chalicelib.restore.desk import is_not_accepted
from chalicelib.restore.model import Job, Status
from chalicelib.restore.requests import RestoreRequest, parse_restore_request
from chalicelib.services import services

__all__ = ["backup_routes", "operations", "routes"]


@endpoint("GET", "/health", Health)
def health() -> Response:
    """Whether the API's function runs."""
    return answer(Health(status="ok"))


@endpoint("GET", "/openapi.json", Description)
def openapi() -> Response:
    """This description."""
    return Response(_description(), headers={"Content-Type": JSON})


@cache
def _description() -> str:
    return msgspec.json.encode(describe(operations)).decode()


@endpoint(
    "POST",
    "/restores",
    AcceptedRestore,
    status=202,
    scope="restore:write",
    body=RestoreRequest,
    is_repeatable=True,
    codes=(
        "backup_not_found",
        "table_not_in_backup",
        "backup_not_complete",
        "manifest_invalid",
        "backup_being_removed",
        "target_locked",
        "request_in_progress",
        "export_invalid",
        "ledger_entry_corrupt",
    ),
)
def start_restore() -> Response:
    """Restore tables of a backup set. To clear the targets, the token needs the scope `restore:clear` too."""
    request = current_request()
    restore = parse_restore_request(json_object(request))
    if restore.clear_existing_data:
        require_scope(request, "restore:clear")
    job = _accept_once(request, restore)
    return answer(_accepted(job.restore_id, job.status.value), 202)


def _accept_once(request: Request, restore: RestoreRequest) -> Job:
    """With an `Idempotency-Key`, the restore of the first request that had it; one that was given up while it was still
    being accepted is asked for anew."""
    desk, keys, caller = services().desk, services().idempotency_keys, principal_of(request)
    key = request.headers.get(HEADER)
    if key is None:
        return desk.accept(restore, requested_by=caller)
    body = msgspec.to_builtins(restore)
    chosen = keys.choose(key, caller, body, desk.new_id)
    standing = desk.find(chosen.name) if chosen.is_repeated else None
    if standing is not None and is_not_accepted(standing):
        chosen = keys.choose_again(key, caller, body, chosen.name, desk.new_id)
        standing = desk.find(chosen.name) if chosen.is_repeated else None
    if standing is not None and standing.status is not Status.ACCEPTING:
        return standing
    return desk.accept(restore, requested_by=caller, restore_id=chosen.name)


@endpoint("GET", "/restores", RestoreList, scope="backup:read", query=RestorePage)
def list_restores(page: RestorePage) -> Response:
    """Restores, newest first."""
    heads, corrupt = services().desk.list_page(page.limit, page.before)
    # Newest first, so the least of the names is the last one, be its row readable or not.
    names = [*(head["restore_id"] for head in heads), *corrupt]
    following = min(names) if len(names) == page.limit else None
    return answer(built(RestoreList, {"restores": heads, "unreadable": corrupt, "next_before": following}))


@endpoint(
    "GET",
    "/restores/{restore_id}",
    Restore,
    scope="backup:read",
    codes=("restore_not_found", "ledger_entry_corrupt"),
)
def get_restore(restore_id: str) -> Response:
    """A restore: its progress per table, blockers, failures, and at its end the result."""
    shown = services().desk.describe(restore_id)
    findings = {name: as_many_as_fit(shown[name]) for name in ("blockers", "warnings", "failures")}
    return answer(built(Restore, {**shown, **findings}))


@endpoint(
    "POST",
    "/restores/{restore_id}/cancel",
    AcceptedRestore,
    status=202,
    scope="restore:write",
    body=Nothing,
    codes=("restore_not_found", "restore_not_cancellable", "ledger_entry_corrupt"),
)
def cancel_restore(restore_id: str) -> Response:
    """Stop a restore; what is written stays."""
    read_body(current_request(), Nothing)
    job = services().desk.cancel(restore_id)
    return answer(_accepted(job.restore_id, job.status.value), 202)


@endpoint(
    "POST",
    "/restores/{restore_id}/resume",
    AcceptedRestore,
    status=202,
    scope="restore:write",
    body=Nothing,
    codes=(
        "restore_not_found",
        "restore_not_resumable",
        "request_in_progress",
        "backup_being_removed",
        "target_locked",
        "ledger_entry_corrupt",
    ),
)
def resume_restore(restore_id: str) -> Response:
    """Go on with a cancelled restore where it was cancelled. If it clears, the token needs `restore:clear` too."""
    request = current_request()
    read_body(request, Nothing)
    standing = services().desk.find(restore_id)
    if standing is not None and standing.clear_existing_data:
        require_scope(request, "restore:clear")
    job = services().desk.resume(restore_id)
    return answer(_accepted(job.restore_id, job.status.value), 202)


@endpoint(
    "POST",
    "/restores/{restore_id}/retry-failed",
    AcceptedRestore,
    status=202,
    scope="restore:write",
    body=Nothing,
    codes=(
        "restore_not_found",
        "restore_not_retryable",
        "request_in_progress",
        "backup_being_removed",
        "target_locked",
        "ledger_entry_corrupt",
    ),
)
def retry_failed_restore(restore_id: str) -> Response:
    """Try again what failed of a restore that has ended, from its last checkpoints."""
    read_body(current_request(), Nothing)
    job = services().desk.retry_failed(restore_id)
    return answer(_accepted(job.restore_id, job.status.value), 202)


def _accepted(restore_id: str, status: str) -> AcceptedRestore:
    links = RestoreLinks(
        self=f"/restores/{restore_id}",
        cancel=f"/restores/{restore_id}/cancel",
        resume=f"/restores/{restore_id}/resume",
        retry_failed=f"/restores/{restore_id}/retry-failed",
    )
    return AcceptedRestore(restore_id=restore_id, status=Status(status), links=links)
