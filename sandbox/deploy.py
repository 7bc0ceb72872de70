"""Deploys the app into the emulator with the real `chalice deploy`, from a staging copy.

Chalice writes what it deployed and what it packaged below the project's `.chalice`; in a copy it does not dirty
the repository, and no `.venv` or state directory lies in its way.

Where the packages come from: by default none are bundled. The emulator's functions run in the interpreter the
sandbox runs in, which has every package of requirements.txt at its pinned version. That needs no network, works
where Lambda's manylinux wheels do not load (macOS, Linux on arm64, musl), and starts a function in a third of the
time, since nothing is unpacked. With `bundle`, Chalice packages the wheels as for AWS; its cache in the staging
directory is kept, so only the first deploy there needs the network.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.errors import SandboxError
from sandbox.isolation import isolated_environment

# Shorter waits for a function to become active: botocore's own poll every five seconds.
_BOTO_DATA = Path(__file__).parent / "botodata"
_APP_PARTS = ("app.py", "chalicelib", "vendor", "requirements.txt")
_DEPLOY_TIMEOUT_S = 300
_CHALICE = [sys.executable, "-c", "import sys; from chalice.cli import main; sys.exit(main())"]


@dataclass(frozen=True)
class Deployment:
    """What to deploy and where: the project, its stage, the staging copy and the emulator."""

    project_dir: Path
    stage: str
    staging_dir: Path
    endpoint_url: str
    bundle: bool = False

    def forget(self) -> None:
        """Drops the record of an earlier deploy; the emulator it was made in is gone, and all of it with it."""
        shutil.rmtree(self.staging_dir / ".chalice" / "deployed", ignore_errors=True)

    def deploy(self) -> str:
        """Deploys, or deploys again; the API's URL without a slash at the end. Raises SandboxError."""
        self._refresh_copy()
        self._run_chalice()
        return self._api_url()

    def _refresh_copy(self) -> None:
        chalice_dir = self.staging_dir / ".chalice"
        chalice_dir.mkdir(parents=True, exist_ok=True)
        for part in _APP_PARTS:
            _copy(self.project_dir / part, self.staging_dir / part)
        for old in chalice_dir.glob("*.json"):
            old.unlink()
        for new in (self.project_dir / ".chalice").glob("*.json"):
            shutil.copy(new, chalice_dir)
        if not self.bundle:
            (self.staging_dir / "requirements.txt").write_text("")

    def _run_chalice(self) -> None:
        command = [*_CHALICE, "--project-dir", str(self.staging_dir), "deploy", "--stage", self.stage]
        status, output = _run(command, self._environment())
        (self.staging_dir.parent / "deploy.log").write_text(output)
        if status != 0:
            raise SandboxError(f"`chalice deploy --stage {self.stage}` failed:\n{output.strip()[-3000:]}")

    def _environment(self) -> dict[str, str]:
        return {
            **isolated_environment(os.environ, self.endpoint_url),
            "AWS_DATA_PATH": str(_BOTO_DATA),
            # Chalice packages everything below chalicelib, byte code too if importing the app left any.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _api_url(self) -> str:
        deployed = json.loads((self.staging_dir / ".chalice" / "deployed" / f"{self.stage}.json").read_text())
        for resource in deployed["resources"]:
            if resource["resource_type"] == "rest_api":
                gateway_stage = urlsplit(resource["rest_api_url"]).path.strip("/")
                return f"{self.endpoint_url}/_aws/execute-api/{resource['rest_api_id']}/{gateway_stage}"
        raise SandboxError("the app was deployed without an HTTP API: app.py has no routes")


def _copy(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.exists():
        shutil.copy(source, target)


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """The exit status and all output of a command; it and its children end if this is interrupted."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_DEPLOY_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"`chalice deploy` took longer than {_DEPLOY_TIMEOUT_S} s") from error
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, output
