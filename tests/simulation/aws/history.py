"""What point-in-time recovery knows of a table: the image that each write replaced, in the order of the writes."""

from collections.abc import Mapping
from typing import Any

from sandbox.exports.incremental import Change, Delete, Insert, Update
from tests.simulation.aws.expressions import Item

KeyTuple = tuple[Any, ...]


class History:
    """Times are epoch milliseconds. A moment is exclusive: a write of the very millisecond is not before it."""

    def __init__(self) -> None:
        self._writes: list[tuple[int, KeyTuple, Item | None]] = []

    def add(self, at_ms: int, key: KeyTuple, old: Item | None) -> None:
        self._writes.append((at_ms, key, old))

    def items_before(self, moment_ms: int, current: Mapping[KeyTuple, Item]) -> dict[KeyTuple, Item]:
        items = dict(current)
        for at_ms, key, old in reversed(self._writes):
            if at_ms < moment_ms:
                break
            if old is None:
                items.pop(key, None)
            else:
                items[key] = old
        return items

    def changes(self, from_ms: int, to_ms: int, current: Mapping[KeyTuple, Item]) -> list[Change]:
        """One of every item that was written from `from_ms`, inclusive, to `to_ms`, exclusive; none of one that was
        made and removed in between. An item that is back at its old image is among them: it was written."""
        before, after = self.items_before(from_ms, current), self.items_before(to_ms, current)
        written = dict.fromkeys(key for at_ms, key, _ in self._writes if from_ms <= at_ms < to_ms)
        changes = (_change(before.get(key), after.get(key)) for key in written)
        return [change for change in changes if change is not None]


def _change(old: Item | None, new: Item | None) -> Change | None:
    if old is None:
        return None if new is None else Insert(new)
    return Delete(old) if new is None else Update(old, new)
