"""Finds the lines of a few keys among all lines of an export, without parsing the others.

AWS writes lines without blanks, and the key attributes first. Where a line begins so, the bytes of its first key
attribute are compared with those of the asked keys; only where they are equal it is parsed, and its real key compared.
A line that begins otherwise, or in which that value is written in a way that leaves room for doubt (escapes, numbers
with zeros around them or exponents), is parsed too: a key is never missed for how it is written.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from chalicelib.restore.datapath.batches import Picked
from chalicelib.restore.datapath.heads import Heads
from chalicelib.restore.datapath.keys import Key, KeySchema, LineKeys
from chalicelib.restore.datapath.numbers import plain_number
from chalicelib.restore.model import LineKind

_BEFORE_KEYS = {
    LineKind.ITEM: rb'\{"Item":\{',
    LineKind.RECORD: rb'\{"Metadata":\{"WriteTimestampMicros":\{"N":"\d+"\}\},"Keys":\{',
}
_OBJECTS_WITH_KEYS = {LineKind.ITEM: ("Item",), LineKind.RECORD: ("Keys", "NewImage")}

# Spellings of which each value has one alone (of a binary those that `_spellings` knows).
_CERTAIN = {
    "S": rb'[^"\\]*',
    "N": rb"0|-?[1-9]\d*(?:\.\d*[1-9])?|-?0\.\d*[1-9]",
    "B": rb'[^"\\]*',
}
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class KeySearch:
    """A `LineFilter` that wants the lines of `keys`, in which `key_faults` finds nothing.

    A line in which a key attribute stands twice, which AWS never writes, has no key: readers differ in which one they
    take.
    """

    def __init__(self, schema: KeySchema, keys: Sequence[Key], line_kind: LineKind) -> None:
        self._schema = schema
        self._line_kind = line_kind
        self._line_keys = LineKeys(schema, line_kind)
        self._place_by_digest = {schema.digest(key): place for place, key in enumerate(keys)}
        self._is_plain = _plain_naming(schema) if line_kind is LineKind.ITEM else None
        self._leads = [_Lead(schema, keys, line_kind, first) for first in range(len(schema.names))]

    def pick(self, lines: Sequence[bytes]) -> Picked:
        return Picked([index for index in self._candidates(lines) if self.place_of(lines[index]) is not None])

    def place_of(self, line: bytes) -> int | None:
        """Which of the asked keys the line has, as its place among them; None: no one of them."""
        digest = self._line_keys.digest(line)
        place = None if digest is None else self._place_by_digest.get(digest)
        if place is None or (self._is_plain is not None and self._is_plain(line)):
            return place
        return None if _names_a_key_twice(line, self._schema, self._line_kind) else place

    def _candidates(self, lines: Sequence[bytes]) -> Iterable[int]:
        """Those that may have one of the keys. At a glance, where all lines begin alike; else by a look at each."""
        for lead in self._leads:
            found = lead.heads.found_in(lines) if lead.heads is not None else None
            if found is not None:
                return [index for index in found if lead.may_be_asked(lines[index])]
        return self._candidates_one_by_one(lines)

    def _candidates_one_by_one(self, lines: Sequence[bytes]) -> Iterator[int]:
        matches = [(lead.match, lead) for lead in self._leads]
        for index, line in enumerate(lines):
            for match, lead in matches:
                found = match(line)
                if found is not None:
                    if found[1] in lead.spellings and lead.may_be_asked(line):
                        yield index
                    break
            else:
                yield index


class _Lead:
    """Lines that begin with one certain key attribute."""

    def __init__(self, schema: KeySchema, keys: Sequence[Key], line_kind: LineKind, first: int) -> None:
        type_ = schema.types[first]
        before = _BEFORE_KEYS[line_kind] + _attribute(schema, first)
        self.match = re.compile(before).match
        self.spellings = frozenset(spelling for key in keys for spelling in _spellings(type_, key[first]))
        self._match_both: Any = None
        if len(schema.names) == 2 and "B" not in schema.types:
            second = 1 - first
            self._match_both = re.compile(before + rb"\}," + _attribute(schema, second)).match
            self._both = {
                (_spellings(type_, key[first])[0], _spellings(schema.types[second], key[second])[0]) for key in keys
            }
        self.heads: Heads | None = None
        if line_kind is LineKind.ITEM and type_ != "N":
            before_value = b'{"Item":{%s:{"%s":"' % (_name(schema.names[first]), type_.encode())
            self.heads = Heads(before_value, [spelling + b'"' for spelling in self.spellings])

    def may_be_asked(self, line: bytes) -> bool:
        """Of a line whose first key attribute is: the other one may tell without parsing that it is not."""
        if self._match_both is None:
            return True
        found = self._match_both(line)
        return found is None or found.groups() in self._both


def _attribute(schema: KeySchema, number: int) -> bytes:
    type_ = schema.types[number]
    return rb'%s:\{"%s":"(%s)"' % (re.escape(_name(schema.names[number])), type_.encode(), _CERTAIN[type_])


def _name(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode()


def _spellings(type_: str, text: str) -> list[bytes]:
    """How the value stands in a line where it is not in doubt."""
    if type_ == "S":
        return [text.encode()]
    if type_ == "N":
        return [plain_number(text).encode()]
    content = base64.b64encode(base64.b64decode(text))
    padding = len(content) - len(content.rstrip(b"="))
    if not padding:
        return [content]
    # The last character's lowest bits are no part of the value: 4 of them before "==", 2 before "=".
    last = len(content) - padding - 1
    lowest, unused = _BASE64.index(content[last]), 4**padding
    return [content[:last] + _BASE64[at : at + 1] + b"=" * padding for at in range(lowest, lowest + unused)]


def _plain_naming(schema: KeySchema) -> Callable[[bytes], bool]:
    """Tells of an item's line, in a fraction of what parsing takes, that it names each key attribute, and its type,
    only once; False: that it may or may not."""
    names = [_name(name) for name in schema.names]
    values = [re.compile(_attribute(schema, number) + rb"\}").search for number in range(len(names))]
    counted = [b'"Item"', *names]

    def is_plain(line: bytes) -> bool:
        is_once = b"\\" not in line and all(line.count(name) == 1 for name in counted)
        return is_once and all(search(line) is not None for search in values)

    return is_plain


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its names, also those that stand twice."""

    def named(self, name: str) -> list[Any]:
        return [value for given, value in self if given == name]


def _names_a_key_twice(line: bytes, schema: KeySchema, line_kind: LineKind) -> bool:
    try:
        top = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):  # valid, but beyond Python: for DynamoDB to judge
        return False
    for name in _OBJECTS_WITH_KEYS[line_kind]:
        objects = top.named(name)
        if len(objects) > 1:
            return True
        for attributes in objects:
            for key_name in schema.names:
                values = attributes.named(key_name)
                if len(values) > 1 or len(values[0]) > 1:
                    return True
    return False
