import hashlib
import json

import pytest

from chalicelib.tokens import TokensInvalid, TokenStore, find_token, parse_tokens

SECRET = "tv-0123456789abcdef0123"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


def parameter(**changes):
    return json.dumps([{"name": "on-call", "sha256": DIGEST, "scopes": ["backup:read"], **changes}])


def test_the_right_bearer_token_is_found_with_its_name_and_scopes():
    token = find_token(f"Bearer {SECRET}", parse_tokens(parameter()))
    assert token is not None
    assert (token.name, token.scopes) == ("on-call", ("backup:read",))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        SECRET,
        f"Basic {SECRET}",
        f"Bearer {SECRET}x",
        f"Bearer {SECRET[:-1]}",
        f"Bearer {DIGEST}",
    ],
)
def test_anything_else_is_nobody(header):
    assert find_token(header, parse_tokens(parameter())) is None


def test_the_digest_of_no_token_lets_nobody_in():
    empty = hashlib.sha256(b"").hexdigest()
    assert find_token("", parse_tokens(parameter(sha256=empty))) is None


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "{}",
        "[" * 8000,
        '["x"]',
        '[{"name": "on-call"}]',
        parameter(expires_at="2026-01-01"),
        parameter(name=7),
        parameter(name="two\nlines"),
        parameter(name="\ud800"),
        parameter(name="n" * 101),
        parameter(name=""),
        parameter(sha256="short"),
        parameter(sha256=DIGEST.upper()),
        parameter(scopes="backup:read"),
        parameter(scopes=["everything"]),
        parameter(scopes=["backup:read", {}]),
        parameter(name=SECRET, scopes=None),
    ],
)
def test_a_parameter_that_is_not_what_it_must_be_is_refused_without_repeating_it(text):
    with pytest.raises(TokensInvalid) as raised:
        parse_tokens(text)
    assert not [part for part in (DIGEST, DIGEST.upper(), SECRET, "on-call") if part in str(raised.value)]


def test_one_token_with_two_sets_of_scopes_is_refused():
    entries = json.loads(parameter()) + json.loads(parameter(name="copy", scopes=["restore:clear"]))
    with pytest.raises(TokensInvalid, match="twice"):
        parse_tokens(json.dumps(entries))


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_read_in_any_case(scheme):
    assert find_token(f"{scheme} {SECRET}", parse_tokens(parameter())) is not None


def test_a_parameter_that_broke_lets_nobody_in_until_it_is_mended():
    texts = [parameter(), "broken", parameter()]
    now = [0]
    store = TokenStore(lambda: texts.pop(0), lambda: now[0])
    assert len(store.tokens()) == 1
    now[0] = 60_001
    with pytest.raises(TokensInvalid):
        store.tokens()
    assert len(store.tokens()) == 1


def test_a_token_taken_out_of_the_parameter_is_refused_after_a_minute():
    texts = [parameter(), "[]"]
    now = [0]
    store = TokenStore(lambda: texts.pop(0), lambda: now[0])
    assert len(store.tokens()) == 1
    now[0] = 60_000
    assert len(store.tokens()) == 1
    now[0] = 60_001
    assert store.tokens() == []
