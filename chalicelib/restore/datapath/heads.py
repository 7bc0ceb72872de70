"""Which of many lines begin as one that is looked for: a whole block of lines at a glance."""

from collections.abc import Sequence

_SHORT_BYTES = 8
_LONGEST_BYTES = 64


class Heads:
    """`before_value` is how all lines should begin; what follows it there is compared with the beginnings of `values`.

    Few passes in C over the first bytes of all lines, where a look at each line would cost twice as much.
    """

    def __init__(self, before_value: bytes, values: Sequence[bytes]) -> None:
        self._line_begin = b"\n" + before_value
        short = [value for value in values if len(value) < _SHORT_BYTES]
        long = [value for value in values if len(value) >= _SHORT_BYTES]
        self._wanted_by_length: list[tuple[int, frozenset[bytes]]] = []
        for group in filter(None, (short, long)):  # apart, so that a short value makes the long ones no less distinct
            length = min(_LONGEST_BYTES, min(map(len, group)))
            wanted = frozenset(before_value + value[:length] for value in group)
            self._wanted_by_length.append((len(before_value) + length, wanted))

    def found_in(self, lines: Sequence[bytes]) -> list[int] | None:
        """The indexes of those of `lines` that begin as one of the values. None, so that each
        line has to be looked at: one of them begins otherwise, or has a backslash there, which may be the same value
        written in another way."""
        found: set[int] = set()
        heads: list[bytes] = []
        for length, wanted in self._wanted_by_length:
            heads = [line[:length] for line in lines]
            if not wanted.isdisjoint(heads):
                found.update(index for index, head in enumerate(heads) if head in wanted)
        joined = b"\n".join([b"", *heads])
        if joined.count(self._line_begin) != len(lines) or b"\\" in joined:
            return None
        return sorted(found)
