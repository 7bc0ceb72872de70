"""A sandbox of its own, with marked tables: policies are taken apart in it, which no other test should meet."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.sandbox import Sandbox
from tests.e2e.conftest import copy_project
from tests.e2e.privilege import marked, whole_run
from tests.e2e.privilege.stand import Stand


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    project = copy_project(tmp_path_factory.mktemp("marked-project"))
    config_path = Path(project / ".chalice" / "config.json")
    config = json.loads(config_path.read_text())
    another_day = time.strftime("%A", time.gmtime(time.time() + 3 * 86_400))
    config["stages"]["sandbox"]["environment_variables"] |= {
        "DYNAMODB_TABLES": json.dumps(marked.BACKED_UP),
        "EXPORT_STRATEGY": "weekly-full",
        "FULL_EXPORT_DAY": another_day,
        "SAFETY_BACKUP_RETENTION_DAYS": "30",
    }
    config_path.write_text(json.dumps(config))
    with Sandbox(project_dir=project) as running:
        stand = Stand(running)
        stand.stop_schedules()
        yield stand


@pytest.fixture(scope="session")
def whole(stand: Stand) -> whole_run.WholeRun:
    return whole_run.run(stand)
