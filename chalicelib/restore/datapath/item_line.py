"""Whether a line may go into a request body as it stands. This is what keeps a data file from smuggling: lines are
joined unparsed, and one such as `{"Item":{}}},{"DeleteRequest":{"Key":{}}},{"PutRequest":{"Item":{}}` would be three
requests, uncounted, of which one deletes.

A line that is by itself one JSON object with the one name `Item` cannot reach beyond its place in the body. msgspec
proves that it is one without building anything: it checks the syntax of what it leaves as Raw, escapes and surrogates
included, but not that it is UTF-8, nor which other names there are.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

_HEAD = b'{"Item":{'
_ITEM_AT = len(b'{"Item":')
_BRACE = ord("{")
_AROUND_ITEM_BYTES = len(b'{"Item":}')
_AROUND_ITEM_AND_NEWLINE_BYTES = _AROUND_ITEM_BYTES + 1


class _Line(msgspec.Struct, frozen=True, gc=False):
    Item: msgspec.Raw  # AWS' own name


_decode = msgspec.json.Decoder(_Line).decode
_decode_lines = msgspec.json.Decoder(_Line).decode_lines  # which does not mind where lines end


def is_item_line(line: bytes) -> bool:
    """Whether `line`, with a newline or without, is `{"Item": {...}}` and nothing else, in UTF-8, with whatever blanks.
    What is inside of the item's own braces is for DynamoDB to judge."""
    try:
        item = _decode(line).Item
        if not line.isascii():
            line.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    # As AWS writes it: without blanks, nothing but the item fits between the braces, so no other name.
    if line.startswith(_HEAD) and len(item) + _AROUND_ITEM_BYTES == len(line) - line.endswith(b"\n"):
        return True
    return _has_one_item(line)


def are_item_lines(lines: Sequence[bytes], joined: bytes) -> bool:
    """Whether each of `lines`, which end with their newlines, is an item's, in one look at them `joined`.

    As AWS writes them, these are as many objects as lines, and no object is longer than its item and the braces around
    it need. If each is also as long as the line in its place, but for its newline, then each is that line, and no other
    name fits in: the lengths add up to all there is. Lines written otherwise are looked at one by one.
    """
    try:
        found = _decode_lines(joined)
        if not joined.isascii():
            joined.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    if [len(each.Item) + _AROUND_ITEM_AND_NEWLINE_BYTES for each in found] == list(map(len, lines)):
        # So each of them is `{"Item":`, its item and `}`. What is an object shows at its first byte.
        return {line[_ITEM_AT] for line in lines} == {_BRACE}
    return all(map(is_item_line, lines))


def raw_item(line: bytes) -> bytes:
    """The item of a line that is one, as it stands."""
    return bytes(_decode(line).Item)


def _has_one_item(line: bytes) -> bool:
    """The same for valid JSON that is written otherwise."""
    try:
        names_and_values = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return False
    return len(names_and_values) == 1 and isinstance(names_and_values[0][1], _Pairs)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its names, also those that stand twice."""
