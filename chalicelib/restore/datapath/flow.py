"""How many batches a worker has under way at once: as many as help, and fewer when the table throttles.

Additive increase, multiplicative decrease, as TCP does it: a round in which more batches under way brought more of them
to their end is followed by one with some more still; where it brought no more, the last step is taken back, and tried
again a while later. A round with throttling shrinks the limit by half of the throttled share, so that one hot partition
among many does not still the others (DCTCP, https://www.rfc-editor.org/rfc/rfc8257#section-3.3).
"""

from threading import Lock

from chalicelib.clock import Clock

FIRST_LIMIT = 8
MOST_LIMIT = 64
_LEAST_LIMIT = 1
_STEP = 4
_ROUND_MS = 100
_ROUND_REQUESTS = 2  # for each that may be under way: fewer say nothing about a limit
_USEFUL_SHARE = 0.5  # of the gain that the step would bring if each request took as long as before
_PROBE_AFTER_ROUNDS = 10
_STILL_GROWING_SHARE = 0.1  # of throttled requests, below which a round may still add


class Flow:
    """Thread-safe. `limit` is read at any time; each request that ended is told with `ended`."""

    def __init__(self, clock: Clock, *, first_limit: int = FIRST_LIMIT, most_limit: int = MOST_LIMIT) -> None:
        self._clock = clock
        self._most_limit = most_limit
        self._lock = Lock()
        self._limit = float(first_limit)
        self._begun_at_ms = clock()
        self._requests = 0
        self._throttled = 0
        self._last_rate = 0.0
        self._last_limit = 0  # that the last rate was reached with; 0: it says nothing
        self._quiet_rounds = 0  # to wait before the next step

    @property
    def limit(self) -> int:
        return int(self._limit)

    def ended(self, *, throttled: bool = False) -> None:
        """A request was answered; `throttled`: refused for now, wholly or in part."""
        with self._lock:
            self._requests += 1
            self._throttled += throttled
            if self._requests < _ROUND_REQUESTS * self.limit:
                return
            now_ms = self._clock()
            elapsed_ms = now_ms - self._begun_at_ms
            if elapsed_ms >= _ROUND_MS:
                self._turn(self._requests / elapsed_ms, self._throttled / self._requests)
                self._begun_at_ms = now_ms
                self._requests = self._throttled = 0

    def _turn(self, rate: float, throttled_share: float) -> None:
        """Takes the measure of a round, and sets the limit of the next one."""
        limit = self.limit
        if throttled_share:
            self._limit = max(_LEAST_LIMIT, self._limit * (1 - throttled_share / 2))
            self._last_limit = 0
            if throttled_share >= _STILL_GROWING_SHARE:
                return
        elif self._quiet_rounds:
            self._quiet_rounds -= 1
            return
        elif 0 < self._last_limit < limit and not self._has_helped(rate, limit):
            self._limit = float(self._last_limit)
            self._last_limit = 0
            self._quiet_rounds = _PROBE_AFTER_ROUNDS
            return
        self._last_rate, self._last_limit = rate, limit
        self._limit = min(float(self._most_limit), self._limit + _STEP)

    def _has_helped(self, rate: float, limit: int) -> bool:
        expected_gain = limit / self._last_limit - 1
        return rate >= self._last_rate * (1 + _USEFUL_SHARE * expected_gain)
