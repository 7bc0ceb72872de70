"""What is measured runs in processes of its own, on the client's core, and prints what it found as JSON."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.machine import CLIENT_CORE, pin
from benchmarks.world import CREDENTIALS, ENVIRON

ROOT = Path(__file__).parents[1]
# All functions have it (.chalice/config.json): a worker's many threads would each keep memory of their own.
WORKER_ENVIRON = {"MALLOC_ARENA_MAX": "2"}


def found_by(command: Sequence[str], *, is_pinned: bool = True, environ: Mapping[str, str] | None = None) -> Any:
    """What a program says. Raises RuntimeError, with the end of its standard error, when it fails. `is_pinned`: to the
    client's core. An empty value takes a variable out of its environment."""
    variables = {**os.environ, **CREDENTIALS, **ENVIRON, "PYTHONPATH": str(ROOT), **(environ or {})}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={name: value for name, value in variables.items() if value},
        preexec_fn=(lambda: pin(CLIENT_CORE)) if is_pinned else None,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {done.stderr[-3_000:]}")
    return msgspec.json.decode(done.stdout)


def found_by_module(name: str, *arguments: object, is_pinned: bool = True) -> Any:
    """What a module of ours says that runs as the worker does."""
    command = [sys.executable, "-m", name, *map(str, arguments)]
    return found_by(command, is_pinned=is_pinned, environ=WORKER_ENVIRON)
