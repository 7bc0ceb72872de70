"""That the simulation can fail: it finds each defect put into the service on purpose, within the fixed seeds, or
a few more."""

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.runner import simulate
from tests.simulation.seeds import seeds_of, violations
from tests.thorough import thorough

_MORE_SEEDS = range(3001, 3041)  # for what rarely matters: which seeds meet it, each change of the service may shift


@pytest.mark.parametrize(
    "mutation", [*MUTATIONS[::3], *thorough([*MUTATIONS[1::3], *MUTATIONS[2::3]])], ids=lambda mutation: mutation.name
)
def test_a_mutation_is_caught(mutation: Mutation):
    for scenario in mutation.scenarios:
        results = []
        for seed in seeds_of(scenario):
            with mutation.apply():
                results.append(simulate(seed))
            if results[-1].violations:
                assert not any("the simulation itself failed" in text for text in results[-1].violations)
                return
        if violations(scenario, results):
            return
    if not any(_finds(mutation, seed) for seed in _MORE_SEEDS):
        pytest.fail(f"no fixed seed of {mutation.scenarios} finds it, and none of {_MORE_SEEDS}")


def _finds(mutation: Mutation, seed: int) -> bool:
    for scenario in mutation.scenarios:
        with mutation.apply():
            result = simulate(seed, scenario)
        if result.violations:
            return not any("the simulation itself failed" in text for text in result.violations)
    return False
