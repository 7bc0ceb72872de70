"""Values from outside, read by the types that declare them, with every fault named at once, each with its path.

A request is declared once, as a msgspec Struct with msgspec's constraints; the API's description is generated from
the same type. msgspec's own decoder stops at the first fault, this one does not. A type or constraint it does not
observe is refused when the reader is made, so that none can stand in the description and be ignored here.

In a request, `X | None` with the default None is a field that may be left out; null is no value of it.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from chalicelib.errors import Fault

# One value: its path, the value, where faults go; returns it converted. What it returns beside a fault means nothing.
Read = Callable[[str, Any, list[Fault]], Any]

_LONGEST_NAME_SHOWN = 100
_LONGEST_KEY_SHOWN = 255


def whole(pattern: re.Pattern[str]) -> str:
    r"""A pattern for a whole text, as JSON Schema writes it: anchored at both ends, and without Python's `\d` and `\Z`.
    (https://json-schema.org/understanding-json-schema/reference/regular_expressions)"""
    inner = pattern.pattern.removesuffix(r"\Z").replace(r"\d", "[0-9]")
    return f"^{inner}$"


def read_fields(
    values: Mapping[str, Any], declared: type[msgspec.Struct], path: str, unknown: str, none_allowed: str
) -> tuple[dict[str, Any], list[Fault]]:
    """The fields that are right, converted, and the faults of all others.

    `path` is what stands before a field's name in its path (`$.`, `?`); `unknown` calls a field that is not declared;
    `none_allowed` is said beside it where `declared` has no fields at all.
    """
    readers = _readers(declared)
    allowed = f"allowed: {', '.join(readers)}" if readers else none_allowed
    right: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, value in values.items():
        read = readers.get(name)
        if read is None:
            faults.append(Fault(f"{path}{name[:_LONGEST_NAME_SHOWN]}", f"{unknown}; {allowed}"))
            continue
        found: list[Fault] = []
        converted = read(f"{path}{name}", value, found)
        if not found:
            right[name] = converted
        faults += found
    return right, faults


@cache
def _readers(declared: type[msgspec.Struct]) -> dict[str, Read]:
    info = inspect.type_info(declared)
    if not isinstance(info, inspect.StructType) or any(field.required for field in info.fields):
        raise TypeError(f"{declared} is no struct of optional fields")
    return {field.encode_name: _reader(field.type, {}) for field in info.fields}


def _reader(kind: inspect.Type, said: Mapping[str, str]) -> Read:
    """`said`: what the type's Meta carries in `extra`: `message`, and `too_many` of a list or an object."""
    if isinstance(kind, inspect.Metadata):
        return _annotated(kind, said)
    if isinstance(kind, inspect.UnionType):
        (inner,) = (each for each in kind.types if not isinstance(each, inspect.NoneType))
        return _reader(inner, said)
    for known, make in _READERS.items():
        if isinstance(kind, known):
            return make(kind, said)
    raise TypeError(f"no reader for {kind}")


def _annotated(kind: inspect.Metadata, said: Mapping[str, str]) -> Read:
    known = {"description", "uniqueItems"}
    if set(kind.extra_json_schema or {}) - known:
        raise TypeError(f"of extra_json_schema only {known} are observed: {kind}")
    read = _reader(kind.type, {**said, **(kind.extra or {})})
    return _each_once(read) if (kind.extra_json_schema or {}).get("uniqueItems") else read


def _each_once(read: Read) -> Read:
    def read_once(path: str, value: Any, faults: list[Fault]) -> Any:
        found: list[Fault] = []
        converted = read(path, value, found)
        repeated = [] if found else sorted({each for each in converted if converted.count(each) > 1})
        faults += [*found, *([Fault(path, f"names twice: {', '.join(repeated)}")] if repeated else [])]
        return converted

    return read_once


def _boolean(kind: inspect.BoolType, said: Mapping[str, str]) -> Read:
    return _checked(lambda value: isinstance(value, bool), said.get("message", "must be true or false"))


def _integer(kind: inspect.IntType, said: Mapping[str, str]) -> Read:
    if kind.ge is None or kind.le is None or (kind.gt, kind.lt, kind.multiple_of) != (None, None, None):
        raise TypeError(f"of integers ge and le are observed, and both are needed: {kind}")
    lowest, highest = kind.ge, kind.le
    message = said.get("message", f"must be a whole number from {lowest} to {highest}")

    def read(path: str, value: Any, faults: list[Fault]) -> Any:
        # JSON knows no integers: 5.0 is the number 5. A bool, which Python counts as an int, is none.
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        if is_whole and lowest <= value <= highest:
            return int(value)
        faults.append(Fault(path, message))
        return None

    return read


def _text(kind: inspect.StrType, said: Mapping[str, str]) -> Read:
    if kind.pattern is None or (kind.min_length, kind.max_length) != (None, None):
        raise TypeError(f"of texts the pattern is observed, and needed: {kind}")
    pattern = re.compile(kind.pattern, re.ASCII)
    # Not search: to Python `$` is also the place before a newline at the end.
    return _checked(lambda value: isinstance(value, str) and bool(pattern.fullmatch(value)), said["message"])


def _one_of(kind: inspect.LiteralType, said: Mapping[str, str]) -> Read:
    return _checked(lambda value: isinstance(value, str) and value in kind.values, said["message"])


def _checked(is_right: Callable[[Any], bool], message: str) -> Read:
    def read(path: str, value: Any, faults: list[Fault]) -> Any:
        if not is_right(value):
            faults.append(Fault(path, message))
        return value

    return read


def _list(kind: inspect.VarTupleType, said: Mapping[str, str]) -> Read:
    read_item = _reader(kind.item_type, {})
    fewest, most = kind.min_length or 0, kind.max_length
    if most is None:
        raise TypeError(f"a list needs a max_length: {kind}")

    def read(path: str, value: Any, faults: list[Fault]) -> Any:
        if not isinstance(value, list) or len(value) < fewest:
            faults.append(Fault(path, said["message"]))
            return ()
        if len(value) > most:
            faults.append(Fault(path, said["too_many"]))
            return ()
        return tuple(read_item(f"{path}[{index}]", item, faults) for index, item in enumerate(value))

    return read


def _object(kind: inspect.DictType, said: Mapping[str, str]) -> Read:
    read_key, read_value = _reader(kind.key_type, {}), _reader(kind.value_type, {})
    most = kind.max_length
    if most is None or kind.min_length is not None:
        raise TypeError(f"an object needs a max_length, and may have no min_length: {kind}")

    def read(path: str, value: Any, faults: list[Fault]) -> Any:
        if not isinstance(value, dict):
            faults.append(Fault(path, said["message"]))
            return {}
        if len(value) > most:
            faults.append(Fault(path, said["too_many"]))
            return {}
        return {
            read_key(f"{path} (key {key[:_LONGEST_KEY_SHOWN]!r})", key, faults): read_value(
                f"{path}.{key[:_LONGEST_KEY_SHOWN]}", member, faults
            )
            for key, member in value.items()
        }

    return read


_READERS: dict[type[inspect.Type], Callable[[Any, Mapping[str, str]], Read]] = {
    inspect.BoolType: _boolean,
    inspect.IntType: _integer,
    inspect.StrType: _text,
    inspect.LiteralType: _one_of,
    inspect.VarTupleType: _list,
    inspect.DictType: _object,
}
