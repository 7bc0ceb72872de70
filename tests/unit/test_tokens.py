import hashlib
import hmac
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
    for now[0] in (60_001, 65_001):
        with pytest.raises(TokensInvalid):
            store.tokens()
    assert len(texts) == 1
    now[0] = 65_002
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


# --- no leak by timing, shown by what is done rather than by a stopwatch ------------------------------------------

OTHERS = [f"tv-other-{number}-0123456789abcdef" for number in range(4)]
STORED = json.dumps(
    [
        {"name": f"token-{number}", "sha256": hashlib.sha256(secret.encode()).hexdigest(), "scopes": ["backup:read"]}
        for number, secret in enumerate([OTHERS[0], OTHERS[1], SECRET, OTHERS[2], OTHERS[3]])
    ]
)
PRESENTED = {
    "the first": f"Bearer {OTHERS[0]}",
    "one in the middle": f"Bearer {SECRET}",
    "the last": f"Bearer {OTHERS[3]}",
    "unknown": "Bearer tv-unknown-0123456789abcdef",
    "all but its end": f"Bearer {SECRET[:-1]}0",
    "its digest": f"Bearer {DIGEST}",
    "empty": "",
    "no token": "Bearer ",
    "another scheme": f"Basic {SECRET}",
    "wrong prefix": f"Token {SECRET}",
    "no scheme": SECRET,
    "huge": "Bearer " + "a" * 100_000,
    "not ASCII": "Bearer \N{SNOWMAN}" + SECRET,
    "half of a surrogate pair": "Bearer \ud800" + SECRET,
    "newline": f"Bearer {SECRET}\n",
    "NUL": f"Bearer {SECRET}\x00",
    "two headers joined": f"Bearer {SECRET}, Bearer {OTHERS[0]}",
    "two tokens": f"Bearer {SECRET} {OTHERS[0]}",
}


@pytest.mark.parametrize("which", PRESENTED)
def test_whatever_is_presented_one_hash_is_made_and_compared_with_every_stored_one(which, monkeypatch):
    compared, hashed = [], []
    constant_time, sha256 = hmac.compare_digest, hashlib.sha256

    def compare(stored, presented):
        compared.append((stored, presented))
        return constant_time(stored, presented)

    def hash_of(data):
        hashed.append(data)
        return sha256(data)

    tokens = parse_tokens(STORED)
    monkeypatch.setattr("chalicelib.tokens.hmac.compare_digest", compare)
    monkeypatch.setattr("chalicelib.tokens.hashlib.sha256", hash_of)
    found = find_token(PRESENTED[which], tokens)
    assert (found is not None) == (which in ("the first", "one in the middle", "the last"))
    assert len(hashed) == 1
    assert [stored for stored, _ in compared] == [token.sha256 for token in tokens]
    assert {(len(stored), len(presented)) for stored, presented in compared} == {(64, 64)}


def test_nothing_but_that_comparison_looks_at_a_stored_hash():
    """`==` of texts ends at the first letter that differs; the type that stands for a stored hash here has none."""

    class Hash(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            raise AssertionError("compared letter by letter")

    tokens = [token._replace(sha256=Hash(token.sha256)) for token in parse_tokens(STORED)]
    assert find_token(f"Bearer {SECRET}", tokens) is not None
    assert find_token("Bearer tv-unknown-0123456789abcdef", tokens) is None


def test_while_the_parameter_cannot_be_read_it_is_not_asked_again_with_every_request():
    asked: list[int] = []
    now = [0]

    def read():
        asked.append(now[0])
        raise ConnectionError("throttled")

    store = TokenStore(read, lambda: now[0])
    for now[0] in range(0, 12_000, 100):
        with pytest.raises(ConnectionError):
            store.tokens()
    assert asked == [0, 5_100, 10_200]


def test_a_failure_that_is_raised_again_and_again_does_not_grow():
    store = TokenStore(lambda: "broken", lambda: 0)
    depths = []
    for _ in range(3):
        with pytest.raises(TokensInvalid) as raised:
            store.tokens()
        depths.append(len(raised.traceback))
    assert len(set(depths)) == 1
