"""Requests no route can take, and failures of our own: what is wrong is said, nothing is started, nothing is told."""

import base64
import json

import pytest

from chalicelib.api.parsing import LARGEST_BODY_BYTES
from sandbox.resources import LEDGER_DEFINITION
from tests.functional.api.gateway import OPERATOR, assert_problem, faults
from tests.functional.restore.world import LEDGER

POSTS = ["/backups", "/restores", "/restores/r-20200101T000000Z-00000000/cancel"]
DEEP = 100_000


@pytest.fixture(autouse=True)
def nothing_started(api):
    yield
    assert api.world.open_work() == []


def test_all_faults_of_a_restore_request_are_named_at_once(api):
    body = {"max_workers": 0, "mode": "upsert", "tables": "orders", "dry_run": "yes", "backup_date": 7}
    answer = api.call("POST", "/restores", body)
    assert set(faults(answer)) == {"$.max_workers", "$.mode", "$.tables", "$.dry_run", "$.backup_date"}
    document = answer.body
    assert document["title"] == "Unprocessable Entity"
    assert document["detail"] == "the request has 5 faults; nothing was started"
    assert "1000" in faults(answer)["$.max_workers"]


def test_two_sources_on_one_target_are_refused(api):
    body = {"tables": ["orders", "users"], "target_tables": {"orders": "users"}}
    assert "orders and users" in faults(api.call("POST", "/restores", body))["$.target_tables"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"  ",
        b'{"dry_run": true,}',
        b'{"dry_run": tru',
        b"{'dry_run': true}",
        b'{"max_workers": NaN}',
        b'{"max_workers": Infinity}',
        b'{"max_workers": 1e999}',
        b'{"max_workers": 0123}',
        b'{"dry_run": true} {"dry_run": true}',
        b'{"dry_run": true}\x00',
        b'{"tables": ["\xff\xfe"]}',
        b'{"tables": ["\\ud800"]}',
        b"\xef\xbb\xbf{}",
        '{"dry_run": true}'.encode("utf-16"),
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_not_json_in_utf8_is_400(api, body):
    for path in POSTS:
        assert_problem(api.call("POST", path, body), 400, "malformed_request")


def test_where_json_ends_being_json_is_said(api):
    assert "byte 17" in api.call("POST", "/restores", b'{"dry_run": true,}').body["detail"]


@pytest.mark.parametrize("body", ['{"dry_run": true, "dry_run": false}', '{"target_tables": {"a": "b", "a": "c"}}'])
def test_a_name_given_twice_is_400_as_nobody_knows_which_was_meant(api, body):
    assert "twice" in assert_problem(api.call("POST", "/restores", body.encode()), 400, "malformed_request")["detail"]


@pytest.mark.parametrize("path", POSTS)
def test_json_that_is_no_object_is_422(api, path):
    for body in (b"null", b"[]", b"[{}]", b'"text"', b"1", b"true", b"1.5"):
        assert faults(api.call("POST", path, body)) == {"$": "must be a JSON object"}


@pytest.mark.parametrize("path", POSTS)
def test_a_huge_body_is_413(api, path):
    body = b'{"tables": ["' + b"x" * LARGEST_BODY_BYTES + b'"]}'
    document = assert_problem(api.call("POST", path, body), 413, "request_too_large")
    assert str(LARGEST_BODY_BYTES) in document["detail"]


@pytest.mark.parametrize("path", POSTS)
def test_a_body_full_of_faults_gets_an_answer_that_lambda_can_send(api, path):
    body = json.dumps({f"field-{number}": None for number in range(40_000)}).encode()
    assert len(body) < LARGEST_BODY_BYTES
    answer = api.call("POST", path, body)
    document = assert_problem(answer, 422, "invalid_request")
    assert "40000 faults" in document["detail"]
    assert len(document["errors"]) == 1000
    assert len(answer.text) < 1_000_000


@pytest.mark.parametrize("path", ["/restores", "/backups"])
def test_the_most_and_longest_table_names_get_an_answer_that_lambda_can_send(api, path):
    tables = [f"\N{SNOWMAN}{number:03}" * 50 for number in range(500)]
    answer = api.call("POST", path, {"tables": tables, "target_tables": {name: name for name in tables}})
    assert len(answer.text) < 6_000_000
    assert_problem(answer, 422, "invalid_request")


def test_keys_that_are_no_names_are_answered_in_valid_json(api):
    body = {"\x00\n\"'": 1, "\N{PILE OF POO}" * 200: 1, "__class__": 1, "": 1, "$.dry_run": 1}
    assert len(faults(api.call("POST", "/restores", body))) == len(body)


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("limit=0", {"?limit"}),
        ("limit=-1", {"?limit"}),
        ("limit=101", {"?limit"}),
        ("limit=abc", {"?limit"}),
        ("limit=", {"?limit"}),
        ("limit=1.0", {"?limit"}),
        ("limit=%31%30%30%30%30%30", {"?limit"}),
        ("limit=%D9%A1", {"?limit"}),
        ("limit=" + "9" * 10_000, {"?limit"}),
        ("limit=5&limit=7", {"?limit"}),
        ("before=yesterday", {"?before"}),
        ("before=", {"?before"}),
        ("before=2026-11-21%0A", {"?before"}),
        ("before=" + "x" * 10_000, {"?before"}),
        ("page=2&limit=0&before=x", {"?page", "?limit", "?before"}),
        ("Limit=5", {"?Limit"}),
        ("%F0%9F%92%A9=1", {"?\N{PILE OF POO}"}),
    ],
)
def test_a_query_string_that_makes_no_sense_is_422(api, query, paths):
    for path in ("/restores", "/backups"):
        assert set(faults(api.call("GET", f"{path}?{query}"))) == paths


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/restores"), ("POST", "/backups"), ("GET", "/backups/2026-11-21"), ("POST", POSTS[-1])],
)
def test_fields_in_the_query_string_are_refused_not_ignored(api, method, path):
    """`POST /restores?dry_run=true` must never restore."""
    assert set(faults(api.call(method, f"{path}?dry_run=true&limit=5"))) == {"?dry_run", "?limit"}


# --- what Chalice and the gateway answer by themselves ---------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/restores", {"GET", "POST"}),
        ("HEAD", "/backups", {"GET", "POST"}),
        ("GET", POSTS[-1], {"POST"}),
        ("PUT", "/health", {"GET"}),
    ],
)
def test_a_method_the_route_has_not_is_405_and_the_ones_it_has_are_named(api, method, path, allowed):
    answer = api.call(method, path)
    document = assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert all(name in document["detail"] for name in {method, *allowed})


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_a_body_of_another_media_type_is_415_and_the_right_one_is_named(api, content_type):
    """The first is what `curl -d` sends unless it is told."""
    answer = api.call("POST", "/restores", {}, headers={"Content-Type": content_type})
    assert "Content-Type: application/json" in assert_problem(answer, 415, "unsupported_media_type")["detail"]


def test_json_is_taken_however_it_is_announced(api):
    for content_type in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
        answer = api.call("POST", "/restores", {"max_workers": 0}, headers={"Content-Type": content_type})
        assert set(faults(answer)) == {"$.max_workers"}


def test_an_unknown_path_is_the_gateways_403(api):
    """API Gateway's own answer; Chalice cannot change it."""
    for path in ("/nothing", "/restores/a/b/c", "/", "/x/restores", "/RESTORES"):
        answer = api.call("GET", path, token=None)
        assert (answer.status, answer.body) == (403, {"message": "Missing Authentication Token"})


# --- failures of our own ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("GET", "/restores"), ("GET", "/backups")])
def test_a_failure_inside_is_a_500_without_internals_and_is_logged_with_them(api, method, path):
    api.world.dynamodb.delete_table(TableName=LEDGER)
    answer = api.call(method, path)
    document = assert_problem(answer, 500, "internal_error")
    assert document["title"] == "Internal Server Error"
    assert not [word for word in ("ResourceNotFound", "DynamoDB", "Traceback", LEDGER, ".py") if word in answer.text]
    record = api.records()[-1]
    assert (record["level"], record["exception_name"]) == ("ERROR", "ResourceNotFoundException")
    assert "Traceback" in record["exception"]
    api.world.dynamodb.create_table(TableName=LEDGER, **LEDGER_DEFINITION)


def test_a_failure_outside_of_a_route_is_a_problem_too(api, app_module, monkeypatch):
    def fails():
        raise ZeroDivisionError("internals")

    monkeypatch.setattr(app_module.app.routes["/health"]["GET"], "view_function", fails)
    answer = api.call("GET", "/health")
    assert_problem(answer, 500, "internal_error")
    assert "internals" not in answer.text


# --- events as API Gateway sends them, which chalice local does not make ---------------------------------------


def event(body, *, is_base64=False):
    authorizer = {"scopes": "restore:write", "principalId": "operator"}
    return {
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": "/restores",
            "identity": {"sourceIp": "192.0.2.1"},
            "authorizer": authorizer,
        },
        "headers": {"Authorization": f"Bearer {OPERATOR.token}"},
        "pathParameters": None,
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": body,
        "isBase64Encoded": is_base64,
    }


@pytest.mark.parametrize(
    ("body", "is_base64", "code"),
    [
        ('{"max_workers": 0}', False, "invalid_request"),
        (base64.b64encode(b'{"max_workers": 0}').decode(), True, "invalid_request"),
        ('{"tables": ["\ud800"]}', False, "malformed_request"),
        ("not base64 \N{SNOWMAN}", True, "malformed_request"),
        ("abc", True, "malformed_request"),
        (base64.b64encode(b"\xff").decode(), True, "malformed_request"),
    ],
)
def test_a_deployed_event_is_read_as_a_local_one(api, body, is_base64, code):
    answer = api.app(event(body, is_base64=is_base64), None)
    assert json.loads(answer["body"])["code"] == code
    assert answer["headers"]["Content-Type"] == "application/problem+json"
