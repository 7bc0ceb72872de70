"""Writes without an answer. A client that gives up waiting knows nothing: the request may have taken effect, or may do
so a moment later, when it has long been sent again. Nothing refuses it then, for a batch write has no condition.

So what fences a killed worker fences a living one too, time: a shard is not ended, and its claim not given back, before
the last write without an answer can no longer take effect.
"""

from typing import Any

from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from chalicelib.aws import Client
from chalicelib.clock import Clock

# As long as a claim outlives its invocation, for the same reason.
LATEST_EFFECT_MS = 15_000
_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError)


class Unanswered:
    """One for the life of a process. Thread-safe: the latest note is only ever assigned."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._over_at_ms = 0

    def watch(self, dynamodb: Client) -> None:
        """Notes every attempt at a batch write that the client gives up, also those it makes good by itself."""
        dynamodb.meta.events.register("needs-retry.dynamodb.BatchWriteItem", self._look_at)

    def note(self) -> None:
        self._over_at_ms = self._clock() + LATEST_EFFECT_MS

    @property
    def over_at_ms(self) -> int:
        """When the last one can no longer take effect. It changes with every write that goes without an answer."""
        return self._over_at_ms

    def remaining_ms(self) -> int:
        """How long the last one may still take effect; 0 when none can."""
        return max(0, self._over_at_ms - self._clock())

    def _look_at(self, caught_exception: BaseException | None = None, **_: Any) -> None:
        """Called after each attempt; what it returns would decide whether there is another one."""
        if caught_exception is not None and not isinstance(caught_exception, _NEVER_SENT):
            self.note()
