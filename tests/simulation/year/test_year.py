"""A year of days ends well, and would not if the service had one of the defects that are put into it here."""

import re

import pytest

from tests.simulation.year.mutations import MUTATIONS, YearMutation
from tests.simulation.year.plan import HARSH
from tests.simulation.year.story import Year, YearResult, live, live_harshly
from tests.thorough import thorough

_YEAR_SEED = 1
_LONGER_DAYS = 400
_WEEKS_SEEDS = (1, 2, 3)
_WEEKS_DAYS = 36


def _told(result: YearResult) -> str:
    return "\n".join([*result.trace[-60:], *result.violations])


def test_a_year():
    """Another one: python -m tests.simulation year 7."""
    result = live(_YEAR_SEED)
    assert result.violations == [], _told(result)
    assert result.counts["times judged"] > 60
    assert result.counts["runs of reconcile in vain"] > 500
    assert result.counts["runs of the schedule"] > 300
    assert result.removed_sets > 250
    assert result.deleted_backups > 1000
    assert result.tables["COMPLETED"] > 1500
    assert result.tables["FAILED"] > 40
    assert result.repeated > 0
    assert {"anew", "bucket", "quota", "reset"} <= result.mishaps.keys()
    assert len(result.injected) > 15


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_longer_years(seed):
    result = live(seed, _LONGER_DAYS)
    assert result.violations == [], _told(result)


@pytest.mark.parametrize("seed", [_WEEKS_SEEDS[0], *thorough(_WEEKS_SEEDS[1:])])
def test_harsh_weeks(seed):
    """What the defects below are put into."""
    result = live_harshly(seed, _WEEKS_DAYS)
    assert result.violations == [], _told(result)


def test_minutes_that_are_left_out_are_not_missed():
    """The same days with reconcile in each of their minutes come to as good an end."""
    result = Year(4, 4, HARSH, looks_every_minute=True).run()
    assert result.violations == [], _told(result)
    assert result.counts["minutes left out"] == 0
    assert result.counts["ticks"] > 3 * 24 * 60


@pytest.mark.parametrize(
    "mutation",
    [*MUTATIONS[::4], *thorough([each for each in MUTATIONS if each not in MUTATIONS[::4]])],
    ids=lambda mutation: mutation.name,
)
def test_a_defect_is_found(mutation: YearMutation):
    seen = []
    for seed in _WEEKS_SEEDS:
        with mutation.apply():
            result = live_harshly(seed, _WEEKS_DAYS)
        seen += result.violations
        if any(re.search(mutation.found, text) for text in result.violations):
            return
    pytest.fail(f"none of the seeds {_WEEKS_SEEDS} finds it, but: {seen}")
