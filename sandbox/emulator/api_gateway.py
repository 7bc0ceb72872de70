"""API Gateway's import and put of a whole API, which ministack 1.5.33 lacks, made of the small calls it has.

Chalice deploys an API with `POST /restapis?mode=import` and redeploys it with `PUT /restapis/{id}`, each with a
Swagger 2.0 document. The functions that read the document are pure and say which calls follow; RestApis sends them
through ministack, with the caller's own credentials.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from sandbox.emulator.asgi import App, Reply, Scope, call, json_reply

Document = Mapping[str, Any]

_VERBS = frozenset({"get", "put", "post", "delete", "options", "head", "patch"})
_ANY_VERB = "x-amazon-apigateway-any-method"
_INTEGRATION_MEMBERS = (
    "httpMethod",
    "uri",
    "credentials",
    "passthroughBehavior",
    "contentHandling",
    "requestTemplates",
    "requestParameters",
)
_AUTHORIZER_MEMBERS = (
    "authorizerUri",
    "authorizerCredentials",
    "authorizerResultTtlInSeconds",
    "identityValidationExpression",
    "providerARNs",
)


@dataclass(frozen=True)
class Authorization:
    """How a method asks for its caller: API Gateway's type, and the authorizer's id where there is one."""

    kind: str
    authorizer_id: str | None = None


@dataclass(frozen=True)
class MethodCall:
    """One PUT below `/restapis/{id}/resources/{id}/methods/{verb}`; `suffix` is empty for the method itself."""

    suffix: str
    body: Document


class ImportRefused(Exception):
    """ministack refused one of the calls an import is made of."""

    def __init__(self, step: str, reply: Reply) -> None:
        super().__init__(f"{step} was refused with {reply[0]}: {reply[2].decode(errors='replace')}")


def resource_paths(document: Document) -> list[str]:
    """Every resource path of the document with all its ancestors, parents first, without the root."""
    paths = set[str]()
    for path in document.get("paths") or {}:
        segments = [segment for segment in path.split("/") if segment]
        paths.update("/" + "/".join(segments[:depth]) for depth in range(1, len(segments) + 1))
    return sorted(paths, key=lambda path: (path.count("/"), path))


def authorizer_body(name: str, scheme: Document) -> Document | None:
    """The CreateAuthorizer request for a security scheme; None for schemes that need no authorizer."""
    authorizer = scheme.get("x-amazon-apigateway-authorizer")
    if not authorizer:
        return None
    header = scheme.get("name", "Authorization")
    return {
        "name": name,
        "type": str(authorizer["type"]).upper(),
        "authType": scheme.get("x-amazon-apigateway-authtype", "custom"),
        "identitySource": authorizer.get("identitySource", f"method.request.header.{header}"),
        **{member: authorizer[member] for member in _AUTHORIZER_MEMBERS if member in authorizer},
    }


def authorization_kind(scheme: Document) -> str:
    """API Gateway's authorizationType for a security scheme; `API_KEY` stands for a required key."""
    authorizer = scheme.get("x-amazon-apigateway-authorizer")
    if authorizer:
        is_cognito = str(authorizer["type"]).lower().startswith("cognito")
        return "COGNITO_USER_POOLS" if is_cognito else "CUSTOM"
    return "AWS_IAM" if scheme.get("x-amazon-apigateway-authtype") == "awsSigv4" else "API_KEY"


def operations(item: Document) -> Iterator[tuple[str, Document]]:
    """The verbs of one path, as API Gateway writes them, each with its operation."""
    for verb, operation in item.items():
        if verb in _VERBS:
            yield verb.upper(), operation
        elif verb == _ANY_VERB:
            yield "ANY", operation


def method_calls(operation: Document, authorizations: Mapping[str, Authorization]) -> Iterator[MethodCall]:
    """The calls that make one method: itself, its responses, its integration and that one's responses."""
    yield MethodCall("", _method_body(operation, authorizations))
    for status_code, response in (operation.get("responses") or {}).items():
        headers = response.get("headers") or {}
        parameters = {f"method.response.header.{name}": False for name in headers}
        yield MethodCall(f"/responses/{status_code}", {"responseParameters": parameters})
    integration = operation.get("x-amazon-apigateway-integration")
    if integration:
        yield from _integration_calls(integration)


def _method_body(operation: Document, authorizations: Mapping[str, Authorization]) -> Document:
    body: dict[str, Any] = {"authorizationType": "NONE"}
    for requirement in operation.get("security") or []:
        for name, scopes in requirement.items():
            authorization = authorizations[name]
            if authorization.kind == "API_KEY":
                body["apiKeyRequired"] = True
                continue
            body["authorizationType"] = authorization.kind
            if authorization.authorizer_id:
                body["authorizerId"] = authorization.authorizer_id
            if scopes:
                body["authorizationScopes"] = scopes
    return body


def _integration_calls(integration: Document) -> Iterator[MethodCall]:
    members = {member: integration[member] for member in _INTEGRATION_MEMBERS if member in integration}
    yield MethodCall("/integration", {"type": str(integration["type"]).upper(), **members})
    if str(integration["type"]).lower().endswith("_proxy"):
        return  # the function's answer is passed on as it is
    for pattern, response in (integration.get("responses") or {}).items():
        body = {
            "responseParameters": response.get("responseParameters", {}),
            "responseTemplates": response.get("responseTemplates", {}),
        }
        if pattern != "default":
            body["selectionPattern"] = pattern
        yield MethodCall(f"/integration/responses/{response['statusCode']}", body)


def without_empty_compression_size(patch: Document) -> Document:
    """`minimumCompressionSize` as API Gateway keeps it: a number, or null when it is switched off with ''.

    ministack keeps the text it is sent, and botocore then fails on `int('')` when it reads the API.
    """
    changed = []
    for operation in patch.get("patchOperations", []):
        if operation.get("path") == "/minimumCompressionSize":
            value = str(operation.get("value") or "")
            operation = {**operation, "value": int(value) if value.isdigit() else None}
        changed.append(operation)
    return {**patch, "patchOperations": changed}


class RestApis:
    """Answers the calls on whole APIs; `app` is ministack."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle(self, scope: Scope, body: bytes) -> Reply:
        """The reply to a call that `is_handled` has named; 400 with the reason where a step is refused."""
        path, method = scope["path"], scope["method"]
        try:
            if method == "PATCH":
                patch = without_empty_compression_size(json.loads(body))
                return await self._send(scope, "PATCH", path, patch)
            if method == "PUT":
                return await self._put(scope, path.rstrip("/"), json.loads(body))
            return await self._import(scope, json.loads(body))
        except (ImportRefused, ValueError, KeyError, TypeError) as error:
            return json_reply(400, {"__type": "BadRequestException", "message": f"import failed: {error!r}"})

    async def _import(self, scope: Scope, document: Document) -> Reply:
        query = parse_qs(scope["query_string"].decode())
        body: dict[str, Any] = {
            "name": (document.get("info") or {}).get("title", "api"),
            "binaryMediaTypes": document.get("x-amazon-apigateway-binary-media-types", []),
        }
        if "endpointConfigurationTypes" in query:
            body["endpointConfiguration"] = {"types": query["endpointConfigurationTypes"]}
        reply = await self._send(scope, "POST", "/restapis", body)
        if reply[0] < 300:
            await self._build(scope, f"/restapis/{json.loads(reply[2])['id']}", document)
        return reply

    async def _put(self, scope: Scope, api: str, document: Document) -> Reply:
        # Not atomic, as it is on AWS: while this runs the API answers 403 or 404, and if it stops here the API
        # stays half built until the next deploy, which begins by clearing it again.
        reply = await self._send(scope, "GET", api)
        if reply[0] >= 300:
            return reply
        await self._clear(scope, api)
        await self._build(scope, api, document)
        return reply

    async def _clear(self, scope: Scope, api: str) -> None:
        # Deepest first: ministack's DeleteResource leaves the children of what it deletes behind, AWS' takes them
        # along. In this order neither leaves one behind, and none is gone before its own turn.
        resources = await self._items(scope, f"{api}/resources")
        for resource in sorted(resources, key=lambda resource: -resource["path"].count("/")):
            where = f"{api}/resources/{resource['id']}"
            if resource["path"] != "/":
                await self._must(scope, "DELETE", where)
                continue
            for verb in list(resource.get("resourceMethods") or {}):
                await self._must(scope, "DELETE", f"{where}/methods/{verb}")
        for authorizer in await self._items(scope, f"{api}/authorizers"):
            await self._must(scope, "DELETE", f"{api}/authorizers/{authorizer['id']}")

    async def _build(self, scope: Scope, api: str, document: Document) -> None:
        authorizations = await self._create_authorizers(scope, api, document)
        id_by_path = {item["path"]: item["id"] for item in await self._items(scope, f"{api}/resources")}
        for path in resource_paths(document):
            parent, _, segment = path.rpartition("/")
            created = await self._must(
                scope, "POST", f"{api}/resources/{id_by_path[parent or '/']}", {"pathPart": segment}
            )
            id_by_path[path] = created["id"]
        for path, item in (document.get("paths") or {}).items():
            resource = f"{api}/resources/{id_by_path['/' + path.strip('/')]}"
            for verb, operation in operations(item):
                for step in method_calls(operation, authorizations):
                    await self._must(scope, "PUT", f"{resource}/methods/{verb}{step.suffix}", step.body)

    async def _create_authorizers(self, scope: Scope, api: str, document: Document) -> dict[str, Authorization]:
        authorizations = {}
        for name, scheme in (document.get("securityDefinitions") or {}).items():
            body = authorizer_body(name, scheme)
            created = await self._must(scope, "POST", f"{api}/authorizers", body) if body else {}
            authorizations[name] = Authorization(authorization_kind(scheme), created.get("id"))
        return authorizations

    async def _items(self, scope: Scope, path: str) -> list[dict[str, Any]]:
        return list((await self._must(scope, "GET", path, query=b"limit=500")).get("item", []))

    async def _must(
        self, scope: Scope, method: str, path: str, body: Document | None = None, query: bytes = b""
    ) -> dict[str, Any]:
        reply = await self._send(scope, method, path, body, query)
        if reply[0] >= 300:
            raise ImportRefused(f"{method} {path}", reply)
        return dict(json.loads(reply[2] or b"{}"))

    async def _send(
        self, scope: Scope, method: str, path: str, body: Document | None = None, query: bytes = b""
    ) -> Reply:
        raw = b"" if body is None else json.dumps(body).encode()
        return await call(self._app, scope, method=method, path=path, body=raw, query=query)


def is_handled(scope: Scope) -> bool:
    """Whether RestApis answers the call: an import, a put, or a patch of a whole API."""
    parts = scope["path"].strip("/").split("/")
    if parts[0] != "restapis":
        return False
    if scope["method"] == "POST":
        query = parse_qs(scope["query_string"].decode())
        return len(parts) == 1 and query.get("mode") == ["import"]
    return scope["method"] in {"PUT", "PATCH"} and len(parts) == 2
