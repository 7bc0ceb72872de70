"""A table that is written to, or read, by one worker: what all ways of doing so share."""

from collections.abc import Callable

from chalicelib.aws import Client
from chalicelib.clock import Clock
from chalicelib.restore.datapath.flow import Flow
from chalicelib.restore.datapath.raw_batch import RawAnswer
from chalicelib.restore.datapath.raw_sender import raw_sender
from chalicelib.restore.datapath.write_units import Allowance, WriteUnits
from chalicelib.retry import Backoff, Random, Sleep

_RAW_TIMEOUT_MS = 10_000
_LEAST_ROOM_MS = 1_000  # no request begins with less time than this before the deadline
_RETRY_CAP_MS = 2_000  # a partition has room again every second: waiting much longer leaves it idle


class Target:
    """Thread-safe, but for `close`. `raw` is None where only the client will do."""

    def __init__(
        self,
        dynamodb: Client,
        table_name: str,
        *,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        deadline_ms: int,
        on_unanswered: Callable[[], None] = lambda: None,
        units_per_s: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self.dynamodb = dynamodb
        self.table_name = table_name
        self.backoff = Backoff(clock, sleep, random, deadline_ms - _LEAST_ROOM_MS, cap_ms=_RETRY_CAP_MS)
        self.on_unanswered = on_unanswered
        self.flow = Flow(clock)
        self.units = WriteUnits(units_per_s, self.backoff, table_name, allowance)
        self.raw = raw_sender(dynamodb)

    def send_raw(
        self, operation: str, body: bytes, room_ms: int, on_unanswered: Callable[[], None] | None = None
    ) -> RawAnswer | None:
        """As RawSender.send does, and within `room_ms`. Only where there is a sender."""
        assert self.raw is not None
        timeout_s = min(_RAW_TIMEOUT_MS, room_ms) / 1000
        return self.raw.send(operation, body, timeout_s, on_unanswered or self.on_unanswered)

    def close(self) -> None:
        """Closes the kept connections. No thread may be writing."""
        if self.raw is not None:
            self.raw.close()
