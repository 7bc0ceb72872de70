"""What the two kinds of lines become in requests."""

import json

import pytest

from chalicelib.restore.datapath.item_line import are_item_lines, is_item_line
from chalicelib.restore.datapath.lines import ItemLines, RecordLines, key_of, lines_of
from chalicelib.restore.datapath.raw_batch import batch_body
from chalicelib.restore.datapath.record_line import record_of
from chalicelib.restore.model import LineKind
from tests.faults import lines

META = b'"Metadata":{"WriteTimestampMicros":{"N":"1768386096366933"}}'
PUT = b'{%b,"Keys":{"pk":{"S":"a"}},"NewImage":{"pk":{"S":"a"},"b":{"B":"AAE="}}}' % META
UPDATE = b'{%b,"Keys":{"pk":{"S":"u"}},"OldImage":{"pk":{"S":"u"}},"NewImage":{"pk":{"S":"u"},"n":{"N":"1"}}}' % META
REMOVAL = b'{%b,"Keys":{"pk":{"S":"r"}},"OldImage":{"pk":{"S":"r"},"x":{"S":"y"}}}' % META
BARE_REMOVAL = b'{%b,"Keys":{"pk":{"S":"s"}}}' % META
REPLICATED = {
    "pk": {"S": "a"},
    "aws:rep:deleting": {"BOOL": False},
    "aws:rep:updatetime": {"N": "1541106132.123456"},
    "aws:rep:updateregion": {"S": "eu-west-1"},
    "big": {"N": "12345678901234567890123456789012345678"},
    "b": {"B": "/+8="},
    "text": {"S": '\u00fc \U0001f600 \\ " \x01'},
    "nested": {"M": {"aws:rep:deleting": {"S": "an attribute of the application's own"}}},
}
KEPT = {name: value for name, value in REPLICATED.items() if not name.startswith("aws:rep:")}


# ---- items


def test_item_lines_go_as_they_stand():
    data = lines([{"pk": {"S": "a"}}, {"pk": {"S": "b"}, "aws:repeat": {"S": "no note of replication"}}])
    assert ItemLines().entries(data) is data


@pytest.mark.parametrize("others", [(), lines([{"pk": {"S": "x"}}]) * 3])
@pytest.mark.parametrize(
    "shifted",
    [
        (b'{"Item":{"a":1}},{"Item":{"b":2', b'"c":3}}'),
        (b'{"Item":{}},{"Item":{"a":{"S":"x', b'"}}}'),
        (b'{"Item":{"a":{"L":[{"S":"x"}', b'{"S":"y"}]}}},{"Item":{}}'),
        (b'{"Item":{}},{"Item":{}}', b""),
        (b'{"Item":{}}', b'{"Item":{}},{"Item":{}}'),
        (b'{"Item":{"a":{"L":[1,2', b'3]}}},{"Item":{"a":4}}'),
        (b'{"Item":{}}{"Item":{"b":[2,', b"3]}}"),
        (b'{"Item":', b'{}}{"Item":{}}'),
        (b'{"Item":{"a":1', b'}}{"Item":{"b":2}}'),
        (b'{"Item":{}}{"Item":{}}', b""),
    ],
)
def test_lines_that_are_items_only_together_are_none(shifted, others):
    """As many objects as lines, and the lengths even add up: but no line is one by itself."""
    data = tuple(line + b"\n" for line in (*others, *shifted))
    assert not all(map(is_item_line, data))
    assert not are_item_lines(data, b"".join(data))
    assert ItemLines().entries(data) is None


@pytest.mark.parametrize("line", [b'{"Item":{"pk":{"S":"a"}} }', b'{ "Item":{"pk":{"S":"a"}}}', b'{"Item":{}}\r'])
def test_lines_written_otherwise_are_items_too(line):
    data = (*lines([{"pk": {"S": "x"}}]), line)
    assert ItemLines().entries(data) is data


def test_notes_of_replication_are_left_out_and_the_rest_means_the_same():
    (line,) = lines([REPLICATED])
    entries = ItemLines().entries((line, *lines([{"pk": {"S": "b"}}])))
    assert entries is not None
    assert [json.loads(entry)["Item"] for entry in entries] == [KEPT, {"pk": {"S": "b"}}]
    assert json.loads(ItemLines().raw_put(line) or b"") == KEPT
    put = ItemLines().write_request(line)["PutRequest"]["Item"]
    assert put == KEPT | {"b": {"B": b"\xff\xef"}}


# ---- records


def test_a_record_puts_its_new_image_or_deletes_its_key():
    entries = RecordLines().entries((PUT, UPDATE, REMOVAL, BARE_REMOVAL))
    assert entries is not None
    requests = json.loads(batch_body("orders", entries, RecordLines.head, RecordLines.separator))
    assert requests == {
        "RequestItems": {
            "orders": [
                {"PutRequest": {"Item": {"pk": {"S": "a"}, "b": {"B": "AAE="}}}},
                {"PutRequest": {"Item": {"pk": {"S": "u"}, "n": {"N": "1"}}}},
                {"DeleteRequest": {"Key": {"pk": {"S": "r"}}}},
                {"DeleteRequest": {"Key": {"pk": {"S": "s"}}}},
            ]
        }
    }
    assert RecordLines().removals(entries) == {2, 3}


def test_boto3_gets_the_same_with_binaries_decoded():
    form = RecordLines()
    assert form.write_request(PUT) == {"PutRequest": {"Item": {"pk": {"S": "a"}, "b": {"B": b"\x00\x01"}}}}
    assert form.write_request(REMOVAL) == {"DeleteRequest": {"Key": {"pk": {"S": "r"}}}}
    assert form.raw_put(PUT) == b'{"pk":{"S":"a"},"b":{"B":"AAE="}}'
    assert form.raw_put(BARE_REMOVAL) is None
    assert form.documents(UPDATE) == ({"pk": {"S": "u"}, "n": {"N": "1"}}, {"pk": {"S": "u"}})
    assert form.documents(REMOVAL) == (None, {"pk": {"S": "r"}})


def test_notes_of_replication_are_left_out_of_images():
    line = b'{%b,"Keys":{"pk":{"S":"a"}},"NewImage":%b}' % (META, json.dumps(REPLICATED).encode())
    entries = RecordLines().entries((line,))
    assert entries is not None
    assert json.loads(b"{%b}" % entries[0]) == {"PutRequest": {"Item": KEPT}}
    assert RecordLines().write_request(line)["PutRequest"]["Item"].keys() == KEPT.keys()


@pytest.mark.parametrize(
    "line",
    [
        PUT.replace(b'"Metadata"', b' "Metadata" ').replace(b'"Keys":', b'"Keys"\t: '),
        PUT + b"\r",
        b'{"NewImage":{"pk":{"S":"\xc3\xbc"}},"Keys":{"pk":{"S":"a"}},%b}' % META,
        PUT.replace(b'"Keys"', b'"\\u004beys"'),
    ],
)
def test_a_record_is_one_however_it_is_written(line):
    assert RecordLines().entries((line,)) is not None


@pytest.mark.parametrize(
    "line",
    [
        b"", b"SECRET", b"{}", b"[]", b"null", b'{"Item":{"pk":{"S":"a"}}}', b'{%b}' % META,
        b'{"Keys":{"pk":{"S":"SECRET"}}}',
        b'{%b,"Keys":{"pk":{"S":"a"}},"NewImage":null}' % META,
        b'{%b,"Keys":{"pk":{"S":"a"}},"NewImage":[]}' % META,
        b'{%b,"Keys":null}' % META,
        b'{%b,"Keys":"SECRET"}' % META,
        b'{%b,"Keys":{"pk":{"S":"a"}},"Keys":{"pk":{"S":"b"}}}' % META,
        b'{%b,"Keys":{"pk":{"S":"a"}},"NewImage":{"pk":{"S":"a"}},"NewImage":{"pk":{"S":"b"}}}' % META,
        b'{%b,"Keys":{"pk":{"S":"a"}},"\\u004eewImage":{"pk":{"S":"a"}},"NewImage":{"pk":{"S":"b"}}}' % META,
        b'{%b,"Keys":{"pk":{"S":"a"}},"More":{}}' % META,
        PUT[:-1], PUT + b"}", PUT + PUT, PUT.replace(b"AAE=", b"\xff"), PUT.replace(b"AAE=", b"\\ud800"),
        PUT.replace(b"AAE=", b"\x00"),
        b'{%b,"Keys":{"pk":{"S":"a"}}}},{"DeleteRequest":{"Key":{"pk":{"S":"kept"}}}' % META,
        b'{%b,"Keys":{"a":' % META + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_one_record_is_kept_out(line):
    assert record_of(line) is None
    assert RecordLines().entries((PUT, line)) is None
    for refuse in (RecordLines().write_request, RecordLines().raw_put, RecordLines().documents):
        with pytest.raises(ValueError, match="not a record of an incremental export") as caught:
            refuse(line)
        assert caught.value.__cause__ is None


def test_an_image_that_is_no_item_is_left_to_dynamodb_raw_and_refused_parsed():
    line = b'{%b,"Keys":{"pk":{"S":"a"}},"NewImage":{"pk":"SECRET"}}' % META
    assert RecordLines().entries((line,)) is not None
    with pytest.raises(ValueError, match=r"^the line is not a record of an incremental export$"):
        RecordLines().write_request(line)


# ---- both


def test_kinds_have_their_lines():
    assert isinstance(lines_of(LineKind.ITEM), ItemLines)
    assert isinstance(lines_of(LineKind.RECORD), RecordLines)


def test_a_key_is_whole_or_none():
    item = {"pk": {"S": "a"}, "sk": {"N": "1"}, "x": {"S": "y"}}
    assert key_of(item, ["pk", "sk"]) == {"pk": {"S": "a"}, "sk": {"N": "1"}}
    assert key_of(item, ["pk", "other"]) is None


@pytest.mark.parametrize("value", [b'{"N":1%s}' % (b"1" * 5_000), b'{"L":%s1%s}' % (b"[" * 985, b"]" * 985)])
def test_an_item_that_python_cannot_take_apart_is_left_to_the_others_path(value):
    """It is the one that is rejected, and not its batch's end."""
    line = b'{"Item":{"pk":{"S":"a"},"aws:rep:deleting":{"BOOL":false},"n":%s}}\n' % value
    assert ItemLines().entries((line,)) is None
    with pytest.raises(ValueError, match="not an item"):
        ItemLines().raw_put(line)
