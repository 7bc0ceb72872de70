"""One run at a time starts a set's exports: reconcile comes by every minute, while a run with very many tables still
goes on at the pace that AWS allows, and two at once would be throttled.

It saves calls and decides nothing: whatever two runs do at once stays right without it. A run that is stopped leaves
its lease, which lapses.
"""

from boto3.dynamodb.conditions import Attr

from chalicelib.backup.catalog import set_key
from chalicelib.backup.pacing import CALLS_PER_S
from chalicelib.clock import Clock
from chalicelib.ledger import ConditionFailed, Ledger, Update

_UNTIL = "starting_until_ms"
# Of the calls under way when the time is up: three attempts of each end within 27 s.
_MARGIN_MS = 30 * 1000
# No run goes on for longer: what ends later was written by another clock.
_LONGEST_MS = 5 * 60 * 1000


class StartLease:
    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    def take(self, backup_date: str, tables: int, stop_at_ms: int | None) -> int | None:
        """For about as long as it takes to start so many tables. What to give back; None where another run has it."""
        now_ms = self._clock()
        ends_ms = now_ms + tables * 1000 // CALLS_PER_S
        ends_ms = ends_ms if stop_at_ms is None else min(ends_ms, stop_at_ms)
        until_ms = min(ends_ms + _MARGIN_MS, now_ms + _LONGEST_MS)
        is_over = Attr(_UNTIL).lte(now_ms) | Attr(_UNTIL).gt(now_ms + _LONGEST_MS)
        is_free = Attr(_UNTIL).not_exists() | is_over
        update = Update(set_key(backup_date), set={_UNTIL: until_ms}, condition=Attr("status").exists() & is_free)
        return until_ms if self._write(update) else None

    def give_back(self, backup_date: str, until_ms: int) -> None:
        """Only what was taken: another run may have it by now."""
        self._write(Update(set_key(backup_date), remove=[_UNTIL], condition=Attr(_UNTIL).eq(until_ms)))

    def _write(self, update: Update) -> bool:
        try:
            self._ledger.write(update)
        except ConditionFailed:
            return False
        return True
