"""Bearer tokens. Stored is only their SHA-256, with a name and scopes, in one SSM SecureString:

    [{"name": "on-call", "sha256": "<64 hex digits>", "scopes": ["backup:read", "restore:write"]}]

The authorizer imports this module and nothing that is slow to import.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SCOPES = ("backup:read", "backup:write", "restore:write", "restore:clear")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{16,512})\Z")


@dataclass(frozen=True)
class Token:
    name: str
    sha256: str
    scopes: tuple[str, ...]


class TokensInvalid(Exception):
    """The parameter's value is not what it must be. The message says where, and repeats nothing of the value."""


def parse_tokens(text: str) -> list[Token]:
    """Raises TokensInvalid: a parameter that is half right lets nobody in, rather than somebody too many."""
    try:
        entries = json.loads(text)
    except ValueError:
        raise TokensInvalid("the tokens parameter is not JSON") from None
    if not isinstance(entries, list):
        raise TokensInvalid("the tokens parameter must be a JSON array")
    return [_token(number, entry) for number, entry in enumerate(entries)]


def _token(number: int, entry: object) -> Token:
    if not isinstance(entry, dict):
        raise TokensInvalid(f"entry {number} of the tokens parameter must be an object")
    name, digest, scopes = entry.get("name"), entry.get("sha256"), entry.get("scopes")
    if not isinstance(name, str) or not name:
        raise TokensInvalid(f"entry {number} of the tokens parameter has no name")
    if not isinstance(digest, str) or not _SHA256.match(digest):
        raise TokensInvalid(f"token {name!r}: sha256 must be the token's SHA-256 as 64 lower-case hex digits")
    if not isinstance(scopes, list) or not set(scopes) <= set(SCOPES):
        raise TokensInvalid(f"token {name!r}: scopes must be a list of {', '.join(SCOPES)}")
    return Token(name, digest, tuple(scopes))


def find_token(header: str, tokens: Sequence[Token]) -> Token | None:
    """The token an Authorization header carries. Compares with every one of them, each in constant time: how long
    it takes says nothing about which came close."""
    match = _BEARER.match(header)
    presented = hashlib.sha256((match[1] if match else "").encode()).hexdigest()
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, presented) and match:
            found = token
    return found


class TokenStore:
    """The tokens parameter, read again after a minute: a token that was taken out is refused soon after."""

    def __init__(self, read: Callable[[], str], clock: Callable[[], int], *, kept_ms: int = 60_000) -> None:
        self._read = read
        self._clock = clock
        self._kept_ms = kept_ms
        self._tokens: list[Token] = []
        self._read_at_ms: int | None = None

    def tokens(self) -> list[Token]:
        now_ms = self._clock()
        if self._read_at_ms is None or now_ms - self._read_at_ms > self._kept_ms:
            self._tokens = parse_tokens(self._read())
            self._read_at_ms = now_ms
        return self._tokens
