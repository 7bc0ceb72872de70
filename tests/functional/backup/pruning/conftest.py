import pytest

from tests.functional.backup.pruning.world import PruningWorld
from tests.thorough import thorough


@pytest.fixture(params=[*thorough([False]), True], ids=["unversioned", "versioned"])
def world(aws, request) -> PruningWorld:
    return PruningWorld(versioned=request.param)


@pytest.fixture
def plain(aws) -> PruningWorld:
    """Where it does not matter whether the bucket has versions."""
    return PruningWorld()
