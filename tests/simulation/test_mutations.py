"""That the simulation can fail: it finds each defect put into the service on purpose, within the fixed seeds."""

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.runner import simulate
from tests.simulation.seeds import seeds_of, violations


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
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
    pytest.fail(f"no fixed seed of {mutation.scenarios} finds it")
