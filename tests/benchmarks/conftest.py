"""Benchmarks silence the service's log for their process, which tests of other things share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _level_put_back() -> Iterator[None]:
    logger = logging.getLogger("tablevault")
    level = logger.level
    yield
    logger.setLevel(level)
