"""The pace at which AWS is asked: no second holds more calls than are allowed, whoever asks, and none are wasted."""

import threading
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from chalicelib.backup.pacing import CALLS_PER_S, PACED, Pace, next_turn
from chalicelib.errors import OutOfTime
from tests.fake_exports import refusal

ALLOWED_PER_S = 10
INTERVAL_MS = 1000 / CALLS_PER_S


class ThreadsClock:
    """Of each thread its own time, which only its own sleep moves: as if all of them slept at once."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __call__(self) -> int:
        return int(self._now())

    def sleep(self, seconds: float) -> None:
        self._of_thread.now_ms = self._now() + seconds * 1000

    def _now(self) -> float:
        return getattr(self._of_thread, "now_ms", 1_000_000.0)


@pytest.fixture
def clock() -> ThreadsClock:
    return ThreadsClock()


@pytest.fixture
def pace(clock) -> Pace:
    return Pace(clock, clock.sleep)


def most_in_a_second(times_ms: list[float]) -> int:
    times_ms = sorted(times_ms)
    return max(bisect_left(times_ms, time_ms + 1000) - index for index, time_ms in enumerate(times_ms))


@pytest.mark.parametrize(
    ("free_at_ms", "now_ms", "turn_ms"),
    [(0, 500, 500), (500, 500, 500), (700, 500, 700), (300_500, 500, 300_500), (3_600_500, 500, 500)],
    ids=["long unused", "free right now", "taken till later", "taken till much later", "the clock was set back"],
)
def test_a_turn_is_now_or_when_the_one_before_allows_it(free_at_ms, now_ms, turn_ms):
    assert next_turn(free_at_ms, now_ms, 125) == (turn_ms, turn_ms + 125)


def test_no_second_holds_more_calls_than_are_allowed_however_many_threads_ask(pace, clock):
    made: list[float] = []
    run = pace.run()

    def describe() -> None:
        made.append(clock())

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: run.call("describe_export", describe), range(200)))
    assert len(made) == 200
    assert most_in_a_second(made) <= CALLS_PER_S < ALLOWED_PER_S
    assert max(made) - min(made) == pytest.approx(199 * INTERVAL_MS, abs=2)


def test_runs_after_each_other_do_not_begin_anew(pace, clock):
    made: list[float] = []
    for _ in range(5):
        pace.run().call("describe_export", lambda: made.append(clock()))
    assert made == [1_000_000 + number * INTERVAL_MS for number in range(5)]


def test_each_operation_has_a_pace_of_its_own(pace, clock):
    for operation in sorted(PACED):
        pace.run().call(operation, lambda: None)
    assert clock() == 1_000_000


def test_a_call_whose_turn_is_after_the_time_is_not_made_and_takes_nobodys_turn(pace, clock):
    hurried, patient = pace.run(stop_at_ms=1_000_200), pace.run()
    made: list[int] = []
    for _ in range(2):
        hurried.call("describe_export", lambda: made.append(clock()))
    for _ in range(3):
        with pytest.raises(OutOfTime):
            hurried.call("describe_export", lambda: made.append(clock()))
    patient.call("describe_export", lambda: made.append(clock()))
    assert made == [1_000_000, 1_000_125, 1_000_250]


def throttled() -> None:
    raise refusal("ThrottlingException", "DescribeExport")


def test_a_throttled_call_is_raised_and_halves_the_pace_for_the_rest_of_the_run(pace):
    run = pace.run()
    for slowed in (2, 4, 8, 16, 16):
        with pytest.raises(ClientError):
            run.call("describe_export", throttled)
        assert run.interval_ms == INTERVAL_MS * slowed
    assert pace.run().interval_ms == INTERVAL_MS


def test_calls_that_were_under_way_together_halve_it_once():
    now_ms = 1_000_000

    def answer_late() -> None:
        nonlocal now_ms
        now_ms += 2_000

    run = Pace(lambda: now_ms, lambda seconds: None).run()
    together = threading.Barrier(10, action=answer_late)

    def all_throttled() -> None:
        together.wait()
        throttled()

    def ask(_: int) -> None:
        with pytest.raises(ClientError):
            run.call("describe_export", all_throttled)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(ask, range(10)))
    assert run.interval_ms == INTERVAL_MS * 2
    with pytest.raises(ClientError):
        run.call("describe_time_to_live", throttled)
    assert run.interval_ms == INTERVAL_MS * 4


@pytest.mark.parametrize("code", ["AccessDeniedException", "LimitExceededException", "InternalServerError"])
def test_what_is_no_throttling_leaves_the_pace(pace, code):
    run = pace.run()

    def fail() -> None:
        raise refusal(code, "DescribeExport")

    with pytest.raises(ClientError):
        run.call("describe_export", fail)
    assert run.interval_ms == INTERVAL_MS


def test_a_paced_client_waits_only_where_aws_is_slow(pace, clock):
    asked: list[tuple[str, int]] = []

    def operation(name):
        def call(**request):
            asked.append((name, clock()))
            return request

        return call

    client = SimpleNamespace(
        describe_table=operation("describe_table"), describe_export=operation("describe_export"), meta="meta"
    )
    paced = pace.run().client(client)
    for _ in range(2):
        assert paced.describe_table(TableName="orders") == {"TableName": "orders"}
        paced.describe_export(ExportArn="arn")
    paced.describe_table(TableName="orders")
    assert paced.meta == "meta"
    assert [at_ms - 1_000_000 for name, at_ms in asked if name == "describe_table"] == [0, 0, 125]
    assert [at_ms - 1_000_000 for name, at_ms in asked if name == "describe_export"] == [0, 125]
