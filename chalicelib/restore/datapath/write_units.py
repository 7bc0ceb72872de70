"""A worker's share of the write units a second that a restore may take, by what DynamoDB says was consumed.

A token bucket (https://en.wikipedia.org/wiki/Token_bucket) that holds one second's units. A request takes what it will
probably consume before it is sent, and waits until that is there. Its answer says what it did consume, with the indexes
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html#DDB-BatchWriteItem-request-ReturnConsumedCapacity);
the difference is put back, or owed. What indexes and larger earlier items add to an estimate is learned from the
answers; until the first of them one request is under way at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import msgspec

from chalicelib.errors import OutOfTime
from chalicelib.retry import Backoff

_UNIT_BYTES = 1_024
_FORGET_SHARE = 0.02  # of what is above the latest answer: a factor rises at once, and falls slowly
_LEAST_FACTOR = 0.1
_LEAST_WAIT_MS = 5
_LONGEST_WAIT_MS = 1_000  # what others give back meanwhile is noticed


def units_of(size_bytes: int) -> int:
    """A write of an item of this size, without indexes: a unit for each KB begun."""
    return max(1, math.ceil(size_bytes / _UNIT_BYTES))


class Spending(msgspec.Struct):
    """One request's units. `measured`: what it consumed; None, as long as it is not known."""

    estimated: int
    taken: float
    measured: float | None = None


class Allowance:
    """What a worker may still consume of a table's write units now, or owes, and what its estimates have to be
    multiplied by. It outlives a writer: else every shard would begin with a second's units of its own, and no debts.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.available = 0.0
        self.filled_at_ms: int | None = None  # None: nothing was consumed yet, and a second's units are there
        self.factor: float | None = None  # consumed for each estimated; None: not known yet


class WriteUnits:
    """Thread-safe. Over any N seconds at most `per_s` * N are consumed, and one second's more, as far as the estimates
    hold; what exceeds them delays what follows. `per_s` None: no limit, and nothing is counted.
    """

    def __init__(
        self, per_s: float | None, backoff: Backoff, table_name: str, allowance: Allowance | None = None
    ) -> None:
        if per_s is not None and per_s <= 0:
            raise ValueError(f"{per_s} write units a second")
        self._per_s = per_s or math.inf
        self._is_limited = per_s is not None
        self._backoff = backoff
        self._table_name = table_name
        self._state = allowance or Allowance()
        self._lock = self._state.lock
        if self._state.filled_at_ms is None:
            self._state.available = 0.0 if per_s is None else per_s
            self._state.filled_at_ms = backoff.clock()
        self._out = 0
        self._consumed = 0.0

    @property
    def is_limited(self) -> bool:
        return self._is_limited

    @property
    def consumed(self) -> float:
        """Units consumed so far; of requests that were not answered, what was estimated."""
        return self._consumed

    def groups(self, sizes_bytes: Sequence[int]) -> Iterable[slice]:
        """Cuts a batch of writes into requests that do not each take more than one second's units."""
        most = self._per_s / (self._state.factor or 1.0)
        start, units = 0, 0
        for index, size_bytes in enumerate(sizes_bytes):
            more = units_of(size_bytes)
            if index > start and units + more > most:
                yield slice(start, index)
                start, units = index, 0
            units += more
        yield slice(start, len(sizes_bytes))

    @contextmanager
    def spending(self, estimated: int) -> Iterator[Spending]:
        """Around a request that will probably consume so many: waits for them, and settles what was `measured`.

        Raises OutOfTime where the deadline would pass meanwhile.
        """
        spending = Spending(estimated, self._take(estimated) if self._is_limited else 0.0)
        try:
            yield spending
        finally:
            if self._is_limited:
                self._settle(spending)

    def _take(self, estimated: int) -> float:
        while True:
            with self._lock:
                taken = estimated * (self._state.factor or 1.0)
                wait_ms = self._missing_ms(taken)
                if wait_ms <= 0 and (self._state.factor is not None or self._out == 0):
                    self._state.available -= taken
                    self._out += 1
                    return taken
            wait_ms = min(max(wait_ms, _LEAST_WAIT_MS), _LONGEST_WAIT_MS)
            if wait_ms >= self._backoff.remaining_ms():
                raise OutOfTime(f"table {self._table_name}: its share of write units does not come before the deadline")
            self._backoff.sleep(wait_ms / 1000)

    def _settle(self, spending: Spending) -> None:
        with self._lock:
            self._out -= 1
            consumed = spending.taken if spending.measured is None else spending.measured
            self._state.available += spending.taken - consumed
            self._consumed += consumed
            if spending.measured:
                latest = max(_LEAST_FACTOR, spending.measured / spending.estimated)
                factor = self._state.factor or 0.0
                self._state.factor = max(latest, factor - (factor - latest) * _FORGET_SHARE)

    def _missing_ms(self, taken: float) -> int:
        """How long until so many are there. More than a second's units are had when the bucket is full."""
        now_ms = self._backoff.clock()
        refilled = (now_ms - (self._state.filled_at_ms or 0)) / 1000 * self._per_s
        self._state.available = min(self._per_s, self._state.available + refilled)
        self._state.filled_at_ms = now_ms
        return math.ceil((min(taken, self._per_s) - self._state.available) / self._per_s * 1000)
