"""The HTTP routes: take the request apart, ask a service, answer. Scopes are checked here, before anything else."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import msgspec
from chalice.app import Blueprint, Request, Response

from chalicelib.api.authorizer import authorize
from chalicelib.api.problems import Malformed, answer, problem, unexpected
from chalicelib.backup.layout import BACKUP_DATE
from chalicelib.errors import Fault, Forbidden, InvalidRequest, TablevaultError
from chalicelib.restore.requests import is_restore_id, parse_restore_request
from chalicelib.services import services

routes = Blueprint(__name__)
_DEFAULT_PAGE = 20
_LARGEST_PAGE = 100
Handler = Callable[..., Response]


def endpoint(method: str, path: str, scope: str) -> Callable[[Handler], Handler]:
    """A route that needs a token with `scope`, and whose errors are problem documents."""

    def register(handler: Handler) -> Handler:
        @wraps(handler)
        def guarded(**parameters: str) -> Response:
            try:
                require_scope(_request(), scope)
                return handler(**parameters)
            except TablevaultError as error:
                return problem(error)
            except Exception as error:
                return unexpected(error)

        registered: Handler = routes.route(path, methods=[method], authorizer=authorize)(guarded)
        return registered

    return register


def require_scope(request: Request, scope: str) -> None:
    held = str(request.context.get("authorizer", {}).get("scopes", "")).split()
    if scope not in held:
        raise Forbidden(f"this token lacks the scope {scope}")


@routes.route("/health", methods=["GET"])
def health() -> Response:
    return answer({"status": "ok"})


@endpoint("POST", "/backups", "backup:write")
def start_backup() -> Response:
    tables = _backup_request(_json_body(_request()))
    return answer(services().backups.start_by_hand(tables), 202)


@endpoint("GET", "/backups", "backup:read")
def list_backups() -> Response:
    limit, before = _page(_request(), lambda text: bool(BACKUP_DATE.match(text)))
    return answer(services().backups.list_page(limit, before))


@endpoint("GET", "/backups/{backup_date}", "backup:read")
def get_backup(backup_date: str) -> Response:
    return answer(services().backups.describe(backup_date))


@endpoint("POST", "/restores", "restore:write")
def start_restore() -> Response:
    request = _request()
    restore = parse_restore_request(_json_body(request))
    if restore.clear_existing_data:
        require_scope(request, "restore:clear")
    job = services().desk.accept(restore, requested_by=_principal(request))
    return answer(_accepted(job.restore_id, "PLANNING"), 202)


@endpoint("GET", "/restores", "backup:read")
def list_restores() -> Response:
    limit, before = _page(_request(), is_restore_id)
    heads, corrupt = services().desk.list_page(limit, before)
    following = heads[-1]["restore_id"] if len(heads) + len(corrupt) == limit and heads else None
    return answer({"restores": heads, "unreadable": corrupt, "next_before": following})


@endpoint("GET", "/restores/{restore_id}", "backup:read")
def get_restore(restore_id: str) -> Response:
    return answer(services().desk.describe(restore_id))


@endpoint("POST", "/restores/{restore_id}/cancel", "restore:write")
def cancel_restore(restore_id: str) -> Response:
    job = services().desk.cancel(restore_id)
    return answer(_accepted(job.restore_id, job.status.value), 202)


def _accepted(restore_id: str, status: str) -> dict[str, Any]:
    links = {"self": f"/restores/{restore_id}", "cancel": f"/restores/{restore_id}/cancel"}
    return {"restore_id": restore_id, "status": status, "links": links}


def _request() -> Request:
    request = routes.current_request
    if request is None:
        raise RuntimeError("called outside of a request")
    return request


def _principal(request: Request) -> str:
    return str(request.context.get("authorizer", {}).get("principalId", "unknown"))


def _json_body(request: Request) -> Any:
    """None for an empty body. Raises Malformed for what is not JSON, or too deep to be meant."""
    if not request.raw_body:
        return None
    try:
        return msgspec.json.decode(request.raw_body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Malformed("the body is not valid JSON in UTF-8") from None


def _backup_request(body: Any) -> tuple[str, ...] | None:
    """The optional `tables` of POST /backups; None for all that are configured."""
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise InvalidRequest([Fault("$", "must be a JSON object")])
    faults = [
        Fault(f"$.{name[:100]}", "unknown field; allowed: tables, export_type")
        for name in body
        if name not in ("tables", "export_type")
    ]
    if body.get("export_type", "FULL_EXPORT") != "FULL_EXPORT":
        faults.append(Fault("$.export_type", "this version makes FULL_EXPORT only"))
    tables = body.get("tables")
    if "tables" in body and not (isinstance(tables, list) and tables and all(isinstance(name, str) for name in tables)):
        faults.append(Fault("$.tables", "must be a non-empty list of table names; leave it out for all"))
    if faults:
        raise InvalidRequest(faults)
    return tuple(tables) if tables else None


def _page(request: Request, is_name: Callable[[str], bool]) -> tuple[int, str | None]:
    """`limit` and `before` of a listing's query string."""
    query: Mapping[str, str] = request.query_params or {}
    faults = [
        Fault(f"?{name[:100]}", "unknown parameter; allowed: limit, before")
        for name in query
        if name not in ("limit", "before")
    ]
    limit_text = query.get("limit", str(_DEFAULT_PAGE))
    limit = int(limit_text) if limit_text.isascii() and limit_text.isdigit() and len(limit_text) < 5 else 0
    if not 1 <= limit <= _LARGEST_PAGE:
        faults.append(Fault("?limit", f"must be a whole number from 1 to {_LARGEST_PAGE}"))
    before = query.get("before")
    if before is not None and not is_name(before):
        faults.append(Fault("?before", "must be the name that next_before gave"))
    if faults:
        raise InvalidRequest(faults)
    return limit, before
