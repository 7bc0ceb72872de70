import base64
import json
import ssl
from datetime import UTC, datetime

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import CredentialRetrievalError

from chalicelib.restore.datapath import raw_batch
from chalicelib.restore.datapath.raw_batch import (
    RawAnswer,
    RawBatchSender,
    batch_body,
    message_without_content,
    put_request,
    raw_sender,
)
from tests.faults import ScriptedDynamoDB, lines

LINES = lines({"pk": {"S": name}, "b": {"B": "aGVsbG8="}} for name in "abc")
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


# ---- the body


def test_the_body_is_what_the_client_would_send_of_the_same_items():
    expected = {"RequestItems": {"orders": [{"PutRequest": json.loads(line)} for line in LINES]}}
    assert json.loads(batch_body("orders", LINES)) == expected
    assert all(line in batch_body("orders", LINES) for line in LINES)


def test_a_table_name_is_escaped():
    assert list(json.loads(batch_body('a"b\\c', LINES))["RequestItems"]) == ['a"b\\c']


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
    monkeypatch.setattr(raw_batch, "batch_body", lambda *_: seen[0].body)
    assert RawBatchSender(dynamodb, table).send(LINES, 1.0) == RawAnswer(200, CLEAN)

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
        sender = RawBatchSender(dynamodb, "orders")
        sender.send(LINES, 5.0)
        sender.send(LINES, 5.0)
        sender.close()
    keys = [headers["Authorization"].split("/")[0] for headers, _ in server.requests]
    assert keys == ["AWS4-HMAC-SHA256 Credential=AKID1", "AWS4-HMAC-SHA256 Credential=AKID2"]


def test_credentials_that_cannot_be_had_are_no_answer():
    class Absent:
        def get_frozen_credentials(self):
            raise CredentialRetrievalError(provider="role", error_msg="not now")

    dynamodb = client("http://127.0.0.1:9")
    dynamodb._request_signer._credentials = Absent()
    assert RawBatchSender(dynamodb, "orders").send(LINES, 5.0) is None


def test_a_hook_that_fails_is_no_answer():
    def fail(**_):
        raise KeyError("hook")

    dynamodb = client("http://127.0.0.1:9")
    dynamodb.meta.events.register("before-send.dynamodb.BatchWriteItem", fail)
    assert RawBatchSender(dynamodb, "orders").send(LINES, 5.0) is None


# ---- sending


def send_twice(script: str) -> tuple[list[RawAnswer | None], ScriptedDynamoDB]:
    with ScriptedDynamoDB(script) as server:
        sender = RawBatchSender(client(server.endpoint_url + "/base"), "orders")
        answers = [sender.send(LINES, 5.0), sender.send(LINES, 5.0)]
        sender.close()
    return answers, server


def test_connections_are_kept():
    answers, server = send_twice("")
    assert answers == [RawAnswer(200, CLEAN)] * 2
    assert server.connections == 1
    assert [body for _, body in server.requests] == [batch_body("orders", LINES)] * 2
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
    assert RawBatchSender(client(endpoint_url), "orders").send(LINES, 5.0) is None


@pytest.mark.parametrize(
    ("status", "body", "is_clean"),
    [
        (200, CLEAN, True),
        (200, b' { "UnprocessedItems" :\n{ } } ', True),
        (200, b'{"UnprocessedItems":{"t":[]}}', False),
        (200, b'{"UnprocessedItems":{}', False),
        (200, b"{}", False),
        (200, b"", False),
        (500, CLEAN, False),
        (206, CLEAN, False),
    ],
)
def test_only_a_clean_answer_is_clean(status, body, is_clean):
    assert RawAnswer(status, body).is_clean is is_clean


def test_unprocessed_requests_come_with_their_binaries_decoded():
    body = json.dumps({"UnprocessedItems": {"t": [{"PutRequest": json.loads(LINES[0])}]}}).encode()
    assert RawAnswer(200, body).unprocessed() == {"t": [put_request(LINES[0])]}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"UnprocessedItems":[]}', b'{"UnprocessedItems":{"t":[{}]}}'])
def test_an_answer_that_cannot_be_read_leaves_unknown_what_is_unprocessed(body):
    assert RawAnswer(200, body).unprocessed() is None


def test_an_error_says_nothing_of_what_is_unprocessed():
    assert RawAnswer(500, CLEAN).unprocessed() is None


# ---- where only the client will do


def test_raw_lines_are_sent_where_nothing_stands_between():
    assert isinstance(raw_sender(client(), "orders"), RawBatchSender)


@pytest.mark.parametrize("config", [{"proxies": {"https": "http://proxy:3128"}}, {"client_cert": "/tmp/cert.pem"}])
def test_proxies_and_client_certificates_are_left_to_the_client(config):
    assert raw_sender(client(**config), "orders") is None


def test_a_proxy_of_the_environment_is_left_to_the_client_unless_the_host_is_excepted(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert raw_sender(client(), "orders") is None
    assert raw_sender(client("http://127.0.0.1:4599"), "orders") is not None
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    assert raw_sender(client(), "orders") is not None


def test_tls_checks_certificate_and_host_unless_told_not_to():
    trusting, blind = raw_batch._tls_context(True), raw_batch._tls_context(False)
    assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (blind.verify_mode, blind.check_hostname) == (ssl.CERT_NONE, False)
    used = RawBatchSender(client(), "orders")._tls
    assert used is not None
    assert used.verify_mode == ssl.CERT_REQUIRED


# ---- lines for the client


def test_binaries_are_decoded_at_any_depth_and_nothing_else_is_touched():
    raw = bytes(range(256))
    text = base64.b64encode(raw).decode()
    item = {
        "B": {"B": text},
        "BS": {"BS": [text, "aGVsbG8="]},
        "S": {"S": "aGVsbG8="},
        "N": {"N": "12345678901234567890123456789012345678"},
        "NS": {"NS": ["1", "2.50"]},
        "SS": {"SS": ["a"]},
        "yes": {"BOOL": True},
        "nothing": {"NULL": True},
        "empty": {"B": ""},
        "M": {"M": {"B": {"B": text}, "L": {"L": [{"B": text}, {"M": {"BS": {"BS": [text]}}}]}}},
    }
    expected = {
        **item,
        "B": {"B": raw},
        "BS": {"BS": [raw, b"hello"]},
        "empty": {"B": b""},
        "M": {"M": {"B": {"B": raw}, "L": {"L": [{"B": raw}, {"M": {"BS": {"BS": [raw]}}}]}}},
    }
    assert put_request(lines([item])[0]) == {"PutRequest": {"Item": expected}}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"SECRET", b"[]", b"{}", b'{"Item":[]}', b'{"Item":null}', b'{"Item":{"pk":"SECRET"}}',
        b'{"Item":{"pk":{}}}',
        b'{"Item":{"pk":{"S":"SECRET","N":"1"}}}', b'{"Item":{"pk":{"B":"SECRET!"}}}', b'{"Item":{"pk":{"B":5}}}',
        b'{"Item":{"pk":{"BS":["c"]}}}', b'{"Item":{"pk":{"M":[]}}}', b'{"Item":{"pk":{"B":"\xc3\xbc"}}}',
        b'{"Item":{"pk":{"S":"\xff"}}}', b'{"Item":{"pk":{"N":NaN}}}', b'{"Item":' + b'{"a":{"L":[' * 50_000,
        b'{"Keys":{"pk":{"S":"1"}},"NewImage":{"pk":{"S":"1"}}}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_item_is_refused_without_its_content(line):
    with pytest.raises(ValueError, match=r"^the line is not an item in DynamoDB JSON$") as caught:
        put_request(line)
    assert caught.value.__suppress_context__


# ---- reasons


@pytest.mark.parametrize(
    "message",
    [
        "Item size has exceeded the maximum allowed size",
        "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N",
        "One or more parameter values were invalid: Missing the key order-id in the item",
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "
        "string value. Key: pk",
    ],
)
def test_reasons_that_hold_no_content_are_told_whole(message):
    line = lines([{"pk": {"S": message}}])[0]
    assert message_without_content(message, line) == message


def test_other_reasons_lose_every_word_of_the_item():
    line = lines([{"pk": {"S": "a"}, "mail": {"L": [{"S": "jane.doe@example.org"}]}, "n": {"N": "4711"}}])[0]
    message = "The parameter cannot be converted: jane.doe@example (4711), a"
    assert message_without_content(message, line) == "The parameter cannot be converted: ….…@… (…), …"


def test_escaped_content_is_recognised():
    line = b'{"Item":{"pk":{"S":"\\u00fcber"}}}'
    assert message_without_content("bad value: über", line) == "bad value: …"
