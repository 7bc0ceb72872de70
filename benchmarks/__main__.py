"""`python -m benchmarks [name …] [--rounds N] [--tiny]`: runs benchmarks (all of them when none is named), prints their
tables, and writes the end of benchmarks/README.md anew from the last figures of every benchmark.

The single runs stand as JSON under ~/.cache/tablevault/benchmarks/results. `--tiny` writes nothing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks import machine
from benchmarks.cache import cache_folder
from benchmarks.errors import NotMeasurable
from benchmarks.figures import Figures, Size, say

NAMES = ("write_path", "memory", "keys_search", "planning", "starting", "api", "scale_out", "cold_start")
README = Path(__file__).parent / "README.md"
_RESULTS = "\n## Results\n"
_SECTION = "### "


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
    names = asked.names or NAMES
    sections = [section for name in names if (section := _section(name, size)) is not None]
    if not size.is_tiny:
        README.write_text(with_sections(README.read_text(), sections))
    return int(len(sections) < len(names))


def _section(name: str, size: Size) -> str | None:
    """What is told of a benchmark, in Markdown; None where it cannot be measured here. A target that is missed is told,
    and is no failure of the benchmark."""
    say(f"{name} …")
    measure: Callable[[Size], Figures] = import_module(f"benchmarks.{name}").measure
    try:
        figures = measure(size)
    except NotMeasurable as missing:
        say(f"{name} is not measured: {missing}")
        return None
    section = f"{figures.markdown()}\n{_machine()}"
    sys.stdout.write(section + "\n")
    sys.stdout.flush()
    if not size.is_tiny:
        (cache_folder("results") / f"{name}.json").write_text(figures.encoded())
    return section


def _machine() -> str:
    return "*" + "; ".join(f"{name}: {value}" for name, value in machine.described().items()) + "*\n"


def with_sections(text: str, sections: Sequence[str]) -> str:
    """The README with these results in place of those with the same heading, or after all others."""
    about, _, results = text.partition(_RESULTS)
    heading, *told = results.split(_SECTION)
    by_title = {section.partition("\n")[0]: section.strip() for section in told}
    by_title |= {(body := section.removeprefix(_SECTION)).partition("\n")[0]: body.strip() for section in sections}
    parts = [heading.strip() or "Written by `make bench`.", *(_SECTION + section for section in by_title.values())]
    return about + _RESULTS + "\n" + "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
