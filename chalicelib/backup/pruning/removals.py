"""Marks of sets that are being removed: rows `BACKUP#{date}` / `REMOVAL`, and every conditional write to them.

    MARKED     to be removed; nothing of the set is touched yet. It may be taken back, or the next run decides again.
    REMOVING   the point of no return: parts of the set may be gone. Every run finishes it, whatever the policy says.

`token` names who wrote the mark last. Each write names the token that it was decided with, so of two runs only one
goes on, and none acts on a mark that was taken back and made again meanwhile: a restore may have begun in between.
"""

import secrets
from collections.abc import Iterable
from enum import StrEnum

import msgspec
from boto3.dynamodb.conditions import Attr

from chalicelib.backup.catalog import set_key
from chalicelib.backup.removal_mark import marked_among, removal_key
from chalicelib.clock import Clock
from chalicelib.ledger import (
    OPEN_INDEX,
    Check,
    ConditionFailed,
    Delete,
    Ledger,
    Put,
    Update,
    absent,
    decode,
)

KIND = "REMOVAL"
_TOKEN_BYTES = 8


class Stage(StrEnum):
    MARKED = "MARKED"
    REMOVING = "REMOVING"


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """`why`: the reason for which retention lets the set go, for people."""

    backup_date: str
    stage: Stage
    token: str
    why: str
    opened_at_ms: int
    open_kind: str = KIND


class Removals:
    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    # --- reading ---------------------------------------------------------------------------------------------

    def all(self) -> list[Mark]:
        """Found by an index, which may lag behind by a moment, and then read. Raises LedgerEntryCorrupt."""
        pks = (str(row["pk"]) for row in self._ledger.query_index(OPEN_INDEX, KIND))
        return self.of([pk.removeprefix("BACKUP#") for pk in pks])

    def of(self, backup_dates: Iterable[str]) -> list[Mark]:
        """The marks of these sets that have one, by name, strongly consistent. Raises LedgerEntryCorrupt."""
        rows = self._ledger.get_many([removal_key(name) for name in dict.fromkeys(backup_dates)])
        return sorted((decode(row, Mark) for row in rows), key=lambda mark: mark.backup_date)

    def is_marked(self, backup_date: str) -> bool:
        return bool(marked_among(self._ledger, [backup_date]))

    # --- writing ---------------------------------------------------------------------------------------------

    def mark(self, backup_date: str, why: str) -> Mark:
        """The mark that stands then, whoever made it."""
        now_ms = self._clock()
        mark = Mark(backup_date=backup_date, stage=Stage.MARKED, token=_token(), why=why, opened_at_ms=now_ms)
        try:
            self._ledger.write(Put(removal_key(backup_date), msgspec.to_builtins(mark), absent()))
        except ConditionFailed as failed:
            return decode(failed.rows[0] or {}, Mark)
        return mark

    def begin(self, mark: Mark) -> Mark | None:
        """REMOVING from now on, and by this run. None where another run has come in between, or where an export that
        was given up has opened the set again: the set is as it was."""
        begun = msgspec.structs.replace(mark, stage=Stage.REMOVING, token=_token())
        update = Update(
            removal_key(mark.backup_date),
            set={"stage": begun.stage.value, "token": begun.token},
            condition=Attr("token").eq(mark.token),
        )
        is_closed = Check(set_key(mark.backup_date), Attr("open_kind").not_exists())
        try:
            self._ledger.transact([update] if mark.stage is Stage.REMOVING else [update, is_closed])
        except ConditionFailed:
            return None
        return begun

    def take_away(self, mark: Mark) -> bool:
        """The set is as if it had never been marked, or is gone. False where another run has come in between."""
        try:
            self._ledger.write(Delete(removal_key(mark.backup_date), Attr("token").eq(mark.token)))
        except ConditionFailed as failed:
            return failed.rows[0] is None  # gone, be it by this very call, whose first answer was lost
        return True


def _token() -> str:
    return secrets.token_hex(_TOKEN_BYTES)
