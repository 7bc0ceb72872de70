"""Runs seeds, or crash points, and says what happened.

python -m tests.simulation 1-2000              many seeds, on all cores
python -m tests.simulation 17                  one seed again, with everything that happened in it
python -m tests.simulation crash-points        every crash point; with --scenario NAME those of one
python -m tests.simulation crash-points clear-and-restore/restore_shards/41/KILLED_AFTER
python -m tests.simulation year 1-20           years of days of these seeds; one seed shows what happened at last
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable
from functools import partial

from tests.simulation.crash_points import CrashPoint, crash, crash_points
from tests.simulation.load import report
from tests.simulation.record import Record
from tests.simulation.runner import Result, simulate
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.seeds import FIXED_SEEDS
from tests.simulation.year.story import live

_FAILURES_SHOWN = 10
_CHUNK = 8


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", nargs="?", default=f"1-{FIXED_SEEDS[-1]}", help="a seed, a range of seeds, load, year, or crash-points"
    )
    parser.add_argument("point", nargs="?", help="one crash point, as a failure names it; a seed or seeds of years")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="this one, whatever the seed chooses")
    parser.add_argument("--days", type=int, default=365, help="how long a year is")
    chosen = parser.parse_args(arguments)
    if chosen.what == "crash-points":
        return _crash(chosen.point, [chosen.scenario] if chosen.scenario else sorted(SCENARIOS))
    if chosen.what == "load":
        return _load()
    if chosen.what == "year":
        return _live(chosen.point or "1", chosen.days)
    first, _, last = chosen.what.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        parser.error(f"{chosen.what!r} is neither a seed, nor a range such as 1-2000, nor load, nor crash-points")
    if len(seeds) == 1:
        return _tell(simulate(seeds[0], chosen.scenario, with_trace=True))
    return _run_all(((seed, chosen.scenario) for seed in seeds), len(seeds))


def _crash(point: str | None, scenarios: list[str]) -> int:
    if point is not None:
        return _tell(crash(CrashPoint.parse(point), with_trace=True))
    points = list(crash_points(scenarios))
    return _run_all(points, len(points))


def _load() -> int:
    has_failed = 0
    for failed, text in report():
        has_failed += failed
        print(text, flush=True)
    return has_failed


def _live(seeds: str, days: int) -> int:
    first, _, last = seeds.partition("-")
    has_failed = 0
    with multiprocessing.Pool() as pool:
        for result in pool.imap_unordered(partial(live, days=days), range(int(first), int(last or first) + 1)):
            has_failed += bool(result.violations)
            print("\n".join(result.lines()), flush=True)
    return int(bool(has_failed))


def _tell(result: Result) -> int:
    print("\n".join(result.trace))
    print(f"\n{result.scenario}, seed {result.seed}: {', '.join(result.outcomes)}; course {result.digest}")
    print("\n".join(f"VIOLATION: {text}" for text in result.violations) or "no violation")
    return int(bool(result.violations))


def _one(what: tuple[int, str | None] | CrashPoint) -> tuple[str, Result]:
    if isinstance(what, CrashPoint):
        return f"make crashpoints POINT={what}", crash(what)
    seed, scenario = what
    named = f" --scenario {scenario}" if scenario else ""
    return f"make simulate SEEDS='{seed}{named}'", simulate(seed, scenario)


def _run_all(work: Iterable[tuple[int, str | None] | CrashPoint], count: int) -> int:
    record = Record()
    began_s = time.monotonic()
    with multiprocessing.Pool() as pool:
        for command, result in pool.imap_unordered(_one, work, chunksize=_CHUNK):
            record.add(result)
            if result.violations and len(record.failed) <= _FAILURES_SHOWN:
                if len(record.failed) == 1:
                    print("\n".join(result.trace))
                print(f"\nFAILED {result.scenario}: {result.violations[0]}\n  again: {command}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{record.runs}/{count}, {len(record.failed)} failed", end="", file=sys.stderr, flush=True)
    print()
    print("\n".join(record.lines(time.monotonic() - began_s)))
    return int(bool(record.failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
