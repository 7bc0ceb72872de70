"""One table's history: what undoes every write to it, and so how it stood at any time since the history began.

Kept of a write is the image it replaced, as JSON text: what replaced it is in the table, or in a later write's entry.
So an insert costs next to nothing, and an update as much as the old item.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from sandbox.exports.layout import Item

Key = tuple[str, str]
_Images = dict[Key, bytes | None]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class ItemChange(NamedTuple):
    """An item before a window and at its end, and when it was last written; not both images are None."""

    old: Item | None
    new: Item | None
    written_at_us: int


class History:
    """The writes to one table, in their order. `earliest_ms` is the first moment it can show, in whole seconds."""

    def __init__(self, began_ms: int) -> None:
        self.earliest_ms = began_ms // 1000 * 1000
        self._times_us: list[int] = []  # rising, no two alike
        self._undo: list[tuple[Key, bytes | None]] = []  # the image before, of the same write

    def __len__(self) -> int:
        return len(self._undo)

    def add(self, key: Key, old: Item | None, now_ms: int) -> None:
        """A write that has just been made; `old` is the item that it replaced or removed."""
        last_us = self._times_us[-1] if self._times_us else 0
        self._times_us.append(max(now_ms * 1000, last_us + 1))
        self._undo.append((key, None if old is None else _encode(old)))

    def forget(self, *, before_ms: int, most: int) -> None:
        """Drops what is older than `before_ms`, and what is beyond `most` writes: then it can show less."""
        too_old, too_many = self._position(before_ms), len(self._undo) - most
        if too_many > too_old:
            self.earliest_ms = (self._times_us[too_many - 1] // 1_000_000 + 1) * 1000
        dropped = max(too_old, too_many)
        if dropped > 0:
            del self._times_us[:dropped], self._undo[:dropped]

    def items_before(self, moment_ms: int, current: Mapping[Key, Item]) -> dict[Key, Item]:
        """The table just before a moment; `current` is how it is now."""
        items = dict(current)
        for key, image in _first_images(self._undo[self._position(moment_ms) :]).items():
            if image is None:
                items.pop(key, None)
            else:
                items[key] = _decode(image)
        return items

    def changes(self, from_ms: int, to_ms: int, current: Callable[[Key], Item | None]) -> list[ItemChange]:
        """Every item that was written from `from_ms`, inclusive, to `to_ms`, exclusive, once; none for an item that
        was made and removed in between. `current` is an item as it is now.

        An item that is back at its old image is in it all the same, with both: it was written.
        """
        begin, end = self._position(from_ms), self._position(to_ms)
        window = self._undo[begin:end]
        last_us = {key: time_us for (key, _), time_us in zip(window, self._times_us[begin:end], strict=True)}
        replaced = _first_images(self._undo[end:], last_us)
        changes = []
        for key, old in _first_images(window).items():
            new = _image(replaced[key]) if key in replaced else current(key)
            if old is not None or new is not None:
                changes.append(ItemChange(_image(old), new, last_us[key]))
        return changes

    def _position(self, moment_ms: int) -> int:
        return bisect_left(self._times_us, moment_ms * 1000)


def _first_images(undo: Iterable[tuple[Key, bytes | None]], wanted: Mapping[Key, object] | None = None) -> _Images:
    """Each key's image before the first of these writes."""
    images: _Images = {}
    for key, image in undo:
        if wanted is None or key in wanted:
            images.setdefault(key, image)
    return images


def _image(text: bytes | None) -> Item | None:
    image: Item | None = None if text is None else _decode(text)
    return image
