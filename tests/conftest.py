"""Which cases run, and how they are spread over processes: those that share one emulator stay together, all others go
anywhere."""

from pathlib import Path

import pytest
from hypothesis import settings

TOGETHER = ("e2e", "sandbox")


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
