"""The HTTP routes: take the request apart, ask a service, answer. Scopes are checked here, before anything else."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

from chalice.app import Blueprint, Request, Response

from chalicelib.api.authorizer import authorize
from chalicelib.api.parsing import backup_tables, json_object, no_fields, no_parameters, page
from chalicelib.api.problems import answer, of_chalice, problem, unexpected
from chalicelib.backup.layout import BACKUP_DATE
from chalicelib.errors import Forbidden, TablevaultError
from chalicelib.restore.requests import is_restore_id, parse_restore_request
from chalicelib.services import services

routes = Blueprint(__name__)
Handler = Callable[..., Response]


@routes.middleware("http")
def answer_in_problems(request: Request, get_response: Callable[[Request], Response]) -> Response:
    return of_chalice(get_response(request))


def endpoint(method: str, path: str, scope: str, *, paged: bool = False) -> Callable[[Handler], Handler]:
    """A route that needs a token with `scope`; its errors are problem documents. `paged`: with a page's parameters."""

    def register(handler: Handler) -> Handler:
        @wraps(handler)
        def guarded(**parameters: str) -> Response:
            try:
                require_scope(_request(), scope)
                if not paged:
                    no_parameters(_request())
                # Chalice and API Gateway hand on path parameters as they stood in the URL.
                return handler(**{name: unquote(value) for name, value in parameters.items()})
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
    return answer(services().backups.start_by_hand(backup_tables(_request())), 202)


@endpoint("GET", "/backups", "backup:read", paged=True)
def list_backups() -> Response:
    limit, before = page(_request(), lambda text: bool(BACKUP_DATE.match(text)))
    return answer(services().backups.list_page(limit, before))


@endpoint("GET", "/backups/{backup_date}", "backup:read")
def get_backup(backup_date: str) -> Response:
    return answer(services().backups.describe(backup_date))


@endpoint("POST", "/restores", "restore:write")
def start_restore() -> Response:
    request = _request()
    restore = parse_restore_request(json_object(request))
    if restore.clear_existing_data:
        require_scope(request, "restore:clear")
    job = services().desk.accept(restore, requested_by=_principal(request))
    return answer(_accepted(job.restore_id, "PLANNING"), 202)


@endpoint("GET", "/restores", "backup:read", paged=True)
def list_restores() -> Response:
    limit, before = page(_request(), is_restore_id)
    heads, corrupt = services().desk.list_page(limit, before)
    # Newest first, so the least of the names is the last one, be its row readable or not.
    names = [*(head["restore_id"] for head in heads), *corrupt]
    return answer(
        {"restores": heads, "unreadable": corrupt, "next_before": min(names) if len(names) == limit else None}
    )


@endpoint("GET", "/restores/{restore_id}", "backup:read")
def get_restore(restore_id: str) -> Response:
    return answer(services().desk.describe(restore_id))


@endpoint("POST", "/restores/{restore_id}/cancel", "restore:write")
def cancel_restore(restore_id: str) -> Response:
    no_fields(_request())
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
