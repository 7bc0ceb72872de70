import pytest

from tests.functional.telling.world import TellingWorld


@pytest.fixture
def world(aws) -> TellingWorld:
    return TellingWorld()
