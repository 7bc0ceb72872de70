"""BatchWriteItem in bytes and back: a body joined from lines, an answer's meaning, and, for what is not ordinary, what
boto3's client takes of a line.

A line of a full export already is DynamoDB JSON, so nothing is parsed on the ordinary path. What is not a clean answer
is looked into, or left to the client to send again (puts are idempotent).
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from chalicelib.restore.datapath.item_line import is_item_line

_NOTHING_UNPROCESSED = b'{"UnprocessedItems":{}}'

# DynamoDB's messages without item content: at most the name of a key attribute. From its answers and from
# DynamoDB Local's.
_CONTENT_FREE = re.compile(
    r"Item size (to update )?has exceeded the maximum allowed size"
    r"|Aggregated size of all range keys has exceeded the size limit of \d+ bytes"
    r"|One or more parameter values were invalid: "
    r"(Size of (hash|range)key has exceeded the maximum size limit of ?\d+ bytes"
    r"|Missing the key [\w.-]+ in the item"
    r"|Type mismatch for key [\w.-]+ expected: \w+ actual: \w+)"
    r"|One or more parameter values (are not valid\.|were invalid:) The AttributeValue for a key attribute cannot"
    r" contain an empty (string|binary) value\. Key: [\w.-]+"
    r"|Number overflow\. Attempting to store a number with magnitude (larger|smaller) than supported range"
    r"|Attempting to store more than \d+ significant digits in a Number"
    r"|Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
)


class _Capacity(msgspec.Struct, frozen=True):
    CapacityUnits: float = 0.0


class _Written(msgspec.Struct, frozen=True):
    """A clean answer, as far as it says anything."""

    UnprocessedItems: dict[str, Any]
    ConsumedCapacity: list[_Capacity] | _Capacity = msgspec.field(default_factory=list)


class _Capacities(msgspec.Struct, frozen=True):
    ConsumedCapacity: list[_Capacity] | _Capacity


class _Error(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="__type")
    Item: msgspec.Raw = msgspec.Raw()


_decode_written = msgspec.json.Decoder(_Written).decode
_decode_capacities = msgspec.json.Decoder(_Capacities).decode
_decode_error = msgspec.json.Decoder(_Error).decode


class RawAnswer(msgspec.Struct, frozen=True, gc=False):
    """A complete HTTP answer."""

    status: int
    body: bytes

    @property
    def is_clean(self) -> bool:
        """Whether DynamoDB says, in as many words, that every line is written."""
        if self.status != 200:
            return False
        if self.body == _NOTHING_UNPROCESSED:
            return True
        try:
            return not _decode_written(self.body).UnprocessedItems
        except msgspec.MsgspecError:
            return False

    def unprocessed(self) -> dict[str, list[Any]] | None:
        """The requests of a 200 that are not done, by table, as boto3 gives them; None if it is not known.

        A raw answer has binaries as base64 text, unlike boto3's: it is decoded as the lines are.
        """
        if self.status != 200:
            return None
        try:
            requests_by_table = json.loads(self.body)["UnprocessedItems"]
            return {table: [_given(request) for request in requests] for table, requests in requests_by_table.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def consumed_units(self) -> float | None:
        """Write units of the table and its indexes, where the request asked for them; None if it does not say."""
        try:
            consumed = _decode_capacities(self.body).ConsumedCapacity
        except msgspec.MsgspecError:
            return None
        return sum(each.CapacityUnits for each in (consumed if isinstance(consumed, list) else [consumed]))

    def error_code(self) -> str | None:
        """Of a refusal, as boto3 names it; None if it does not say."""
        error = self._error()
        return None if error is None else error.type.rpartition("#")[2]

    def old_item_bytes(self) -> int:
        """How large, as JSON, the item is that a condition met, where the request asked for it."""
        error = self._error()
        return 0 if error is None else len(bytes(error.Item))

    def _error(self) -> _Error | None:
        try:
            return None if self.status == 200 else _decode_error(self.body)
        except msgspec.MsgspecError:
            return None


def _given(request: dict[str, Any]) -> dict[str, Any]:
    if "PutRequest" in request:
        return {"PutRequest": {"Item": attributes(request["PutRequest"]["Item"])}}
    return {"DeleteRequest": {"Key": attributes(request["DeleteRequest"]["Key"])}}


def batch_body(
    table_name: str,
    entries: Sequence[bytes],
    head: bytes = b'{"PutRequest":',
    separator: bytes = b'},{"PutRequest":',
    *,
    with_units: bool = False,
) -> bytes:
    """The request that does `entries` with one table, which stay as they are: numbers, sets, and base64 included.
    `with_units`: the answer shall say what it consumed, of the table and its indexes.

    Only for lines that are `is_item_line`, or for entries cut out of valid JSON: any other could end its place in the
    list and begin requests of its own.
    """
    tail = b'}]},"ReturnConsumedCapacity":"TOTAL"}' if with_units else b"}]}}"
    return b'{"RequestItems":{"%b":[%b%b%b' % (_escaped(table_name), head, separator.join(entries), tail)


@cache
def _escaped(table_name: str) -> bytes:
    return json.dumps(table_name)[1:-1].encode()


def put_request(line: bytes) -> dict[str, Any]:
    """One line as boto3's WriteRequest, binaries decoded. ValueError, without content, if it is no item.

    boto3 encodes B and BS itself. Handing it the line's base64 text would encode that a second time:
    the classic way in which restore scripts corrupt binaries.
    """
    try:
        if not is_item_line(line):
            raise ValueError
        return {"PutRequest": {"Item": attributes(json.loads(line)["Item"])}}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("the line is not an item in DynamoDB JSON") from None


def attributes(item: Any) -> dict[str, Any]:
    """An item's (or map's) attributes as boto3 takes them: B and BS as bytes, at any depth."""
    return {name: _attribute_value(value) for name, value in item.items()}


def _attribute_value(value: Any) -> dict[str, Any]:
    ((kind, content),) = value.items()
    if kind == "B":
        content = _decoded(content)
    elif kind == "BS":
        content = [_decoded(member) for member in _list(content)]
    elif kind == "M":
        content = attributes(content)
    elif kind == "L":
        content = [_attribute_value(member) for member in _list(content)]
    return {kind: content}


def _list(content: Any) -> list[Any]:
    """Anything else that can be looped over, an empty map for one, must not become a list on its way."""
    if not isinstance(content, list):
        raise TypeError("no list")
    return content


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def plain(item: Any) -> dict[str, Any]:
    """The way back from `attributes`: DynamoDB JSON, with B and BS as base64."""
    return {name: _plain_value(value) for name, value in item.items()}


def _plain_value(value: Any) -> dict[str, Any]:
    ((kind, content),) = value.items()
    if kind == "B":
        content = base64.b64encode(content).decode()
    elif kind == "BS":
        content = [base64.b64encode(member).decode() for member in content]
    elif kind == "M":
        content = plain(content)
    elif kind == "L":
        content = [_plain_value(member) for member in content]
    return {kind: content}


def message_without_content(message: str, line: bytes) -> str:
    """DynamoDB's reason for refusing `line`; if not known to be free of content, without the item's words."""
    if _CONTENT_FREE.fullmatch(message.rstrip(".")):
        return message
    texts = list(_texts(json.loads(line)))
    return re.sub(r"\w+", lambda word: "…" if any(word[0] in text for text in texts) else word[0], message)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            yield name
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)
    else:
        yield str(document)
