from chalicelib.retry import Backoff
from tests.faults import FakeTime


def backoff(time: FakeTime, room_ms: int = 60_000, random=None) -> Backoff:
    return Backoff(time.clock, time.sleep, random or time.random, time.now_ms + room_ms, base_ms=100, cap_ms=1_000)


def test_delays_are_drawn_from_nothing_up_to_a_ceiling_that_doubles_to_the_cap():
    time = FakeTime()
    assert [backoff(time, random=lambda: 0.0).delay_ms(retry) for retry in (0, 3, 9)] == [0, 0, 0]
    assert [backoff(time, random=lambda: 0.999).delay_ms(retry) for retry in range(5)] == [99, 199, 399, 799, 999]


def test_a_very_late_retry_still_waits_only_the_cap():
    assert backoff(FakeTime()).delay_ms(100_000) == 500


def test_waiting_sleeps_the_delay_in_seconds():
    time = FakeTime()
    assert backoff(time).wait(1)
    assert time.slept_s == [0.1]


def test_no_wait_reaches_the_deadline():
    time = FakeTime()
    work = backoff(time, room_ms=1_000)
    while work.wait(5):
        pass
    assert time.slept_s == [0.5]
    assert work.remaining_ms() == 500
