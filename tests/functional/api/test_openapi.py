"""The description the API serves of itself. That answers and requests agree with it, the gateway of these tests checks
with every call, and tests/attack with schemathesis."""

import jsonschema_rs
import pytest

from chalicelib.api.problems import STATUS_OF_CODE
from chalicelib.api.routes import operations
from chalicelib.restore.requests import RestoreRequest, parse_restore_request
from sandbox.resources import SCOPES
from tests.functional.api.description import assert_described, document
from tests.functional.api.gateway import OPERATOR


@pytest.mark.parametrize("token", [None, OPERATOR, "nonsense"])
def test_it_is_served_to_everyone(api, token):
    answer = api.call("GET", "/openapi.json", token=token)
    assert (answer.status, answer.content_type, answer.body) == (200, "application/json", document())
    assert answer.body["openapi"] == "3.1.0"


def test_it_describes_every_route_and_no_other(app_module):
    described = {(path, method.upper()) for path, methods in document()["paths"].items() for method in methods}
    assert described == {(path, method) for path, methods in app_module.app.routes.items() for method in methods}


def test_every_reference_leads_somewhere():
    def references(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if "$ref" in node else []
            for value in node.values():
                yield from references(value)
        if isinstance(node, list):
            for value in node:
                yield from references(value)

    names = {reference.removeprefix("#/components/schemas/") for reference in references(document())}
    assert names <= set(document()["components"]["schemas"])


def test_every_schema_is_one():
    for schema in document()["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({**schema, "components": document()["components"]})


def test_every_operation_says_which_scope_it_needs_and_every_scope_is_there():
    for operation in operations:
        described = document()["paths"][operation.path][operation.method.lower()]
        assert described["security"] == ([{"bearer": [operation.scope]}] if operation.scope else [])
        assert described["summary"]
    assert {operation.scope for operation in operations} == {None, *SCOPES} - {"restore:clear"}


def test_every_code_is_described_somewhere():
    """But for 405, which answers for methods that are not described."""
    codes = {
        code
        for methods in document()["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for content in response["content"].values()
        for part in content["schema"].get("allOf", [])
        for code in part.get("properties", {}).get("code", {}).get("enum", [])
    }
    assert codes == set(STATUS_OF_CODE) - {"method_not_allowed"}


def test_links_lead_from_what_is_accepted_to_what_became_of_it():
    links = {
        (operation["operationId"], link["operationId"])
        for methods in document()["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    }
    assert {
        ("start_backup", "get_backup"),
        ("start_restore", "get_restore"),
        ("start_restore", "cancel_restore"),
        ("cancel_restore", "get_restore"),
    } <= links


def test_defaults_are_the_ones_that_hold():
    properties = document()["components"]["schemas"]["RestoreRequest"]["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if "default" in each}
    request = parse_restore_request({})
    assert defaults == {name: getattr(request, name) for name in defaults}
    assert set(properties) == set(RestoreRequest.__struct_fields__)


HEALTHY = {"Content-Type": "application/json"}
PROBLEM = '{"type": "x", "title": "x", "status": 503, "code": "try_again", "detail": "x"}'


@pytest.mark.parametrize(
    ("path", "status", "headers", "text"),
    [
        ("/health", 418, HEALTHY, '{"status": "ok"}'),
        ("/health", 200, HEALTHY, '{"status": "ill"}'),
        ("/health", 200, HEALTHY, '{"status": "ok", "version": 1}'),
        ("/health", 200, HEALTHY, "{}"),
        ("/health", 200, {"Content-Type": "text/plain"}, '{"status": "ok"}'),
        ("/health", 503, {"Content-Type": "application/problem+json", "Retry-After": "1"}, PROBLEM),
        ("/restores", 503, {"Content-Type": "application/problem+json"}, PROBLEM),
        ("/restores", 500, {"Content-Type": "application/problem+json", "Retry-After": "1"}, PROBLEM),
    ],
)
def test_an_answer_that_is_not_described_is_seen(path, status, headers, text):
    with pytest.raises(AssertionError):
        assert_described("GET", path, status, headers, text)


def test_an_answer_that_is_described_is_let_pass():
    assert_described("GET", "/health", 200, HEALTHY, '{"status": "ok"}')
    headers = {"Content-Type": "application/problem+json", "Retry-After": "1"}
    assert_described("GET", "/restores?limit=1", 503, headers, PROBLEM)
