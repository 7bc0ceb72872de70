"""A few thousand inputs of every fuzz target, with a fixed seed. In a process of its own: libFuzzer ends it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
has_atheris = importlib.util.find_spec("atheris") is not None


def fuzz(target: str, runs: int, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.hostile.fuzz", target, "--runs", str(runs)]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environ or {})},
    )


@pytest.mark.skipif(not has_atheris, reason="atheris has no wheel here; hypothesis checks the same properties alone")
@pytest.mark.parametrize("target", ["manifest", "file_list", "summary", "definition", "data_file", "data_lines"])
def test_a_few_thousand_inputs_find_nothing(target):
    run = fuzz(target, 3_000)
    assert run.returncode == 0, run.stderr[-3_000:]
    assert "Done 3000 runs" in run.stderr
