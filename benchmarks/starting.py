"""A set of 1,000 tables: starting its exports, recording them as their events come, and its manifest.

The real service against an account in this process (benchmarks/many_tables.py). Virtual: all that waits, calls to AWS
among it. Real: the CPU time, in which the account's own is, and the number of calls.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.figures import Figures, Size, Table, Target, interleaved, median
from benchmarks.many_tables import START_MS, ManyTables
from benchmarks.sets import BUCKET
from chalicelib.backup.assembly import assemble
from chalicelib.backup.manifest import encode_manifest
from chalicelib.backup.reading import read_manifest
from chalicelib.backup.states import ExportState

_TABLES = 1_000
_QUOTA = 300  # exports at once, in an account and region
_MINUTE_MS = 60_000
_MOST_MINUTES = 300
_MOST_ROUNDS = 3
_START_TARGET_S, _MANIFEST_TARGET_S = 240, 1.0


@dataclass
class Course:
    """One set from its start to its end. Seconds and minutes are virtual, but for CPU seconds."""

    started_at_once: int = 0
    start_s: float = 0.0
    start_cpu_s: float = 0.0
    start_calls: dict[str, int] = field(default_factory=dict)
    reconcile_runs: int = 0
    reconcile_calls: dict[str, int] = field(default_factory=dict)
    started_after_min: float = 0.0
    record_cpu_s: float = 0.0
    record_calls: dict[str, int] = field(default_factory=dict)
    last_calls: dict[str, int] = field(default_factory=dict)
    throttled: int = 0
    most_in_a_second: int = 0
    read_cpu_s: float = 0.0
    assemble_cpu_s: float = 0.0
    encode_cpu_s: float = 0.0
    manifest_bytes: int = 0


def measure(size: Size) -> Figures:
    tables, quota = (30, 10) if size.is_tiny else (_TABLES, _QUOTA)
    contenders: dict[str, Callable[[], Course]] = {
        f"{quota} exports at once, as AWS allows": partial(_course, tables, quota),
        "as many at once as there are tables": partial(_course, tables, tables),
        "the same, without a pace": partial(_course, tables, tables, is_paced=False),
    }
    runs = interleaved(contenders, 1 if size.is_tiny else min(size.rounds, _MOST_ROUNDS))
    raw = {name: [vars(run) for run in of_one] for name, of_one in runs.items()}
    within_quota, unlimited, _ = runs.values()
    cpu_s = [median(run.start_cpu_s for run in of_one) for of_one in runs.values()]
    starting = [_starting_row(name, of_one[0], cpu) for (name, of_one), cpu in zip(runs.items(), cpu_s, strict=True)]
    throttled = sum(run.throttled for run in (*within_quota, *unlimited))
    manifest_s = _manifest_s(within_quota)
    return Figures(
        title="Starting and finishing a set of very many tables",
        tables=[
            Table(_STARTING_COLUMNS, starting, f"Starting {tables:,} exports"),
            Table(("call", "start_exports", "events of exports that ended", "reconcile"), _call_rows(unlimited[0])),
            Table(("step", "calls", "CPU"), _finishing_rows(within_quota), "Recording, and the manifest"),
        ],
        targets=[
            Target(
                f"start_exports with {tables:,} tables ends within its time",
                f"< {_START_TARGET_S} s",
                f"{unlimited[0].start_s:.0f} s",
                unlimited[0].start_s < _START_TARGET_S and unlimited[0].started_at_once == tables,
            ),
            Target("throttled calls, with the pace", "none", f"{throttled}", throttled == 0),
            Target("the manifest, all of it", "< 1 s", f"{manifest_s:.2f} s", manifest_s < _MANIFEST_TARGET_S),
        ],
        notes=[
            "Each call takes 10 ms of virtual time, an export 5 minutes; 10 calls of an operation are allowed in a"
            " second, of DescribeTable, S3 and the ledger any number. CPU seconds are real, with the account's own.",
            "Without a pace: a throttled call is made once here, and its table is reconcile's; botocore would make it"
            " twice more.",
            f"One table in ten has provisioned capacity. With {quota} at once the rest starts as exports end.",
        ],
        raw=raw,
    )


_STARTING_COLUMNS = (
    "",
    "started by start_exports",
    "in, s (virtual)",
    "CPU, s",
    "reconcile runs till the end",
    "all started after, min (virtual)",
    "throttled calls",
    "most of one operation in a second",
)


def _starting_row(name: str, run: Course, cpu_s: float) -> tuple[str, ...]:
    times = (f"{run.start_s:.0f}", f"{cpu_s:.1f}", str(run.reconcile_runs), f"{run.started_after_min:.1f}")
    return (name, f"{run.started_at_once:,}", *times, f"{run.throttled:,}", str(run.most_in_a_second))


def _call_rows(run: Course) -> list[tuple[str, ...]]:
    columns = (run.start_calls, run.record_calls, run.reconcile_calls)
    names = sorted({name for column in columns for name in column})
    rows = [(name, *(f"{column.get(name, 0):,}" for column in columns)) for name in names]
    return [*rows, ("all", *(f"{sum(column.values()):,}" for column in columns))]


def _finishing_rows(runs: list[Course]) -> list[tuple[str, str, str]]:
    first = runs[0]

    def cpu(name: str) -> float:
        return median(getattr(run, name) for run in runs)

    events = sum(first.record_calls.values())
    last = ", ".join(f"{count} {name}" for name, count in sorted(first.last_calls.items()))
    return [
        ("recording all exports, one event each", f"{events:,}", f"{cpu('record_cpu_s'):.1f} s"),
        ("the last event, which finishes the set", last, ""),
        ("of that: reading the set", "", f"{cpu('read_cpu_s') * 1000:.0f} ms"),
        ("of that: assembling the manifest", "none", f"{cpu('assemble_cpu_s') * 1000:.0f} ms"),
        (f"of that: encoding it, {first.manifest_bytes:,} bytes", "none", f"{cpu('encode_cpu_s') * 1000:.0f} ms"),
    ]


def _manifest_s(runs: list[Course]) -> float:
    return median(run.read_cpu_s + run.assemble_cpu_s + run.encode_cpu_s for run in runs)


def _course(tables: int, most_running: int, *, is_paced: bool = True) -> Course:
    world, course = ManyTables(tables, most_running, is_paced=is_paced), Course()
    backup_date = _start(world, course)
    recorded, since_ms = 0, float(START_MS)
    for minute in range(1, _MOST_MINUTES):
        world.time.move_to(START_MS + minute * _MINUTE_MS)
        now_ms = world.time.now_ms()
        ended = world.ended(since_ms)
        recorded += len(ended)
        _record(world, course, ended, is_last=recorded == tables)
        if recorded == tables:
            break
        since_ms = now_ms
        _reconcile(world, course)
    _finish(world, course, backup_date, tables)
    return course


def _start(world: ManyTables, course: Course) -> str:
    cpu_s = time.process_time()
    backup_date = str(world.service.start_scheduled()["backup_date"])
    course.start_cpu_s = time.process_time() - cpu_s
    course.started_at_once = len(world.account.exports)
    course.start_s = (world.time.now_ms() - START_MS) / 1000
    course.start_calls = dict(world.calls.made)
    _note_all_started(world, course)
    return backup_date


def _record(world: ManyTables, course: Course, ended: list[str], *, is_last: bool) -> None:
    """The events, one after another: on AWS each has a function of its own, and they come in the minutes before."""
    for number, arn in enumerate(ended):
        key = world.account.write(arn)
        before, cpu_s = Counter(world.calls.made), time.process_time()
        world.service.record_export(BUCKET, key)
        world.time.sleep(0.1)
        course.record_cpu_s += time.process_time() - cpu_s
        made = Counter(world.calls.made) - before
        course.record_calls = dict(Counter(course.record_calls) + made)
        if is_last and number == len(ended) - 1:
            course.last_calls = dict(made)


def _reconcile(world: ManyTables, course: Course) -> None:
    before = Counter(world.calls.made)
    world.service.reconcile()
    course.reconcile_runs += 1
    made = Counter(world.calls.made) - before
    course.reconcile_calls = dict(Counter(course.reconcile_calls) + made)
    _note_all_started(world, course)


def _note_all_started(world: ManyTables, course: Course) -> None:
    if course.started_after_min == 0 and len(world.account.exports) == world.tables:
        course.started_after_min = (world.time.now_ms() - START_MS) / _MINUTE_MS


def _finish(world: ManyTables, course: Course, backup_date: str, tables: int) -> None:
    """Raises RuntimeError unless the set is complete: a figure of anything else would not be a set's."""
    catalog = world.service._catalog
    prefix = world.service._settings.s3_exports_prefix
    standing = read_manifest(world.s3, BUCKET, prefix, backup_date)
    if standing.status != "COMPLETE" or standing.successful_exports != tables:
        raise RuntimeError(f"the set is {standing.status} with {standing.successful_exports} of {tables} exports")
    record, course.read_cpu_s = _timed(lambda: catalog.record(backup_date))
    manifest, course.assemble_cpu_s = _timed(lambda: assemble(record))
    body, course.encode_cpu_s = _timed(lambda: encode_manifest(manifest))
    course.manifest_bytes = len(body)
    course.throttled, course.most_in_a_second = world.calls.throttled, world.calls.most_in_a_second()
    if any(row.status is not ExportState.COMPLETED for row in record.exports):
        raise RuntimeError("an export is not completed")


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    cpu_s = time.process_time()
    done = work()
    return done, time.process_time() - cpu_s
