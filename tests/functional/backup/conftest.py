import pytest

from tests.functional.backup.world import World


@pytest.fixture
def world(aws) -> World:
    return World()
