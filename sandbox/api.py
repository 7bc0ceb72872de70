"""The deployed HTTP API, as a client with a token uses it: to ask for backup sets and restores, and wait for them."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError
from sandbox.isolation import open_local

ENDED = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")
_POLL_S = 0.5
_PATIENCE_S = 120


@dataclass(frozen=True)
class Api:
    url: str
    token: str

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer's JSON; SandboxError with the problem's text for anything but success."""
        request = urllib.request.Request(
            self.url.rstrip("/") + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with open_local(request, 30) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise SandboxError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        return answer

    def write(self, path: Path) -> None:
        """For commands that run beside the sandbox. Nobody else may read it: it has the token."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file)

    def remove(self, path: Path) -> None:
        """Unless another sandbox has written its own in its place since."""
        if read_api(path) == self:
            path.unlink()


def read_api(path: Path) -> Api | None:
    """What `Api.write` wrote; None where nothing is."""
    return Api(**json.loads(path.read_text())) if path.exists() else None


def api_file_of(aws_config: Path) -> Path:
    """Where a sandbox leaves its API, beside its AWS config file, while it runs."""
    return aws_config.with_name("api.json")


def back_up(api: Api, table_names: Sequence[str], export_type: str = "FULL_EXPORT") -> dict[str, Any]:
    """Asks for a set and waits for it; its manifest. Raises SandboxError."""
    started = api.call("POST", "/backups", {"tables": list(table_names), "export_type": export_type})
    return wait_for(f"backup {started['backup_date']}", lambda: finished_backup(api, started["backup_date"]))


def finished_backup(api: Api, backup_date: str) -> dict[str, Any] | None:
    """The manifest of a set that has ended. Not within the second that names a set made by hand: another one asked for
    then would have the same name."""
    backup = api.call("GET", f"/backups/{backup_date}")
    is_over = backup["status"] in ("COMPLETE", "PARTIAL") and backup_date < f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    return backup if is_over else None


def wait_for_restore(api: Api, restore_id: str) -> dict[str, Any]:
    """The restore when it has ended, however it did. Raises SandboxError."""
    return wait_for(f"restore {restore_id}", lambda: ended_restore(api, restore_id))


def ended_restore(api: Api, restore_id: str) -> dict[str, Any] | None:
    restore = api.call("GET", f"/restores/{restore_id}")
    return restore if has_ended(restore) else None


def has_ended(restore: Mapping[str, Any]) -> bool:
    return restore["status"] in ENDED and restore["receipt_key"] is not None


def wait_for(what: str, look: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """What `look` finds. Raises SandboxError when that takes too long."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(_POLL_S)
    raise SandboxError(f"{what} did not come within {_PATIENCE_S} s; the functions' logs say why")
