"""Every crash point: each function of each scenario killed at its 1st, 2nd, 3rd … call to AWS, before and after the
call's effect, until it makes no further call; and each call's answer lost. Nothing else fails, all must converge."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.simulation.faults import POINTS, CountCalls, FailAt, Fault
from tests.simulation.runner import Result, run_scenario

FAULTY_MINUTES = 60.0
_SEED = 7


@dataclass(frozen=True)
class CrashPoint:
    scenario: str
    function: str
    call_number: int
    kind: Fault

    def __str__(self) -> str:
        return f"{self.scenario}/{self.function}/{self.call_number}/{self.kind.name}"

    @classmethod
    def parse(cls, text: str) -> "CrashPoint":
        """From what `str` gives. Raises ValueError."""
        scenario, function, number, kind = text.split("/")
        return cls(scenario, function, int(number), Fault[kind])


def crash_points(scenarios: Iterable[str]) -> Iterator[CrashPoint]:
    """All of these scenarios, by a run of each in which nothing fails."""
    for scenario in scenarios:
        counted = CountCalls()
        run_scenario(scenario, _SEED, counted, FAULTY_MINUTES)
        for function, calls in sorted(counted.calls.items()):
            for number in range(1, calls + 1):
                for kind in POINTS:
                    yield CrashPoint(scenario, function, number, kind)


def crash(point: CrashPoint, *, with_trace: bool = False) -> Result:
    faults = FailAt(point.function, point.call_number, point.kind)
    result = run_scenario(point.scenario, _SEED, faults, FAULTY_MINUTES, with_trace=with_trace)
    if not faults.injected and not result.violations:
        result.violations.append(f"{point}: the function made only {faults.calls} calls, so nothing failed")
    return result
