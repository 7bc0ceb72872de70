"""Lines of an incremental export: what stands in one, and whether it stands there alone.

Unlike an item's, such a line does not go into a request as it stands: its image, or its key, is cut out of it. What
msgspec cuts out is one JSON value by itself, so nothing in it can reach beyond its place. What is left to refuse is
what could be read in two ways: a name that stands twice or is not AWS', and bytes that are not UTF-8.
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html)
"""

import json
from typing import Any

import msgspec

_AROUND_BYTES = len("{}")
_AROUND_VALUE_BYTES = len('"":,')


class Record(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A line's parts, each an object in JSON, under AWS' own names. Without `NewImage` the item was removed."""

    Metadata: msgspec.Raw
    Keys: msgspec.Raw
    OldImage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # not None: msgspec reads no Raw beside it
    NewImage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_NAMES = Record.__struct_fields__
_decode = msgspec.json.Decoder(Record).decode


def record_of(line: bytes) -> Record | None:
    """The line's parts; None if it is no record, or not unmistakably one. What is inside of an image's own braces is
    for DynamoDB to judge."""
    try:
        record = _decode(line)
        if not line.isascii():
            line.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    size_bytes = _AROUND_BYTES - len(",") + line.endswith(b"\n")
    for name in _NAMES:
        value = getattr(record, name)
        if value is not msgspec.UNSET:
            text = bytes(value)
            if not text.startswith(b"{"):
                return None
            size_bytes += len(name) + _AROUND_VALUE_BYTES + len(text)
    # As AWS writes it: without blanks, nothing but these parts fits into the line, so no name stands twice.
    return record if size_bytes == len(line) or _has_each_name_once(line) else None


def _has_each_name_once(line: bytes) -> bool:
    """The same for valid JSON that is written otherwise."""
    try:
        names_and_values = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return False
    names = [name for name, _ in names_and_values]
    return len(names) == len(set(names)) and all(isinstance(value, _Pairs) for _, value in names_and_values)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its names, also those that stand twice."""
