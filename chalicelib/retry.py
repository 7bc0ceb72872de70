"""When to try again: full-jitter backoff that never waits past a deadline.

Full jitter (a delay drawn evenly between nothing and an exponentially growing ceiling) because many
workers are throttled by the same table at the same moment: equal delays would bring all of them back
at the same moment too. What may be tried again is not decided here but where the error is understood.
"""

from collections.abc import Callable
from typing import NamedTuple

from chalicelib.clock import Clock

Sleep = Callable[[float], None]  # seconds, as time.sleep
Random = Callable[[], float]  # evenly in [0, 1), as random.random

_LARGEST_EXPONENT = 30  # beyond it the ceiling is the cap anyway, and an int needs no more digits


class Backoff(NamedTuple):
    """Delays of one piece of work that ends, done or not, at `deadline_ms` (epoch milliseconds)."""

    clock: Clock
    sleep: Sleep
    random: Random
    deadline_ms: int
    base_ms: int = 50
    cap_ms: int = 5_000

    def delay_ms(self, retry: int) -> int:
        """A random delay before retry number `retry`, counted from 0."""
        ceiling_ms = min(self.cap_ms, self.base_ms << min(retry, _LARGEST_EXPONENT))
        return int(self.random() * ceiling_ms)

    def remaining_ms(self) -> int:
        return self.deadline_ms - self.clock()

    def wait(self, retry: int) -> bool:
        """Sleeps before retry number `retry`; false, at once, where the deadline would pass meanwhile."""
        delay_ms = self.delay_ms(retry)
        if delay_ms >= self.remaining_ms():
            return False
        self.sleep(delay_ms / 1000)
        return True
