"""One run: a scenario, a seed, faults for a while, then none, until everything has come to its end."""

import hashlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from unittest.mock import patch

from tests.simulation.faults import NoFaults, SeededFaults
from tests.simulation.scenarios import SCENARIOS, Scenario
from tests.simulation.world import World

_FAULTY_MINUTES = (2, 10, 45)
_QUIET_LIMIT_MINUTES = 30 * 60
_AFTERMATH_MINUTES = 40  # late messages and ticks, after the end
_LOOK_EVERY_US = 1_000_000


@dataclass
class Result:
    scenario: str
    seed: int
    violations: list[str]
    outcomes: list[str]
    trace: list[str]
    calls: int
    kills: int
    counts: Counter[str]
    injected: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    work_s: float = 0.0  # of it, until all that was begun had ended

    @property
    def digest(self) -> str:
        """The same for the same course of events."""
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()


def scenario_of(seed: int) -> str:
    """They take turns."""
    names = sorted(SCENARIOS)
    return names[seed % len(names)]


def simulate(seed: int, scenario: str | None = None, *, with_trace: bool = False) -> Result:
    """One seed; it chooses the scenario too, unless one is named."""
    random = Random(f"run-{seed}")
    name = scenario or scenario_of(seed)
    faults = SeededFaults(Random(f"faults-{seed}"))
    return run_scenario(name, seed, faults, random.choice(_FAULTY_MINUTES), with_trace=with_trace)


def run_scenario(name: str, seed: int, faults: NoFaults, faulty_minutes: float, *, with_trace: bool = False) -> Result:
    kind = SCENARIOS[name]
    world = World(seed, faults, kind.configured, environ=kind.environ)
    with world.in_place(kind.threads), ExitStack() as patches:
        for module, constant, value in kind.constants:
            patches.enter_context(patch.object(module, constant, value))
        scenario = kind(world, Random(f"scenario-{seed}"))
        return finish(world, scenario, name, seed, kind.faulty_minutes or faulty_minutes, with_trace=with_trace)


def finish(
    world: World, scenario: Scenario, name: str, seed: int, faulty_minutes: float, *, with_trace: bool
) -> Result:
    """Runs a world that is in place, to its end, and judges it. A single fault is no excuse for one that fails."""
    scenario.verdict.tolerates_failures = isinstance(world.faults, SeededFaults)
    started_us = world.scheduler.now_us
    ended_us = _run(world, scenario, faulty_minutes)
    if not world.watch.violations:
        scenario.judge()
    return Result(
        scenario=name,
        seed=seed,
        violations=world.watch.violations,
        outcomes=scenario.verdict.outcomes,
        trace=list(world.trace.lines()) if with_trace or world.watch.violations else [],
        calls=len(world.trace.entries),
        kills=world.lambdas.kills,
        counts=world.counts,
        injected=Counter({kind.value: count for kind, count in world.faults.injected.items()}),
        virtual_s=(world.scheduler.now_us - started_us) / 1e6,
        work_s=(ended_us - started_us) / 1e6,
    )


def _run(world: World, scenario: Scenario, faulty_minutes: float) -> int:
    """When all that was begun had ended, in microseconds."""
    end = _End(world, scenario)
    scenario.begin()
    world.bus.start_ticking()
    world.run(end.is_reached, faulty_minutes)
    world.faults.stop()
    if end.what_is_open():
        # The schedule's next run: what the first one could not begin at all, it begins.
        if scenario.schedules:
            world.bus.schedule_exports(0)
        world.run(end.is_reached, _QUIET_LIMIT_MINUTES)
    ended_us = world.scheduler.now_us
    if not world.watch.violations:
        if end.what_is_open():
            world.watch.violated("it does not come to an end: " + end.what_is_open())
        world.run(lambda: False, _AFTERMATH_MINUTES)
    _surface_defects(world)
    return ended_us


def _surface_defects(world: World) -> None:
    for task in world.operator_tasks:
        if task.error is not None:
            world.watch.violated(f"the simulation itself failed: {task.error!r}")


class _End:
    """Whether all that was begun has ended; looked at once a second of virtual time."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._next_look_us = 0
        self._started_us = world.scheduler.now_us

    def is_reached(self) -> bool:
        if self._world.scheduler.now_us < self._next_look_us:
            return False
        self._next_look_us = self._world.scheduler.now_us + _LOOK_EVERY_US
        return not self.what_is_open()

    def what_is_open(self) -> str:
        open_rows = [key[0] for key, item in self._world.ledger.items.items() if "open_kind" in item]
        locks = [key[0] for key in self._world.ledger.items if key[0].startswith("LOCK#")]
        missing = [
            name
            for name in self._scenario.verdict.sets
            if f"native-exports/{name}/manifest.json" not in self._world.s3.objects
        ]
        elapsed_s = (self._world.scheduler.now_us - self._started_us) / 1e6
        missing += [name for name, until_s in self._scenario.verdict.late.items() if elapsed_s < until_s]
        busy = ["operators"] if self._scenario.busy else []
        return ", ".join([*open_rows, *locks, *missing, *busy])
