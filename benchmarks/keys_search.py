"""A restore of a few keys: how fast the data files are searched for them.

`python -m benchmarks.keys_search <url> <folder> <keys>` restores so many keys of a set, by one worker, and
prints the seconds LOADING took. All that a restore does is on: the objects come from the stand-in, CRC and number of
lines are checked, what is found is written.
"""

import gzip
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from isal import igzip

from benchmarks.child import found_by_module
from benchmarks.figures import Figures, Size, Table, Target, interleaved, median
from benchmarks.sets import BUCKET, PreparedSet, SetSpec, prepared
from benchmarks.stand_in import stand_in
from benchmarks.world import World, loaded_bucket
from chalicelib.restore.datapath.keys import KeySchema
from chalicelib.restore.datapath.search import KeySearch
from chalicelib.restore.model import LineKind

_KEYS = (1, 10, 100, 1_000)
_ONE, _TWO = "one core", "two cores"
_LEAST_GB_PER_S = 1.0
_BLOCK_BYTES = 256 * 1024
_open: Any = igzip.open  # it has no types
_LINES_PER_BLOCK = 500
_INFLATE = "(inflate alone, one core, from disk)"
_PICK = "(the search alone, one core, for 1,000 keys, of lines in memory)"


def measure(size: Size) -> Figures:
    spec = SetSpec(1_600, 500, 16) if size.is_tiny else SetSpec(2_000_000, 500, 16)
    backup = prepared(spec)
    contenders: dict[str, Callable[[], float]] = {
        f"{keys:,} keys, {cores}": partial(_gb_per_s, backup, keys, is_pinned=cores == _ONE)
        for cores in (_ONE, _TWO)
        for keys in (_KEYS if not size.is_tiny else (16,))
    }
    contenders[_INFLATE] = partial(_part_gb_per_s, backup, "inflate")
    contenders[_PICK] = partial(_part_gb_per_s, backup, "pick")
    runs = interleaved(contenders, 1 if size.is_tiny else size.rounds)
    rows = [(name, f"{median(of_one):.2f}") for name, of_one in runs.items()]
    slowest = min(median(of_one) for name, of_one in runs.items() if name.endswith(_TWO))
    return Figures(
        title="Search for keys",
        tables=[Table(("searched for", "GB/s of uncompressed data"), rows)],
        targets=[Target(f"the slowest, {_TWO}", "≥ 1 GB/s", f"{slowest:.2f} GB/s", slowest >= _LEAST_GB_PER_S)],
        notes=[
            f"{spec.items:,} lines of {spec.line_bytes} B in {spec.files} data files, a string as key; LOADING of a"
            " whole restore by one worker, as in the write path. Two cores are those of a Lambda function of 3,538 MB;"
            " the stand-in has a part of one. What a restore takes besides, a twentieth of a second, is in it.",
            "In brackets: what no reader on one core can leave out, and what the search adds to it.",
        ],
        raw=runs,
    )


def _gb_per_s(backup: PreparedSet, keys: int, *, is_pinned: bool) -> float:
    with stand_in(backup.root) as server:
        found = found_by_module("benchmarks.keys_search", server.url, backup.root, keys, is_pinned=is_pinned)
        items = server.counts()["items"]
    if items != keys:
        raise RuntimeError(f"the stand-in saw {items} items, {keys} were asked for")
    return backup.spec.items * backup.spec.line_bytes / float(found["wall_s"]) / 1e9


def _part_gb_per_s(backup: PreparedSet, part: str) -> float:
    found = found_by_module("benchmarks.keys_search", part, backup.root)
    return float(found["bytes"] / found["wall_s"] / 1e9)


def restore(url: str, folder: Path, key_count: int) -> float:
    world = World(loaded_bucket(folder / BUCKET), url)
    world.create_target()
    world.restore(key_count, max_workers=1, keys=_some_keys(folder, key_count))
    return world.took("LOADING")[0]


def _some_keys(folder: Path, count: int) -> list[dict[str, Any]]:
    """Of lines from each data file."""
    files = sorted((folder / BUCKET).rglob("data/*.json.gz"))
    keys: list[dict[str, Any]] = []
    for number, file in enumerate(files):
        share = count // len(files) + (number < count % len(files))
        with gzip.open(file) as lines:
            keys += [{"id": json.loads(line)["Item"]["id"]} for line in islice(lines, share)]
    return keys


def inflate(folder: Path) -> tuple[int, float]:
    """Bytes and seconds for what no reader can leave out, in Python with the same library."""
    inflated_bytes = 0
    began_s = time.perf_counter()
    for path in sorted((folder / BUCKET).rglob("data/*.json.gz")):
        with _open(path) as text:
            while block := text.read(_BLOCK_BYTES):
                inflated_bytes += len(block)
    return inflated_bytes, time.perf_counter() - began_s


def pick(folder: Path) -> tuple[int, float]:
    """Bytes and seconds of the search of one data file's lines, in lists as long as a block of it has."""
    keys = [(key["id"]["S"],) for key in _some_keys(folder, 1_000)]
    search = KeySearch(KeySchema(("id",), ("S",)), keys, LineKind.ITEM)
    with gzip.open(next((folder / BUCKET).rglob("data/*.json.gz"))) as file:
        lines = file.read().splitlines()
    lists = [lines[begin : begin + _LINES_PER_BLOCK] for begin in range(0, len(lines), _LINES_PER_BLOCK)]
    began_s = time.perf_counter()
    for each in lists:
        search.pick(each)
    return sum(map(len, lines)) + len(lines), time.perf_counter() - began_s


def main(first: str, folder: Path, *counts: str) -> None:
    if first in PARTS:
        found_bytes, wall_s = PARTS[first](folder)
        sys.stdout.write(json.dumps({"bytes": found_bytes, "wall_s": wall_s}))
    else:
        sys.stdout.write(json.dumps({"wall_s": restore(first, folder, *map(int, counts))}))


PARTS = {"inflate": inflate, "pick": pick}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
