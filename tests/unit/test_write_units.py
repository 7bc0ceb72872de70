"""A share of write units, under a virtual clock that only waiting moves."""

import random

import pytest

from chalicelib.errors import OutOfTime
from chalicelib.restore.datapath.write_units import WriteUnits, units_of
from chalicelib.retry import Backoff
from tests.faults import FakeTime


def share_of(per_s: float | None, room_ms: int = 36_000_000) -> tuple[WriteUnits, FakeTime]:
    time = FakeTime()
    return WriteUnits(per_s, Backoff(time.clock, time.sleep, time.random, time.now_ms + room_ms), "orders"), time


def spend(units: WriteUnits, estimated: int, measured: float | None) -> None:
    with units.spending(estimated) as spending:
        spending.measured = measured


def most_in_windows(spent: list[tuple[int, float]], window_ms: int) -> float:
    return max(
        sum(units for at_ms, units in spent[i:] if at_ms <= begin_ms + window_ms)
        for i, (begin_ms, _) in enumerate(spent)
    )


@pytest.mark.parametrize(("size_bytes", "units"), [(0, 1), (1, 1), (1_024, 1), (1_025, 2), (409_600, 400)])
def test_a_unit_is_a_kilobyte_begun(size_bytes, units):
    assert units_of(size_bytes) == units


@pytest.mark.parametrize("factor", [0.5, 1, 3, 21])
@pytest.mark.parametrize("per_s", [40, 333.3, 5_000])
def test_over_any_time_no_more_is_consumed_than_the_share_and_one_second_of_it(per_s, factor):
    """`factor`: what indexes make of an estimate; twenty-one is a table with twenty of them."""
    units, time = share_of(per_s)
    rng = random.Random(7)
    spent: list[tuple[int, float]] = []
    for _ in range(120):
        estimated = rng.randrange(1, 26)
        for part in units.groups([1_000] * estimated):
            count = part.stop - part.start
            with units.spending(count) as spending:
                spent.append((time.now_ms, count * factor))
                spending.measured = count * factor
    first = max(0.0, spent[0][1] - per_s)  # what the first request took before anything was known of indexes
    for window_ms in (0, 1_000, 5_000, 30_000):
        assert most_in_windows(spent, window_ms) <= per_s * (1 + window_ms / 1000) + first + 1e-6
    elapsed_s = (spent[-1][0] - spent[0][0]) / 1000
    assert sum(consumed for _, consumed in spent) >= 0.9 * per_s * elapsed_s  # and the share is used
    assert units.consumed == pytest.approx(sum(consumed for _, consumed in spent))


def test_until_something_is_known_one_request_is_under_way():
    units, _ = share_of(1_000, room_ms=500)
    with units.spending(1), pytest.raises(OutOfTime), units.spending(1):
        pass
    units, _ = share_of(1_000)
    spend(units, 1, 5.0)
    with units.spending(1), units.spending(1):
        assert units.consumed == 5.0


def test_what_exceeds_an_estimate_is_owed():
    units, time = share_of(10)
    spend(units, 5, 5.0)
    spend(units, 5, 35.0)
    begin_ms = time.now_ms
    spend(units, 1, 1.0)
    assert time.now_ms - begin_ms >= 3_000


def test_what_was_not_consumed_is_put_back():
    units, time = share_of(10)
    spend(units, 1, 1.0)
    for _ in range(50):
        spend(units, 9, 0.0)  # refused
    assert units.consumed == 1.0
    assert time.slept_s == []


def test_a_request_without_an_answer_counts_as_estimated():
    units, _ = share_of(100)
    spend(units, 7, None)
    assert units.consumed == 7
    with pytest.raises(RuntimeError), units.spending(5):
        raise RuntimeError
    assert units.consumed == 12


def test_a_write_larger_than_a_second_of_the_share_is_made_when_the_bucket_is_full():
    units, time = share_of(50)
    spend(units, 400, 400.0)
    begin_ms = time.now_ms
    spend(units, 400, 400.0)
    assert 7_900 <= time.now_ms - begin_ms <= 8_100


def test_batches_are_cut_where_they_would_take_more_than_a_second():
    units, _ = share_of(10)
    assert list(units.groups([1_000] * 25)) == [slice(0, 10), slice(10, 20), slice(20, 25)]
    assert list(units.groups([100_000, 1, 1])) == [slice(0, 1), slice(1, 3)]
    spend(units, 1, 5.0)
    assert list(units.groups([1_000] * 5)) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_units_that_do_not_come_before_the_deadline_are_out_of_time():
    units, time = share_of(10, room_ms=2_000)
    spend(units, 10, 10.0)
    spend(units, 10, 10.0)
    with pytest.raises(OutOfTime, match="orders"):
        spend(units, 10, 10.0)
    assert time.slept_s


def test_without_a_limit_nothing_waits_and_nothing_is_counted():
    units, time = share_of(None)
    for _ in range(100):
        spend(units, 1_000_000, None)
    assert (units.consumed, time.slept_s, units.is_limited) == (0, [], False)
    assert list(units.groups([1_000] * 25)) == [slice(0, 25)]


@pytest.mark.parametrize("per_s", [0, -1])
def test_no_share_at_all_is_a_mistake(per_s):
    with pytest.raises(ValueError, match="write units"):
        share_of(per_s)
