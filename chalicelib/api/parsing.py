"""Requests taken apart: bodies and query strings as the types that declare them, with every fault named at once.

Nothing is guessed or ignored: a misspelt field, or a `dry_run` in the query string, would otherwise be a restore that
nobody asked for.
"""

import json
from typing import Any, TypeVar

import msgspec
from chalice.app import MultiDict, Request

from chalicelib.errors import Fault, InvalidRequest, TablevaultError
from chalicelib.validation import read_fields

# The largest request that means something, 500 tables of 255 characters with a target each, is 400 KB.
LARGEST_BODY_BYTES = 1024 * 1024
_LONGEST_NUMBER = 4

Declared = TypeVar("Declared", bound=msgspec.Struct)


class Malformed(TablevaultError):
    """400: the request cannot be understood at all."""

    code = "malformed_request"
    http_status = 400


class TooLarge(TablevaultError):
    code = "request_too_large"
    http_status = 413


def json_object(request: Request) -> dict[str, Any]:
    """The body; an empty one is `{}`. Raises TooLarge, Malformed for what is not JSON, InvalidRequest for no object."""
    raw = _raw_body(request)
    if not raw:
        return {}
    try:
        body = msgspec.json.decode(raw)
        json.loads(raw, object_pairs_hook=_with_each_name_once)  # msgspec lets the last one of two fields win
    except msgspec.DecodeError as error:
        raise Malformed(f"the body is not valid JSON in UTF-8: {error}") from None
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None
    except ValueError:
        raise Malformed("the body is not valid JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise InvalidRequest([Fault("$", "must be a JSON object")])
    return body


def _raw_body(request: Request) -> bytes:
    try:
        raw = request.raw_body
    except ValueError:  # half of a surrogate pair, or text that should be base64
        raise Malformed("the body is not valid JSON in UTF-8") from None
    if len(raw) > LARGEST_BODY_BYTES:
        raise TooLarge(f"the body has {len(raw)} bytes; at most {LARGEST_BODY_BYTES} are read")
    return raw if isinstance(raw, bytes) else raw.encode()


def _with_each_name_once(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise Malformed(f"the body names {name[:100]!r} twice in one object")
        names.add(name)


def read_body(request: Request, declared: type[Declared]) -> Declared:
    """The body by its type. Raises what json_object does, and InvalidRequest with every fault."""
    values, faults = read_fields(json_object(request), declared, "$.", "unknown field", "this request takes none")
    if faults:
        raise InvalidRequest(faults)
    return declared(**values)


def read_query(request: Request, declared: type[Declared]) -> Declared:
    """The query string by its type, of texts and whole numbers. Raises InvalidRequest with every fault."""
    query: Any = request.query_params or MultiDict({})
    values = {name: _number(query[name]) if _is_integer(declared, name) else query[name] for name in query}
    right, faults = read_fields(
        values, declared, "?", "unknown parameter", "this route takes none; fields go into the body"
    )
    repeated = [name for name in query if name in declared.__struct_fields__ and len(query.getlist(name)) > 1]
    faults += [Fault(f"?{name}", "is given more than once") for name in repeated]
    if faults:
        raise InvalidRequest(faults)
    return declared(**right)


def _is_integer(declared: type[msgspec.Struct], name: str) -> bool:
    fields = {field.name: field for field in msgspec.structs.fields(declared)}
    return name in fields and isinstance(fields[name].default, int)


def _number(text: str) -> int | str:
    """Text that is no number stays what it is, and is refused as no number."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
    return int(text) if is_number else text
