"""When a backup is as of: the rules over time zones, short months and clock changes."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.timing import RecoveryWindow, backup_date_of, requested_export_time, usable_export_time
from chalicelib.settings import AsOf

BERLIN = "Europe/Berlin"
HOUR = 3600


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def text(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize(
    ("now", "timezone", "by_hand", "name"),
    [
        ("2026-11-21 01:00:00", "UTC", False, "2026-11-21"),
        ("2026-11-20 23:30:00", BERLIN, False, "2026-11-21"),
        ("2026-11-21 01:00:00", "America/Los_Angeles", False, "2026-11-20"),
        ("2026-11-20 23:30:07.999", BERLIN, True, "2026-11-20T233007Z"),
    ],
)
def test_sets_are_named_by_the_schedules_day_and_by_the_second_in_utc_by_hand(now, timezone, by_hand, name):
    assert backup_date_of(ms(now), AsOf(timezone=timezone), by_hand=by_hand) == name


def test_names_sort_by_time():
    names = [
        backup_date_of(ms("2026-11-21 01:00:00"), AsOf(), by_hand=False),
        backup_date_of(ms("2026-11-21 09:30:00"), AsOf(), by_hand=True),
        backup_date_of(ms("2026-11-22 01:00:00"), AsOf(), by_hand=False),
    ]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("now", "as_of", "expected"),
    [
        # Nothing asked for: now, and no time is sent.
        ("2026-11-21 01:00:20", AsOf(), None),
        # A time of the day: today's, or yesterday's while today's is still to come.
        ("2026-11-21 01:00:20", AsOf(None, 1 * HOUR), "2026-11-21 01:00:00"),
        ("2026-11-21 01:00:00", AsOf(None, 1 * HOUR), "2026-11-21 01:00:00"),
        ("2026-11-21 01:00:20", AsOf(None, 2 * HOUR), "2026-11-20 02:00:00"),
        ("2026-01-01 01:00:00", AsOf(None, 23 * HOUR + 59 * 60 + 59), "2025-12-31 23:59:59"),
        # A day of the month: this month's, or the last month's while this one's is still to come.
        ("2026-11-21 01:00:20", AsOf(15, 0), "2026-11-15 00:00:00"),
        ("2026-11-21 01:00:20", AsOf(25, 0), "2026-10-25 00:00:00"),
        ("2026-01-05 01:00:20", AsOf(25, 0), "2025-12-25 00:00:00"),
        ("2026-11-21 01:00:20", AsOf(21, 2 * HOUR), "2026-10-21 02:00:00"),
        # A day without a time: at the time of the run. Today is then now.
        ("2026-11-21 01:00:20", AsOf(15), "2026-11-15 01:00:20"),
        ("2026-11-21 01:00:20.500", AsOf(21), None),
        # A day the month lacks is its last one.
        ("2026-03-05 01:00:00", AsOf(31, 0), "2026-02-28 00:00:00"),
        ("2028-03-05 01:00:00", AsOf(31, 0), "2028-02-29 00:00:00"),
        ("2026-02-28 01:00:00", AsOf(31, 0), "2026-02-28 00:00:00"),
        ("2026-05-01 01:00:00", AsOf(31, 0), "2026-04-30 00:00:00"),
        # In the schedule's time zone.
        ("2026-11-20 23:30:00", AsOf(None, 0, BERLIN), "2026-11-20 23:00:00"),
        ("2026-11-20 22:30:00", AsOf(None, 0, BERLIN), "2026-11-19 23:00:00"),
        ("2026-06-20 22:30:00", AsOf(None, 0, BERLIN), "2026-06-20 22:00:00"),
        # 2026-03-29 02:30 does not exist in Berlin: moved on by the gap, to 03:30 local.
        ("2026-03-29 12:00:00", AsOf(None, 2 * HOUR + 1800, BERLIN), "2026-03-29 01:30:00"),
        ("2026-03-29 01:10:00", AsOf(None, 2 * HOUR + 1800, BERLIN), "2026-03-28 01:30:00"),
        # 2026-10-25 02:30 comes twice in Berlin: the later one that has passed.
        ("2026-10-25 12:00:00", AsOf(None, 2 * HOUR + 1800, BERLIN), "2026-10-25 01:30:00"),
        ("2026-10-25 00:45:00", AsOf(None, 2 * HOUR + 1800, BERLIN), "2026-10-25 00:30:00"),
        ("2026-10-25 00:15:00", AsOf(None, 2 * HOUR + 1800, BERLIN), "2026-10-24 00:30:00"),
    ],
)
def test_as_of_is_the_latest_such_moment_that_has_passed(now, as_of, expected):
    assert text(requested_export_time(ms(now), as_of)) == expected


@given(
    st.integers(min_value=ms("2020-01-01 00:00:00"), max_value=ms("2040-01-01 00:00:00")),
    st.none() | st.integers(1, 31),
    st.none() | st.integers(0, 86_399),
    st.sampled_from(["UTC", BERLIN, "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_as_of_is_never_in_the_future_and_at_most_a_period_ago(now_ms, day, second_of_day, timezone):
    found = requested_export_time(now_ms, AsOf(day, second_of_day, timezone))
    if found is not None:
        age_days = (now_ms - found) / 86_400_000
        assert 0 <= age_days <= (2.2 if day is None else 33)


@pytest.mark.parametrize(
    ("requested", "earliest", "latest", "expected"),
    [
        (None, 0, 100_000, None),
        (50_000, 0, 100_000, 50_000),
        (50_999, 0, 100_000, 50_000),
        (5_000, 10_001, 100_000, 11_000),
        (5_000, 10_000, 100_000, 10_000),
        (200_000, 0, 100_999, 100_000),
        (200_000, None, None, 200_000),
        (50_000, 10_100, 10_900, None),
        (5_000, 10_100, 10_900, None),
    ],
)
def test_the_used_time_is_whole_seconds_inside_the_recovery_window(requested, earliest, latest, expected):
    assert usable_export_time(requested, RecoveryWindow(earliest, latest)) == expected


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_the_used_time_is_never_outside_the_window(requested, earliest, length):
    latest = earliest + length
    used = usable_export_time(requested, RecoveryWindow(earliest, latest))
    assert used is None or (earliest <= used <= latest and used % 1000 == 0)
