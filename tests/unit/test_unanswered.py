"""Which failures of a batch write leave something that may still take effect, as botocore itself tells them."""

from contextlib import suppress

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import OutOfTime
from chalicelib.restore.datapath.unanswered import LATEST_EFFECT_MS, Unanswered
from chalicelib.restore.worker import CLAIM_MARGIN_MS
from tests.faults import FakeTime, Script, ScriptedDynamoDB
from tests.unit.test_writer import BATCH, client, writer_of

REQUEST = {"orders": [{"PutRequest": {"Item": {"pk": {"S": "a"}}}}]}


def remaining_after(script, attempts=3, port=None):
    time = FakeTime()
    unanswered = Unanswered(time.clock)
    with ScriptedDynamoDB(script) as server:
        dynamodb = client(server.endpoint_url if port is None else f"http://127.0.0.1:{port}", attempts)
        unanswered.watch(dynamodb)
        with suppress(BotoCoreError, ClientError):
            dynamodb.batch_write_item(RequestItems=REQUEST)
        return unanswered.remaining_ms()


@pytest.mark.parametrize("script", ["ok", "500 ok", "throttle ok", "unprocessed:1"])
def test_an_answer_whatever_it_says_leaves_nothing(script):
    assert remaining_after(script) == 0


@pytest.mark.parametrize("script", ["drop ok", "drop drop drop", "500 drop ok"])
def test_an_attempt_without_an_answer_counts_also_when_the_next_one_succeeds(script):
    assert remaining_after(script) == LATEST_EFFECT_MS


def test_a_request_that_was_never_sent_leaves_nothing():
    assert remaining_after("ok", port=1) == 0


def test_it_is_over_after_as_long_as_a_claim_outlives_its_worker():
    time = FakeTime()
    unanswered = Unanswered(time.clock)
    unanswered.note()
    time.now_ms += CLAIM_MARGIN_MS - 1
    assert unanswered.remaining_ms() == 1
    time.now_ms += 1
    assert unanswered.remaining_ms() == 0


@pytest.mark.parametrize(("script", "noted"), [("ok", 0), ("drop ok", 1), ("partial ok", 1), ("500 ok", 0)])
def test_the_raw_path_tells_of_requests_without_a_complete_answer(script, noted):
    told = []
    with ScriptedDynamoDB() as server:
        server.script = Script(script)
        writer = writer_of(client(server.endpoint_url), on_unanswered=lambda: told.append(1))
        writer.put(BATCH)
        writer.close()
    assert len(told) == noted


def test_it_tells_too_where_the_request_goes_again_at_once_on_another_connection():
    """The first one of them may have arrived."""
    told = []
    with ScriptedDynamoDB("ok drop ok") as server:
        writer = writer_of(client(server.endpoint_url), on_unanswered=lambda: told.append(1))
        writer.put(BATCH)
        writer.put(BATCH)
        writer.close()
    assert len(told) == 1
    assert (len(server.requests), server.connections) == (3, 2)


def test_the_raw_path_tells_nothing_of_what_was_never_sent():
    told = []
    time = FakeTime()
    writer = writer_of(client("http://127.0.0.1:1"), time, 5_000, on_unanswered=lambda: told.append(1))
    with suppress(OutOfTime):
        writer.put(BATCH)
    assert time.slept_s
    assert told == []
