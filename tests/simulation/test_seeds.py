"""The fixed seeds, the crash points, and that a run is the same each time."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.crash_points import CrashPoint, crash, crash_points
from tests.simulation.faults import POINTS, Fault
from tests.simulation.runner import simulate
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.seeds import FIXED_SEEDS

MUST_END_WHOLE = ("clear-and-restore", "cycle", "dry-run", "long-chain", "restore-one", "three-at-once")
_BATCHES = 5
_EVERY = 61  # of the crash points; a prime, so that all kinds of kills and functions are among them


@pytest.mark.parametrize("batch", range(_BATCHES))
def test_fixed_seeds(batch):
    """One seed again, with all that happened: make simulate SEEDS=<seed>."""
    outcomes: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    scenarios = set()
    for seed in FIXED_SEEDS[batch::_BATCHES]:
        result = simulate(seed)
        assert result.violations == [], "\n".join([*result.trace[-60:], f"seed {seed}: {result.violations[0]}"])
        if result.scenario in MUST_END_WHOLE:
            outcomes.update(result.outcomes)
        injected += result.injected
        scenarios.add(result.scenario)
    assert scenarios == set(SCENARIOS)
    assert set(injected) == {kind.value for kind in Fault}
    # Faults delay, and that is no excuse: an honest failure now and then is.
    assert outcomes["COMPLETED"] >= sum(outcomes.values()) * 0.9


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
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
        "from tests.simulation.runner import simulate\nfor s in (3, 7, 8): print(simulate(s, with_trace=True).digest)"
    )
    command = [sys.executable, "-c", script]
    environ = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split()
    assert there == here
    assert len(set(here)) == 3
