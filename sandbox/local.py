"""`make local`: the HTTP API with `chalice local`, against a sandbox that runs beside it."""

import configparser
import os
import sys
import urllib.error
from pathlib import Path
from typing import NoReturn

from sandbox.emulator.functions import WORKERS_PATH
from sandbox.errors import SandboxError
from sandbox.isolation import PROFILE, open_local
from sandbox.places import check_free

# The script itself: to reload, chalice starts whatever its first argument names.
_CHALICE = Path(sys.executable).with_name("chalice")
_PROBE_TIMEOUT_S = 5


def aws_config_of(project_dir: Path) -> Path:
    """Where a sandbox leaves its endpoint while it runs: stage `local` looks for it there, from the project's
    directory."""
    return project_dir / ".sandbox" / "aws-config"


def serve_local(project_dir: Path, port: int) -> NoReturn:
    """Becomes `chalice local`. Raises SandboxError when no sandbox answers, or the port is taken."""
    running_endpoint(aws_config_of(project_dir))
    check_free(port, "LOCAL_PORT")
    os.chdir(project_dir)
    os.execv(_CHALICE, [str(_CHALICE), "local", "--stage", "local", "--port", str(port)])


def running_endpoint(aws_config: Path) -> str:
    """The sandbox's that left this file. Raises SandboxError when none answers."""
    settings = configparser.ConfigParser()
    settings.read(aws_config)
    endpoint_url = settings.get(f"profile {PROFILE}", "endpoint_url", fallback=None)
    if endpoint_url is None:
        raise SandboxError("no sandbox is running: start one with 'make sandbox' in another terminal")
    try:
        with open_local(endpoint_url + WORKERS_PATH, _PROBE_TIMEOUT_S):
            return endpoint_url
    except (urllib.error.URLError, OSError):  # nobody there, or another program
        raise SandboxError(
            f"no sandbox answers at {endpoint_url}, it was probably killed: start one with 'make sandbox' in another"
            " terminal"
        ) from None
