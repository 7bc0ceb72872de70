import base64
import json

import pytest

from chalicelib.restore.datapath.raw_batch import (
    RawAnswer,
    attributes,
    batch_body,
    message_without_content,
    plain,
    put_request,
)
from tests.faults import lines

LINES = lines({"pk": {"S": name}, "b": {"B": "aGVsbG8="}} for name in "abc")
CLEAN = b'{"UnprocessedItems":{}}'


# ---- the body


def test_the_body_is_what_the_client_would_send_of_the_same_items():
    expected = {"RequestItems": {"orders": [{"PutRequest": json.loads(line)} for line in LINES]}}
    assert json.loads(batch_body("orders", LINES)) == expected
    assert all(line in batch_body("orders", LINES) for line in LINES)


def test_a_table_name_is_escaped():
    assert list(json.loads(batch_body('a"b\\c', LINES))["RequestItems"]) == ['a"b\\c']


def test_a_body_asks_for_units_where_it_shall():
    asked = json.loads(batch_body("orders", LINES, with_units=True))
    assert asked.pop("ReturnConsumedCapacity") == "TOTAL"
    assert asked == json.loads(batch_body("orders", LINES))


# ---- answers


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


def test_a_clean_answer_may_say_what_it_consumed():
    body = b'{"ConsumedCapacity":[{"CapacityUnits":30.5,"TableName":"t"}],"UnprocessedItems":{}}'
    answer = RawAnswer(200, body)
    assert answer.is_clean
    assert answer.consumed_units() == 30.5
    assert RawAnswer(200, b'{"ConsumedCapacity":{"CapacityUnits":2.0,"TableName":"t"}}').consumed_units() == 2.0
    assert RawAnswer(200, CLEAN).consumed_units() is None


def test_what_is_unprocessed_is_not_clean_whatever_was_consumed():
    body = b'{"ConsumedCapacity":[{"CapacityUnits":1.0}],"UnprocessedItems":{"t":[{"DeleteRequest":{"Key":{}}}]}}'
    assert not RawAnswer(200, body).is_clean
    assert RawAnswer(200, body).unprocessed() == {"t": [{"DeleteRequest": {"Key": {}}}]}


def test_a_refusal_is_named_as_boto3_names_it():
    body = b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}'
    assert RawAnswer(400, body).error_code() == "ThrottlingException"
    assert RawAnswer(200, body).error_code() is None
    assert RawAnswer(400, b"<html>").error_code() is None
    assert RawAnswer(400, b'{"__type":"x#C","Item":{"pk":{"S":"a"}}}').old_item_bytes() == len('{"pk":{"S":"a"}}')


def test_an_error_says_nothing_of_what_is_unprocessed():
    assert RawAnswer(500, CLEAN).unprocessed() is None


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


def test_what_boto3_gives_becomes_dynamodb_json_again():
    raw = {"b": {"B": "AAE="}, "m": {"M": {"l": {"L": [{"BS": ["aGVsbG8=", ""]}, {"N": "1"}]}}}, "s": {"SS": ["a"]}}
    assert plain(attributes(raw)) == raw


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
