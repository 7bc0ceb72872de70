"""One sandbox with the app deployed into it, for all tests of this folder: what `make sandbox` keeps up."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from sandbox.api import Api
from sandbox.sandbox import REPOSITORY, STAGE, Sandbox

Found = TypeVar("Found")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its stage selects the tables that tests make, too: none is there yet when the schedule fires in
    test_deployed_app."""
    copy = copy_project(tmp_path_factory.mktemp("project"))
    config = copy / ".chalice" / "config.json"
    content = json.loads(config.read_text())
    environment = content["stages"][STAGE]["environment_variables"]
    environment["DYNAMODB_TABLES"] = json.dumps([*json.loads(environment["DYNAMODB_TABLES"]), "e2e-*"])
    config.write_text(json.dumps(content))
    return copy


def copy_project(copy: Path) -> Path:
    """A copy of what is deployed, so that a sandbox that runs beside the tests keeps its own `.sandbox/`."""
    for name in ("app.py", "requirements.txt"):
        shutil.copy(REPOSITORY / name, copy / name)
    for name in ("chalicelib", ".chalice"):
        ignored = shutil.ignore_patterns("deployed", "deployments", "__pycache__")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    return copy


@pytest.fixture(scope="session")
def sandbox(project: Path) -> Iterator[Sandbox]:
    with Sandbox(project_dir=project, aws_config=project / ".sandbox" / "aws-config") as running:
        yield running


@pytest.fixture(scope="session")
def api(sandbox: Sandbox) -> Api:
    return sandbox.api


def wait_for(what: str, look: Callable[[], Found | None], *, seconds: float = 60) -> Found:
    """Polls what another process is doing; there is no event to wait for over HTTP."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {seconds} s")
