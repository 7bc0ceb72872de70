"""How tests are spread over processes: those that share one emulator stay together, all others go anywhere."""

from pathlib import Path

import pytest

TOGETHER = ("e2e", "sandbox")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        if folder in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(folder))
