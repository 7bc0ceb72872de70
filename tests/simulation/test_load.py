"""A tenth of the loads that docs/RELIABILITY.md has figures of: nothing is lost, whatever comes at once."""

import pytest

from tests.simulation.load import LOADS, Size, load

SMALL = Size(shards=60, workers=24, copies=2, restores=100)


@pytest.mark.parametrize("kind", LOADS, ids=lambda kind: kind.__name__)
def test_nothing_is_lost_when_many_come_at_once(kind):
    result = load(kind, SMALL)
    assert result.violations == []
    assert set(result.outcomes) == {"COMPLETED"}
