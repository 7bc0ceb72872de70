"""Requests that botocore does not make, against its own and against a server that fails on script."""

import ssl
from datetime import UTC, datetime

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError

from chalicelib.restore.datapath.raw_batch import RawAnswer, batch_body, put_request
from chalicelib.restore.datapath.raw_sender import RawSender, _tls_context, raw_sender
from tests.faults import ScriptedDynamoDB, lines

LINES = lines({"pk": {"S": name}, "b": {"B": "aGVsbG8="}} for name in "abc")
BODY = batch_body("orders", LINES)
CLEAN = b'{"UnprocessedItems":{}}'


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def client(endpoint_url: str | None = None, token: str | None = None, **config):
    return boto3.client(
        "dynamodb",
        region_name="eu-west-1",
        endpoint_url=endpoint_url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


# ---- the signature


@pytest.mark.parametrize("token", [None, "session-token"])
@pytest.mark.parametrize(
    "endpoint_url",
    [None, "http://127.0.0.1:4599", "https://localhost:8000/base", "https://localhost/base/path/", "http://[::1]:8000"],
)
def test_a_raw_request_is_signed_and_addressed_as_the_clients_own(endpoint_url, token, monkeypatch):
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC))
    dynamodb = client(endpoint_url, token)
    seen = []

    def intercept(request, **_):
        seen.append(request)
        return AWSResponse(request.url, 200, {}, _Body())

    dynamodb.meta.events.register("before-send.dynamodb.BatchWriteItem", intercept)
    table = "orders"
    dynamodb.batch_write_item(RequestItems={table: [put_request(line) for line in LINES]})
    sender = RawSender(dynamodb)
    sender._new_signer("BatchWriteItem")._now_s = datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC).timestamp
    assert sender.send("BatchWriteItem", seen[0].body, 1.0) == RawAnswer(200, CLEAN)

    own, raw = seen
    assert raw.url == own.url
    assert raw.method == own.method
    theirs, ours = _signed_by_service(own), _signed_by_service(raw)
    for name in ("X-Amz-Target", "Content-Type", "X-Amz-Date", "X-Amz-Security-Token"):
        assert ours.get(name) == theirs.get(name)
    # The client signs headers that say how often it tried; over the same headers the signature is the same.
    again = botocore.awsrequest.AWSRequest(
        method="POST", url=own.url, data=own.body,
        headers={name: ours[name] for name in ("X-Amz-Target", "Content-Type", "Accept-Encoding")},
    )  # fmt: skip
    dynamodb._request_signer.sign("BatchWriteItem", again)
    assert again.headers["Authorization"] == ours["Authorization"]


class _Body:
    def stream(self):
        yield CLEAN


def _signed_by_service(request) -> dict[str, str]:
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in request.headers.items()}


class Rolling:
    """Refreshable credentials, of which key, secret and token fit together only when frozen."""

    def __init__(self) -> None:
        self.frozen = 0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.frozen += 1
        return ReadOnlyCredentials(f"AKID{self.frozen}", "secret", None)


def test_credentials_are_frozen_anew_for_each_request():
    with ScriptedDynamoDB() as server:
        dynamodb = client(server.endpoint_url)
        dynamodb._request_signer._credentials = Rolling()
        sender = RawSender(dynamodb)
        sender.send("BatchWriteItem", BODY, 5.0)
        sender.send("BatchWriteItem", BODY, 5.0)
        sender.close()
    keys = [headers["Authorization"].split("/")[0] for headers, _ in server.requests]
    assert keys == ["AWS4-HMAC-SHA256 Credential=AKID1", "AWS4-HMAC-SHA256 Credential=AKID2"]


def test_credentials_that_cannot_be_had_are_no_answer():
    class Absent:
        def get_frozen_credentials(self):
            raise CredentialRetrievalError(provider="role", error_msg="not now")

    dynamodb = client("http://127.0.0.1:9")
    dynamodb._request_signer._credentials = Absent()
    assert RawSender(dynamodb).send("BatchWriteItem", BODY, 5.0) is None


def test_a_hook_that_fails_is_no_answer():
    def fail(**_):
        raise KeyError("hook")

    dynamodb = client("http://127.0.0.1:9")
    dynamodb.meta.events.register("before-send.dynamodb.BatchWriteItem", fail)
    assert RawSender(dynamodb).send("BatchWriteItem", BODY, 5.0) is None


# ---- sending


def send_twice(script: str) -> tuple[list[RawAnswer | None], ScriptedDynamoDB]:
    with ScriptedDynamoDB(script) as server:
        sender = RawSender(client(server.endpoint_url + "/base"))
        answers = [sender.send("BatchWriteItem", BODY, 5.0), sender.send("BatchWriteItem", BODY, 5.0)]
        sender.close()
    return answers, server


def test_connections_are_kept():
    answers, server = send_twice("")
    assert answers == [RawAnswer(200, CLEAN)] * 2
    assert server.connections == 1
    assert [body for _, body in server.requests] == [BODY] * 2
    assert server.requests[0][0]["Accept-Encoding"] == "identity"


def test_a_connection_closed_while_it_idled_is_no_failure():
    answers, server = send_twice("close")
    assert answers == [RawAnswer(200, CLEAN)] * 2
    assert server.connections == 2


@pytest.mark.parametrize("script", ["drop", "partial"])
def test_without_a_complete_answer_there_is_none_and_the_next_request_is_unharmed(script):
    answers, server = send_twice(script)
    assert answers == [None, RawAnswer(200, CLEAN)]
    assert server.connections == 2


def test_a_kept_connection_that_fails_twice_is_a_failure():
    answers, server = send_twice("ok drop drop")
    assert answers == [RawAnswer(200, CLEAN), None]
    assert server.connections == 2


def test_nobody_listening_is_no_answer():
    with ScriptedDynamoDB() as server:
        endpoint_url = server.endpoint_url
    assert RawSender(client(endpoint_url)).send("BatchWriteItem", BODY, 5.0) is None


# ---- where only the client will do


def test_raw_lines_are_sent_where_nothing_stands_between():
    assert isinstance(raw_sender(client()), RawSender)


@pytest.mark.parametrize("config", [{"proxies": {"https": "http://proxy:3128"}}, {"client_cert": "/tmp/cert.pem"}])
def test_proxies_and_client_certificates_are_left_to_the_client(config):
    assert raw_sender(client(**config)) is None


def test_a_proxy_of_the_environment_is_left_to_the_client_unless_the_host_is_excepted(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert raw_sender(client()) is None
    assert raw_sender(client("http://127.0.0.1:4599")) is not None
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    assert raw_sender(client()) is not None


def test_tls_checks_certificate_and_host_unless_told_not_to():
    trusting, blind = _tls_context(True), _tls_context(False)
    assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (blind.verify_mode, blind.check_hostname) == (ssl.CERT_NONE, False)
    used = RawSender(client())._tls
    assert used is not None
    assert used.verify_mode == ssl.CERT_REQUIRED
