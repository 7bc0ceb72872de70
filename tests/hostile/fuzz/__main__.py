"""`python -m tests.hostile.fuzz <target|all> [--runs N] [--seed N] [--seconds N]`.

Ends with a status other than 0 and the offending input (in hexadecimal, at the end of libFuzzer's report) when a
property fails. A finding becomes an ordinary test beside this folder.
"""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # published without type information

with atheris.instrument_imports(include=["chalicelib"], enable_loader_override=False):
    from tests.hostile.fuzz.targets import ALL, TARGETS, Target


def main() -> None:
    names = [*TARGETS, "all"]
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("target", choices=names)
    parser.add_argument("--runs", type=int, default=100_000, help="inputs to try (100000); -1: without end")
    parser.add_argument("--seconds", type=int, default=0, help="stop after this time (0: never)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's random numbers (1)")
    asked = parser.parse_args()
    target = {**TARGETS, "all": ALL}[asked.target]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        options = [
            f"-runs={asked.runs}", f"-seed={asked.seed}", f"-max_total_time={asked.seconds}", "-max_len=4096",
            "-timeout=20", "-rss_limit_mb=1024", f"-artifact_prefix={folder}/", folder,
        ]  # fmt: skip
        # libFuzzer ends its process itself, and would leave the folder behind.
        child = os.fork()
        if child == 0:
            atheris.Setup([sys.argv[0], *options], lambda content: _check(target, content))
            atheris.Fuzz()
            os._exit(0)
        _, status = os.waitpid(child, 0)
    sys.exit(0 if status == 0 else 1)


def _check(target: Target, content: bytes) -> None:
    try:
        target.check(content)
    except BaseException:
        sys.stderr.write(f"offending input: {content.hex()}\n")
        raise


main()
