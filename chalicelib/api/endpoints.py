"""What every HTTP route goes through: its scope is checked, before anything else, and its errors become problems."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

import msgspec
from chalice.app import Blueprint, Request, Response

from chalicelib.api.authorizer import TOKENS_UNAVAILABLE, authorize
from chalicelib.api.operations import Handler, Operation
from chalicelib.api.parsing import read_query
from chalicelib.api.problems import of_chalice, problem, unexpected, without_token
from chalicelib.api.requests import Nothing
from chalicelib.errors import Forbidden, TablevaultError, TokensUnavailable

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
        request = current_request()
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


def current_request() -> Request:
    request = routes.current_request
    if request is None:
        raise RuntimeError("called outside of a request")
    return request


def principal_of(request: Request) -> str:
    return str(request.context.get("authorizer", {}).get("principalId", "unknown"))
