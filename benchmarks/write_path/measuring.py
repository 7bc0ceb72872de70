"""Who writes, how many items each, and what comes of it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.child import WORKER_ENVIRON, found_by
from benchmarks.errors import NotMeasurable
from benchmarks.figures import Figures, Size, Table, Target, interleaved, median, say
from benchmarks.sets import TABLE, PreparedSet, SetSpec, prepared
from benchmarks.stand_in import limit_inflates_with, limit_program, stand_in
from benchmarks.write_path.dump import dump_of, dynamodump_python

Run = dict[str, float]
Runs = dict[str, list[Run]]

OURS, LIMIT, BASE = "tablevault, the worker", "C, the limit", "(b) client.batch_write_item"
FILES = 32
_LINE_BYTES = (200, 500, 2_000)
_LATENCIES_MS = (0, 8)
_IN_FLIGHT = 64  # of the limit
_THREADS_AT_LATENCY = 16  # of the scripts: more bring nothing, they are bound by their core
_TARGET_LINE_BYTES = 500


def measure(size: Size) -> Figures:
    runs = {
        (line_bytes, latency_ms): _measured(line_bytes, latency_ms, size)
        for line_bytes in (_LINE_BYTES if not size.is_tiny else [_TARGET_LINE_BYTES])
        for latency_ms in (_LATENCIES_MS if not size.is_tiny else [0])
    }
    return Figures(
        title="Write path: one worker, one core",
        tables=[_table(line_bytes, latency_ms, of_each) for (line_bytes, latency_ms), of_each in runs.items()],
        targets=[] if size.is_tiny else _targets(runs),
        notes=_notes(),
        raw={f"{line_bytes} B, {latency_ms} ms": of_each for (line_bytes, latency_ms), of_each in runs.items()},
    )


def _measured(line_bytes: int, latency_ms: int, size: Size) -> Runs:
    say(f"write path: lines of {line_bytes} B, {latency_ms} ms")
    items = 3_200 if size.is_tiny else max(200_000, 200_000_000 // line_bytes)
    backup = prepared(SetSpec(items, line_bytes, FILES))
    contenders = _contenders(backup, latency_ms, size)
    runs = interleaved(contenders, 1 if size.is_tiny else size.rounds)
    return {name: found for name, of_one in runs.items() if (found := [run for run in of_one if run is not None])}


def _contenders(backup: PreparedSet, latency_ms: int, size: Size) -> dict[str, Callable[[], Run | None]]:
    threads = _THREADS_AT_LATENCY if latency_ms else 1
    files = [str(file) for file in backup.data_files()]
    python = [sys.executable, "-m"]

    def script(name: str, items: int) -> Callable[[], Run | None]:
        of_each = 320 if size.is_tiny else items
        command = [*python, "benchmarks.write_path.contender", name, "{url}", str(threads), str(of_each), *files]
        return partial(_client, backup, latency_ms, command)

    of_restore = [*python, "benchmarks.write_path.restore", "{url}", str(backup.root), str(backup.spec.items)]
    dump_items = 320 if size.is_tiny else 16_000
    return {
        OURS: partial(_client, backup, latency_ms, of_restore, WORKER_ENVIRON),
        LIMIT: partial(_limit, backup, latency_ms, files),
        "(a) Table.batch_writer + TypeDeserializer": script("batch_writer", 16_000),
        BASE: script("batch_write_item", 16_000),
        "(c) dynamodump 1.11.1": partial(_dynamodump, backup, latency_ms, dump_items, size),
        "(d) client.put_item": script("put_item", 3_200),
    }


def _client(
    backup: PreparedSet, latency_ms: float, command: Sequence[str], environ: Mapping[str, str] | None = None
) -> Run:
    """One run of a client against a stand-in of its own. RuntimeError unless the stand-in saw every item: a client
    that loses some is not fast."""
    with stand_in(backup.root, latency_ms=latency_ms) as server:
        run: Run = found_by([part.format(url=server.url, port=server.port) for part in command], environ=environ)
        counts = server.counts()
    if counts["items"] != run["items"] or counts["refused"]:
        raise RuntimeError(f"{' '.join(command[:4])}: the stand-in saw {counts}, the client says {run}")
    return {**run, "requests": counts["requests"]}


def _limit(backup: PreparedSet, latency_ms: float, files: Sequence[str]) -> Run | None:
    try:
        command = [str(limit_program()), "{port}", TABLE, str(_IN_FLIGHT), *files]
    except NotMeasurable as missing:
        say(f"  not measured: {missing}")
        return None
    return _client(backup, latency_ms, command)


def _dynamodump(backup: PreparedSet, latency_ms: float, items: int, size: Size) -> Run | None:
    """Not in a tiny run: its environment may have to be made, from an index."""
    if size.is_tiny:
        return None
    try:
        python = str(dynamodump_python())
    except NotMeasurable as missing:
        say(f"  not measured: {missing}")
        return None
    script = str(Path(__file__).with_name("with_dynamodump.py"))
    return _client(backup, latency_ms, [python, script, "{url}", str(dump_of(backup, items)), str(items)])


def items_per_s(runs: Sequence[Mapping[str, float]]) -> float:
    return median(run["items"] / run["wall_s"] for run in runs)


def cpu_s_per_100k(runs: Sequence[Mapping[str, float]]) -> float:
    return median(run["cpu_s"] / run["items"] * 100_000 for run in runs)


def _table(line_bytes: int, latency_ms: int, runs: Runs) -> Table:
    rows = [
        (
            name,
            f"{items_per_s(of_one):,.0f}",
            f"{_ratio(runs, name, BASE):.2f}",
            f"{_cpu_ratio(runs, name, BASE):.2f}",
            f"{_ratio(runs, name, LIMIT):.0%}" if LIMIT in runs else "–",
            f"{cpu_s_per_100k(of_one):.2f}",
        )
        for name, of_one in runs.items()
    ]
    columns = ("who writes", "items/s", "× (b)", "× (b) per CPU-second", "of the limit", "CPU-s per 100k items")
    return Table(columns, rows, f"Lines of {line_bytes} B, DynamoDB answers after {latency_ms} ms")


def _ratio(runs: Runs, name: str, other: str) -> float:
    """Of items/s: the median over the rounds of one's by the other's in the same round."""
    pairs = zip(runs[name], runs[other], strict=True)
    return median(one["items"] / one["wall_s"] / (two["items"] / two["wall_s"]) for one, two in pairs)


def _cpu_ratio(runs: Runs, name: str, other: str) -> float:
    pairs = zip(runs[name], runs[other], strict=True)
    return median(one["items"] / one["cpu_s"] / (two["items"] / two["cpu_s"]) for one, two in pairs)


def _targets(runs: Mapping[tuple[int, int], Runs]) -> list[Target]:
    still, slow = runs[(_TARGET_LINE_BYTES, 0)], runs[(_TARGET_LINE_BYTES, 8)]
    of_base, rate = _ratio(still, OURS, BASE), items_per_s(slow[OURS])
    targets = [
        Target("against (b), 500 B, 0 ms", "≥ 20×", f"{of_base:.1f}×", of_base >= 20),
        Target("items/s at 8 ms, 500 B", "≥ 40,000", f"{rate:,.0f}", rate >= 40_000),
    ]
    if LIMIT in still:
        of_limit = _ratio(still, OURS, LIMIT)
        targets.append(Target("of the C limit, 500 B, 0 ms", "≥ 30 %", f"{of_limit:.0%}", of_limit >= 0.3))
    return targets


def _notes() -> list[str]:
    try:
        inflates_with = limit_inflates_with()
    except NotMeasurable as missing:
        inflates_with = f"not built: {missing}"
    return [
        "Client on one core, stand-in on another; medians, ratios within each round.",
        "tablevault: LOADING of a whole restore, from before the first claim until the last shard has ended. Data files"
        " come from the stand-in over HTTP, CRC and number of lines are checked, checkpoints and accounting are on; the"
        " ledger is in memory in the same process, and its time is in the figures.",
        f"The others read the same data files from disk. The limit ({inflates_with}) has {_IN_FLIGHT} requests in"
        f" flight; (a), (b) and (d) have {_THREADS_AT_LATENCY} threads at 8 ms and one at 0 ms; (c) always one.",
        "No TLS, on either side: it costs all of them about as much per request.",
        "A client is only counted when the stand-in saw every one of its items, in requests DynamoDB would take.",
    ]
