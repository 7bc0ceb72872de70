"""Defects put into the service on purpose, one at a time. The simulation must find each of them within the seeds that
`make test` runs; one that finds nothing would prove nothing."""

from tests.simulation.mutations import increments, mechanics, restores, resuming
from tests.simulation.mutations.mutation import MUTATIONS, Mutation

__all__ = ["MUTATIONS", "Mutation", "increments", "mechanics", "restores", "resuming"]
