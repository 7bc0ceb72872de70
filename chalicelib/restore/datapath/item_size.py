"""How large DynamoDB reckons an item, and how many units writing or reading it costs.

An item's size is the sum of its attribute names and values, each by its type; a number is "approximately" a byte per
two significant digits and one, says AWS, so that the sizes of items with many numbers may be a few bytes off:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html

The JSON text of an item is never shorter than the item: every value has more quotes, braces and type names around
it than DynamoDB adds, base64 is longer than its bytes, and an escape is longer than what it stands for.
"""

import re
from collections.abc import Mapping
from typing import Any

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
LARGEST_ITEM_BYTES = 400 * 1024
WRITE_UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096
_OF_A_DOCUMENT = 3
_LARGEST_NUMBER_BYTES = 21
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")


def write_units(size_bytes: int) -> int:
    """What one put of an item of this size consumes: a unit per begun KB, and never none."""
    return -(-size_bytes // WRITE_UNIT_BYTES) or 1


def read_units(size_bytes: int) -> int:
    """What one strongly consistent read of an item of this size consumes; none there counts as the smallest."""
    return -(-size_bytes // READ_UNIT_BYTES) or 1


def item_size_bytes(item: Mapping[str, Any]) -> int:
    """The size of an item as DynamoDB JSON spells it. Raises ValueError where a value is no attribute value."""
    size = 0
    for name, value in item.items():
        size += attribute_size_bytes(name, value)
    return size


def attribute_size_bytes(name: str, value: Any) -> int:
    """The size of one attribute with its name. Raises ValueError where the value is no attribute value."""
    return (len(name) if name.isascii() else len(name.encode())) + value_size_bytes(value)


def value_size_bytes(value: Any) -> int:
    """Of `{"S": "a"}` and its like. Raises ValueError for all that is no attribute value."""
    try:
        ((kind, content),) = value.items()
        size: int = _SIZES[kind](content)
    except (AttributeError, TypeError, KeyError, ValueError, RecursionError):
        raise ValueError("not an attribute value") from None
    return size


def _text(content: Any) -> int:
    length: int = len(content) if content.isascii() else len(content.encode())
    return length


def _number(content: Any) -> int:
    """Leading and trailing zeros do not count; the sign does, with a byte, as measured by others."""
    mantissa = content if content.isdigit() else _mantissa(content)
    digits = len(mantissa.strip("0"))
    size = 1 + (digits + 1) // 2 + (content[0] == "-")
    return size if size < _LARGEST_NUMBER_BYTES else _LARGEST_NUMBER_BYTES


def _mantissa(content: str) -> str:
    if not _NUMBER.match(content):
        raise ValueError
    digits = content.lower().partition("e")[0].lstrip("+-")
    whole, _, fraction = digits.partition(".")
    return whole + fraction


def _binary(content: Any) -> int:
    """Of the bytes, without decoding them."""
    length: int = len(content) // 4 * 3 - content.endswith("=") - content.endswith("==")
    return length


def _flag(content: Any) -> int:
    if content is not True and content is not False:
        raise ValueError
    return 1


def _list(content: Any) -> int:
    if not isinstance(content, list):
        raise TypeError
    size = _OF_A_DOCUMENT + len(content)
    for member in content:
        size += value_size_bytes(member)
    return size


def _map(content: Any) -> int:
    if not isinstance(content, dict):
        raise TypeError
    return _OF_A_DOCUMENT + len(content) + item_size_bytes(content)


def _texts(content: Any) -> int:
    return sum(map(_text, _members(content)))


def _numbers(content: Any) -> int:
    return sum(map(_number, _members(content)))


def _binaries(content: Any) -> int:
    return sum(map(_binary, _members(content)))


def _members(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise TypeError
    return content


_SIZES = {
    "S": _text,
    "N": _number,
    "B": _binary,
    "BOOL": _flag,
    "NULL": _flag,
    "L": _list,
    "M": _map,
    "SS": _texts,
    "NS": _numbers,
    "BS": _binaries,
}
