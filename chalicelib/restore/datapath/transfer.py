"""Moves batches from open data files to a writer, with threads.

Threads pull what they write themselves instead of sharing a queue: what is in memory is bounded by the number of
threads and by bytes, whatever the files hold. Two files are read at a time, for inflating and waiting for S3 need no
lock of the interpreter's. Each file holds one partition's key range, and a partition
takes a thousand write units a second, less than one worker can send: so the next batch comes from the file of which the
fewest are under way, in turn. A partition that throttles keeps only its own share of the threads waiting.

There are as many threads as the writer wants at the moment: one that is not wanted ends, another one is started later.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.writer import BatchResult

_MOST_BYTES_UNDER_WAY = 16_000_000  # of lines; no more than a batch of each lane is pulled beyond it
_LANES = 2


class Writer(Protocol):
    """What `transfer` needs of a BatchWriter: thread-safe, and done with the batch when it returns."""

    @property
    def concurrency(self) -> int:
        """How many batches may be under way now; may change at any time."""

    def put(self, batch: Batch) -> BatchResult: ...


def transfer(
    readers: Sequence[tuple[int, Iterator[Batch]]],
    writer: Writer,
    *,
    stop: Callable[[], bool],
    on_result: Callable[[int, Batch, BatchResult], None],
) -> bool:
    """Puts the batches of all `readers` (index of a data file, its batches); whether all were read to their end.

    `stop` is asked before each pull; when it is true, batches already pulled are still written. `on_result` is
    called under a lock, for each batch that ended, in any order. The first error of a thread stops all
    and is raised once they have ended; batches that were not reported may be written or not.

    When this returns or raises, no thread of it lives, the readers are closed, and no request is open: a claim
    that is released afterwards fences what was written.
    """
    run = _Transfer(readers, writer, stop, on_result)
    try:
        run.start()
        run.join()
    finally:  # also when the main thread is interrupted
        run.stop_pulling()
        run.join()
        run.close()
    if run.error is not None:
        raise run.error
    return run.is_read_to_the_end


class _Source(msgspec.Struct, eq=False):
    """One data file's batches. `lane`: the lock under which they are pulled. `busy`: pulls and batches under way."""

    index: int
    batches: Iterator[Batch]
    lane: AbstractContextManager[Any]
    busy: int = 0


class _Pulled(msgspec.Struct, frozen=True, gc=False):
    source: _Source
    batch: Batch
    size_bytes: int


_BY_BUSY = attrgetter("busy")


class _Transfer:
    def __init__(
        self,
        readers: Sequence[tuple[int, Iterator[Batch]]],
        writer: Writer,
        stop: Callable[[], bool],
        on_result: Callable[[int, Batch, BatchResult], None],
    ) -> None:
        self.error: BaseException | None = None
        lanes = [threading.Lock() for _ in range(_LANES)]
        self._sources = deque(_Source(index, batches, lanes[index % _LANES]) for index, batches in readers)
        self._readers = [batches for _, batches in readers]
        self._writer = writer
        self._stop = stop
        self._on_result = on_result
        self._is_stopped = threading.Event()
        self._result_lock = threading.Lock()
        self._pull_lock = threading.Lock()
        # Under the pull lock, which is never held while a lane is waited for:
        self._under_way = 0
        self._bytes_under_way = 0
        self._alive = 0
        self._started = 0
        self._can_grow = True
        self._threads: list[threading.Thread] = []

    @property
    def is_read_to_the_end(self) -> bool:
        return not self._sources

    def start(self) -> None:
        with self._pull_lock:
            self._start_thread()

    def join(self) -> None:
        """Until no thread is left, also of those that others start meanwhile: they are listed before these end."""
        while self._threads:
            self._threads[0].join()
            self._threads.pop(0)

    def stop_pulling(self) -> None:
        self._is_stopped.set()

    def close(self) -> None:
        """Closes the streams of files that were not read to their end. No thread may be pulling."""
        for batches in self._readers:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def _work(self) -> None:
        try:
            pulled = self._pull(None)
            while pulled is not None:
                result = self._writer.put(pulled.batch)
                with self._result_lock:
                    self._on_result(pulled.source.index, pulled.batch, result)
                pulled = self._pull(pulled)
        except BaseException as error:  # a thread has no caller: the one who joins it raises it
            with self._result_lock:
                self.error = self.error or error
            self.stop_pulling()

    def _pull(self, ended: "_Pulled | None") -> "_Pulled | None":
        """The next batch, of the file whose turn it is; None when this thread has nothing left to do. `ended`: the one
        that it pulled before."""
        while (source := self._next_source(ended)) is not None:
            ended = None
            with source.lane:
                batch = next(source.batches, None)
            if batch is not None:
                pulled = _Pulled(source, batch, sum(map(len, batch.lines)))
                self._begin(pulled)
                return pulled
            with self._pull_lock:
                source.busy -= 1
                if source in self._sources:  # another thread may have found its end too
                    self._sources.remove(source)
        return None

    def _next_source(self, ended: _Pulled | None) -> _Source | None:
        """The file least under way; None where nothing may be pulled any more, or not by this thread: it then ends."""
        with self._pull_lock:
            if ended is not None:
                ended.source.busy -= 1
                self._under_way -= 1
                self._bytes_under_way -= ended.size_bytes
            may_pull = self._alive <= self._wanted() and not self._is_stopped.is_set() and not self._stop()
            if not self._sources or not may_pull:
                self._alive -= 1
                return None
            source = min(self._sources, key=_BY_BUSY)
            # Behind the others, so that of files equally under way each has its turn.
            self._sources.remove(source)
            self._sources.append(source)
            source.busy += 1
            return source

    def _begin(self, pulled: _Pulled) -> None:
        with self._pull_lock:
            self._under_way += 1
            self._bytes_under_way += pulled.size_bytes
            if self._can_grow and self._alive < self._wanted():
                self._grow()

    def _wanted(self) -> int:
        """How many threads should live: where their batches are large, no more than there already are."""
        wanted = max(1, self._writer.concurrency)
        return wanted if self._bytes_under_way < _MOST_BYTES_UNDER_WAY else min(wanted, self._under_way)

    def _grow(self) -> None:
        try:
            self._start_thread()
        except RuntimeError:  # the system gives no more threads: those that there are do it
            self._can_grow = False

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"transfer-{self._started}")
        thread.start()
        self._started += 1
        self._alive += 1
        self._threads.append(thread)
