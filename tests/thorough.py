"""Cases beside those that every run takes: more of the same, at other places. `make thorough` runs them too."""

from collections.abc import Iterable
from typing import Any

import pytest


def thorough(values: Iterable[Any]) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.thorough) for value in values]
