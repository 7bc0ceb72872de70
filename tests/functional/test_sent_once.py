"""CreateBackup goes over the wire once, whatever botocore would do by itself; what was refused may go again."""

import time

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ReadTimeoutError

from chalicelib.aws import Clients, may_have_had_effect


class Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_args, **_kwargs):
        yield self._body


def answering(status: int, code: str):
    body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "refused"}}'.encode()
    return AWSResponse("https://dynamodb.eu-west-1.amazonaws.com", status, {}, Raw(body))


@pytest.fixture
def sent(aws, monkeypatch):
    """A client as it is deployed; how often each of its calls was sent, to which it gets `answer`."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    client = Clients().get("dynamodb")
    attempts: list[str] = []

    def calling(answer, operation="CreateBackup"):
        def handler(request, **_):
            attempts.append(operation)
            if isinstance(answer, Exception):
                raise answer
            return answer()

        client.meta.events.register_first(f"before-send.dynamodb.{operation}", handler)
        return client, attempts

    return calling


TIMEOUT = ReadTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com")
MAYBE_MADE = {
    "no answer": TIMEOUT,
    "an error of the server's": lambda: answering(500, "InternalServerError"),
    "unavailable": lambda: answering(503, "ServiceUnavailable"),
}


@pytest.mark.parametrize("answer", MAYBE_MADE.values(), ids=MAYBE_MADE.keys())
def test_what_may_have_made_a_backup_is_not_sent_again(sent, answer):
    client, attempts = sent(answer)
    with pytest.raises((ClientError, ReadTimeoutError)) as raised:
        client.create_backup(TableName="orders", BackupName="name")
    assert may_have_had_effect(raised.value)
    assert len(attempts) == 1


def test_what_was_throttled_is_sent_again(sent):
    client, attempts = sent(lambda: answering(400, "ThrottlingException"))
    with pytest.raises(ClientError) as raised:
        client.create_backup(TableName="orders", BackupName="name")
    assert not may_have_had_effect(raised.value)
    assert len(attempts) == 3


def test_other_calls_are_sent_again(sent):
    """As CreateBackup would be, too."""
    client, attempts = sent(TIMEOUT, "DescribeBackup")
    with pytest.raises(ReadTimeoutError):
        client.describe_backup(BackupArn="arn:aws:dynamodb:eu-west-1:123456789012:table/orders/backup/1")
    assert len(attempts) == 3
