"""Tasks under a virtual clock, one at a time: the same seed gives the same course, whatever the machine does.

Every task is a greenlet. It runs until it waits (for a call to AWS, a lock, a sleep), and then the hub runs whatever
is due next. Two handlers, or two threads of one handler, so interleave at their waits, in an order that random delays
choose.
"""

import heapq
from collections.abc import Callable
from random import Random

from greenlet import getcurrent, greenlet

Action = Callable[[], None]


class Dead(BaseException):
    """The process is gone. Raised into every task of it, and again at whatever their clean-up wants of AWS: a killed
    process cleans nothing up."""


class Process:
    """A place where tasks run and end together: a Lambda container, an operator, AWS itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_frozen = False
        self.tasks: set[Task] = set()
        self.held: list[Task] = []  # due while frozen


class Task:
    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.is_done = False
        self.waiters: list[Task] = []
        self.greenlet: greenlet | None = None
        self.error: BaseException | None = None


class Scheduler:
    def __init__(self, start_ms: int, random: Random) -> None:
        self.now_us = start_ms * 1000
        self.random = random
        self.current: Task | None = None
        self._hub = getcurrent()
        self._due: list[tuple[int, float, int, Action]] = []
        self._number = 0

    # --- time ------------------------------------------------------------------------------------------------

    def clock(self) -> int:
        """Epoch milliseconds, as the service's clock."""
        return self.now_us // 1000

    def after(self, delay_us: int, action: Action) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.now_us + delay_us, self.random.random(), self._number, action))

    def run(self, is_over: Callable[[], bool], until_us: int) -> None:
        """Runs what is due, until `is_over`, `until_us`, or nothing is due any more."""
        while self._due and not is_over():
            at_us = self._due[0][0]
            if at_us > until_us:
                self.now_us = until_us
                return
            _, _, _, action = heapq.heappop(self._due)
            self.now_us = max(self.now_us, at_us)
            action()

    # --- tasks -----------------------------------------------------------------------------------------------

    def spawn(self, process: Process, work: Action, name: str) -> Task:
        task = Task(process, name)

        def body() -> None:
            try:
                work()
            except Dead:
                return
            except BaseException as error:
                task.error = error
            finally:
                task.is_done = True
                process.tasks.discard(task)
                if process.is_alive:
                    for waiter in task.waiters:
                        self.unpark(waiter)

        task.greenlet = greenlet(body, parent=self._hub)
        process.tasks.add(task)
        self.after(0, lambda: self._resume(task))
        return task

    def wait(self, delay_us: int) -> None:
        """The running task waits; others run meanwhile."""
        task = self._running()
        self.after(max(0, delay_us), lambda: self._resume(task))
        self._leave(task)

    def sleep(self, seconds: float) -> None:
        self.wait(round(seconds * 1_000_000))

    def park(self) -> None:
        """The running task waits until somebody unparks it."""
        self._leave(self._running())

    def unpark(self, task: Task) -> None:
        self.after(0, lambda: self._resume(task))

    def join(self, task: Task) -> None:
        running = self._running()
        while not task.is_done:
            task.waiters.append(running)
            self._leave(running)

    def check_alive(self) -> Process:
        process = self._running().process
        if not process.is_alive:
            raise Dead
        return process

    def _running(self) -> Task:
        if self.current is None:
            raise RuntimeError("no task is running")
        if not self.current.process.is_alive:
            raise Dead
        return self.current

    def _leave(self, task: Task) -> None:
        self._hub.switch()
        if not task.process.is_alive:
            raise Dead

    def _resume(self, task: Task) -> None:
        if task.is_done or not task.process.is_alive or task.greenlet is None:
            return
        if task.process.is_frozen:
            task.process.held.append(task)
            return
        self.current = task
        try:
            task.greenlet.switch()
        finally:
            self.current = None

    # --- processes -------------------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """Ends every task of a process where it stands. A task that kills its own process must raise Dead then."""
        process.is_alive = False
        self.after(0, lambda: self._reap(process))

    def _reap(self, process: Process) -> None:
        """Unwinds what is left of a dead process; whatever its clean-up waits for raises Dead again."""
        for task in sorted(process.tasks, key=lambda task: task.name):
            if task.greenlet:  # false for one that has not begun
                self.current = task
                task.greenlet.throw(Dead)
            task.is_done = True
        self.current = None
        process.tasks.clear()

    def freeze(self, process: Process) -> None:
        process.is_frozen = True

    def thaw(self, process: Process) -> None:
        process.is_frozen = False
        held, process.held = process.held, []
        for task in held:
            self.unpark(task)
