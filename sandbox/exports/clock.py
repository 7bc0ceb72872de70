"""The time of exports: the machine's, moved forward on request, so that days of a table's history pass in a minute."""

from chalicelib.clock import Clock, system_clock


class AdvancingClock:
    """Epoch milliseconds, ahead of `clock` by all that it was advanced. It never goes back but by a reset."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._ahead_ms = 0

    def __call__(self) -> int:
        return self._clock() + self._ahead_ms

    def advance(self, seconds: float) -> None:
        """Raises ValueError for a step backwards: a table's history is in the order of time."""
        if seconds < 0:
            raise ValueError(f"time cannot go back, by {-seconds} s")
        self._ahead_ms += round(seconds * 1000)

    def reset(self) -> None:
        self._ahead_ms = 0
