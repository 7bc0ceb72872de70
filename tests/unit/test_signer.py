"""Our signatures against botocore's, which is what DynamoDB takes."""

import time
from datetime import UTC, datetime

import pytest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.restore.datapath import signer as signer_module
from chalicelib.restore.datapath.signer import Signer, headers_of

fixed = settings(derandomize=True, deadline=None, max_examples=200)
HEADERS = {"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem", "User-Agent": "ours", "Accept-Encoding": "identity"}
NOW_S = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC).timestamp()
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)


class Credentials:
    def __init__(self, frozen: ReadOnlyCredentials) -> None:
        self.frozen = frozen

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self.frozen


def signer_of(
    frozen: ReadOnlyCredentials,
    url: str = "https://dynamodb.eu-west-1.amazonaws.com/",
    headers=HEADERS,
    now_s=time.time,
) -> Signer:
    return Signer(
        Credentials(frozen), service_name="dynamodb", region_name="eu-west-1", url=url, headers=headers, now_s=now_s
    )


def is_own(signer: Signer) -> bool:
    assert signer._kept is not None
    return signer._kept.is_own


def at(monkeypatch, now_s: float):
    """Both clocks."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(now_s, UTC))
    return lambda: now_s


urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["localhost", "127.0.0.1", "[::1]", "dynamodb.eu-west-1.amazonaws.com"]),
    st.sampled_from(["", ":80", ":443", ":8000"]),
    st.sampled_from(["/", "/base", "/base/", "/a/b-c_d~e.f"]),
)


@fixed
@given(
    access_key=st.from_regex(r"[A-Z0-9]{4,20}", fullmatch=True),
    secret=printable.filter(bool),
    token=st.none() | printable.map(str.strip).filter(bool),
    url=urls,
    agent=printable.map(str.strip),
    target=st.from_regex(r"[A-Za-z0-9_.]{1,30}", fullmatch=True),
    body=st.binary(max_size=200),
    now_s=st.integers(1_000_000_000, 4_000_000_000),
)
def test_every_head_is_what_botocore_makes_of_the_same_request(
    access_key, secret, token, url, agent, target, body, now_s
):
    with pytest.MonkeyPatch.context() as monkeypatch:
        frozen = ReadOnlyCredentials(access_key, secret, token)
        headers = HEADERS | {"User-Agent": agent, "X-Amz-Target": target}
        signer = signer_of(frozen, url, headers, at(monkeypatch, now_s))
        ours = headers_of(signer.head(body))
        theirs = signer.botocore_headers(body, frozen)
        assert is_own(signer)
        assert int(ours.pop("Content-Length")) == len(body)
        assert ours.pop("Host")  # botocore leaves it to its HTTP client
        assert ours == theirs


def test_a_day_later_the_key_is_another(monkeypatch):
    frozen = ReadOnlyCredentials("AKID", "secret", None)
    now_s = [NOW_S]
    signer = signer_of(frozen, now_s=lambda: now_s[0])
    for now_s[0] in (NOW_S, NOW_S, NOW_S + 1, NOW_S + 2, NOW_S + 86_400):
        at(monkeypatch, now_s[0])
        assert headers_of(signer.head(b"x"))["Authorization"] == signer.botocore_headers(b"x", frozen)["Authorization"]


def test_a_role_that_rolls_is_noticed_within_the_second(monkeypatch):
    first = ReadOnlyCredentials("AKID1", "secret", "token")
    signer = signer_of(first, now_s=at(monkeypatch, NOW_S))
    assert "AKID1/" in headers_of(signer.head(b"x"))["Authorization"]
    for rolled in (first._replace(access_key="AKID2"), first._replace(secret_key="s2"), first._replace(token=None)):
        signer._credentials.frozen = rolled
        head = headers_of(signer.head(b"x"))
        theirs = signer.botocore_headers(b"x", rolled)
        assert head["Authorization"] == theirs["Authorization"]
        assert head.get("X-Amz-Security-Token") == rolled.token


def test_where_botocore_signs_otherwise_botocore_signs_everything(monkeypatch):
    """As after a change of botocore's, or with credentials it treats in its own way."""
    frozen = ReadOnlyCredentials("AKID", "secret", None)
    monkeypatch.setattr(signer_module, "_UNSIGNED", frozenset({"user-agent", "x-amz-target"}))
    signer = signer_of(frozen, now_s=at(monkeypatch, NOW_S))
    for _ in range(2):
        ours = headers_of(signer.head(b"body"))
        assert not is_own(signer)
        assert ours["Authorization"] == signer.botocore_headers(b"body", frozen)["Authorization"]
        assert ours["Content-Length"] == "4"


@pytest.mark.parametrize("path", ["/a//b", "/a/../b", "/a b", "/ä", "/?x=1"])
def test_a_path_that_has_another_canonical_form_is_left_to_botocore(monkeypatch, path):
    frozen = ReadOnlyCredentials("AKID", "secret", None)
    signer = signer_of(frozen, "https://localhost" + path, now_s=at(monkeypatch, NOW_S))
    try:
        head = signer.head(b"x")
    except (ValueError, UnicodeEncodeError):
        return
    assert headers_of(head)["Authorization"] == signer.botocore_headers(b"x", frozen)["Authorization"]


@pytest.mark.parametrize("token", ["a\r\nX-Smuggled: 1", "a\nb", "ä"])
def test_a_header_that_would_end_early_is_not_sent(token):
    with pytest.raises(ValueError, match="cannot be sent"):
        signer_of(ReadOnlyCredentials("AKID", "secret", token)).head(b"x")


def test_one_self_test_serves_all_requests_of_the_same_credentials(monkeypatch):
    signer = signer_of(ReadOnlyCredentials("AKID", "secret", None))
    calls: list[bytes] = []
    botocore_headers = signer.botocore_headers

    def counted(body, credentials):
        calls.append(body)
        return botocore_headers(body, credentials)

    monkeypatch.setattr(signer, "botocore_headers", counted)
    heads = {signer.head(bytes([n])) for n in range(50)}
    assert len(heads) == 50
    assert len(calls) == 1
