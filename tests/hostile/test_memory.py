"""A worker's memory does not grow with the data file's size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="this system does not tell a process' peak of memory"
)
def test_a_file_thirty_times_as_large_takes_no_more_memory():
    small, large = measured(10), measured(300)
    assert large["items"] > 25 * small["items"]
    assert large["peak_bytes"] - small["peak_bytes"] < 20_000_000


def measured(megabytes: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.hostile.load_one_file", str(megabytes)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-2_000:]
    found: dict[str, int] = json.loads(run.stdout)
    return found
