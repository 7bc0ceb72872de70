"""Moves batches from open data files to a writer, with threads.

Threads pull from one locked iterator over all files instead of sharing a queue: what is in memory is bounded
by the number of threads, whatever the files hold. The files are read in turn, because each holds one partition's
key range and a partition takes a thousand write units a second, less than one worker can send.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.writer import BatchResult


class Writer(Protocol):
    """What `transfer` needs of a BatchWriter: thread-safe, and done with the batch when it returns."""

    def put(self, batch: Batch) -> BatchResult: ...


def transfer(
    readers: Sequence[tuple[int, Iterator[Batch]]],
    writer: Writer,
    *,
    threads: int = 8,
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
    workers = [threading.Thread(target=run.work, name=f"transfer-{number}") for number in range(threads)]
    started = []
    try:
        for worker in workers:
            worker.start()
            started.append(worker)
        for worker in started:
            worker.join()
    finally:  # also when the main thread is interrupted, or no further thread can be started
        run.stop_pulling()
        for worker in started:
            worker.join()
        run.close()
    if run.error is not None:
        raise run.error
    return run.is_read_to_the_end


class _Transfer:
    def __init__(
        self,
        readers: Sequence[tuple[int, Iterator[Batch]]],
        writer: Writer,
        stop: Callable[[], bool],
        on_result: Callable[[int, Batch, BatchResult], None],
    ) -> None:
        self.error: BaseException | None = None
        self._readers = [batches for _, batches in readers]
        self._turns = deque(readers)
        self._writer = writer
        self._stop = stop
        self._on_result = on_result
        self._is_stopped = threading.Event()
        self._pull_lock = threading.Lock()
        self._result_lock = threading.Lock()

    @property
    def is_read_to_the_end(self) -> bool:
        return not self._turns

    def work(self) -> None:
        try:
            while (pulled := self._pull()) is not None:
                index, batch = pulled
                result = self._writer.put(batch)
                with self._result_lock:
                    self._on_result(index, batch, result)
        except BaseException as error:  # a thread has no caller: the one who joins it raises it
            with self._result_lock:
                self.error = self.error or error
            self.stop_pulling()

    def stop_pulling(self) -> None:
        self._is_stopped.set()

    def close(self) -> None:
        """Closes the streams of files that were not read to their end. No thread may be pulling."""
        for batches in self._readers:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def _pull(self) -> tuple[int, Batch] | None:
        """The next batch of the file whose turn it is; None when there is nothing left to do."""
        with self._pull_lock:
            while self._turns and not self._is_stopped.is_set() and not self._stop():
                index, batches = self._turns.popleft()
                batch = next(batches, None)
                if batch is not None:
                    self._turns.append((index, batches))
                    return index, batch
            return None
