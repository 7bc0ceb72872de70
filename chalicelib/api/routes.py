"""The HTTP routes: take the request apart, ask a service, answer. Scopes are checked here, before anything else."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any
from urllib.parse import unquote

import msgspec
from chalice.app import Blueprint, Request, Response

from chalicelib.api.answers import (
    SHOWN_BACKUP,
    AcceptedRestore,
    Backup,
    BackupList,
    Health,
    Restore,
    RestoreLinks,
    RestoreList,
    StartedBackup,
    as_many_as_fit,
)
from chalicelib.api.authorizer import TOKENS_UNAVAILABLE, authorize
from chalicelib.api.openapi import Description, describe
from chalicelib.api.operations import Handler, Operation, built
from chalicelib.api.parsing import json_object, read_body, read_query
from chalicelib.api.problems import JSON, answer, of_chalice, problem, unexpected, without_token
from chalicelib.api.requests import BackupPage, BackupRequest, Nothing, RestorePage
from chalicelib.backup.manifest import Manifest
from chalicelib.errors import Forbidden, TablevaultError, TokensUnavailable
from chalicelib.idempotency import HEADER
from chalicelib.restore.desk import is_not_accepted
from chalicelib.restore.model import Job, Status
from chalicelib.restore.requests import RestoreRequest, parse_restore_request
from chalicelib.services import services

routes = Blueprint(__name__)
operations: list[Operation] = []


@routes.middleware("http")
def answer_in_problems(request: Request, get_response: Callable[[Request], Response]) -> Response:
    return without_token(of_chalice(get_response(request)), str(request.headers.get("authorization", "")))


def endpoint(method: str, path: str, *answers: type[msgspec.Struct], **more: Any) -> Callable[[Handler], Handler]:
    """A route, and its Operation. With a scope it is behind the authorizer; its errors are problem documents."""

    def register(handler: Handler) -> Handler:
        about = (handler.__doc__ or "").strip()
        operation = Operation(handler.__name__, method, path, about, answers, **more)
        operations.append(operation)
        authorizer = authorize if operation.scope is not None else None
        registered: Handler = routes.route(path, methods=[method], authorizer=authorizer)(_guarded(operation, handler))
        return registered

    return register


def _guarded(operation: Operation, handler: Handler) -> Handler:
    @wraps(handler)
    def guarded(**parameters: str) -> Response:
        request = _request()
        try:
            require_scope(request, operation.scope)
            query = read_query(request, operation.query)
            page = () if operation.query is Nothing else (query,)
            # Chalice and API Gateway hand on path parameters as they stood in the URL.
            return handler(*page, **{name: unquote(value) for name, value in parameters.items()})
        except TablevaultError as error:
            return problem(error)
        except Exception as error:
            return unexpected(error)

    return guarded


def require_scope(request: Request, scope: str | None) -> None:
    """Raises Forbidden, or TokensUnavailable when it is not known which scopes the caller has. None needs none."""
    if scope is None:
        return
    known = request.context.get("authorizer", {})
    if known.get("tokens") == TOKENS_UNAVAILABLE:
        raise TokensUnavailable("the API's tokens cannot be read, so nobody is let in; the authorizer's log says why")
    if scope not in str(known.get("scopes", "")).split():
        raise Forbidden(f"this token lacks the scope {scope}")


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
    "/backups",
    StartedBackup,
    status=202,
    scope="backup:write",
    body=BackupRequest,
    is_repeatable=True,
    codes=("backup_exists", "ledger_entry_corrupt", "selection_failed"),
)
def start_backup() -> Response:
    """Start a backup set now."""
    request = _request()
    asked = read_body(request, BackupRequest)
    backups, key = services().backups, request.headers.get(HEADER)
    if key is None:
        return answer(built(StartedBackup, backups.start_by_hand(asked.tables, export_type=asked.export_type)), 202)
    # The set's name is chosen with the key, and starting a set that was begun goes on with it.
    body = msgspec.to_builtins(asked)
    chosen = services().idempotency_keys.choose(key, _principal(request), body, backups.new_name)
    return answer(built(StartedBackup, backups.start_by_hand(asked.tables, chosen.name, asked.export_type)), 202)


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
        "target_locked",
        "request_in_progress",
        "export_invalid",
        "ledger_entry_corrupt",
    ),
)
def start_restore() -> Response:
    """Restore tables of a backup set. To clear the targets, the token needs the scope `restore:clear` too."""
    request = _request()
    restore = parse_restore_request(json_object(request))
    if restore.clear_existing_data:
        require_scope(request, "restore:clear")
    job = _accept_once(request, restore)
    return answer(_accepted(job.restore_id, job.status.value), 202)


def _accept_once(request: Request, restore: RestoreRequest) -> Job:
    """With an `Idempotency-Key`, the restore of the first request that had it; one that was given up while it was still
    being accepted is asked for anew."""
    desk, keys, caller = services().desk, services().idempotency_keys, _principal(request)
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
    read_body(_request(), Nothing)
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
        "target_locked",
        "ledger_entry_corrupt",
    ),
)
def resume_restore(restore_id: str) -> Response:
    """Go on with a cancelled restore where it was cancelled. If it clears, the token needs `restore:clear` too."""
    request = _request()
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
        "target_locked",
        "ledger_entry_corrupt",
    ),
)
def retry_failed_restore(restore_id: str) -> Response:
    """Try again what failed of a restore that has ended, from its last checkpoints."""
    read_body(_request(), Nothing)
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


def _request() -> Request:
    request = routes.current_request
    if request is None:
        raise RuntimeError("called outside of a request")
    return request


def _principal(request: Request) -> str:
    return str(request.context.get("authorizer", {}).get("principalId", "unknown"))
