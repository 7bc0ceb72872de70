"""Requests taken apart: bodies and query strings as plain values, with every fault named at once.

Nothing is guessed or ignored: a misspelt field, or a `dry_run` in the query string, would otherwise be a restore that
nobody asked for.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from chalice.app import Request

from chalicelib.errors import Fault, InvalidRequest, TablevaultError

# The largest request that means something, 500 tables of 255 characters with a target each, is 400 KB.
LARGEST_BODY_BYTES = 1024 * 1024
LARGEST_PAGE = 100
_DEFAULT_PAGE = 20
_MOST_TABLES = 500
_BACKUP_FIELDS = ("tables", "export_type")
_PAGE_PARAMETERS = ("limit", "before")


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


def no_fields(request: Request) -> None:
    """For a POST that takes nothing. Raises InvalidRequest when the body says something all the same."""
    _raise_if(_unknown_fields(json_object(request), ()))


def backup_tables(request: Request) -> tuple[str, ...] | None:
    """The optional `tables` of `POST /backups`; None for all that are configured."""
    body = json_object(request)
    faults = _unknown_fields(body, _BACKUP_FIELDS)
    if body.get("export_type", "FULL_EXPORT") != "FULL_EXPORT":
        faults.append(Fault("$.export_type", "this version makes FULL_EXPORT only"))
    tables = body.get("tables")
    if "tables" in body:
        faults += _table_list_faults(tables)
    _raise_if(faults)
    return tuple(tables) if tables else None


def _table_list_faults(tables: Any) -> list[Fault]:
    if not isinstance(tables, list) or not tables:
        return [Fault("$.tables", "must be a non-empty list of table names; leave it out for all")]
    if len(tables) > _MOST_TABLES:
        return [Fault("$.tables", f"must have at most {_MOST_TABLES} tables; leave it out for all")]
    return [
        Fault(f"$.tables[{index}]", "must be the name of a table")
        for index, name in enumerate(tables)
        if not isinstance(name, str)
    ]


def page(request: Request, is_name: Callable[[str], bool]) -> tuple[int, str | None]:
    """`limit` and `before` of a listing's query string."""
    faults = _parameter_faults(request, _PAGE_PARAMETERS)
    query: Mapping[str, str] = request.query_params or {}
    text = query.get("limit", str(_DEFAULT_PAGE))
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= limit <= LARGEST_PAGE:
        faults.append(Fault("?limit", f"must be a whole number from 1 to {LARGEST_PAGE}"))
    before = query.get("before")
    if before is not None and not is_name(before):
        faults.append(Fault("?before", "must be the name that next_before gave"))
    _raise_if(faults)
    return limit, before


def no_parameters(request: Request) -> None:
    _raise_if(_parameter_faults(request, ()))


def _parameter_faults(request: Request, allowed: Iterable[str]) -> list[Fault]:
    query = request.query_params
    if query is None:
        return []
    said = f"allowed: {', '.join(allowed)}" if allowed else "this route takes none; fields go into the body"
    faults = [Fault(f"?{name[:100]}", f"unknown parameter; {said}") for name in query if name not in allowed]
    repeated = [name for name in query if name in allowed and len(query.getlist(name)) > 1]
    return faults + [Fault(f"?{name}", "is given more than once") for name in repeated]


def _unknown_fields(body: Mapping[str, Any], allowed: tuple[str, ...]) -> list[Fault]:
    said = f"allowed: {', '.join(allowed)}" if allowed else "this request takes none"
    return [Fault(f"$.{name[:100]}", f"unknown field; {said}") for name in body if name not in allowed]


def _raise_if(faults: list[Fault]) -> None:
    if faults:
        raise InvalidRequest(faults)
