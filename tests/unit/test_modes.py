"""missing_only, changed_only, and reading a target, against moto's tables and answers that fail on script."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import boto3
import moto
import pytest
from botocore.config import Config

from chalicelib.errors import OutOfTime, TargetUnavailable
from chalicelib.restore.datapath.changed_only import ChangedOnlyWriter
from chalicelib.restore.datapath.missing_only import MissingOnlyWriter
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.raw_batch import RawAnswer, attributes, plain
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.target_items import READ_KEYS, TargetItems, is_same_item
from chalicelib.restore.model import LineKind
from tests.faults import FakeTime, FlakyClient, Script, client_error, lines

META = {"WriteTimestampMicros": {"N": "1768386096366933"}}
ITEMS = [{"pk": {"S": f"k{i}"}, "sk": {"N": str(i)}, "b": {"B": "aGVsbG8="}, "v": {"S": "old"}} for i in range(25)]
KEYS = [{"pk": item["pk"], "sk": item["sk"]} for item in ITEMS]


@pytest.fixture(scope="module")
def client():
    return boto3.client(
        "dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def table(client):
    with moto.mock_aws():
        client.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield


class FlakySender:
    """The raw path to a real engine. Words: ok, drop (nothing is done, no answer), lost (it is done, no answer),
    late500 (it is done, and answered with a 500), 500, throttle, refused (no credentials: nothing was sent)."""

    def __init__(self, sender: Any, script: str) -> None:
        self._sender = sender
        self._script = Script(script)
        self.operations: list[str] = []
        self.bodies: list[bytes] = []

    def send(
        self, operation: str, body: bytes, timeout_s: float, on_unanswered: Callable[[], None]
    ) -> RawAnswer | None:
        self.operations.append(operation)
        self.bodies.append(body)
        word = self._script.next()
        if word in ("ok", "lost", "late500"):
            answer: RawAnswer = self._sender.send(operation, body, timeout_s, on_unanswered)
            if word == "ok":
                return answer
        if word in ("500", "late500"):
            return RawAnswer(500, b'{"__type":"x#InternalServerError"}')
        if word == "throttle":
            return RawAnswer(400, b'{"__type":"x#ProvisionedThroughputExceededException"}')
        if word != "refused":
            on_unanswered()
        return None

    def close(self) -> None:
        self._sender.close()


def stored(client) -> list[Any]:
    items = [plain(item) for item in client.scan(TableName="orders")["Items"]]
    return sorted(items, key=lambda item: int(item["sk"]["N"]))


def put(client, *items: Any) -> None:
    for item in items:
        client.put_item(TableName="orders", Item=attributes(item))


def arguments(time: FakeTime, room_ms: int = 60_000) -> dict[str, Any]:
    return {
        "clock": time.clock, "sleep": time.sleep, "random": time.random, "deadline_ms": time.now_ms + room_ms,
        "key_names": ["pk", "sk"],
    }  # fmt: skip


class Run:
    """One batch through a writer; `script` is for the raw path, `client_script` for the client's `operation`."""

    def __init__(
        self, kind: Any, client, data: tuple[bytes, ...], script: str = "", *, operation: str = "",
        client_script: str = "", raw: bool = True, **more: Any,
    ) -> None:  # fmt: skip
        self.time = FakeTime()
        self.unanswered = 0
        flaky = FlakyClient(client, operation, client_script)
        self.writer = kind(flaky, "orders", on_unanswered=self._note, **(arguments(self.time) | more))
        target = self.writer.target if kind is MissingOnlyWriter else self.writer._writer.target
        self.sender = FlakySender(target.raw, script)
        target.raw = self.sender if raw else None
        self.client_calls = flaky.calls
        with closing(self.writer):
            self.result = self.writer.put(Batch.of(0, data))
        assert self.result.counts.total == len(data)
        self.counts = self.result.counts

    def _note(self) -> None:
        self.unanswered += 1


def record(key: Any, image: Any = None) -> bytes:
    document = {"Metadata": META, "Keys": key} | ({} if image is None else {"NewImage": image})
    return json.dumps(document, separators=(",", ":")).encode()


def changed(item: Any, **attributes: Any) -> Any:
    return item | attributes


NEW = {"S": "new"}
CODES = "ValidationException"


# ---- missing_only


@pytest.mark.parametrize("raw", [True, False])
def test_missing_items_are_written_and_those_that_are_there_are_not_touched(client, raw):
    there = [changed(item, v=NEW) for item in ITEMS[5:12]]
    put(client, *there)
    run = Run(MissingOnlyWriter, client, lines(ITEMS), raw=raw)
    assert run.counts == Counts(written=18, skipped=7)
    assert stored(client) == ITEMS[:5] + there + ITEMS[12:]
    assert not run.writer.is_approximate
    assert bool(run.sender.operations) is raw


def test_an_item_that_comes_up_in_the_middle_is_not_overwritten(client):
    """The condition is DynamoDB's to judge, at the moment of the write."""
    run = Run(MissingOnlyWriter, client, lines(ITEMS[:1]))
    other = changed(ITEMS[1], v=NEW)
    put(client, other)
    assert run.writer.put(Batch.of(1, lines(ITEMS[1:2]))).counts == Counts(skipped=1)
    assert stored(client) == [ITEMS[0], other]


def test_removals_touch_nothing(client):
    put(client, ITEMS[0])
    run = Run(
        MissingOnlyWriter, client, (record(KEYS[0]), record(KEYS[1]), record(KEYS[2], ITEMS[2]), b"malformed"),
        line_kind=LineKind.RECORD,
    )  # fmt: skip
    assert run.counts == Counts(written=1, skipped=2, rejected=1)
    assert stored(client) == [ITEMS[0], ITEMS[2]]


@pytest.mark.parametrize(
    ("script", "client_script", "waits"),
    [("throttle throttle", "", 2), ("500", "", 1), ("drop", "", 1), ("drop", "throttle 500 drop", 4),
     ("refused", "", 1)],
)  # fmt: skip
def test_what_goes_wrong_for_a_while_ends_written_and_exact(client, script, client_script, waits):
    run = Run(MissingOnlyWriter, client, lines(ITEMS[:3]), script, operation="put_item", client_script=client_script)
    assert run.counts == Counts(written=3)
    assert stored(client) == ITEMS[:3]
    assert len(run.time.slept_s) == waits
    assert not run.writer.is_approximate


@pytest.mark.parametrize("script", ["lost", "late500"])
def test_a_put_that_meets_its_own_item_is_skipped_and_says_so(client, script):
    run = Run(MissingOnlyWriter, client, lines(ITEMS[:2]), f"ok {script}", operation="put_item")
    assert run.counts == Counts(written=1, skipped=1)
    assert stored(client) == ITEMS[:2]
    assert run.writer.is_approximate
    assert run.unanswered == (script == "lost")
    assert len(run.client_calls) == 1


def test_a_put_after_a_clean_throttle_knows_whose_item_it_meets(client):
    put(client, ITEMS[0])
    run = Run(MissingOnlyWriter, client, lines(ITEMS[:1]), "throttle")
    assert run.counts == Counts(skipped=1)
    assert not run.writer.is_approximate


def test_refused_items_are_isolated_with_a_reason_without_content(client):
    bad = [
        {"pk": {"S": "SECRET"}},
        {"pk": {"S": "SECRET"}, "sk": {"S": "SECRET"}},
        {"pk": {"S": "a"}, "sk": {"N": "1"}, "v": {"S": "SECRET" * 70_000}},
    ]
    data = (*lines(ITEMS[:2]), *lines(bad), b'{"Item":{"pk":"SECRET"}}', b"SECRET", *lines(ITEMS[2:4]))
    run = Run(MissingOnlyWriter, client, data)
    assert run.counts == Counts(written=4, rejected=5)
    assert [each.line_index for each in run.result.rejected] == [2, 3, 4, 5, 6]
    assert [each.line for each in run.result.rejected] == list(data[2:7])
    assert [each.code for each in run.result.rejected] == [CODES, CODES, CODES, "MalformedItem", "MalformedLine"]
    assert not any("SECRET" in each.message for each in run.result.rejected)
    assert stored(client) == ITEMS[:4]


def test_a_table_that_is_gone_ends_the_work(client):
    client.delete_table(TableName="orders")
    with pytest.raises(TargetUnavailable, match="does not exist"):
        Run(MissingOnlyWriter, client, lines(ITEMS[:2]))


def test_a_denial_names_what_is_missing(client):
    with pytest.raises(TargetUnavailable, match="allow dynamodb:PutItem"):
        Run(MissingOnlyWriter, client, lines(ITEMS[:2]), "500", operation="put_item", client_script="deny")


def test_a_batch_that_was_cut_off_may_be_counted_otherwise_by_who_goes_on(client):
    writer = MissingOnlyWriter(client, "orders", **arguments(FakeTime(), room_ms=5_000))
    writer.target.raw = FlakySender(writer.target.raw, "ok " + "throttle " * 1_000)  # type: ignore[assignment]
    with pytest.raises(OutOfTime):
        writer.put(Batch.of(0, lines(ITEMS)))
    assert writer.is_approximate


def test_failing_conditions_cost_what_the_item_there_costs(client):
    there = changed(ITEMS[0], v={"S": "x" * 5_000})
    put(client, there)
    run = Run(MissingOnlyWriter, client, lines(ITEMS[:2]), units_per_s=1_000.0)
    assert run.counts == Counts(written=1, skipped=1)
    request = json.loads(run.sender.bodies[0])
    assert (request["ReturnConsumedCapacity"], request["ReturnValuesOnConditionCheckFailure"]) == ("TOTAL", "ALL_OLD")
    assert 5 <= run.writer.consumed_units <= 7


def test_a_batch_without_lines_is_nothing(client):
    assert Run(MissingOnlyWriter, client, ()).counts == Counts()
    assert Run(ChangedOnlyWriter, client, ()).counts == Counts()


# ---- changed_only


@pytest.mark.parametrize("raw", [True, False])
def test_only_differences_are_written(client, raw):
    put(client, *ITEMS[:10], *[changed(item, v=NEW) for item in ITEMS[10:15]])
    run = Run(ChangedOnlyWriter, client, lines(ITEMS), raw=raw)
    assert run.counts == Counts(written=15, unchanged=10)
    assert stored(client) == ITEMS
    assert run.sender.operations == (["BatchGetItem", "BatchWriteItem"] if raw else [])
    if raw:
        assert len(json.loads(run.sender.bodies[1])["RequestItems"]["orders"]) == 15
        assert json.loads(run.sender.bodies[0])["RequestItems"]["orders"]["ConsistentRead"] is True


def test_where_nothing_differs_nothing_is_written(client):
    put(client, *ITEMS)
    run = Run(ChangedOnlyWriter, client, lines(ITEMS))
    assert run.counts == Counts(unchanged=25)
    assert run.sender.operations == ["BatchGetItem"]


def test_records_put_delete_and_leave_alone(client):
    put(client, ITEMS[0], ITEMS[1], ITEMS[2])
    data = (
        record(KEYS[0]), record(KEYS[1], ITEMS[1]), record(KEYS[2], changed(ITEMS[2], v=NEW)), record(KEYS[3]),
        record(KEYS[4], ITEMS[4]), b"malformed",
    )  # fmt: skip
    run = Run(ChangedOnlyWriter, client, data, line_kind=LineKind.RECORD)
    assert run.counts == Counts(written=2, deleted=1, unchanged=2, rejected=1)
    assert [(each.line_index, each.line) for each in run.result.rejected] == [(5, b"malformed")]
    assert stored(client) == [ITEMS[1], changed(ITEMS[2], v=NEW), ITEMS[4]]


@pytest.mark.parametrize(
    ("script", "client_script"),
    [("500", ""), ("drop", "throttle 500 drop blank"), ("throttle", "throttle throttle"), ("ok 500", "")],
)
def test_what_fails_for_a_while_is_read_and_written_all_the_same(client, script, client_script):
    put(client, *ITEMS[:5])
    run = Run(ChangedOnlyWriter, client, lines(ITEMS), script, operation="batch_get_item", client_script=client_script)
    assert run.counts == Counts(written=20, unchanged=5)
    assert stored(client) == ITEMS


def test_refused_items_are_isolated_under_their_own_numbers(client):
    put(client, *ITEMS[:3])
    bad = lines([{"pk": {"S": ""}, "sk": {"N": "1"}}, {"pk": {"S": "a"}}, {"pk": {"N": "1"}, "sk": {"N": "1"}}])
    run = Run(ChangedOnlyWriter, client, (*lines(ITEMS[:2]), *bad, *lines(ITEMS[2:5])))
    assert run.counts == Counts(written=2, unchanged=3, rejected=3)
    assert [(each.line_index, each.line) for each in run.result.rejected] == list(enumerate(bad, start=2))
    assert stored(client) == ITEMS[:5]


def test_an_item_that_stands_twice_in_a_batch_ends_as_the_later_one(client):
    later = changed(ITEMS[0], v=NEW)
    run = Run(ChangedOnlyWriter, client, lines([ITEMS[0], later]))
    assert run.counts == Counts(written=2)
    assert stored(client) == [later]


def test_large_batches_are_read_in_parts(client):
    large = [changed(item, v={"S": "x" * 300_000}) for item in ITEMS[:9]]
    put(client, *large[:8])
    run = Run(ChangedOnlyWriter, client, lines(large))
    assert run.counts == Counts(written=1, unchanged=8)
    assert run.sender.operations == ["BatchGetItem", "BatchGetItem", "BatchWriteItem"]


def test_a_write_that_was_cut_off_may_be_counted_otherwise_by_who_goes_on(client):
    writer = ChangedOnlyWriter(client, "orders", **arguments(FakeTime(), room_ms=5_000))
    writer._writer.target.raw = FlakySender(  # type: ignore[assignment]
        writer._writer.target.raw, "ok " + "throttle " * 1_000
    )
    with pytest.raises(OutOfTime):
        writer.put(Batch.of(0, lines(ITEMS)))
    assert writer.is_approximate


# ---- reading


def test_items_come_in_the_order_of_their_keys(client):
    put(client, *ITEMS[:20])
    items = TargetItems(client, "orders", **arguments(FakeTime()))
    with closing(items):
        keys = [KEYS[24], KEYS[3], KEYS[3], {"pk": KEYS[7]["pk"], "sk": {"N": "7.0"}}]
        assert items.read(keys) == [None, ITEMS[3], ITEMS[3], ITEMS[7]]
        assert items.read([]) == []
        with pytest.raises(ValueError, match="101 keys"):
            items.read(KEYS[:1] * (READ_KEYS + 1))


def test_keys_that_are_left_are_read_again():
    """A target that gives two items at a time, and then none for a while."""
    given: list[int] = []

    class Sparing:
        def send(self, operation: str, body: bytes, timeout_s: float, on_unanswered: Any) -> RawAnswer:
            keys = json.loads(body)["RequestItems"]["orders"]["Keys"]
            given.append(0 if len(given) == 1 else 2)
            items = [item for item in ITEMS if {"pk": item["pk"], "sk": item["sk"]} in keys[: given[-1]]]
            left = {"orders": {"Keys": keys[given[-1] :]}} if len(keys) > given[-1] else {}
            return RawAnswer(200, json.dumps({"Responses": {"orders": items}, "UnprocessedKeys": left}).encode())

    time = FakeTime()
    unused = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    items = TargetItems(unused, "orders", **arguments(time))
    items._reads.target.raw = Sparing()  # type: ignore[assignment]
    assert items.read(KEYS[:7]) == ITEMS[:7]
    assert given == [2, 0, 2, 2, 2]
    assert len(time.slept_s) == 4


def test_a_key_that_is_refused_does_not_keep_the_others_from_being_read(client):
    put(client, *ITEMS)
    sizes: list[int] = []

    class Strict(FlakyClient):
        def _call(self, **request: Any) -> Any:
            keys = request["RequestItems"]["orders"]["Keys"]
            sizes.append(len(keys))
            if any(key["pk"]["S"] in ("k3", "k17") for key in keys):
                raise client_error("refuse")
            return super()._call(**request)

    items = TargetItems(Strict(client, "batch_get_item", ""), "orders", **arguments(FakeTime()))
    items._reads.target.raw = None
    expected = [None if index in (3, 17) else item for index, item in enumerate(ITEMS)]
    assert items.read(KEYS) == expected
    assert len(sizes) <= 20


def test_a_target_that_cannot_be_read_says_what_to_allow(client):
    flaky = FlakyClient(client, "batch_get_item", "deny")
    items = TargetItems(flaky, "orders", **arguments(FakeTime()))
    items._reads.target.raw = None
    with pytest.raises(TargetUnavailable, match="allow dynamodb:BatchGetItem"):
        items.read(KEYS[:1])


SAME = [
    ({"N": "1"}, {"N": "1.0"}),
    ({"N": "100"}, {"N": "1E+2"}),
    ({"N": "-0"}, {"N": "0"}),
    ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}),
    ({"NS": ["1", "2.50"]}, {"NS": ["2.5", "1"]}),
    ({"BS": ["AAE=", "aGVsbG8="]}, {"BS": ["aGVsbG8=", "AAE="]}),
    ({"L": [{"N": "1"}, {"SS": ["a", "b"]}]}, {"L": [{"N": "1.0"}, {"SS": ["b", "a"]}]}),
    ({"M": {"a": {"M": {"n": {"N": "1"}}}}}, {"M": {"a": {"M": {"n": {"N": "1.00"}}}}}),
    ({"B": "AAE="}, {"B": "AAE="}),
    ({"B": "AAF="}, {"B": "AAE="}),  # the last bits are of no byte
    ({"NULL": True}, {"NULL": True}),
]
DIFFERENT = [
    ({"N": "1"}, {"N": "1.00000000000000000000000000000000000001"}),
    ({"N": "1"}, {"S": "1"}),
    ({"S": "1"}, {"S": "1.0"}),
    ({"S": "a"}, {"S": "A"}),
    ({"SS": ["a"]}, {"SS": ["a", "b"]}),
    ({"NS": ["1", "2"]}, {"NS": ["1", "3"]}),
    ({"SS": ["1"]}, {"NS": ["1"]}),
    ({"L": [{"N": "1"}, {"N": "2"}]}, {"L": [{"N": "2"}, {"N": "1"}]}),
    ({"L": [{"N": "1"}]}, {"L": [{"N": "1"}, {"N": "1"}]}),
    ({"M": {"a": {"S": "x"}}}, {"M": {"b": {"S": "x"}}}),
    ({"M": {"a": {"S": "x"}}}, {"M": {"a": {"S": "x"}, "b": {"S": "y"}}}),
    ({"BOOL": True}, {"BOOL": False}),
    ({"B": "AAE="}, {"B": "AAI="}),
    ({"N": "NaN"}, {"N": "NaN "}),
    ({"N": "x"}, {"N": "y"}),
    ({"NS": ["x"]}, {"NS": ["y"]}),
    ({"S": "x"}, "x"),
    ({"S": "x"}, {"S": "x", "N": "1"}),
    ({"BOOL": True}, {"N": "1"}),
    ({"M": []}, {"M": {}}),
    ({"SS": ["a", "a"]}, {"SS": ["a"]}),
    ({"SS": "ab"}, {"SS": "ba"}),
    ({"B": "?"}, {"B": "!"}),
    ({"L": [[]]}, {"L": [{}]}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_values_that_mean_the_same_are_the_same(one, other):
    assert is_same_item({"pk": {"S": "a"}, "v": one}, {"v": other, "pk": {"S": "a"}})
    assert is_same_item({"v": other}, {"v": one})


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_values_that_mean_something_else_are_not(one, other):
    assert not is_same_item({"v": one}, {"v": other})
    assert not is_same_item({"v": other}, {"v": one})
