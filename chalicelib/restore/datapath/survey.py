"""What a dry run learns from the lines it reads: how much there is to write, and what DynamoDB would refuse.

A line of at most 1 KB is one write unit, whatever is in it, because an item is never larger than its JSON text
(`item_size`); so is its copy in an index. Of such a line only the attributes are parsed that are keys, or say when the
item expires. Longer ones are parsed whole. Sizes of the short ones are measured on every 32nd and projected.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.restore.datapath.item_size import (
    LARGEST_ITEM_BYTES,
    WRITE_UNIT_BYTES,
    attribute_size_bytes,
    item_size_bytes,
    read_units,
    value_size_bytes,
    write_units,
)
from chalicelib.restore.datapath.record_line import record_of
from chalicelib.restore.datapath.survey_keys import KeyReader
from chalicelib.restore.model import LineKind
from chalicelib.restore.target import TargetFacts, TargetIndex

# What a line can be rejected for, in the order in which one is looked for.
FINDINGS = ("not_items", "wrong_keys", "wrong_index_keys", "too_large")
_LINES_NAMED = 3
_NEVER_WRITTEN = "aws:rep:"  # what global tables of version 2017.11.29 kept in their items
_MEASURED_EVERY = 32
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_LONGEST_KEYS_BYTES = (2048, 1024)
# Items whose time passed longer ago are never expired:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-before-you-start.html
_EXPIRES_WITHIN_MS = 5 * 365 * 24 * 3600 * 1000


class SurveyTotals(msgspec.Struct, frozen=True, kw_only=True):
    """`items`: lines that are items, or records of an increment; those that would be refused are among them.

    `write_units` of the table, `index_write_units` of all its indexes together, as if the table were empty: an item
    that replaces another one consumes by the larger of the two, and may take an old entry out of an index besides; a
    removal counts as 1. `read_units`: what reading the items first would take, if each is in the table as it is in the
    backup. `item_bytes` are projected from a sample where items are small.
    """

    items: int = 0
    removals: int = 0
    item_bytes: int = 0
    write_units: int = 0
    index_write_units: int = 0
    read_units: int = 0
    not_items: int = 0
    wrong_keys: int = 0
    wrong_index_keys: int = 0
    too_large: int = 0
    expired: int = 0

    def __add__(self, other: "SurveyTotals") -> "SurveyTotals":
        names = self.__struct_fields__
        return SurveyTotals(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def findings(self) -> dict[str, int]:
        """How many lines would be rejected, by why."""
        return {name: getattr(self, name) for name in FINDINGS}


class Survey:
    """Of one data file, or a part of one, for one target. Not thread-safe.

    `take(first_line, lines)` is given every line once, with the number of the first from 0; `totals` may be asked for
    at any time. `first_lines`: by finding, the numbers of the first lines that have it.
    """

    def __init__(self, line_kind: LineKind, facts: TargetFacts, now_ms: int) -> None:
        self.first_lines: dict[str, list[int]] = {name: [] for name in FINDINGS}
        self._facts = facts
        self._now_ms = now_ms
        self._is_record = line_kind is LineKind.RECORD
        self._keys = KeyReader(facts)
        self._counts = dict.fromkeys(SurveyTotals.__struct_fields__, 0)
        self._short = _Short()

    @property
    def totals(self) -> SurveyTotals:
        short = self._short
        of_short = SurveyTotals(
            items=short.items,
            item_bytes=short.item_bytes,
            write_units=short.items,
            index_write_units=short.index_units,
            read_units=short.items,
        )
        return SurveyTotals(**self._counts) + of_short

    def take(self, first_line: int, lines: Sequence[bytes]) -> None:
        if self._is_record:
            for number, line in enumerate(lines, first_line):
                self._take_record(number, line)
            return
        read_keys = self._keys.of_item_line
        for number, line in enumerate(lines, first_line):
            if len(line) > WRITE_UNIT_BYTES:
                self._take_item_line(number, line)
                continue
            try:
                keys = read_keys(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self._take_item_line(number, line)
                continue
            if (b"\\" in line or not line.isascii() or line.count(b'"Item"') != 1) and not is_item_line(line):
                self._find("not_items", number)
                continue
            self._take_short(number, line, keys.Item)

    # --- short lines -------------------------------------------------------------------------------------------

    def _take_short(self, number: int, text: bytes, keys: Any) -> None:
        """An item whose text is at most 1 KB and whose keys are as the target wants them."""
        short = self._short
        short.items += 1
        short.index_units += self._keys.always
        for fields in self._keys.sometimes:
            for get in fields:
                if get(keys) is msgspec.UNSET:
                    break
            else:
                short.index_units += 1
        if self._keys.time is not None:
            self._note_time(self._keys.time(keys))
        short.text_bytes += len(text)
        if number % _MEASURED_EVERY == 0 or not short.measured_text_bytes:
            self._measure(text)

    def _measure(self, text: bytes) -> None:
        item = _decoded(text)
        try:
            size_bytes = item_size_bytes(item if self._is_record else item["Item"])
        except (TypeError, ValueError):  # an attribute that is none: DynamoDB's to refuse
            return
        self._short.measured_text_bytes += len(text)
        self._short.measured_bytes += size_bytes

    # --- lines that are parsed ----------------------------------------------------------------------------------

    def _take_item_line(self, number: int, line: bytes) -> None:
        decoded = _decoded(line) if is_item_line(line) else None
        self._take_item(number, None if decoded is None else decoded["Item"])

    def _take_record(self, number: int, line: bytes) -> None:
        record = record_of(line)
        if record is None:
            self._find("not_items", number)
            return
        if record.NewImage is msgspec.UNSET:
            self._take_removal(number, _decoded(record.Keys))
            return
        image = bytes(record.NewImage)
        if len(image) <= WRITE_UNIT_BYTES:
            try:
                keys = self._keys.of_item(image)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass
            else:
                self._take_short(number, image, keys)
                return
        self._take_item(number, _decoded(image))

    def _take_removal(self, number: int, keys: Any) -> None:
        if keys is None:
            self._find("not_items", number)
            return
        counts = self._counts
        counts["items"] += 1
        if self._has_wrong_keys(keys) or len(keys) != len(self._facts.key_names):
            self._find("wrong_keys", number)
            return
        counts["removals"] += 1
        counts["write_units"] += 1
        counts["read_units"] += 1

    def _take_item(self, number: int, item: Any) -> None:
        """`item`: None for what is none."""
        try:
            item = {name: value for name, value in item.items() if not name.startswith(_NEVER_WRITTEN)}
            size_bytes = item_size_bytes(item)
        except (AttributeError, ValueError):
            self._find("not_items", number)
            return
        counts = self._counts
        counts["items"] += 1
        if self._has_wrong_keys(item):
            self._find("wrong_keys", number)
        elif self._has_wrong_index_keys(item):
            self._find("wrong_index_keys", number)
        elif size_bytes > LARGEST_ITEM_BYTES:
            self._find("too_large", number)
        else:
            counts["item_bytes"] += size_bytes
            counts["write_units"] += write_units(size_bytes)
            counts["read_units"] += read_units(size_bytes)
            counts["index_write_units"] += sum(
                self._index_units(index, item, size_bytes) for index in self._facts.indexes
            )
            if self._facts.time_to_live_attribute in item:
                self._note_time(item[self._facts.time_to_live_attribute].get("N"))

    def _has_wrong_keys(self, item: dict[str, Any]) -> bool:
        names, types = self._facts.key_names, self._facts.attribute_types
        limits = _key_limits(names)
        return not all(name in item and _is_key(item[name], types[name], most) for name, most in limits)

    def _has_wrong_index_keys(self, item: dict[str, Any]) -> bool:
        """An index key that is not there only keeps the item out of the index; a wrong one is refused."""
        types = self._facts.attribute_types
        return any(
            name in item and not _is_key(item[name], types[name], most)
            for index in self._facts.indexes
            for name, most in _key_limits(index.key_names)
        )

    def _index_units(self, index: TargetIndex, item: dict[str, Any], size_bytes: int) -> int:
        if any(name not in item for name in index.key_names):
            return 0
        if index.projected is None:
            return write_units(size_bytes)
        names = {*self._facts.key_names, *index.key_names, *index.projected}
        return write_units(sum(attribute_size_bytes(name, item[name]) for name in names if name in item))

    # --- findings ----------------------------------------------------------------------------------------------

    def _find(self, name: str, number: int) -> None:
        self._counts[name] += 1
        if len(self.first_lines[name]) < _LINES_NAMED:
            self.first_lines[name].append(number)

    def _note_time(self, text: Any) -> None:
        """Seconds since 1970; anything else never expires."""
        try:
            age_ms = self._now_ms - float(text) * 1000
        except (TypeError, ValueError):
            return
        if 0 < age_ms <= _EXPIRES_WITHIN_MS:
            self._counts["expired"] += 1


class _Short:
    """Of the lines that are one write unit each."""

    def __init__(self) -> None:
        self.items = 0
        self.index_units = 0
        self.text_bytes = 0
        self.measured_text_bytes = 0
        self.measured_bytes = 0

    @property
    def item_bytes(self) -> int:
        if not self.measured_text_bytes:
            return 0
        return round(self.text_bytes * self.measured_bytes / self.measured_text_bytes)


def _decoded(text: bytes | msgspec.Raw) -> Any:
    """None where JSON cannot be built, although its syntax is right: nested too deeply, numbers too large."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _key_limits(names: Sequence[str]) -> list[tuple[str, int]]:
    """How long each may be. Of an index of more than two keys, which are of one role and which of the other is not
    known here: the larger limit is taken."""
    limits = _LONGEST_KEYS_BYTES if len(names) <= 2 else _LONGEST_KEYS_BYTES[:1] * len(names)
    return list(zip(names, limits, strict=False))


def _is_key(value: Any, kind: str, most_bytes: int) -> bool:
    if not isinstance(value, dict) or list(value) != [kind]:
        return False
    try:
        return bool(value[kind]) and value_size_bytes(value) <= most_bytes
    except ValueError:
        return False
