"""The seeds that `make test` runs, and what they come to together. Scenarios take turns, so each has as many."""

from collections import Counter
from collections.abc import Iterable

from tests.simulation.runner import Result, scenario_of
from tests.simulation.scenarios import SCENARIOS

_SEEDS_OF_EACH = 12
FIXED_SEEDS = tuple(range(1, _SEEDS_OF_EACH * len(SCENARIOS) + 1))
# Faults delay, and that is no excuse: an honest failure now and then is, and most must end as they would without.
_USUAL_SHARE = 0.75
_PARTIAL = ("damaged-file", "poison", "replaced", "restore-many", "without-reconcile")
_MIXED = (
    *("daily-set", "export-retries", "lost-exports", "lost-exports-beyond-tokens", "lost-ledger", "plan-digest"),
    *("incremental-days", "verified"),
)
_USUAL_END = {
    **{name: "COMPLETED" for name in SCENARIOS if name not in _MIXED and not name.startswith("cancelled-in-")},
    **dict.fromkeys(_PARTIAL, "PARTIAL"),
    **dict.fromkeys(("blocked", "create-taken"), "FAILED"),
}


def seeds_of(scenario: str) -> list[int]:
    return [seed for seed in FIXED_SEEDS if scenario_of(seed) == scenario]


def violations(scenario: str, results: Iterable[Result]) -> list[str]:
    """Of the runs one by one, and of all of them together."""
    outcomes: Counter[str] = Counter()
    found = []
    for result in results:
        outcomes.update(result.outcomes)
        if result.violations:
            last = "\n".join(result.trace[-60:])
            found.append(f"{last}\nseed {result.seed}: {result.violations[0]}")
    usual = _USUAL_END.get(scenario)
    if usual is not None and outcomes[usual] < outcomes.total() * _USUAL_SHARE:
        found.append(f"{scenario} ended as {dict(outcomes)}, it should nearly always be {usual}")
    return found
