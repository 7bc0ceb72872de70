"""Answers held against the API's own description: status, content type, headers and body must all be in it."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec
from chalice.local import RouteMatcher

from chalicelib.api.openapi import describe
from chalicelib.api.routes import operations


@cache
def document() -> dict[str, Any]:
    served: dict[str, Any] = json.loads(msgspec.json.encode(describe(operations)))
    return served


@cache
def _validator(path: str, method: str, status: str, content_type: str) -> Any:
    content = document()["paths"][path][method]["responses"][status]["content"]
    assert content_type in content, f"{method} {path} {status} is described as {set(content)}, not as {content_type}"
    schema = content[content_type]["schema"]
    return jsonschema_rs.Draft202012Validator({**schema, "components": document()["components"]}, validate_formats=True)


def assert_described(method: str, url: str, status: int, headers: Mapping[str, str], text: str) -> None:
    """What the gateway answers for paths and methods that the API has not is nobody's to describe."""
    paths = document()["paths"]
    try:
        path = RouteMatcher(list(paths)).match_route(url).route
    except ValueError:
        assert status == 403
        return
    operation = paths[path].get(method.lower())
    if operation is None:
        assert status in (403, 405)
        return
    assert str(status) in operation["responses"], f"{method} {path} answered {status}: {text[:300]}"
    named = {name.lower(): value for name, value in headers.items()}
    for name in operation["responses"][str(status)].get("headers", {}):
        assert name.lower() in named, f"{method} {path} {status} lacks the header {name}"
    content_type = named.get("content-type", "application/json")  # the gateway's own answers name none here
    errors = _validator(path, method.lower(), str(status), content_type).iter_errors(json.loads(text))
    found = [f"{error.instance_path}: {error.message}"[:300] for error in errors]
    assert not found, f"{method} {path} {status} is not as described: {found}"
