"""JSON documents out of a bucket that others may write to: bounded before they are read, typed, and refused in one
short line whatever they hold. A name that stands twice counts as it stands last; what is checked is what is used."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

_LONGEST_TEXT_SHOWN = 200
T = TypeVar("T")


class DocumentInvalid(ValueError):
    """The reason, to be put behind the document's key: short, printable, in one line."""


def read_document(answer: Mapping[str, Any], most_bytes: int) -> bytes:
    """The content of a GetObject answer. Raises DocumentInvalid as soon as it is longer than `most_bytes`."""
    body = answer["Body"]
    parts: list[bytes] = []
    room_bytes = most_bytes + 1
    while room_bytes and (part := body.read(room_bytes)):
        parts.append(part)
        room_bytes -= len(part)
    if not room_bytes:
        body.close()
        raise DocumentInvalid(f"has more than {most_bytes} bytes, far more than such an object needs")
    return b"".join(parts)


def decode_document(content: bytes, as_type: type[T]) -> T:
    """Raises DocumentInvalid for all that is not JSON in UTF-8 of this type, nesting without end included."""
    try:
        return msgspec.json.decode(content, type=as_type)
    except RecursionError:
        raise DocumentInvalid("is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DocumentInvalid(shown(str(error))) from None


def shown(text: str, most: int = _LONGEST_TEXT_SHOWN) -> str:
    """A foreign text for an error message: what is not printable is escaped, and its end cut off."""
    escaped = repr(text[:most])[1:-1]
    return escaped if max(len(text), len(escaped)) <= most else f"{escaped[:most]}…"


def is_md5(text: str) -> bool:
    """Whether this is an MD5 in base64, as AWS writes it."""
    try:
        return len(text) == 24 and len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
