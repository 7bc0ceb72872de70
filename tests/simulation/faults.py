"""Which faults happen, drawn from the seed, and how many of each kind did.

Each seed draws its own subset of kinds and its own rates ("swarm testing", Groce et al. 2012): a run in which
everything fails a little hides what one fault often, and no other, would show.
"""

import math
from collections import Counter
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    # at a call to AWS
    THROTTLED = "throttled"
    ERROR_BEFORE = "500 before the effect"
    ERROR_AFTER = "500 after the effect"
    TIMEOUT_BEFORE = "timeout without effect"
    TIMEOUT_AFTER = "timeout after the effect"
    TIMEOUT_LATE = "timeout, effect up to 10 s later"
    KILLED_BEFORE = "killed before a call"
    KILLED_AFTER = "killed after a call"
    KILLED_IN_FLIGHT = "killed, effect up to 10 s later"
    UNPROCESSED = "unprocessed items"
    CONFLICT = "transaction conflict"
    SLOW_CALL = "slow call"
    STREAM_CUT = "S3 stream cut"
    STREAM_ENDED = "S3 stream ended early"
    # of the bus and of Lambda
    EVENT_DROPPED = "S3 event dropped"
    EVENT_DUPLICATED = "S3 event duplicated"
    EVENT_DELAYED = "S3 event delayed"
    MESSAGE_DROPPED = "SQS message dropped"
    MESSAGE_DUPLICATED = "SQS message duplicated"
    MESSAGE_DELAYED = "SQS message delayed"
    TICK_DROPPED = "schedule tick dropped"
    TICK_DUPLICATED = "schedule tick duplicated"
    INDEX_LAGS = "index lags by seconds"
    COLD_START = "warm container lost"


AT_CALLS = (
    Fault.KILLED_BEFORE,
    Fault.KILLED_AFTER,
    Fault.KILLED_IN_FLIGHT,
    Fault.THROTTLED,
    Fault.ERROR_BEFORE,
    Fault.ERROR_AFTER,
    Fault.TIMEOUT_BEFORE,
    Fault.TIMEOUT_AFTER,
    Fault.TIMEOUT_LATE,
)
KILLS = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER, Fault.KILLED_IN_FLIGHT)

# What is tried at every single call: the process ends, or goes on without knowing what it did.
POINTS = (*KILLS, Fault.ERROR_AFTER, Fault.TIMEOUT_AFTER, Fault.TIMEOUT_LATE)

# The lowest and the highest rate a seed may draw for a kind.
_RATES: dict[Fault, tuple[float, float]] = {
    **dict.fromkeys(KILLS, (0.002, 0.04)),
    Fault.THROTTLED: (0.005, 0.2),
    Fault.ERROR_BEFORE: (0.005, 0.1),
    Fault.ERROR_AFTER: (0.005, 0.1),
    Fault.TIMEOUT_BEFORE: (0.002, 0.02),
    Fault.TIMEOUT_AFTER: (0.002, 0.02),
    Fault.TIMEOUT_LATE: (0.002, 0.03),
    Fault.UNPROCESSED: (0.02, 0.5),
    Fault.CONFLICT: (0.01, 0.2),
    Fault.SLOW_CALL: (0.01, 0.15),
    Fault.STREAM_CUT: (0.02, 0.3),
    Fault.STREAM_ENDED: (0.02, 0.3),
    Fault.EVENT_DROPPED: (0.1, 0.7),
    Fault.EVENT_DUPLICATED: (0.1, 0.7),
    Fault.EVENT_DELAYED: (0.1, 0.7),
    Fault.MESSAGE_DROPPED: (0.02, 0.3),
    Fault.MESSAGE_DUPLICATED: (0.05, 0.5),
    Fault.MESSAGE_DELAYED: (0.05, 0.5),
    Fault.TICK_DROPPED: (0.1, 0.7),
    Fault.TICK_DUPLICATED: (0.1, 0.7),
    Fault.INDEX_LAGS: (0.1, 0.8),
    Fault.COLD_START: (0.1, 0.8),
}


class NoFaults:
    """Nothing fails. What the crash points build on."""

    def __init__(self) -> None:
        self.injected: Counter[Fault] = Counter()
        self.is_on = True

    def hits(self, kind: Fault, function: str = "") -> bool:
        return False

    def at_call(self, function: str, operation: str) -> Fault | None:
        return None

    def stop(self) -> None:
        self.is_on = False

    def happens_often(self, kind: Fault) -> None:
        """A scenario asks for a kind that it is about. Where nothing fails, nothing does."""


class SeededFaults(NoFaults):
    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self.rates = {
            kind: math.exp(random.uniform(math.log(low), math.log(high)))
            for kind, (low, high) in _RATES.items()
            if random.random() < 0.45
        }

    def happens_often(self, kind: Fault) -> None:
        self.rates[kind] = _RATES[kind][1]

    def hits(self, kind: Fault, function: str = "") -> bool:
        if not self.is_on or kind not in self.rates or self._random.random() >= self.rates[kind]:
            return False
        self.injected[kind] += 1
        return True

    def at_call(self, function: str, operation: str) -> Fault | None:
        return next((kind for kind in AT_CALLS if self.hits(kind, function)), None)


class FailAt(NoFaults):
    """One fault, at the n-th call to AWS of one function, counted over all its invocations; nothing else fails."""

    def __init__(self, function: str, call_number: int, kind: Fault) -> None:
        super().__init__()
        self._function = function
        self._call_number = call_number
        self._kind = kind
        self.calls = 0

    def at_call(self, function: str, operation: str) -> Fault | None:
        if function != self._function or not self.is_on:
            return None
        self.calls += 1
        if self.calls != self._call_number:
            return None
        self.injected[self._kind] += 1
        return self._kind


class CountCalls(NoFaults):
    """How many calls each function makes when nothing fails."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def at_call(self, function: str, operation: str) -> Fault | None:
        self.calls[function] += self.is_on
        return None
