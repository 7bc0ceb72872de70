"""How often AWS may be asked about tables and exports: each operation at its own pace, shared by a pool's threads.

DescribeContinuousBackups and ListTagsOfResource are allowed 10 times a second in an account and region
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DescribeContinuousBackups.html,
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTagsOfResource.html). For the other operations
below nothing is published. DescribeTimeToLive throttles an account of 36 tables that is asked without a pace
(https://github.com/hashicorp/terraform-provider-aws/issues/26100), and the others are taken to be like it.
DescribeTable needs none: the control plane as a whole takes 2,500 requests a second
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-control-plane.html).

botocore tries a throttled call three times in all, so a pool that starts as fast as it can loses tables to the next
run; at a pace of its own it loses none.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import THROTTLED, Client, error_code
from chalicelib.clock import Clock
from chalicelib.errors import OutOfTime
from chalicelib.retry import Sleep

CALLS_PER_S = 8  # of 10, which are for all who ask in the account
_INTERVAL_MS = 1000 / CALLS_PER_S
_MOST_SLOWED = 16
_LONGEST_MS = 5 * 60 * 1000  # of a run
PACED = frozenset(
    {
        "describe_continuous_backups",
        "update_continuous_backups",
        "describe_time_to_live",
        "list_tags_of_resource",
        "export_table_to_point_in_time",
        "describe_export",
        "list_exports",
        "describe_scalable_targets",
        "describe_scaling_policies",
    }
)


def next_turn(free_at_ms: float, now_ms: float, interval_ms: float) -> tuple[float, float]:
    """A token bucket that holds one token: when the next call may be made, and when the one after it. Pure.

    One, because a bucket of more would let more calls into its first second than the rate allows. What is free only
    long after any run is over was said before the clock was set back.
    """
    turn_ms = now_ms if free_at_ms > now_ms + _LONGEST_MS else max(free_at_ms, now_ms)
    return turn_ms, turn_ms + interval_ms


class Pace:
    """Of one process: when each operation may be called next. Runs that follow each other go on at it."""

    def __init__(self, clock: Clock, sleep: Sleep) -> None:
        self.clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._free_at_ms: dict[str, float] = {}

    def run(self, stop_at_ms: int | None = None) -> "PacedRun":
        """One run, at full pace. `stop_at_ms`: epoch milliseconds; no call is begun later."""
        return PacedRun(self, stop_at_ms)

    def wait(self, operation: str, interval_ms: float, stop_at_ms: int | None) -> float:
        """Sleeps until it is this call's turn, and gives its time. Raises OutOfTime, at once and without a turn, where
        that is not before `stop_at_ms`."""
        with self._lock:
            now_ms = self.clock()
            turn_ms, free_at_ms = next_turn(self._free_at_ms.get(operation, 0), now_ms, interval_ms)
            if stop_at_ms is not None and turn_ms >= stop_at_ms:
                raise OutOfTime(f"no turn for {operation} is left in this run")
            self._free_at_ms[operation] = free_at_ms
        if turn_ms > now_ms:
            self._sleep((turn_ms - now_ms) / 1000)
        return turn_ms


class PacedRun:
    """Calls at a pace that is halved, for the rest of the run, where AWS throttles it all the same: the account's
    calls are not ours alone."""

    def __init__(self, pace: Pace, stop_at_ms: int | None) -> None:
        self._pace = pace
        self._stop_at_ms = stop_at_ms
        self._lock = Lock()
        self._slowed = 1
        self._slowed_at_ms = 0.0

    @property
    def interval_ms(self) -> float:
        """Between two calls of one operation."""
        return _INTERVAL_MS * self._slowed

    def client(self, client: Client) -> Client:
        """The client, whose paced operations wait for their turn and raise OutOfTime where there is none."""
        return _PacedClient(client, self)

    def call(self, operation: str, method: Callable[..., Any], *arguments: Any, **request: Any) -> Any:
        turn_ms = self._pace.wait(operation, self.interval_ms, self._stop_at_ms)
        try:
            return method(*arguments, **request)
        except ClientError as error:
            if error_code(error) in THROTTLED:
                self._slow_down(turn_ms)
            raise

    def _slow_down(self, turn_ms: float) -> None:
        """Once for all calls that had their turn before it: they are throttled for one and the same pace."""
        with self._lock:
            if turn_ms < self._slowed_at_ms or self._slowed >= _MOST_SLOWED:
                return
            self._slowed *= 2
            self._slowed_at_ms = max(self._pace.clock(), turn_ms + 1)


class _PacedClient:
    def __init__(self, client: Client, run: PacedRun) -> None:
        self._client = client
        self._run = run

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name not in PACED:
            return attribute
        return lambda *arguments, **request: self._run.call(name, attribute, *arguments, **request)
