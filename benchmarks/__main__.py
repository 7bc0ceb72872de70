"""`python -m benchmarks [name …] [--rounds N] [--tiny]`: runs benchmarks (all of them when none is named), prints their
tables, and writes benchmarks/results.md anew from the last figures of every benchmark.

The single runs stand as JSON under ~/.cache/tablevault/benchmarks/results. `--tiny` writes nothing.
"""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks import machine
from benchmarks.cache import cache_folder
from benchmarks.errors import NotMeasurable
from benchmarks.figures import Figures, Size, say

NAMES = ("write_path", "memory", "keys_search", "planning", "api", "scale_out", "cold_start")
RESULTS = Path(__file__).parent / "results.md"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, add_help=True)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (5)")
    parser.add_argument("--tiny", action="store_true", help="once, as small as can be; the figures mean nothing")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    size = Size(is_tiny=asked.tiny, rounds=asked.rounds)
    failed = [name for name in asked.names or NAMES if not _run(name, size)]
    if not size.is_tiny:
        RESULTS.write_text(_results())
    return 1 if failed else 0


def _run(name: str, size: Size) -> bool:
    """Whether it could be measured. A target that is missed is told, and is no failure of the benchmark."""
    say(f"{name} …")
    measure: Callable[[Size], Figures] = import_module(f"benchmarks.{name}").measure
    try:
        figures = measure(size)
    except NotMeasurable as missing:
        say(f"{name} is not measured: {missing}")
        return False
    section = f"{figures.markdown()}\n{_machine()}\n"
    sys.stdout.write(section + "\n")
    sys.stdout.flush()
    if not size.is_tiny:
        folder = cache_folder("results")
        (folder / f"{name}.json").write_text(figures.encoded())
        (folder / f"{name}.md").write_text(section)
    return True


def _machine() -> str:
    return "*" + "; ".join(f"{name}: {value}" for name, value in machine.described().items()) + "*\n"


def _results() -> str:
    sections = [cache_folder("results") / f"{name}.md" for name in NAMES]
    texts = [section.read_text() for section in sections if section.exists()]
    head = "# Results\n\nWritten by `make bench`. What each figure means, and what not: [README.md](README.md).\n"
    return "\n".join([head, *texts]).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
