"""The API's description (OpenAPI 3.1), made of the types that check requests and build answers.

https://spec.openapis.org/oas/v3.1.1.html
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from chalicelib.api.answers import GatewayMessage, Problem
from chalicelib.api.operations import Operation
from chalicelib.api.problems import JSON, PROBLEM_JSON, STATUS_OF_CODE
from chalicelib.api.requests import PATH_PARAMETERS
from chalicelib.idempotency import HEADER, KEY
from chalicelib.validation import whole

Json = dict[str, Any]

_COMPONENTS = "#/components/schemas/{name}"
_SCHEME = "bearer"
_OF_ALL = ("internal_error", "unsupported_media_type")
_OF_GUARDED = ("forbidden", "invalid_request", "tokens_unavailable", "try_again")
_OF_BODIES = ("malformed_request", "request_too_large")
# What API Gateway answers by itself, in front of any route; and in front of those behind the authorizer.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
_GATEWAYS = (413, 429, 500, 502, 504)
_GATEWAYS_GUARDED = (401, 403)
_IDEMPOTENCY_KEY: Json = {
    "name": HEADER,
    "in": "header",
    "description": "Of your own choosing. The same request with the same key is carried out once within 24 hours, and"
    " answered with the same name; another request with it is refused.",
    "schema": {"type": "string", "pattern": whole(KEY)},
}


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: Json
    servers: list[Json]
    paths: dict[str, Json]
    components: Json


def describe(operations: Sequence[Operation]) -> Description:
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, operations)
    return Description(
        openapi="3.1.0",
        info={
            "title": "tablevault",
            "version": "1",
            "description": "Backs DynamoDB tables up to S3 every day, and restores them.",
        },
        servers=[{"url": ".", "description": "where this description was read from"}],
        paths=paths,
        components={
            "schemas": _schemas(operations),
            "securitySchemes": {_SCHEME: {"type": "http", "scheme": "bearer"}},
        },
    )


def _operation(operation: Operation, operations: Sequence[Operation]) -> Json:
    said: Json = {
        "operationId": operation.name,
        "summary": operation.about,
        "security": [] if operation.scope is None else [{_SCHEME: [operation.scope]}],
        "parameters": _parameters(operation),
        "responses": {str(operation.status): _answer(operation, operations), **_refusals(operation)},
    }
    if operation.scope is not None:
        said["description"] = f"Needs a token with the scope `{operation.scope}`."
    if operation.body is not None:
        said["requestBody"] = {"required": False, "content": {JSON: {"schema": _schema(operation.body)}}}
    return said


def _parameters(operation: Operation) -> list[Json]:
    headers = [_IDEMPOTENCY_KEY] if operation.is_repeatable else []
    return [*map(_path_parameter, operation.path_parameters), *_query_parameters(operation.query), *headers]


def _path_parameter(name: str) -> Json:
    schema = _schema(PATH_PARAMETERS[name])
    return {"name": name, "in": "path", "required": True, "description": schema.pop("description"), "schema": schema}


def _query_parameters(query: type[msgspec.Struct]) -> list[Json]:
    _, components = msgspec.json.schema_components([query], ref_template=_COMPONENTS)
    properties = without_null(components[query.__name__])["properties"]
    return [
        {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in properties.items()
    ]


def _answer(operation: Operation, operations: Sequence[Operation]) -> Json:
    said: Json = {
        "description": HTTPStatus(operation.status).phrase,
        "content": {JSON: {"schema": _one_of(operation.answers)}},
    }
    links = {following.name: _link(following) for following in operations if _leads_to(operation, following)}
    return {**said, "links": links} if links else said


def _leads_to(operation: Operation, following: Operation) -> bool:
    """Whether an answer names all that the path of the other operation takes."""
    named = following.path_parameters
    return bool(named) and set(named) <= operation.answer_fields


def _link(following: Operation) -> Json:
    parameters = {name: f"$response.body#/{name}" for name in following.path_parameters}
    return {"operationId": following.name, "parameters": parameters}


def _refusals(operation: Operation) -> Json:
    """Its problems by status, each with the codes it may have, and what API Gateway answers by itself."""
    guarded = operation.scope is not None
    codes = {*_OF_ALL, *operation.codes}
    codes |= set(_OF_GUARDED) if guarded else set()
    codes |= set(_OF_BODIES) if operation.body is not None else set()
    gateways = {*_GATEWAYS, *(_GATEWAYS_GUARDED if guarded else ())}
    return {str(status): _refusal(status, codes, gateways) for status in _statuses(codes, gateways)}


def _statuses(codes: set[str], gateways: set[int]) -> list[int]:
    return sorted({STATUS_OF_CODE[code] for code in codes} | gateways)


def _refusal(status: int, codes: set[str], gateways: set[int]) -> Json:
    here = sorted(code for code in codes if STATUS_OF_CODE[code] == status)
    content: Json = {}
    if here:
        narrowed = {"properties": {"status": {"const": status}, "code": {"enum": here}}}
        content[PROBLEM_JSON] = {"schema": {"allOf": [_schema(Problem), narrowed]}}
    if status in gateways:
        content[JSON] = {"schema": _schema(GatewayMessage)}
    said: Json = {"description": _refusal_text(status, here), "content": content}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = {"type": "integer", "minimum": 1}
        said["headers"] = {"Retry-After": {"description": "In seconds.", "required": True, "schema": seconds}}
    return said


def _refusal_text(status: int, codes: list[str]) -> str:
    phrase = HTTPStatus(status).phrase
    return f"{phrase}: {', '.join(codes)}" if codes else f"{phrase}, by API Gateway"


def _one_of(kinds: Sequence[type[msgspec.Struct]]) -> Json:
    schemas = [_schema(each) for each in kinds]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _schema(declared: Any) -> Json:
    (schema,), _ = msgspec.json.schema_components([declared], ref_template=_COMPONENTS)
    return schema


def _schemas(operations: Sequence[Operation]) -> Json:
    answers = [each for operation in operations for each in operation.answers]
    bodies = [operation.body for operation in operations if operation.body is not None]
    _, answered = msgspec.json.schema_components([*answers, Problem, GatewayMessage], ref_template=_COMPONENTS)
    _, taken = msgspec.json.schema_components(bodies, ref_template=_COMPONENTS)
    return answered | {name: without_null(schema) for name, schema in taken.items()}


def without_null(request: Json) -> Json:
    """A request's schema by the rule of `validation`: a field that may be left out may not be null."""
    properties = {}
    for name, schema in request["properties"].items():
        if "anyOf" in schema:
            (schema,) = (each for each in schema["anyOf"] if each != {"type": "null"})
        properties[name] = schema
    return {**request, "properties": properties}
