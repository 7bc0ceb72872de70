"""Bearer tokens. Stored is only their SHA-256, with a name and scopes, in one SSM SecureString:

    [{"name": "on-call", "sha256": "<64 hex digits>", "scopes": ["backup:read", "restore:write"]}]

The authorizer imports this module and nothing that is slow to import.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

SCOPES = ("backup:read", "backup:write", "restore:write", "restore:clear")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# RFC 9110 11.1: the scheme's case does not matter. RFC 6750 2.1: what a token is made of.
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/=-]{16,512})\Z")
_FIELDS = {"name", "sha256", "scopes"}
_LONGEST_NAME = 100


class Token(NamedTuple):
    name: str
    sha256: str
    scopes: tuple[str, ...]


class TokensInvalid(Exception):
    """The parameter's value is not what it must be. The message says where, and repeats nothing of the value."""


def parse_tokens(text: str) -> list[Token]:
    """Raises TokensInvalid: a parameter that is half right lets nobody in, rather than somebody too many."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise TokensInvalid("the tokens parameter is not JSON") from None
    if not isinstance(entries, list):
        raise TokensInvalid("the tokens parameter must be a JSON array")
    tokens = [_token(number, entry) for number, entry in enumerate(entries)]
    if len({token.sha256 for token in tokens}) < len(tokens):
        raise TokensInvalid("the tokens parameter holds one sha256 twice: which scopes hold is not clear")
    return tokens


def _token(number: int, entry: object) -> Token:
    """Refuses fields it does not know: an expiry that nothing observes would be a token that outlives its date."""
    here = f"entry {number} of the tokens parameter"
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise TokensInvalid(f"{here} must be an object of {', '.join(sorted(_FIELDS))}, and nothing else")
    name, digest, scopes = entry["name"], entry["sha256"], entry["scopes"]
    # The name goes into logs and ledger rows.
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        raise TokensInvalid(f"{here}: name must be 1 to {_LONGEST_NAME} printable characters")
    if not isinstance(digest, str) or not _SHA256.match(digest):
        raise TokensInvalid(f"{here}: sha256 must be the token's SHA-256 as 64 lower-case hex digits")
    if not isinstance(scopes, list) or not all(scope in SCOPES for scope in scopes):
        raise TokensInvalid(f"{here}: scopes must be a list of {', '.join(SCOPES)}")
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
    """The tokens parameter, read again after a minute: a token that was taken out is refused soon after.

    A failure to read it is kept too, for some seconds: requests that come while Parameter Store throttles would
    otherwise each ask it again, and keep it throttling.
    """

    def __init__(
        self, read: Callable[[], str], clock: Callable[[], int], *, kept_ms: int = 60_000, failure_kept_ms: int = 5_000
    ) -> None:
        self._read = read
        self._clock = clock
        self._kept_ms = kept_ms
        self._failure_kept_ms = failure_kept_ms
        self._known: list[Token] | Exception = []
        self._good_until_ms: int | None = None

    def tokens(self) -> list[Token]:
        """Raises TokensInvalid, and what the reading raises."""
        now_ms = self._clock()
        if self._good_until_ms is None or now_ms > self._good_until_ms:
            self._known = self._read_now()
            kept_ms = self._failure_kept_ms if isinstance(self._known, Exception) else self._kept_ms
            self._good_until_ms = now_ms + kept_ms
        if isinstance(self._known, Exception):
            raise self._known.with_traceback(None)  # else each raise would add its frames to it
        return self._known

    def _read_now(self) -> list[Token] | Exception:
        try:
            return parse_tokens(self._read())
        except Exception as error:
            return error
