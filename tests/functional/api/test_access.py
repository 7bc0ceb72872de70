"""Who gets in. Refusals before a route is reached are the gateway's own and look as it makes them: 401 and 403."""

import hashlib
import json
import subprocess
import sys

import pytest

from tests.functional.api.gateway import OPERATOR, READER, STRANGER, TOKENS_PARAMETER, WRITER, assert_problem

RESTORE_ID = "r-20261121T010000Z-0123abcd"
GUARDED = [
    ("POST", "/backups", "backup:write"),
    ("GET", "/backups", "backup:read"),
    ("GET", "/backups/2026-11-21", "backup:read"),
    ("POST", "/backups/2026-11-21/keep", "backup:write"),
    ("POST", "/backups/2026-11-21/release", "backup:write"),
    ("GET", "/on-demand-backups", "backup:read"),
    ("GET", "/on-demand-backups/2026-11-21", "backup:read"),
    ("POST", "/retention/plan", "backup:read"),
    ("POST", "/ledger/rebuild", "backup:write"),
    ("GET", "/ledger/rebuild", "backup:read"),
    ("POST", "/restores", "restore:write"),
    ("GET", "/restores", "backup:read"),
    ("GET", f"/restores/{RESTORE_ID}", "backup:read"),
    ("POST", f"/restores/{RESTORE_ID}/cancel", "restore:write"),
    ("POST", f"/restores/{RESTORE_ID}/resume", "restore:write"),
    ("POST", f"/restores/{RESTORE_ID}/retry-failed", "restore:write"),
]
ROUTES = [(method, path) for method, path, _ in GUARDED]


def test_the_list_above_is_all_the_api_has(app_module):
    templates = {
        (method, path.replace(RESTORE_ID, "{restore_id}").replace("2026-11-21", "{backup_date}"))
        for method, path in ROUTES
    }
    known = {(method, path) for path, methods in app_module.app.routes.items() for method in methods}
    assert known == templates | {("GET", "/health"), ("GET", "/openapi.json")}


@pytest.mark.parametrize("token", [None, OPERATOR, "nonsense"])
def test_health_needs_no_token_and_tells_nothing_else(api, token):
    answer = api.call("GET", "/health", token=token)
    assert (answer.status, answer.content_type, answer.body) == (200, "application/json", {"status": "ok"})


def test_without_a_token_every_route_answers_401(api):
    assert [api.call(method, path, token=None).status for method, path in ROUTES] == [401] * len(ROUTES)


def test_a_wrong_token_or_a_malformed_header_answers_403_on_every_route(api):
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-token-of-some-length",
        f"Basic {OPERATOR.token}",
        OPERATOR.token,
        f"Bearer {OPERATOR.token[:-1]}",
        f"Bearer {OPERATOR.token}x",
        f"Bearer {OPERATOR.token} {READER.token}",
        f"Bearer {OPERATOR.token}\n",
        f"Bearer {hashlib.sha256(OPERATOR.token.encode()).hexdigest()}",
        "Bearer " + "a" * 100_000,
        "Bearer \N{SNOWMAN}\N{SNOWMAN}\N{SNOWMAN}\N{SNOWMAN}\N{SNOWMAN}\N{SNOWMAN}\N{SNOWMAN}\N{SNOWMAN}",
    ]:
        assert {api.call(method, path, token=header).status for method, path in ROUTES} == {403}


def test_the_scheme_is_read_in_any_case(api):
    assert {api.call("GET", "/restores", token=f"{s} {READER.token}").status for s in ("bearer", "BEARER")} == {200}


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_a_token_without_the_routes_scope_is_told_which_one_it_lacks(api, method, path, scope):
    lacking = WRITER if scope == "backup:read" else READER
    for token in (STRANGER, lacking):
        document = assert_problem(api.call(method, path, b"{ not even JSON", token=token), 403, "forbidden")
        assert scope in document["detail"]


@pytest.mark.usefixtures("backed_up")
def test_clearing_needs_a_scope_of_its_own(api):
    document = assert_problem(
        api.call("POST", "/restores", {"clear_existing_data": True}, token=WRITER), 403, "forbidden"
    )
    assert "restore:clear" in document["detail"]
    assert api.world.open_work() == []
    assert api.call("POST", "/restores", {"clear_existing_data": False}, token=WRITER).status == 202
    assert api.call("GET", "/restores").body["restores"][0]["requested_by"] == "writer"


def test_a_token_that_was_taken_away_is_refused_a_minute_later(api):
    kept = json.dumps([READER.stored()])
    assert api.call("GET", "/restores").status == 200
    api.store_tokens(kept)
    assert api.call("GET", "/restores").status == 403
    assert api.call("GET", "/restores", token=READER).status == 200


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "{}",
        "[",
        "[" * 4000,
        json.dumps([OPERATOR.stored(), {"name": "half"}]),
        json.dumps([OPERATOR.stored() | {"scopes": [{}]}]),
        json.dumps([OPERATOR.stored() | {"name": OPERATOR.token, "scopes": ["everything"]}]),
        json.dumps([OPERATOR.stored(), READER.stored() | {"sha256": OPERATOR.stored()["sha256"]}]),
    ],
)
def test_while_the_tokens_are_broken_nobody_gets_in_and_the_log_says_why(api, text):
    api.store_tokens(text)
    for method, path in ROUTES:
        assert_problem(api.call(method, path), 503, "tokens_unavailable")
    assert api.call("GET", "/health").status == 200
    assert {record["exception_name"] for record in api.records()} == {"TokensInvalid", "TokensUnavailable"}
    api.store_tokens(json.dumps([OPERATOR.stored()]))
    assert api.call("GET", "/restores").status == 200


def test_while_the_tokens_are_missing_nobody_gets_in_and_the_log_says_why(api):
    api.ssm.delete_parameter(Name=TOKENS_PARAMETER)
    assert_problem(api.call("GET", "/restores"), 503, "tokens_unavailable")
    assert "ParameterNotFound" in api.logged()


def test_settings_that_cannot_be_read_let_nobody_in(api, monkeypatch):
    from chalicelib.services import services

    services.cache_clear()
    monkeypatch.delenv("BACKUP_BUCKET")
    assert_problem(api.call("GET", "/restores"), 503, "tokens_unavailable")
    assert "BACKUP_BUCKET" in api.logged()


def test_the_authorizer_imports_nothing_that_only_routes_and_workers_need(app_module):
    """It runs on its own with every cold start of the API; boto3 alone is most of its start."""
    handler = next(each.handler_string for each in app_module.app.builtin_auth_handlers)
    module = handler.removesuffix(".authorize")
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = ("app", "aws_lambda_powertools", "msgspec", "chalicelib.backup", "chalicelib.restore", "chalicelib.ledger")
    assert module in loaded
    assert not set(heavy) & set(loaded)


def test_the_policy_covers_every_route_so_that_api_gateway_may_cache_it(api):
    """Else the policy of the first call, kept for a minute, would refuse the next one on another route."""
    from chalicelib.api.authorizer import authorize

    arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef/api/GET/backups/2026-11-21"
    event = {"type": "TOKEN", "authorizationToken": f"Bearer {READER.token}", "methodArn": arn}
    policy = authorize(event, None)
    assert policy["policyDocument"]["Statement"][0]["Resource"] == [
        "arn:aws:execute-api:eu-west-1:123456789012:abcdef/api/*/*"
    ]
    assert (policy["principalId"], policy["context"]) == ("reader", {"scopes": "backup:read"})
    assert all(isinstance(value, str) for value in policy["context"].values())
