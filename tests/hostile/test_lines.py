"""Data lines go into requests unparsed: no line may be anything there but one put of one item."""

import io
import json
import threading

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.restore.datapath.item_line import are_item_lines, is_item_line
from chalicelib.restore.datapath.lines import RecordLines
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.raw_batch import batch_body, put_request
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.writer import BatchWriter
from tests.faults import FakeTime, ScriptedDynamoDB, lines
from tests.hostile import properties
from tests.hostile.documents import FRAGMENTS, damaged, item_lines

fixed = settings(derandomize=True, deadline=None, max_examples=250)

GOOD = b'{"Item":{"pk":{"S":"good"}}}'
DELETE = (
    b'{"Item":{"pk":{"S":"a"}}}},{"DeleteRequest":{"Key":{"pk":{"S":"kept"}}}},{"PutRequest":{"Item":{"pk":{"S":"b"}}}'
)
SMUGGLING = [
    DELETE,
    b'{"Item":{"pk":{"S":"a"}}}},{"PutRequest":{"Item":{"pk":{"S":"b"}}}',
    b'{"Item":{"pk":{"S":"a"}}}}],"other":[{"PutRequest":{"Item":{"pk":{"S":"b"}}}',
    b'{"Item":{"pk":{"S":"a"}}}}]},"RequestItems":{"other":[{"PutRequest":{"Item":{"pk":{"S":"b"}}}',
    b'{"Item":{"pk":{"S":"a"}}}}]},"ReturnConsumedCapacity":"TOTAL","x":{"y":[{"z":{"Item":{}}',
    b'{"Item":{"pk":{"S":"a"}}},"DeleteRequest":{"Key":{"pk":{"S":"kept"}}',
    b'{"Item":{"pk":{"S":"a"}},"DeleteRequest":{"Key":{"pk":{"S":"kept"}}}}',
    b'{"Item":{"pk":{"S":"a"}},"Item":{"pk":{"S":"b"}}}',
    b'{"Item":{"pk":{"S":"a"}},"\\u0049tem":{"pk":{"S":"b"}}}',
    b'{"Item":{},"Item":{"pk":{"S":"b"}}}',
    b'{"Item":[],"Item":{"pk":{"S":"b"}}}',
    b'{"Item":{"pk":{"S":"swallows what follows',
    b'swallowed"}}}',
    b'{"Item":{"pk":{"S":"a\\"}}}',
    b'{"Item":{"pk":{"S":"\xff"}}}',
    b'{"Item":{"pk":{"S":"\xc3"}}}',
    b'{"Item":{"pk":{"S":"\xed\xa0\x80"}}}',
    b'{"Item":{"pk":{"S":"\\ud800"}}}',
    b'{"Item":{"pk":{"S":"\x00"}}}',
    b'{"Item":{"pk":{"N":NaN}}}',
    b'{"Item":{"pk":{"N":Infinity}}}',
    b'{"Item":{"pk":{"S":"a"},}}',
    b"{'Item':{'pk':{'S':'a'}}}",
    b'\xef\xbb\xbf{"Item":{"pk":{"S":"a"}}}',
    b'{"Item":{"pk":{"S":"a"}}}\x00',
    b'{"Item":{"pk":{"S":"a"}}} // {',
    b'{"Item":{"pk":{"S":"a"}}}{"Item":{"pk":{"S":"b"}}}',
    b'{"Item":null}',
    b'{"Item":[{"pk":{"S":"a"}}]}',
    b'{"item":{"pk":{"S":"a"}}}',
    b'[{"Item":{"pk":{"S":"a"}}}]',
    b'{"Item":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    b'{"Item":{"pk":' + b"[" * 100_000,
    b"",
    b" ",
    b"\r",
]
ODD_BUT_ITEMS = [
    GOOD,
    GOOD + b"\r",
    b' { "Item" :\t{ "pk" : { "S" : "a" } } } ',
    b'{"\\u0049tem":{"pk":{"S":"a"}}}',
    b'{"Item":{}}',
    b'{"Item":{"Item":{"M":{"Item":{"S":"\\"}},{\\"DeleteRequest\\":"}}}}}',
    '{"Item":{"pk":{"S":"\u00fc \u2028 \U0001f600"}}}'.encode(),
    b'{"Item":{"pk":{"S":"\\ud83d\\ude00 \\u0000"}}}',
]


@pytest.mark.parametrize("line", SMUGGLING, ids=range(len(SMUGGLING)))
def test_what_is_not_one_item_is_kept_out(line):
    assert not is_item_line(line)
    with pytest.raises(ValueError, match=r"^the line is not an item in DynamoDB JSON$"):
        put_request(line)


@pytest.mark.parametrize("line", ODD_BUT_ITEMS, ids=range(len(ODD_BUT_ITEMS)))
def test_an_item_is_one_however_it_is_written(line):
    assert is_item_line(line)
    assert properties.data_lines(line) == [line]


@fixed
@given(item_lines())
def test_every_item_is_let_through_on_both_paths(line):
    assert properties.data_lines(line) == [line]
    assert list(put_request(line)["PutRequest"]) == ["Item"]


@settings(fixed, max_examples=150)
@given(st.lists(item_lines().flatmap(lambda line: damaged(json.loads(line))), max_size=2))
def test_whatever_is_done_to_items_a_request_holds_one_put_for_each_line(damaged_lines):
    properties.data_lines(b"\n".join(damaged_lines))


@fixed
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(b"".join))
@example(b'{"Item":{"a":"\n"}}')
def test_no_composition_of_a_requests_parts_reaches_beyond_its_place(content):
    properties.data_lines(content)


@fixed
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_no_item_or_one(content):
    properties.data_lines(content)


@fixed
@given(st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(b"".join) | item_lines(), min_size=1, max_size=6))
def test_many_lines_in_one_look_are_what_they_are_one_by_one(content):
    joined = b"\n".join(content) + b"\n"
    data = io.BytesIO(joined).readlines()
    assert are_item_lines(data, joined) is all(map(is_item_line, data))


@pytest.mark.parametrize("line", SMUGGLING, ids=range(len(SMUGGLING)))
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_line_that_is_none_keeps_the_whole_batch_from_going_as_it_stands(line, place):
    data = [GOOD + b"\n", GOOD + b"\n"]
    data.insert(place, line + b"\n")
    assert not are_item_lines(data, b"".join(data))


@pytest.mark.parametrize("one", SMUGGLING[:-4], ids=range(len(SMUGGLING[:-4])))
def test_no_two_lines_that_are_none_make_up_for_each_other(one):
    for other in SMUGGLING:
        assert not are_item_lines((one + b"\n", other + b"\n"), one + b"\n" + other + b"\n")


# --- records of incremental exports -----------------------------------------------------------------------------------

RECORD_FRAGMENTS = [
    b'{"Metadata":{"WriteTimestampMicros":{"N":"1"}}', b',"Keys":', b',"OldImage":', b',"NewImage":', b'{"pk":{"S":"',
    b'a"}}', b"}", b"{", b'"', b",", b"\\", b"null", b'}},{"DeleteRequest":{"Key":', b'{"PutRequest":{"Item":', b"]}}",
    b'}]},"RequestItems":{"other":[', b" ", b"\xff", b"\xc3\xbc", b'"\\u004eewImage":', b"[", b"]",
]  # fmt: skip


@fixed
@given(
    st.lists(
        st.lists(st.sampled_from(RECORD_FRAGMENTS), max_size=14).map(b"".join)
        | st.sampled_from(
            [
                b'{"Metadata":{},"Keys":{"pk":{"S":"a"}}}',
                b'{"Metadata":{},"Keys":{"pk":{"S":"a"}},"NewImage":{"pk":{"S":"a"}}}',
            ]
        ),
        min_size=1,
        max_size=5,
    )
)
@example([b'{"Metadata":{},"Keys":{"pk":{"S":"a"}},"NewImage":{"pk":{"S":"}},{\\"DeleteRequest\\":{"}}}'])
def test_a_request_holds_one_write_for_each_record_and_only_what_stands_there(content):
    form = RecordLines()
    kept = [line for line in content if form.entries((line,)) is not None]
    assert (form.entries(content) is not None) is (len(kept) == len(content))
    entries = form.entries(kept)
    assert entries is not None
    if not kept:
        return
    ((top, tables),) = properties._pairs(batch_body("orders", entries, form.head, form.separator))
    ((table, requests),) = tables
    assert (top, table, len(requests)) == ("RequestItems", "orders", len(kept))
    for request, line in zip(requests, kept, strict=True):
        parts = dict(properties._pairs(line))
        expected = ("PutRequest", "Item", "NewImage") if "NewImage" in parts else ("DeleteRequest", "Key", "Keys")
        ((verb, ((name, value),)),) = request
        assert (verb, name, value) == (expected[0], expected[1], parts[expected[2]])


# --- through the writer -----------------------------------------------------------------------------------------------


def client(endpoint_url: str):
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    return boto3.client(
        "dynamodb", region_name="eu-west-1", endpoint_url=endpoint_url, config=config, aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip


def writer_of(dynamodb) -> BatchWriter:
    time = FakeTime()
    return BatchWriter(
        dynamodb, "orders", clock=time.clock, sleep=time.sleep, random=time.random, deadline_ms=time.now_ms + 60_000
    )


def test_a_smuggled_delete_deletes_nothing_and_every_line_is_counted_once():
    good = lines([{"pk": {"S": f"k{number}"}} for number in range(20)])
    with ScriptedDynamoDB() as server:
        server.items = {'{"S": "kept"}': {"pk": {"S": "kept"}}}
        writer = writer_of(client(server.endpoint_url))
        batch = Batch.of(0, (*good[:7], DELETE, *good[7:15], b'{"Item":{"pk":{"S":"opens', b'closes"}}}', *good[15:]))
        result = writer.put(batch)
        writer.close()
        sent = b"".join(body for _, body in server.requests)
    assert result.counts == Counts(written=20, rejected=3)
    assert [(each.line_index, each.code) for each in result.rejected] == [
        (7, "MalformedLine"),
        (16, "MalformedLine"),
        (17, "MalformedLine"),
    ]
    assert b"DeleteRequest" not in sent
    assert len(server.items) == 21


@pytest.mark.parametrize("around", [(b'{"L":[', b"]}"), (b'{"M":{"k":', b"}}")], ids=["lists", "maps"])
@pytest.mark.parametrize("depth", [31, 170, 320, 340, 500, 5_000, 100_000])
def test_an_item_nested_beyond_reason_is_rejected_and_sinks_nothing_else(around, depth):
    """boto3's own checks recurse, and run out of stack long before the JSON parser does."""
    begin, end = around
    line = b'{"Item":{"pk":{"S":"SECRET"},"a":' + begin * depth + b'{"S":"x"}' + end * depth + b"}}"
    dynamodb = client("http://127.0.0.1:9")
    dynamodb.meta.events.register("before-send.dynamodb.BatchWriteItem", refuse_deep_items)
    result = writer_of(dynamodb).put(Batch.of(0, (line, GOOD)))
    assert result.counts == Counts(written=1, rejected=1)
    (rejected,) = result.rejected
    assert rejected.line_index == 0
    assert rejected.code in {"ValidationException", "MalformedItem", "MalformedLine"}
    assert "SECRET" not in rejected.message


class _Content:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object):
        yield self._content


def refuse_deep_items(request, **_):
    if b"SECRET" not in request.body:
        return AWSResponse(request.url, 200, {}, _Content(b'{"UnprocessedItems":{}}'))
    refusal = b'{"__type":"x#ValidationException","message":"Nesting Levels have exceeded supported limits"}'
    return AWSResponse(request.url, 400, {}, _Content(refusal))


@pytest.mark.parametrize(("size_bytes", "at_once"), [(100_000, 2), (2_100_000, 1)])
def test_batches_that_fill_the_memory_when_parsed_are_parsed_one_at_a_time(size_bytes, at_once):
    """The first one in the client waits for a second one, which comes only where it may."""
    second_came = threading.Event()
    inside: list[bool] = []

    class Client:
        meta = boto3.client("dynamodb", region_name="eu-west-1").meta

        def _get_credentials(self) -> None:
            """No raw path."""

        def batch_write_item(self, **_: object) -> dict[str, object]:
            inside.append(True)
            if len(inside) == 2:
                second_came.set()
            elif not second_came.wait(0.3 if at_once == 1 else 10):
                inside.clear()
            return {"UnprocessedItems": {}}

    writer = writer_of(Client())
    batch = Batch.of(0, (b'{"Item":{"pk":{"S":"%s"}}}' % (b"x" * size_bytes),))
    threads = [threading.Thread(target=writer.put, args=(batch,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert second_came.is_set() is (at_once == 2)


@pytest.mark.parametrize("content", ['{"L":{}}', '{"L":""}', '{"BS":{}}', '{"BS":""}', '{"M":[]}'])
def test_what_is_no_list_or_map_does_not_become_an_empty_one(content):
    with pytest.raises(ValueError, match="not an item"):
        put_request(b'{"Item":{"pk":{"S":"a"},"x":%s}}' % content.encode())
