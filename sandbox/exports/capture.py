"""The histories of all tables with point-in-time recovery on, and tables read at one moment.

Whoever applies writes to the tables (the emulator, see `sandbox.emulator.writes`) does it under `lock` and tells of
each: then a history's order is the order in which the writes were made, and no reader sees half of a transaction.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from chalicelib.clock import Clock
from sandbox.exports.history import History, ItemChange, Key
from sandbox.exports.layout import Item
from sandbox.exports.requests import DAY_MS

MOST_WRITES = 1_000_000  # kept of one table; some hundred megabytes if all are updates
_TIDY_EVERY = 1_024
ReadItems = Callable[[], Mapping[str, Mapping[str, Item]]]  # by partition key, then by sort key


@dataclass
class _Captured:
    history: History
    read_items: ReadItems
    recovery_days: int

    @classmethod
    def begin(cls, read_items: ReadItems, now_ms: int, recovery_days: int) -> Self:
        return cls(History(now_ms), read_items, recovery_days)

    def current(self) -> dict[Key, Item]:
        by_partition = self.read_items()
        return {(pk, sk): item for pk, items in by_partition.items() for sk, item in items.items()}

    def item(self, key: Key) -> Item | None:
        return self.read_items().get(key[0], {}).get(key[1])

    def earliest_ms(self, now_ms: int) -> int:
        return max(self.history.earliest_ms, now_ms // 1000 * 1000 - self.recovery_days * DAY_MS)


class RecoveryOff(Exception):
    """The table has no history: point-in-time recovery is off, or the table is gone."""


@dataclass(frozen=True)
class RecoveryFacts:
    """What DescribeContinuousBackups says; times are epoch milliseconds of whole seconds."""

    earliest_ms: int
    latest_ms: int
    recovery_days: int


class Capture:
    """`most_writes` are kept of one table; beyond, its recovery window gets shorter."""

    def __init__(self, clock: Clock, *, most_writes: int = MOST_WRITES) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._most_writes = most_writes
        self._captured: dict[str, _Captured] = {}
        self._pending: list[tuple[str, Key, Item | None]] | None = None

    def reset(self) -> None:
        with self.lock:
            self._captured.clear()

    def switch_on(self, table_id: str, read_items: ReadItems, recovery_days: int) -> None:
        """Begins a table's history; where there is one, it goes on with this recovery period."""
        with self.lock:
            captured = self._captured.get(table_id)
            if captured is None:
                self._captured[table_id] = _Captured.begin(read_items, self._clock(), recovery_days)
            else:
                captured.recovery_days = recovery_days

    def switch_off(self, table_id: str) -> None:
        with self.lock:
            self._captured.pop(table_id, None)

    def keep_only(self, table_ids: Collection[str]) -> None:
        """Forgets all other tables: those that were deleted."""
        with self.lock:
            for table_id in self._captured.keys() - table_ids:
                del self._captured[table_id]

    def is_on(self, table_id: str) -> bool:
        return table_id in self._captured

    def wrote(self, table_id: str, key: Key, old: Item | None) -> None:
        """A write has just replaced `old`; to be called under `lock`."""
        write = (table_id, key, old)
        if self._pending is None:
            self._add_all([write])
        else:
            self._pending.append(write)

    @contextmanager
    def transaction(self) -> Iterator[Callable[[], None]]:
        """Writes that count at one time, at its end; or not at all if what this yields is called: they were undone."""
        with self.lock:
            self._pending = []
            try:
                yield self._pending.clear
            finally:
                written, self._pending = self._pending, None
                self._add_all(written)

    def recovery(self, table_id: str) -> RecoveryFacts:
        """Raises RecoveryOff."""
        with self.lock:
            captured, now_ms = self._of(table_id), self._clock()
            return RecoveryFacts(captured.earliest_ms(now_ms), now_ms // 1000 * 1000, captured.recovery_days)

    def items(self, table_id: str, moment_ms: int | None) -> tuple[int, dict[Key, Item]]:
        """Now, and the table just before the moment, or as it is now. Raises RecoveryOff."""
        with self.lock:
            captured, now_ms = self._of(table_id), self._clock()
            items = captured.current()
            return now_ms, items if moment_ms is None else captured.history.items_before(moment_ms, items)

    def changes(self, table_id: str, from_ms: int, to_ms: int) -> list[ItemChange]:
        """See History.changes. Raises RecoveryOff."""
        with self.lock:
            captured = self._of(table_id)
            return captured.history.changes(from_ms, to_ms, captured.item)

    def _of(self, table_id: str) -> _Captured:
        try:
            return self._captured[table_id]
        except KeyError:
            raise RecoveryOff(table_id) from None

    def _add_all(self, written: Iterable[tuple[str, Key, Item | None]]) -> None:
        now_ms = self._clock()
        for table_id, key, old in written:
            if table_id in self._captured:
                self._add(self._captured[table_id], key, old, now_ms)

    def _add(self, captured: _Captured, key: Key, old: Item | None, now_ms: int) -> None:
        history = captured.history
        history.add(key, old, now_ms)
        if len(history) % _TIDY_EVERY == 0:
            history.forget(before_ms=captured.earliest_ms(now_ms), most=self._most_writes)
