"""`Idempotency-Key`: a POST that is sent again does what it did the first time, or goes on with it.

The ledger keeps for a day which name the first request with a key chose for what it makes (a restore's id, a set's
name), and a digest of the request. Name first, then the thing: if the program stops between the two, the repetition
makes the thing under that name, so that there are never two.
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr

from chalicelib.clock import Clock
from chalicelib.errors import Fault, InvalidRequest
from chalicelib.ledger import ConditionFailed, Key, Ledger, Put, absent

HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_KEPT_S = 24 * 3600


class Chosen(msgspec.Struct, frozen=True):
    """The name of what a request makes. `is_repeated`: chosen by an earlier request with the same key."""

    name: str
    is_repeated: bool


class IdempotencyKeys:
    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def choose(self, key: str, caller: str, request: Any, fresh: Callable[[], str]) -> Chosen:
        """The name the first request with this key chose, or a fresh one. `caller`: keys of two never meet.

        `request` is plain data: a key that comes again with another one is a mistake (InvalidRequest), as is one that
        is not 1 to 255 visible ASCII characters.
        """
        if not KEY.fullmatch(key):
            raise InvalidRequest([Fault(HEADER, "must be 1 to 255 visible ASCII characters")])
        now_s = self._clock() // 1000
        chosen = fresh()
        row = {"name": chosen, "request": _digest(request), "expires_at_s": now_s + _KEPT_S}
        lapsed = Attr("expires_at_s").lte(now_s)
        try:
            self._ledger.write(Put(_row_key(caller, key), row, absent() | lapsed))
        except ConditionFailed as failed:
            stands = failed.rows[0] or {}
            if stands.get("request") != row["request"]:
                text = "was used for another request within the last 24 hours: use a new key for a new request"
                raise InvalidRequest([Fault(HEADER, text)]) from failed
            name = str(stands.get("name"))
            # An answer lost on its way makes the client send the write again, which then finds its own effect.
            return Chosen(name, is_repeated=name != chosen)
        return Chosen(chosen, is_repeated=False)

    def choose_again(self, key: str, caller: str, request: Any, given_up: str, fresh: Callable[[], str]) -> Chosen:
        """For a thing that was given up before it was made: a fresh name in place of its own."""
        now_s = self._clock() // 1000
        chosen = fresh()
        row = {"name": chosen, "request": _digest(request), "expires_at_s": now_s + _KEPT_S}
        try:
            self._ledger.write(Put(_row_key(caller, key), row, absent() | Attr("name").eq(given_up)))
        except ConditionFailed as failed:
            name = str((failed.rows[0] or {}).get("name"))
            return Chosen(name, is_repeated=name != chosen)
        return Chosen(chosen, is_repeated=False)


def _row_key(caller: str, key: str) -> Key:
    # Hashed: what callers put into a key is theirs, and may be longer than a ledger key.
    return Key(f"IDEMPOTENCY#{hashlib.sha256(json.dumps([caller, key]).encode()).hexdigest()}", "NAME")


def _digest(request: Any) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
