"""Finds secrets in bytes, also where something has encoded them on the way."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import quote


def spellings(secret: bytes) -> set[bytes]:
    """How a secret may be written down: raw, in hex, in an URL, escaped in JSON or Python, base64 at any alignment."""
    text = secret.decode("latin-1")  # how bytes get into text that has to hold them
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), quote(secret).encode()}
    found |= {repr(secret)[2:-1].encode(), repr(text)[1:-1].encode(), text.encode()}
    found |= {json.dumps(text, ensure_ascii=escaped)[1:-1].encode() for escaped in (True, False)}
    for lead in range(3):
        # Only the part whose bits belong to the secret alone: what stands around it is not known.
        encoded = base64.b64encode(bytes(lead) + secret)
        first = -(-lead * 8 // 6)
        last = (lead + len(secret)) * 8 // 6
        found |= {encoded[first:last], base64.urlsafe_b64encode(bytes(lead) + secret)[first:last]}
    return found


def findings(places: Iterable[tuple[str, bytes]], secrets: Mapping[str, bytes]) -> list[str]:
    """`what is in where`, for every secret in every place; it never repeats a secret itself."""
    spelled = {name: spellings(secret) for name, secret in secrets.items()}
    found = []
    for where, content in places:
        plain = content + _unpacked(content)
        found += [f"{name} is in {where}" for name, forms in spelled.items() if any(form in plain for form in forms)]
    return found


def _unpacked(content: bytes) -> bytes:
    with suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(content)
    return b""
