"""That the simulation can fail: it finds each defect put into the service on purpose, within the fixed seeds."""

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.runner import scenario_of, simulate
from tests.simulation.seeds import FIXED_SEEDS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_caught(mutation: Mutation):
    for seed in FIXED_SEEDS:
        if scenario_of(seed) in mutation.scenarios:
            with mutation.apply():
                result = simulate(seed)
            if result.violations:
                assert not any("the simulation itself failed" in text for text in result.violations)
                return
    pytest.fail(f"no fixed seed of {mutation.scenarios} finds it")
