import json
import random
import threading
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config

from chalicelib.errors import OutOfTime, TargetUnavailable
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.writer import BatchWriter
from chalicelib.restore.model import LineKind
from tests.faults import FakeTime, FlakyClient, ScriptedDynamoDB, lines

ITEMS = [{"pk": {"S": f"k{i}"}, "b": {"B": "aGVsbG8="}, "n": {"N": str(i)}} for i in range(25)]
BATCH = Batch.of(100, lines(ITEMS))
STORED = {json.dumps(item["pk"]): item for item in ITEMS}


def client(endpoint_url: str, attempts: int = 1):
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, proxies={})
    return boto3.client(
        "dynamodb", region_name="eu-west-1", endpoint_url=endpoint_url, config=config, aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip


def writer_of(dynamodb, time: FakeTime | None = None, room_ms: int = 60_000, **more: Any) -> BatchWriter:
    time = time or FakeTime()
    return BatchWriter(
        dynamodb, "orders", clock=time.clock, sleep=time.sleep, random=time.random, deadline_ms=time.now_ms + room_ms,
        **more,
    )  # fmt: skip


@pytest.fixture
def server():
    with ScriptedDynamoDB() as server:
        yield server


def put(server: ScriptedDynamoDB, batch: Batch = BATCH, script: str = "", time: FakeTime | None = None):
    """Puts one batch; `script` is for the boto3 client, the server has its own."""
    writer = writer_of(FlakyClient(client(server.endpoint_url), "batch_write_item", script), time)
    with closing(writer):
        result = writer.put(batch)
    assert result.counts.total == len(batch.lines)
    return result


def batch_with(**line_by_index: bytes) -> Batch:
    replaced = {int(name[1:]): line for name, line in line_by_index.items()}
    return Batch.of(100, tuple(replaced.get(i, line) for i, line in enumerate(BATCH.lines)))


ALL_WRITTEN = Counts(written=25)


# ---- the ordinary case, and everything that goes again


def test_an_ordinary_batch_is_one_raw_request(server):
    assert put(server).counts == ALL_WRITTEN
    assert server.items == STORED
    assert len(server.requests) == 1
    assert all(line in server.requests[0][1] for line in BATCH.lines)


@pytest.mark.parametrize(
    "words", ["space", "500", "throttle", "drop", "partial", "garbage", "unprocessed:24", "unprocessed:25",
              "throttle throttle", "drop 500 unprocessed:3 unprocessed:2 partial unprocessed:1 throttle", "expired"]
)  # fmt: skip
def test_what_goes_wrong_for_a_while_ends_written_and_exact(server, words):
    server.script = type(server.script)(words)
    time = FakeTime()
    assert put(server, time=time).counts == ALL_WRITTEN
    assert server.items == STORED
    assert bool(time.slept_s) is (words != "space")  # nothing goes again at once


@pytest.mark.parametrize(
    "script", ["drop", "blank", "unprocessed unprocessed", "throttle throttle 500 drop blank unprocessed", "expired"]
)
def test_failures_of_the_client_go_again_too(server, script):
    server.script = type(server.script)("500")
    assert put(server, script=script).counts == ALL_WRITTEN
    assert server.items == STORED


def test_only_what_was_left_unprocessed_goes_again(server):
    server.script = type(server.script)("unprocessed:10 unprocessed:4")
    put(server)
    sizes = [len(json.loads(body)["RequestItems"]["orders"]) for _, body in server.requests]
    assert sizes == [25, 10, 4]


def test_throttling_does_not_cost_the_parsing_of_the_batch(server):
    server.script = type(server.script)("throttle unprocessed:7 throttle")
    dynamodb = FlakyClient(client(server.endpoint_url), "batch_write_item", "")
    with closing(writer_of(dynamodb)) as writer:
        assert writer.put(BATCH).counts == ALL_WRITTEN
    assert dynamodb.calls == []
    assert server.items == STORED


def test_delays_grow_while_nothing_moves_and_begin_anew_when_something_does(server):
    time = FakeTime()
    server.script = type(server.script)("throttle throttle throttle throttle unprocessed:5 throttle")
    put(server, time=time)
    assert time.slept_s == [0.025, 0.05, 0.1, 0.2, 0.025, 0.05]


def test_unprocessed_items_written_otherwise_than_sent_are_still_all_written(server):
    """DynamoDB may normalise a number or reorder a set in what it hands back."""
    once: list[int] = []

    class Normalising(FlakyClient):
        def _call(self, **arguments):
            requests = arguments["RequestItems"]["orders"]
            if len(requests) > 3 and len(once) < 3:
                once.append(len(requests))
                changed = [
                    {"PutRequest": {"Item": r["PutRequest"]["Item"] | {"n": {"N": "1E0"}}}} for r in requests[:3]
                ]
                return {"UnprocessedItems": {"orders": changed}}
            return super()._call(**arguments)

    server.script = type(server.script)("500")
    writer = writer_of(Normalising(client(server.endpoint_url), "batch_write_item", ""))
    assert writer.put(BATCH).counts == ALL_WRITTEN
    writer.close()
    assert once == [25, 12, 6]
    assert server.items == STORED


def test_binaries_survive_the_way_over_the_client(server):
    server.script = type(server.script)("drop")
    put(server)
    assert server.items == STORED
    assert len(server.requests) == 2


# ---- rejected items


def refuse_value(value: str, code: str = "ValidationException", message: str = "refused"):
    return lambda item: (code, message) if item.get("pk", {}).get("S") == value else None


@pytest.mark.parametrize("index", [0, 7, 24])
def test_an_item_that_is_refused_is_isolated_and_the_others_written(server, index):
    server.refuses = refuse_value(f"k{index}", message="Item size has exceeded the maximum allowed size")
    result = put(server)
    assert result.counts == Counts(written=24, rejected=1)
    assert [tuple(r) for r in result.rejected] == [
        (index, BATCH.lines[index], "ValidationException", "Item size has exceeded the maximum allowed size")
    ]
    assert len(server.items) == 24
    assert len(server.requests) <= 12


def test_every_item_of_a_batch_may_be_refused(server):
    server.refuses = lambda item: ("ItemCollectionSizeLimitExceededException", "Collection size exceeded.")
    result = put(server)
    assert result.counts == Counts(rejected=25)
    assert [r.line_index for r in result.rejected] == list(range(25))


def test_the_reason_has_no_item_content(server):
    line = lines([{"pk": {"S": "jane.doe@example.org"}}])[0]
    server.refuses = refuse_value("jane.doe@example.org", message="bad value jane.doe@example.org")
    (rejected,) = put(server, batch_with(i3=line)).rejected
    assert rejected.line == line
    assert rejected.message == "bad value ….…@….…"


def test_a_refusal_is_not_waited_for(server):
    time = FakeTime()
    server.refuses = refuse_value("k3")
    put(server, time=time)
    assert time.slept_s == []


def test_lines_that_are_no_items_are_rejected(server):
    bad = {"i0": b"", "i5": b"SECRET", "i6": b'{"Item":{"pk":{"S":"\xff"}}}', "i24": b'{"Keys":{}}'}
    result = put(server, batch_with(**bad))
    assert result.counts == Counts(written=21, rejected=4)
    assert [(r.line_index, r.line, r.code) for r in result.rejected] == [
        (int(name[1:]), line, "MalformedLine") for name, line in bad.items()
    ]
    assert not any("SECRET" in r.message for r in result.rejected)
    assert len(server.items) == 21


def test_an_item_boto3_does_not_take_is_rejected_without_its_content(server):
    result = put(server, batch_with(i4=b'{"Item":{"pk":{"S":"k4"},"SECRET":{"Q":"SECRET"}}}', i5=b"malformed"))
    assert [(r.line_index, r.code) for r in result.rejected] == [(4, "MalformedItem"), (5, "MalformedLine")]
    assert "SECRET" not in result.rejected[0].message
    assert len(server.items) == 23


def test_of_two_lines_with_one_key_both_are_written_and_the_later_stays(server):
    later = {"pk": {"S": "k3"}, "v": {"S": "later"}}
    result = put(server, batch_with(i4=lines([later])[0]))
    assert result.counts == ALL_WRITTEN
    assert server.items['{"S": "k3"}'] == later
    assert len(server.items) == 24


def test_an_item_that_is_answered_with_server_errors_for_ever_is_found_by_its_neighbours(server):
    for index in (0, 24):
        server.items.clear()
        server.refuses = refuse_value(f"k{index}", "InternalServerError")
        time = FakeTime()
        result = put(server, time=time)
        assert [(r.line_index, r.code) for r in result.rejected] == [(index, "InternalServerError")]
        assert len(server.items) == 24


def test_a_lone_item_with_server_errors_may_be_an_outage_and_is_never_rejected(server):
    server.refuses = refuse_value("k0", "InternalServerError")
    with pytest.raises(OutOfTime):
        put(server, Batch.of(0, BATCH.lines[:1]))


# ---- the whole table


@pytest.mark.parametrize(
    ("word", "advice"), [("gone", "table orders does not exist"), ("deny", "allow dynamodb:BatchWriteItem")]
)
def test_what_concerns_the_whole_table_is_not_bisected(server, word, advice):
    server.script = type(server.script)(f"{word} {word} {word}")
    with pytest.raises(TargetUnavailable, match=advice) as caught:
        put(server)
    assert not caught.value.retryable
    assert len(server.requests) == 2


# ---- time


def test_too_little_time_is_out_of_time_before_anything_is_sent(server):
    with pytest.raises(OutOfTime) as caught:
        writer_of(client(server.endpoint_url), room_ms=1_000).put(BATCH)
    assert caught.value.retryable
    assert server.requests == []


@pytest.mark.parametrize("word", ["throttle", "500", "drop", "blank", "unprocessed"])
def test_what_never_ends_ends_at_the_deadline(server, word):
    server.script = type(server.script)("500")
    time = FakeTime()
    begin_ms = time.now_ms
    with pytest.raises(OutOfTime):
        put(server, script=f"{word} " * 1_000, time=time)
    assert begin_ms + 50_000 < time.now_ms < begin_ms + 60_000


def test_an_outage_of_the_endpoint_kills_nobody(monkeypatch):
    """All threads of one client at once: botocore's quota of retries is shared by them and runs out."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=lambda: 0.0))
    with ScriptedDynamoDB("drop " * 250) as server:
        time = _LockedTime()
        dynamodb = client(server.endpoint_url, attempts=2)
        writer = BatchWriter(
            dynamodb, "orders", clock=time.clock, sleep=time.sleep, random=random.Random(1).random,
            deadline_ms=time.now_ms + 10_000_000,
        )  # fmt: skip
        results = []
        batches = [Batch.of(i, lines([{"pk": {"S": f"{i}-{j}"}} for j in range(3)])) for i in range(16)]
        threads = [threading.Thread(target=lambda b=batch: results.append(writer.put(b))) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()
    assert [result.counts for result in results] == [Counts(written=3)] * 16
    assert len(server.items) == 48


class _LockedTime(FakeTime):
    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            super().sleep(seconds)


# ---- deleting


def test_keys_are_deleted_with_the_same_patience(server):
    put(server)
    server.script = type(server.script)("throttle unprocessed:3 500")
    writer = writer_of(client(server.endpoint_url))
    assert writer.delete_keys([{"pk": item["pk"]} for item in ITEMS[:20]]) == 20
    assert server.items == {key: item for key, item in STORED.items() if item in ITEMS[20:]}
    writer.close()


def test_binary_keys_are_deleted_as_the_client_gave_them(server):
    server.items['{"B": "AAE="}'] = {}
    writer_of(client(server.endpoint_url)).delete_keys([{"pk": {"B": b"\x00\x01"}}])
    assert server.items == {}


def test_nothing_to_delete_is_no_request(server):
    assert writer_of(client(server.endpoint_url)).delete_keys([]) == 0
    assert server.requests == []


def test_more_keys_than_a_batch_holds_are_an_error(server):
    with pytest.raises(ValueError, match="26 keys"):
        writer_of(client(server.endpoint_url)).delete_keys([{"pk": {"S": str(i)}} for i in range(26)])


def test_a_key_that_is_refused_says_what_may_have_happened(server):
    server.refuses = refuse_value("k3", message="The provided key element does not match the schema: k3")
    with pytest.raises(TargetUnavailable, match="refuses to delete 1 of its keys") as caught:
        writer_of(client(server.endpoint_url)).delete_keys([{"pk": {"S": f"k{i}"}} for i in range(5)])
    assert "k3" not in caught.value.message


# ---- records of incremental exports


def record(key: str, image: Any = None) -> bytes:
    document = {"Metadata": {"WriteTimestampMicros": {"N": "1"}}, "Keys": {"pk": {"S": key}}}
    return json.dumps(document | ({} if image is None else {"NewImage": image}), separators=(",", ":")).encode()


RECORDS = Batch.of(
    0, (*(record(item["pk"]["S"], item) for item in ITEMS[:15]), *(record(f"k{i}") for i in range(15, 25)))
)


def put_records(server, batch: Batch = RECORDS, script: str = "", client_script: str = ""):
    server.items = {key: item for key, item in STORED.items() if item in ITEMS[10:]}
    server.script = type(server.script)(script)
    dynamodb = FlakyClient(client(server.endpoint_url), "batch_write_item", client_script)
    with closing(writer_of(dynamodb, line_kind=LineKind.RECORD)) as writer:
        return writer.put(batch)


@pytest.mark.parametrize(
    ("script", "client_script"),
    [("", ""), ("unprocessed:12 unprocessed:3 throttle", ""), ("500", "throttle unprocessed"), ("drop partial", "")],
)
def test_records_put_and_delete_whatever_goes_wrong_for_a_while(server, script, client_script):
    assert put_records(server, script=script, client_script=client_script).counts == Counts(written=15, deleted=10)
    assert server.items == {key: item for key, item in STORED.items() if item in ITEMS[:15]}


def test_only_what_was_left_unprocessed_of_records_goes_again_and_raw(server):
    put_records(server, script="unprocessed:12 unprocessed:3")
    requests = [json.loads(body)["RequestItems"]["orders"] for _, body in server.requests]
    assert [len(each) for each in requests] == [25, 12, 3]
    assert all("DeleteRequest" in each for each in requests[2])


def test_records_that_are_refused_or_malformed_are_isolated(server):
    server.refuses = lambda target: ("ValidationException", "refused") if target["pk"]["S"] in ("k3", "k20") else None
    data = (*RECORDS.lines[:24], b'{"Item":{"pk":{"S":"SECRET"}}}')
    result = put_records(server, Batch.of(0, data))
    assert result.counts == Counts(written=14, deleted=8, rejected=3)
    assert [(each.line_index, each.code) for each in result.rejected] == [
        (3, "ValidationException"), (20, "ValidationException"), (24, "MalformedLine"),
    ]  # fmt: skip
    assert [each.line for each in result.rejected] == [data[3], data[20], data[24]]


# ---- attributes of legacy global tables


@pytest.mark.parametrize("script", ["", "500"])
def test_notes_of_replication_do_not_get_into_the_table(server, script):
    server.script = type(server.script)(script)
    noted = ITEMS[4] | {"aws:rep:deleting": {"BOOL": False}, "aws:rep:updatetime": {"N": "1541106132.5"}}
    assert put(server, batch_with(i4=lines([noted])[0])).counts == ALL_WRITTEN
    assert server.items == STORED


# ---- how much at once


def test_throttling_makes_fewer_batches_be_under_way(server):
    writer = writer_of(client(server.endpoint_url), time := FakeTime())
    before = writer.concurrency
    server.script = type(server.script)("throttle " * 200)
    with closing(writer):
        for _ in range(3):
            with suppress(OutOfTime):
                writer.put(BATCH)
    assert writer.concurrency < before / 2
    assert time.slept_s


class Measured(ScriptedDynamoDB):
    """Says what it consumed where it is asked: for each write `units`; and when, by `time`."""

    def __init__(self, time: FakeTime, units: float) -> None:
        super().__init__()
        self.time = time
        self.units = units
        self.consumed: list[tuple[int, float]] = []

    def answer(self, body: bytes, unprocessed: int) -> tuple[int, Any]:
        status, document = super().answer(body, unprocessed)
        request = json.loads(body)
        writes = len(request["RequestItems"]["orders"])
        if status == 200:
            done = self.units * (writes - unprocessed)
            self.consumed.append((self.time.now_ms, done))
            if request.get("ReturnConsumedCapacity") in ("TOTAL", "INDEXES"):
                document["ConsumedCapacity"] = [{"TableName": "orders", "CapacityUnits": done}]
        return status, document


@pytest.mark.parametrize("raw", [True, False])
def test_a_writer_with_a_limit_keeps_to_it_by_what_dynamodb_measures(raw, monkeypatch):
    if not raw:
        monkeypatch.setattr("chalicelib.restore.datapath.target.raw_sender", lambda *_: None)
    time = FakeTime()
    server = Measured(time, units=3.0)
    with server:
        writer = writer_of(client(server.endpoint_url), time, 600_000, units_per_s=100.0)
        server.refuses = refuse_value("k3")
        with closing(writer):
            for _ in range(20):
                assert writer.put(BATCH).counts == Counts(written=24, rejected=1)
            server.refuses = lambda item: None
            writer.delete_keys([{"pk": item["pk"]} for item in ITEMS])
        consumed = sum(units for _, units in server.consumed)
        elapsed_s = (server.consumed[-1][0] - server.consumed[0][0]) / 1000
        for begin_ms, _ in server.consumed:
            within = sum(units for at_ms, units in server.consumed if begin_ms <= at_ms <= begin_ms + 5_000)
            assert within <= 100.0 * 6
    assert writer.consumed_units == consumed == 20 * 24 * 3 + 25 * 3
    assert consumed / elapsed_s <= 120


def test_without_a_limit_nothing_is_measured(server):
    put(server)
    assert "ReturnConsumedCapacity" not in json.loads(server.requests[0][1])


def test_a_batch_without_lines_is_nothing(server):
    with closing(writer_of(client(server.endpoint_url))) as writer:
        assert writer.put(Batch(100, 5_000, (), ())).counts == Counts()
    assert server.requests == []


# ---- without the raw path


def test_where_raw_requests_cannot_be_sent_the_client_writes_everything(server, monkeypatch):
    monkeypatch.setattr("chalicelib.restore.datapath.target.raw_sender", lambda *_: None)
    assert put(server).counts == ALL_WRITTEN
    assert server.items == STORED
