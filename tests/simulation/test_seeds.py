"""The fixed seeds, the crash points, and that a run is the same each time."""

import os
import subprocess
import sys

import pytest

from tests.simulation.crash_points import CrashPoint, crash, crash_points
from tests.simulation.faults import AT_CALLS, POINTS, Fault
from tests.simulation.runner import simulate
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.seeds import seeds_of, violations
from tests.thorough import thorough

_NOT_MET = 2  # kinds of faults that a scenario's few seeds may lack
_EVERY = 613  # of the crash points; a prime, so that all kinds of kills and functions are among them


_NAMES = sorted(SCENARIOS)


@pytest.mark.parametrize("scenario", _NAMES)
def test_fixed_seeds(scenario):
    """One seed again, with all that happened: make simulate SEEDS=<seed>."""
    results = [simulate(seed) for seed in seeds_of(scenario)]
    assert violations(scenario, results) == []
    injected = {kind for result in results for kind in result.injected}
    assert len({kind.value for kind in AT_CALLS} - injected) <= _NOT_MET


@pytest.mark.parametrize("scenario", [*_NAMES[::3], *thorough([*_NAMES[1::3], *_NAMES[2::3]])])
def test_crash_points(scenario):
    """A part of them, spread over all; every single one: make crashpoints."""
    points = list(crash_points([scenario]))
    assert {point.kind for point in points} == set(POINTS)
    for point in points[::_EVERY]:
        result = crash(point)
        assert result.violations == [], f"again with: make crashpoints POINT={point}"


def test_a_crash_point_can_be_named_again():
    point = CrashPoint("restore-one", "restore_shards", 17, Fault.KILLED_AFTER)
    assert CrashPoint.parse(str(point)) == point
    assert crash(point).injected == {Fault.KILLED_AFTER.value: 1}


def test_a_seed_tells_the_same_story_in_every_process():
    here = [simulate(seed, with_trace=True).digest for seed in (3, 7, 8)]
    script = (
        "from tests.simulation.runner import simulate\n"
        "for seed in (3, 7, 8): print(simulate(seed, with_trace=True).digest)"
    )
    command = [sys.executable, "-c", script]
    environ = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split()
    assert there == here
    assert len(set(here)) == 3
