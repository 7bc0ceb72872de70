"""threading and ThreadPoolExecutor as the service uses them, on the scheduler's tasks, in place of the real ones."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from chalicelib.backup import starter
from chalicelib.backup.pruning import gathering
from chalicelib.restore.datapath import changed_only, flow, transfer, write_units, writer
from chalicelib.restore.phases import clearing
from tests.simulation.scheduler import Scheduler, Task


class SimulatedThread:
    def __init__(self, scheduler: Scheduler, target: Callable[[], Any], name: str) -> None:
        self._scheduler = scheduler
        self._target = target
        self.name = name
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._scheduler.spawn(self._scheduler.check_alive(), self._target, self.name)

    def join(self) -> None:
        if self._task is not None:
            self._scheduler.join(self._task)


class SimulatedLock:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._holder: Task | None = None
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> None:
        self._scheduler.check_alive()
        task = self._scheduler.current
        while self._holder is not None:
            assert task is not None
            self._waiting.append(task)
            self._scheduler.park()
        self._holder = task

    def __exit__(self, *_: object) -> None:
        self._holder = None
        if self._waiting:
            self._scheduler.unpark(self._waiting.popleft())


class SimulatedEvent:
    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


class SimulatedFuture:
    def __init__(self, scheduler: Scheduler, work: Callable[[], Any], name: str) -> None:
        self._scheduler = scheduler
        self._outcome: tuple[Any, BaseException | None] = (None, None)

        def run() -> None:
            try:
                self._outcome = (work(), None)
            except Exception as error:
                self._outcome = (None, error)

        self.task = scheduler.spawn(scheduler.check_alive(), run, name)

    def exception(self) -> BaseException | None:
        self._scheduler.join(self.task)
        return self._outcome[1]

    def result(self) -> Any:
        error = self.exception()
        if error is not None:
            raise error
        return self._outcome[0]


class SimulatedExecutor:
    """With as many threads as are asked for where no limit is given: what one is for, memory and connections, costs
    nothing here."""

    def __init__(self, scheduler: Scheduler, most: int | None = None) -> None:
        self._scheduler = scheduler
        self._most = most
        self._futures: list[SimulatedFuture] = []
        self._is_shut = False

    def __enter__(self) -> "SimulatedExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._futures:
            self._scheduler.join(future.task)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> SimulatedFuture:
        """The n-th begins when the one `most` before it has ended."""
        before = self._futures[-self._most] if self._most and len(self._futures) >= self._most else None

        def begin() -> Any:
            if before is not None:
                self._scheduler.join(before.task)
            return None if self._is_shut else work(*arguments)

        future = SimulatedFuture(self._scheduler, begin, f"pool-{len(self._futures):04d}")
        self._futures.append(future)
        return future

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """What has not begun never will."""
        self._is_shut = cancel_futures

    def map(self, work: Callable[..., Any], things: Iterable[Any]) -> Iterator[Any]:
        futures = [self.submit(work, thing) for thing in things]
        return (future.result() for future in futures)


@contextmanager
def simulated_threads(scheduler: Scheduler) -> Iterator[None]:
    """Within it, what the service makes of threads, locks and pools is the scheduler's."""
    threading = SimpleNamespace(
        Thread=lambda target, name: SimulatedThread(scheduler, target, name),
        Lock=lambda: SimulatedLock(scheduler),
        Event=SimulatedEvent,
    )
    with (
        patch.object(transfer, "threading", threading),
        patch.object(writer, "Lock", threading.Lock),
        patch.object(changed_only, "Lock", threading.Lock),
        patch.object(flow, "Lock", threading.Lock),
        patch.object(write_units, "Lock", threading.Lock),
        patch.object(clearing, "ThreadPoolExecutor", lambda workers: SimulatedExecutor(scheduler)),
        patch.object(starter, "ThreadPoolExecutor", lambda workers: SimulatedExecutor(scheduler, workers)),
        patch.object(gathering, "ThreadPoolExecutor", lambda workers: SimulatedExecutor(scheduler, workers)),
    ):
        yield
