"""Years of daily sets with weekly full exports, compared on every day with the policy written down once more."""

from datetime import date, timedelta

import pytest

from chalicelib.backup.retention.found import FoundSet, FoundStatus
from chalicelib.backup.retention.sets import decide_sets
from tests.unit.backup.histories import ms
from tests.unit.backup.retention_cases import policy

FIRST = date(2026, 1, 1)
OF_FULLS = 2  # Wednesday: chains run across weekends and ends of months


def _full_of(day: date) -> date:
    """The full export that the increment of a day builds on; the first day's is one in any case."""
    return max(FIRST, day - timedelta(days=(day.weekday() - OF_FULLS) % 7))


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _daily_set(day: date) -> FoundSet:
    builds_on = tuple(each.isoformat() for each in _days(_full_of(day), day)[:-1])
    return FoundSet(backup_date=day.isoformat(), status=FoundStatus.COMPLETE, tables={"orders": builds_on})


def _by_the_policy(today: date, weeks: int, months: int) -> set[str]:
    """Independent of the code: 30 days, the last day of each week and of each month, and each one's week up to it."""
    run = _days(FIRST, today)
    last_of_week = sorted({each.isocalendar()[:2]: each for each in run}.values())
    last_of_month = sorted({each.replace(day=1): each for each in run}.values())
    wanted = {each for each in run if (today - each).days <= 30}
    wanted |= set(last_of_week[-weeks:] if weeks else ())
    wanted |= set(last_of_month[-months:] if months else ())
    return {link.isoformat() for each in wanted for link in _days(_full_of(each), each)}


@pytest.mark.parametrize(("weeks", "months"), [(0, 0), (8, 0), (0, 4), (8, 12)])
def test_a_year_of_daily_runs_keeps_exactly_what_the_policy_says_on_each_day(weeks, months):
    by = policy(30, 7, weekly=weeks, monthly=months)
    stands: dict[str, FoundSet] = {}
    for today in _days(FIRST, FIRST + timedelta(days=400)):
        stands[today.isoformat()] = _daily_set(today)
        plan = decide_sets(stands.values(), by, ms(f"{today} 03:00:00"))
        for name in plan.removals:
            del stands[name]
        assert stands.keys() == _by_the_policy(today, weeks, months), today


def test_when_the_schedule_stops_the_newest_chain_and_the_minimum_stay_for_ever():
    sets = [_daily_set(each) for each in _days(FIRST, date(2026, 3, 31))]
    plan = decide_sets(sets, policy(30, 2), ms("2036-01-01 03:00:00"))
    # 2026-03-31 is a Tuesday: its full export was on the Wednesday before.
    assert plan.kept == tuple(each.isoformat() for each in _days(date(2026, 3, 25), date(2026, 3, 31)))
