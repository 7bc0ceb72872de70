"""What an import makes of Chalice's Swagger document: pure, without an emulator."""

import asyncio
import json
from typing import Any

import pytest

from sandbox.emulator.api_gateway import (
    Authorization,
    MethodCall,
    RestApis,
    authorization_kind,
    authorizer_body,
    is_handled,
    method_calls,
    operations,
    resource_paths,
    without_empty_compression_size,
)
from sandbox.emulator.asgi import Receive, Scope, Send

_CHALICE_AUTHORIZER = {
    "in": "header",
    "type": "apiKey",
    "name": "Authorization",
    "x-amazon-apigateway-authtype": "custom",
    "x-amazon-apigateway-authorizer": {
        "type": "token",
        "authorizerUri": "arn:uri",
        "authorizerResultTtlInSeconds": 300,
    },
}


def test_ancestors_that_have_no_methods_are_made_too_and_before_their_children() -> None:
    document: dict[str, Any] = {"paths": {"/": {}, "/restores/{id}/cancel": {}, "/backups": {}}}
    assert resource_paths(document) == ["/backups", "/restores", "/restores/{id}", "/restores/{id}/cancel"]


def test_chalices_authorizer_becomes_a_token_authorizer_on_its_header() -> None:
    assert authorizer_body("authorize", _CHALICE_AUTHORIZER) == {
        "name": "authorize",
        "type": "TOKEN",
        "authType": "custom",
        "identitySource": "method.request.header.Authorization",
        "authorizerUri": "arn:uri",
        "authorizerResultTtlInSeconds": 300,
    }


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        (_CHALICE_AUTHORIZER, "CUSTOM"),
        ({"x-amazon-apigateway-authorizer": {"type": "cognito_user_pools"}}, "COGNITO_USER_POOLS"),
        ({"type": "apiKey", "x-amazon-apigateway-authtype": "awsSigv4"}, "AWS_IAM"),
        ({"type": "apiKey", "name": "x-api-key", "in": "header"}, "API_KEY"),
    ],
)
def test_every_security_scheme_chalice_writes_has_its_kind(scheme: dict[str, Any], kind: str) -> None:
    assert authorization_kind(scheme) == kind


def test_a_route_with_an_authorizer_is_protected_by_it() -> None:
    operation = {
        "security": [{"authorize": []}],
        "responses": {"200": {}},
        "x-amazon-apigateway-integration": {
            "type": "aws_proxy",
            "httpMethod": "POST",
            "uri": "arn:lambda",
            "responses": {"default": {"statusCode": "200"}},
        },
    }
    assert list(method_calls(operation, {"authorize": Authorization("CUSTOM", "a1")})) == [
        MethodCall("", {"authorizationType": "CUSTOM", "authorizerId": "a1"}),
        MethodCall("/responses/200", {"responseParameters": {}}),
        MethodCall("/integration", {"type": "AWS_PROXY", "httpMethod": "POST", "uri": "arn:lambda"}),
    ]


def test_a_route_protected_by_an_unknown_scheme_is_not_made_public() -> None:
    with pytest.raises(KeyError, match="authorize"):
        list(method_calls({"security": [{"authorize": []}]}, {}))


def test_a_preflight_route_answers_with_its_cors_headers() -> None:
    header = "method.response.header.Access-Control-Allow-Origin"
    operation = {
        "responses": {"200": {"headers": {"Access-Control-Allow-Origin": {"type": "string"}}}},
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "requestTemplates": {"application/json": '{"statusCode": 200}'},
            "responses": {"default": {"statusCode": "200", "responseParameters": {header: "'*'"}}},
        },
    }
    calls = {call.suffix: call.body for call in method_calls(operation, {})}
    assert calls["/responses/200"] == {"responseParameters": {header: False}}
    assert calls["/integration/responses/200"]["responseParameters"] == {header: "'*'"}


def test_what_is_no_verb_makes_no_method() -> None:
    item = {"get": {"a": 1}, "parameters": [], "x-amazon-apigateway-any-method": {"b": 2}}
    assert list(operations(item)) == [("GET", {"a": 1}), ("ANY", {"b": 2})]


@pytest.mark.parametrize(("sent", "kept"), [("", None), (None, None), ("0", 0), ("1024", 1024), (512, 512)])
def test_compression_size_is_a_number_or_null(sent: object, kept: int | None) -> None:
    patch = {"patchOperations": [{"op": "replace", "path": "/minimumCompressionSize", "value": sent}]}
    assert without_empty_compression_size(patch)["patchOperations"][0]["value"] == kept


def test_other_patches_are_left_alone() -> None:
    patch = {"patchOperations": [{"op": "replace", "path": "/name", "value": ""}]}
    assert without_empty_compression_size(patch) == patch


@pytest.mark.parametrize(
    ("method", "path", "query", "handled"),
    [
        ("POST", "/restapis", b"mode=import&endpointConfigurationTypes=REGIONAL", True),
        ("POST", "/restapis", b"", False),
        ("PUT", "/restapis/abc", b"mode=overwrite", True),
        ("PATCH", "/restapis/abc", b"", True),
        ("PUT", "/restapis/abc/resources/r/methods/GET", b"", False),
        ("GET", "/restapis/abc", b"", False),
        ("PUT", "/my-bucket/restapis", b"", False),
    ],
)
def test_only_calls_on_a_whole_api_are_taken_from_the_emulator(
    method: str, path: str, query: bytes, handled: bool
) -> None:
    assert is_handled({"method": method, "path": path, "query_string": query}) is handled


class RecordingGateway:
    """Has one API with the given resources and authorizers; remembers every change it is asked for."""

    def __init__(self, resources: list[dict[str, Any]], authorizers: list[dict[str, Any]]) -> None:
        self._items = {"resources": resources, "authorizers": authorizers}
        self.changes: list[str] = []
        self.refuse = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        step = f"{scope['method']} {scope['path']}"
        if scope["method"] != "GET":
            self.changes.append(step)
        items = self._items.get(scope["path"].rsplit("/", 1)[1], [])
        body = json.dumps({"id": "new", "item": items}).encode()
        status = 409 if self.refuse and self.refuse in step else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})


_RESOURCES: list[dict[str, Any]] = [
    {"id": "r", "path": "/", "resourceMethods": {"GET": {}}},
    {"id": "a", "path": "/a"},
    {"id": "b", "path": "/a/{b}"},
]
_PUT: dict[str, Any] = {
    "type": "http",
    "method": "PUT",
    "path": "/restapis/x",
    "query_string": b"mode=overwrite",
    "headers": [],
}


def test_a_put_clears_the_api_deepest_resource_first_before_it_builds() -> None:
    gateway = RecordingGateway(_RESOURCES, [{"id": "t"}])
    status, _, _ = asyncio.run(RestApis(gateway).handle(_PUT, b'{"paths": {"/c": {"get": {}}}}'))
    assert status == 200
    assert gateway.changes == [
        "DELETE /restapis/x/resources/b",
        "DELETE /restapis/x/resources/r/methods/GET",
        "DELETE /restapis/x/resources/a",
        "DELETE /restapis/x/authorizers/t",
        "POST /restapis/x/resources/r",
        "PUT /restapis/x/resources/new/methods/GET",
    ]


@pytest.mark.parametrize(
    ("refuse", "document"), [("POST", b'{"paths": {"/c": {}}}'), ("never", b"{"), ("never", b'{"paths": 1}')]
)
def test_an_import_that_cannot_be_built_is_refused_with_the_reason(refuse: str, document: bytes) -> None:
    gateway = RecordingGateway(_RESOURCES, [])
    gateway.refuse = refuse
    status, _, body = asyncio.run(RestApis(gateway).handle(_PUT, document))
    assert status == 400
    assert "import failed" in json.loads(body)["message"]
