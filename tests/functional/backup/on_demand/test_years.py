"""Months, and with --thorough a year, of daily runs and pruning: exactly the days of the retention are there, and never
too few."""

import pytest

from chalicelib.clock import iso
from tests.fake_exports import refusal
from tests.functional.backup.on_demand.world import World
from tests.functional.backup.world import HOUR_MS

DAY_MS = 24 * HOUR_MS
DAYS, MINIMUM = 7, 4
REFUSED = range(20, 55)  # five weeks
DENIED = range(70, 73)


def has_no_luck(day: int) -> bool:
    return day in REFUSED or day in DENIED


def expected(day: int) -> list[int]:
    """Days of the backups that are there after the run and the pruning of a day: those of the last seven, and where
    fewer than four of them are, all that were there the last time it was otherwise."""
    made = [each for each in range(day + 1) if not has_no_luck(each)]
    floor = max((min_kept(each) for each in range(day + 1)), default=0)
    return [each for each in made if each >= floor]


def min_kept(day: int) -> int:
    """The oldest day that pruning on a day must leave."""
    young = [each for each in range(max(0, day - DAYS + 1), day + 1) if not has_no_luck(each)]
    return day - DAYS + 1 if len(young) >= MINIMUM else 0


@pytest.mark.parametrize("days", [pytest.param(days, marks=pytest.mark.thorough) for days in (90, 365)])
def test_day_after_day(aws, days):
    environ = {"ON_DEMAND_RETENTION_DAYS": str(DAYS), "RETENTION_MINIMUM": str(MINIMUM)}
    world = World(("orders",), environ=environ)
    start_ms = world.clock()
    for day in range(days):
        world.clock.now_ms = start_ms + day * DAY_MS
        if has_no_luck(day):
            code = "LimitExceededException" if day in REFUSED else "AccessDeniedException"
            world.refuse("create_backup", refusal(code, "CreateBackup"))
        world.start(iso(world.clock())[:10])
        world.reconcile()
        world.clock.advance(4 * HOUR_MS)
        world.prune()
        world.clock.advance(19 * HOUR_MS + 58 * 60_000)
        world.reconcile(3)  # the last run's 24 hours are over: what could not be made is given up
        world.mend()
        names = [name.removeprefix("tablevault-tests-scheduled-") for name in world.names("orders")]
        assert names == [iso(start_ms + each * DAY_MS)[:10] for each in expected(day)], day
    # Of runs that made nothing, and of those whose backups are gone, nothing is left in the ledger but the last week's.
    runs = world.on_demand.list_page(1000, None)["backups"]
    assert len(runs) <= DAYS + 1
    assert all(run["status"] in ("COMPLETE", "PARTIAL") for run in runs)
