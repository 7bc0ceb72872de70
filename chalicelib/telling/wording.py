"""How a message is put together: a subject that SNS takes, a text and an object that fit their limits. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.backup.documents import shown

# "less than 100 characters long", without line breaks and control characters
# (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html).
LONGEST_SUBJECT = 99
# SNS takes 256 KB with the attributes; nobody reads as much, and some subscribers take less.
MOST_BODY_BYTES = 64_000
# EventBridge takes entries of 256 KB; targets get them in an envelope, and have a limit of 256 KB too
# (https://docs.aws.amazon.com/eventbridge/latest/userguide/calculate-putevents-entry-size.html).
MOST_DETAIL_BYTES = 200_000
_MOST_NAMED_BYTES = 24_000
_LONGEST_TEXT = 500
_LONGEST_TEXT_OF_DETAIL = 1_000
_MARK = "… (cut)"


class Message(msgspec.Struct, frozen=True):
    """`attributes` are for filter policies. `detail` is a JSON object."""

    subject: str
    body: str
    attributes: Mapping[str, str]
    detail_type: str
    detail: str


class Reason(msgspec.Struct, frozen=True):
    """Why one table failed. Whatever stands in there, it may come out of a bucket that others write to."""

    table: str
    code: str | None
    message: str | None

    def line(self) -> str:
        code = f" ({shown(self.code, 100)})" if self.code else ""
        return f"- {shown(self.table, 255)}{code}: {shown(self.message or 'no reason is given', _LONGEST_TEXT)}"

    def as_object(self) -> dict[str, str | None]:
        return {"table": self.table[:255], "code": _short(self.code), "message": _short(self.message)}


def subject(environment: str, said: str) -> str:
    """`[tablevault prod] backup …`; a long environment is cut, not what is said."""
    said = "".join(letter if " " <= letter <= "~" else "?" for letter in said)[: LONGEST_SUBJECT - 20]
    room = LONGEST_SUBJECT - len(f"[tablevault ] {said}")
    stage = "".join(letter if " " <= letter <= "~" else "?" for letter in environment)
    return f"[tablevault {stage[:room]}] {said}"


def body(lines: Iterable[str]) -> str:
    encoded = "\n".join(lines).encode(errors="replace")
    if len(encoded) <= MOST_BODY_BYTES:
        return encoded.decode()
    return encoded[: MOST_BODY_BYTES - 20].decode(errors="ignore") + _MARK


def section(title: str, lines: Sequence[str], most: int) -> list[str]:
    """`title` and the first ones below it, after an empty line; nothing where there are no lines."""
    if not lines:
        return []
    more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return ["", title, *lines[:most], *more]


def names(intro: str, tables: Sequence[str]) -> list[str]:
    """As many names as have room, and how many have none."""
    if not tables:
        return []
    room = _MOST_NAMED_BYTES
    named = []
    for table in tables:
        name = shown(table, 255)
        room -= len(name.encode(errors="replace")) + 2
        if room < 0:
            break
        named.append(name)
    more = len(tables) - len(named)
    return [f"{intro}{', '.join(named)}{f' and {more} more' if more else ''}"]


def detail(facts: Mapping[str, Any], list_name: str, objects: Sequence[Mapping[str, Any]]) -> str:
    """JSON of `facts`, whose texts are cut, with as many of `objects` as fit, as `fitting` has them."""
    cut = {name: _short(value) if isinstance(value, str) else value for name, value in facts.items()}
    room_bytes = MOST_DETAIL_BYTES - len(_json({**cut, **fitting(list_name, (), 0)})) - len(str(len(objects)))
    return _json({**cut, **fitting(list_name, objects, room_bytes)})


def fitting(name: str, values: Sequence[Any], most_bytes: int) -> dict[str, Any]:
    """Below `name` the first ones, as many as have room as JSON; below `{name}_omitted` how many have none."""
    kept = []
    for value in values:
        most_bytes -= len(_json(value)) + 1
        if most_bytes < 0:
            break
        kept.append(value)
    return {name: kept, f"{name}_omitted": len(values) - len(kept)}


def _short(text: str | None) -> str | None:
    return text if text is None else text[:_LONGEST_TEXT_OF_DETAIL]


def _json(value: Any) -> str:
    """In ASCII: as many bytes as characters, and no character that a parser stumbles over."""
    return json.dumps(value, separators=(",", ":"))
