"""Scopes cannot be escalated: not by any combination of others, not by what a request says, not by a cached policy."""

import itertools
import json

import pytest
from chalice.local import ARNMatcher

from chalicelib.api.authorizer import authorize
from chalicelib.api.routes import operations
from sandbox.resources import SCOPES, ApiToken
from tests.functional.api.gateway import READER, STRANGER, WRITER, assert_problem
from tests.functional.api.test_access import GUARDED
from tests.functional.api.test_bad_requests import event

SUBSETS = [subset for size in range(5) for subset in itertools.combinations(SCOPES, size)]
ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef/api/{}{}"


def test_every_route_refuses_every_set_of_scopes_without_its_own(api):
    held = {
        subset: ApiToken(f"subset {number}", f"tv_subset-{number:012}", subset) for number, subset in enumerate(SUBSETS)
    }
    api.store_tokens(json.dumps([token.stored() for token in held.values()]))
    for (method, path, scope), (subset, token) in itertools.product(GUARDED, held.items()):
        answer = api.call(method, path, token=token)
        if scope in subset:
            assert answer.status not in (401, 403), (method, path, subset)
        else:
            assert scope in assert_problem(answer, 403, "forbidden")["detail"]


@pytest.mark.usefixtures("backed_up")
def test_clearing_is_refused_to_every_set_of_scopes_without_both(api):
    held = {
        subset: ApiToken(f"subset {number}", f"tv_subset-{number:012}", subset) for number, subset in enumerate(SUBSETS)
    }
    api.store_tokens(json.dumps([token.stored() for token in held.values()]))
    for subset, token in held.items():
        body = {"clear_existing_data": True, "dry_run": True}
        status = 202 if {"restore:write", "restore:clear"} <= set(subset) else 403
        assert api.call("POST", "/restores", body, token=token).status == status


SMUGGLED = {
    "scopes": " ".join(SCOPES),
    "scope": " ".join(SCOPES),
    "authorizer": {"scopes": " ".join(SCOPES), "principalId": "operator"},
    "requestContext": {"authorizer": {"scopes": " ".join(SCOPES)}},
    "principalId": "operator",
    "tokens": "available",
}


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("token", [STRANGER, READER], ids=lambda token: token.name)
def test_scopes_that_a_request_names_are_not_held(api, token):
    headers = {name: json.dumps(value) for name, value in SMUGGLED.items()}
    headers |= {
        "X-Amzn-Authorizer-Scopes": " ".join(SCOPES),
        "X-Scopes": " ".join(SCOPES),
        "X-HTTP-Method-Override": "GET",
    }
    query = "&".join(f"{name}={'+'.join(SCOPES)}" for name in SMUGGLED)
    for path in (
        "/restores",
        f"/restores?{query}",
        "/restores?requestContext[authorizer][scopes]=restore:write",
        "/restores/",
        "/restores?method=GET",
    ):
        assert_problem(api.call("POST", path, SMUGGLED, token=token, headers=headers), 403, "forbidden")
    for path in ("/restores/requestContext/cancel", "/restores/..%2F..%2Fhealth/cancel", "/restores/%00/cancel"):
        assert_problem(api.call("POST", path, SMUGGLED, token=token, headers=headers), 403, "forbidden")
    assert api.world.open_work() == []


def test_a_scope_in_a_tokens_name_is_a_name(api):
    named = ApiToken("restore:write backup:read", "tv_named-0123456789abcdef", ())
    api.store_tokens(json.dumps([named.stored()]))
    for method, path, _ in GUARDED:
        assert_problem(api.call(method, path, token=named), 403, "forbidden")


def policy_of(token, method, path):
    arn = ARN.format(method, path)
    return authorize({"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": arn}, None)


def test_a_policy_cached_from_one_route_decides_the_same_on_all_others(api):
    """API Gateway keeps it per token, whatever route it was made for."""
    for token in (READER, WRITER, STRANGER):
        policies = [policy_of(token.token, method, path) for method, path, _ in GUARDED]
        assert all(policy == policies[0] for policy in policies)
        (statement,) = policies[0]["policyDocument"]["Statement"]
        for method, path, _ in GUARDED:
            assert ARNMatcher(ARN.format(method, path)).does_any_resource_match(statement["Resource"])


def test_a_refusal_cached_from_one_route_refuses_on_all_others(api):
    for method, path, _ in GUARDED:
        (statement,) = policy_of("tv_nobody-0123456789abcdef", method, path)["policyDocument"]["Statement"]
        assert statement["Effect"] != "Allow" or statement["Resource"] == []


def test_every_wrong_token_gets_the_same_policy(api):
    """So that API Gateway answers all of them alike."""
    from_header = [
        policy_of(wrong, "GET", "/restores") for wrong in ("", "x", "tv_nobody-0123456789abcdef", "a" * 9999)
    ]
    from_header += [
        policy_of(f"{READER.token}{wrong}", "GET", "/restores") for wrong in ("\n", " ", "x", "\x00", ", x")
    ]
    assert all(policy == from_header[0] for policy in from_header)
    assert from_header[0]["principalId"] == "unknown"


def test_a_readers_cached_policy_does_not_write(api):
    policy = policy_of(READER.token, "GET", "/restores")
    request = event("{}")
    request["requestContext"]["authorizer"] = {**policy["context"], "principalId": policy["principalId"]}
    assert json.loads(api.app(request, None)["body"])["code"] == "forbidden"


@pytest.mark.parametrize(
    "context", [None, {}, {"scopes": None}, {"scopes": ["restore:write"]}, {"scopes": "restore:write,"}]
)
def test_a_context_that_is_not_the_authorizers_holds_no_scope(api, context):
    request = event("{}")
    if context is None:
        del request["requestContext"]["authorizer"]
    else:
        request["requestContext"]["authorizer"] = context
    assert json.loads(api.app(request, None)["body"])["code"] == "forbidden"


def test_no_route_behind_the_authorizer_goes_without_a_scope(app_module):
    guarded = {(each.method, each.path) for each in operations if each.scope is not None}
    behind = {
        (method, path)
        for path, methods in app_module.app.routes.items()
        for method, entry in methods.items()
        if entry.authorizer is not None
    }
    assert (
        guarded
        == behind
        == {
            (method, path.replace("r-20261121T010000Z-0123abcd", "{restore_id}").replace("2026-11-21", "{backup_date}"))
            for method, path, _ in GUARDED
        }
    )


def test_no_route_lets_another_site_read_it(api, app_module):
    """CORS: none. A browser that runs another site's page may neither ask first nor read an answer."""
    for methods in app_module.app.routes.values():
        assert "OPTIONS" not in methods
        assert all(entry.cors is None for entry in methods.values())
    for origin in ("https://evil.example", "null"):
        for method, path in (("GET", "/health"), ("GET", "/restores"), ("POST", "/restores")):
            headers = api.call(method, path, headers={"Origin": origin}).headers
            assert not [name for name in headers if name.lower().startswith("access-control-")]


def test_where_a_request_says_it_comes_from_changes_nothing(api):
    said = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "javascript",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Prefix": "/evil",
        "X-Original-URL": "/restores",
        "X-Rewrite-URL": "/restores",
        "Forwarded": "host=evil.example;for=127.0.0.1",
    }
    for path in ("/health", "/openapi.json", "/restores", "/backups/2026-01-01"):
        plain, told = api.call("GET", path), api.call("GET", path, headers=said)
        assert (told.status, told.text, told.headers) == (plain.status, plain.text, plain.headers)
    for path in ("/health", "/restores"):
        assert api.call("GET", path, token=None, headers=said).status == (200 if path == "/health" else 401)
