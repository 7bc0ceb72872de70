import pytest

from tests.functional.backup.on_demand.world import World


@pytest.fixture
def world(aws) -> World:
    return World()
