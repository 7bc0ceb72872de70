"""The API as WSGI, so that schemathesis talks to the deployed code path: API Gateway's part, authorizer, routes."""

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from chalice.local import RouteMatcher

from tests.functional.api.gateway import Answer, Gateway

_ROUTELESS = Answer(403, {}, json.dumps({"message": "Missing Authentication Token"}))


class WsgiGateway:
    """Does to a request what API Gateway does: paths stay percent-encoded, OPTIONS has no method and is 403 as no route
    allows CORS, and an answer of its own is JSON."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._routes = RouteMatcher(list(gateway.app.routes))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._answer(environ)
        headers = {"Content-Type": "application/json", **answer.headers}
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        start_response(status, list(headers.items()))
        return [answer.text.encode()]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        method = environ["REQUEST_METHOD"]
        target = _target(environ)
        if method == "OPTIONS" or not self._has_route(target):
            return _ROUTELESS
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or (name == "CONTENT_TYPE" and value)
        }
        authorization = headers.pop("AUTHORIZATION", None)
        return self._gateway.call(method, target, _body(environ), token=authorization, headers=headers)

    def _has_route(self, target: str) -> bool:
        """Asked here, as the local gateway's answer repeats the Authorization header, as API Gateway's does."""
        try:
            self._routes.match_route(target)
        except ValueError:
            return False
        return True


def _target(environ: dict[str, Any]) -> str:
    path, query = urlsplit(str(environ["REQUEST_URI"])).path, environ["QUERY_STRING"]
    return path + (f"?{query}" if query else "")


def _body(environ: dict[str, Any]) -> bytes | None:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return environ["wsgi.input"].read(length) if length else None
