"""Notices on their way: every conditional write that moves a notice's row.

claimed       for as long as an invocation can last, and counted: each later write names the count, so that a run that
              is overtaken moves nothing
told, each    a channel was told; a run that stops between sending and this tells it once more
postponed     the claim is given back, with a time before which nobody tries
ended         off the open work; the ledger's TTL removes the row
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from boto3.dynamodb.conditions import Attr

from chalicelib.backup.notices import NoticeRow, notice_key
from chalicelib.clock import Clock
from chalicelib.ledger import ConditionFailed, Ledger, Update, decode

# reconcile's timeout is 55 s. Until a claim of a run that stopped has passed, the notice waits.
_CLAIMED_FOR_MS = 90 * 1000
_KEPT_FOR_S = 30 * 24 * 3600


class Outcome(StrEnum):
    TOLD = "TOLD"
    SUPERSEDED = "SUPERSEDED"  # what it says is no longer so, and another notice says, or will, what is
    GIVEN_UP = "GIVEN_UP"


class Overtaken(Exception):
    """Another run has claimed the notice since."""


class Deliveries:
    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def claim(self, name: str) -> NoticeRow | None:
        """None where it is not its time, another run has it, or it has ended. Raises LedgerEntryCorrupt."""
        found = self._ledger.get(notice_key(name))
        if found is None or "open_kind" not in found:
            return None
        row = decode(found, NoticeRow)
        now_ms = self._clock()
        if now_ms < max(row.claimed_until_ms, row.next_try_at_ms):
            return None
        try:
            return self._write(row, {"attempts": row.attempts + 1, "claimed_until_ms": now_ms + _CLAIMED_FOR_MS})
        except Overtaken:
            return None

    def note(self, row: NoticeRow, channel: str) -> NoticeRow:
        """`channel`: the field that says when it was done with. Raises Overtaken."""
        return self._write(row, {channel: self._clock()})

    def postpone(self, row: NoticeRow, pause_ms: int) -> None:
        changes = {"failures": row.failures + 1, "claimed_until_ms": 0, "next_try_at_ms": self._clock() + pause_ms}
        self._write(row, changes)

    def end(self, row: NoticeRow, outcome: Outcome) -> None:
        now_ms = self._clock()
        expires_at_s = now_ms // 1000 + _KEPT_FOR_S
        changes = {"outcome": outcome.value, "ended_at_ms": now_ms, "expires_at_s": expires_at_s}
        self._write(row, changes, is_last=True)

    def _write(self, row: NoticeRow, changes: Mapping[str, Any], *, is_last: bool = False) -> NoticeRow:
        update = Update(
            row.key,
            set=changes,
            remove=["open_kind"] if is_last else [],
            condition=Attr("open_kind").exists() & Attr("attempts").eq(row.attempts),
        )
        try:
            return decode(self._ledger.write(update), NoticeRow)
        except ConditionFailed:
            raise Overtaken from None
