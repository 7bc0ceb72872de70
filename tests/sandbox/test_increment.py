"""What the sandbox's commands know of the deployed app's API, and what they say of an increment."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.api import Api, api_file_of, finished_backup, read_api
from sandbox.increment import told

FULL = {"backup_date": "2026-11-20", "from": None, "to": None, "item_count": 900}
API = Api("http://127.0.0.1:1/api", "token")


def part(backup_date: str, day: int, item_count: int) -> dict[str, Any]:
    return {
        "backup_date": backup_date,
        "from": f"2026-11-{day}T09:00:00.000Z",
        "to": f"2026-11-{day + 1}T09:00:00.000Z",
        "item_count": item_count,
    }


def manifest_of(table: dict[str, Any], *base: dict[str, Any]) -> dict[str, Any]:
    kind = "INCREMENTAL_EXPORT" if base else "FULL_EXPORT"
    entry = {"notes": [], **table, "table_name": "orders", "export_type": kind, "base": list(base)}
    return {"backup_date": table["backup_date"], "tables": [entry]}


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        (manifest_of(FULL), "2026-11-20: all 900 items of orders"),
        (
            manifest_of({**FULL, "notes": ["a full export", "why"]}),
            "2026-11-20: all 900 items of orders; a full export; why",
        ),
        (
            manifest_of(part("2026-11-21", 20, 1), FULL),
            "2026-11-21: 1 changed item of orders since 2026-11-20 (from 2026-11-20T09:00:00Z to 2026-11-21T09:00:00Z)",
        ),
        (
            manifest_of(part("2026-11-23", 22, 4), FULL, part("2026-11-21", 20, 1), part("2026-11-23", 21, 1_000)),
            "2026-11-23: 1,004 changed items of orders since 2026-11-21"
            " (from 2026-11-21T09:00:00Z to 2026-11-23T09:00:00Z)",
        ),
    ],
)
def test_a_set_is_told_with_all_its_parts(manifest: dict[str, Any], line: str) -> None:
    assert told(manifest) == line


def test_the_api_is_left_for_commands_to_the_user_alone_and_taken_away_by_who_left_it(tmp_path: Path) -> None:
    path = api_file_of(tmp_path / ".sandbox" / "aws-config")
    assert read_api(path) is None
    API.write(path)
    assert read_api(path) == API
    assert path.stat().st_mode & 0o777 == 0o600
    other = Api("http://127.0.0.1:2/api", "another")
    other.write(path)
    API.remove(path)
    assert read_api(path) == other
    other.remove(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("age_s", "status", "is_finished"),
    [(0, "COMPLETE", False), (2, "COMPLETE", True), (2, "PARTIAL", True), (2, "OPEN", False)],
)
def test_a_set_is_waited_for_until_another_one_would_have_another_name(
    age_s: int, status: str, is_finished: bool, monkeypatch
) -> None:
    class Now(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 11, 21, 9, 0, 7, tzinfo=UTC)

    monkeypatch.setattr("sandbox.api.datetime", Now)
    backup_date = f"{Now.now() - timedelta(seconds=age_s):%Y-%m-%dT%H%M%SZ}"
    answer = {"backup_date": backup_date, "status": status}
    monkeypatch.setattr(Api, "call", lambda api, method, path: answer)
    assert finished_backup(API, backup_date) == (answer if is_finished else None)
