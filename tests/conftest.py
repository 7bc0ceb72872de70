"""Which cases run, and how they are spread over processes: those that share one emulator stay together, all others go
anywhere."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from moto.core.serialize import ResponseSerializer

TOGETHER = ("e2e", "sandbox")
_ATTRIBUTE_TYPES = frozenset(("S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"))


def _answer_attribute_values_at_once() -> None:
    """moto asks each attribute value in an answer for all ten types there are, by every alias that a name may have: a
    quarter of a functional test. One that is of another type is known at a glance."""
    get_value = ResponseSerializer.get_value

    def get_at_once(self: ResponseSerializer, value: Any, key: str, shape: Any) -> Any:
        if type(value) is dict and len(value) == 1 and key in _ATTRIBUTE_TYPES and not value.keys() - _ATTRIBUTE_TYPES:
            return value.get(key)
        return get_value(self, value, key, shape)

    ResponseSerializer.get_value = get_at_once  # type: ignore[method-assign]  # moto has no hook: it is replaced


_answer_attribute_values_at_once()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="run the cases that are marked thorough too")


def pytest_configure(config: pytest.Config) -> None:
    """The same examples every time; with --thorough others each time, which a failure prints."""
    settings.register_profile("gate", derandomize=True, deadline=None)
    settings.register_profile("thorough", deadline=None, print_blob=True)
    settings.load_profile("thorough" if config.getoption("--thorough") else "gate")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        if folder in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(folder))
    if not config.getoption("--thorough"):
        left_out = {item for item in items if item.get_closest_marker("thorough")}
        config.hook.pytest_deselected(items=sorted(left_out, key=lambda item: item.nodeid))
        items[:] = [item for item in items if item not in left_out]
