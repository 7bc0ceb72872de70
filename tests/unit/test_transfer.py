import threading
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.errors import DataFileDamaged, OutOfTime, TargetUnavailable
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.transfer import transfer
from chalicelib.restore.datapath.writer import BatchResult


def batches(count: int, error: Exception | None = None) -> Iterator[Batch]:
    for number in range(count):
        yield Batch.of(number, (b"line",))
    if error:
        raise error


class Writer:
    """Counts what is under way; `error_at` raises at the n-th put, counted from 1."""

    def __init__(self, error_at: int = 0, error: BaseException | None = None) -> None:
        self.concurrency = 4
        self.puts = 0
        self.under_way = 0
        self.most_under_way = 0
        self.lock = threading.Lock()
        self.error_at = error_at
        self.error = error

    def put(self, batch: Batch) -> BatchResult:
        with self.lock:
            self.puts += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            number = self.puts
        try:
            if self.error is not None and number == self.error_at:
                raise self.error
            return BatchResult(Counts(written=len(batch.lines)))
        finally:
            with self.lock:
                self.under_way -= 1


def run(
    readers: Any, writer: Writer, concurrency: int = 4, stop: Any = lambda: False, on_result: Any = None
) -> tuple[bool, list[tuple[int, int]]]:
    results: list[tuple[int, int]] = []

    def collect(index, batch, result):
        results.append((index, batch.first_line))
        if on_result:
            on_result(index, batch, result)

    before = threading.active_count()
    try:
        writer.concurrency = concurrency
        return transfer(readers, writer, stop=stop, on_result=collect), results
    finally:
        assert threading.active_count() == before
        assert writer.under_way == 0


def test_every_batch_of_every_file_is_put_and_reported_once():
    writer = Writer()
    is_done, results = run([(7, batches(50)), (8, batches(0)), (9, batches(130))], writer)
    assert is_done
    assert sorted(results) == [(7, n) for n in range(50)] + [(9, n) for n in range(130)]


def test_no_files_is_done_at_once():
    assert run([], Writer()) == (True, [])


def test_files_are_read_in_turn():
    _, results = run([(0, batches(2)), (1, batches(4)), (2, batches(3))], Writer(), concurrency=1)
    assert results == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (1, 2), (2, 2), (1, 3)]


def test_stopping_ends_the_pull_and_keeps_what_was_pulled():
    seen: list[int] = []
    source = batches(1_000)
    is_done, results = run(
        [(0, source)],
        Writer(),
        stop=lambda: len(seen) >= 10,
        on_result=lambda i, batch, r: seen.append(batch.first_line),
    )
    assert not is_done
    assert sorted(first_line for _, first_line in results) == list(range(len(results)))
    assert 10 <= len(results) <= 13
    assert list(source) == []  # closed


def test_stopped_before_it_began_pulls_nothing():
    writer = Writer()
    assert run([(0, batches(5))], writer, stop=lambda: True) == (False, [])
    assert writer.puts == 0


@pytest.mark.parametrize("error", [OutOfTime("x"), TargetUnavailable("x"), KeyboardInterrupt()])
def test_an_error_of_the_writer_stops_all_and_is_raised(error):
    writer = Writer(error_at=20, error=error)
    source = batches(100_000)
    with pytest.raises(type(error)) as caught:
        run([(0, source)], writer)
    assert caught.value is error
    assert writer.puts < 1_000
    assert list(source) == []


def test_an_error_of_a_reader_stops_all_and_is_raised():
    with pytest.raises(DataFileDamaged, match="truncated"):
        run([(0, batches(100_000)), (1, batches(3, DataFileDamaged("k", "truncated")))], Writer())


def test_an_error_while_reporting_stops_all_and_is_raised():
    def fail(*_):
        raise RuntimeError("ledger")

    writer = Writer()
    with pytest.raises(RuntimeError, match="ledger"):
        run([(0, batches(100_000))], writer, on_result=fail)
    assert writer.puts < 1_000


def test_the_first_error_is_raised_and_requests_under_way_end_first():
    """Two threads are in `put`; the one fails, and nothing is raised before the other has ended too."""
    both_in = threading.Barrier(2)
    first_failed = threading.Event()
    ended: list[str] = []

    class TwoAtOnce(Writer):
        def put(self, batch: Batch) -> BatchResult:
            both_in.wait(5)
            if batch.first_line == 0:
                first_failed.set()
                raise TargetUnavailable("first")
            assert first_failed.wait(5)
            while threading.active_count() > before + 1:
                pass
            ended.append("late request")
            raise OutOfTime("second")

    before = threading.active_count()
    with pytest.raises(TargetUnavailable, match="first"):
        run([(0, batches(2))], TwoAtOnce(), concurrency=2)
    assert ended == ["late request"]


def test_results_are_reported_one_at_a_time():
    inside: list[int] = []
    overlaps: list[int] = []

    def report(*_):
        overlaps.extend(inside)
        inside.append(1)
        threading.Event().wait(0.0005)
        inside.pop()

    run([(0, batches(200))], Writer(), concurrency=8, on_result=report)
    assert overlaps == []


def test_no_more_is_pulled_than_threads_can_hold():
    pulled = 0
    reported = 0
    most = 0

    def counted() -> Iterator[Batch]:
        nonlocal pulled, most
        for batch in batches(500):
            pulled += 1
            most = max(most, pulled - reported)
            yield batch

    def report(*_):
        nonlocal reported
        reported += 1

    run([(0, counted())], Writer(), concurrency=4, on_result=report)
    assert most <= 4


# ---- how many at once


class Gate(Writer):
    """Puts end only when they are let through; `until` tells when that many are inside."""

    def __init__(self, concurrency: int) -> None:
        super().__init__()
        self.concurrency = concurrency
        self.inside: list[Batch] = []
        self.changed = threading.Condition()
        self.is_open = False

    def put(self, batch: Batch) -> BatchResult:
        with self.changed:
            self.inside.append(batch)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.is_open or batch not in self.inside, 10)
            if batch in self.inside:
                self.inside.remove(batch)
        return BatchResult(Counts(written=len(batch.lines)))

    def until(self, count: int) -> list[Batch]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.inside) == count, 10)
            return list(self.inside)

    def let(self, *batches: Batch) -> None:
        with self.changed:
            self.inside = [batch for batch in self.inside if batch not in batches]
            self.changed.notify_all()

    def open(self) -> None:
        with self.changed:
            self.is_open = True
            self.changed.notify_all()


def started(readers: Any, writer: Gate) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def go() -> None:
        transfer(readers, writer, stop=lambda: False, on_result=lambda i, batch, r: results.append((i, batch)))

    thread = threading.Thread(target=go)
    thread.start()
    return thread, results


def settled(writer: Gate, count: int) -> list[Batch]:
    """Those inside, when as many threads as that have had time to come in, and no more do."""
    batches = writer.until(count)
    threading.Event().wait(0.02)
    assert len(writer.inside) == count
    return batches


def test_as_many_are_under_way_as_the_writer_wants_also_when_it_changes_its_mind():
    writer = Gate(concurrency=3)
    thread, results = started([(0, batches(100))], writer)
    first = settled(writer, 3)
    writer.concurrency = 6
    writer.let(first[0])
    six = settled(writer, 6)
    writer.concurrency = 2
    writer.let(*six[:5])
    settled(writer, 2)
    writer.open()
    thread.join()
    assert sorted(batch.first_line for _, batch in results) == list(range(100))


def test_a_writer_that_wants_none_gets_one():
    _, results = run([(0, batches(5))], Writer(), concurrency=0)
    assert len(results) == 5


def test_large_batches_are_not_under_way_together():
    large = iter([Batch.of(n, (b"x" * 6_000_000,)) for n in range(12)])
    writer = Gate(concurrency=32)
    thread, results = started([(0, large)], writer)
    first = settled(writer, 3)
    writer.let(first[0])
    settled(writer, 3)
    writer.open()
    thread.join()
    assert len(results) == 12


def test_a_file_whose_batches_do_not_end_keeps_only_its_share_of_the_threads():
    """One partition is throttled for long: the others' batches go on."""
    writer = Gate(concurrency=6)
    hot = [Batch.of(n, (b"hot",)) for n in range(50)]
    cool = [[Batch.of(n, (b"%d" % number,)) for n in range(50)] for number in range(2)]
    thread, results = started([(0, iter(hot)), (1, iter(cool[0])), (2, iter(cool[1]))], writer)
    for _ in range(30):
        inside = writer.until(6)
        assert sum(batch.lines[0] == b"hot" for batch in inside) == 2
        writer.let(*[batch for batch in inside if batch.lines[0] != b"hot"][:1])
    assert len(results) >= 25
    writer.open()
    thread.join()
    assert len(results) == 150


def test_where_the_system_gives_no_more_threads_those_that_there_are_do_it(monkeypatch):
    original = threading.Thread.start
    attempts: list[int] = []

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("transfer-"):
            attempts.append(1)
            if len(attempts) > 2:
                raise RuntimeError("can't start new thread")
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    _, results = run([(0, batches(50))], Writer(), concurrency=8)
    assert len(results) == 50
    assert len(attempts) == 3


def test_where_it_gives_none_at_all_that_is_an_error(monkeypatch):
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        run([(0, source := batches(50))], Writer())
    monkeypatch.undo()
    assert list(source) == []
