"""Lambda's part: containers that are kept warm and frozen between invocations, deadlines that kill, asynchronous events
that are tried three times, and chains of invocations that are stopped after 16."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from chalicelib.services import Services
from tests.simulation.faults import Fault
from tests.simulation.scheduler import Process

_CONFIG = Path(__file__).parents[2] / ".chalice" / "config.json"
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
LONGEST_CHAIN = 16
_RETRY_AFTER_US = (60_000_000, 120_000_000)  # of an asynchronous event whose function failed

Handler = Callable[[Services, "Invocation"], Any]
Ended = Callable[[bool, Any], None]


def timeouts_s() -> dict[str, int]:
    functions = json.loads(_CONFIG.read_text())["lambda_functions"]
    return {name: int(values["lambda_timeout"]) for name, values in functions.items()}


@dataclass(frozen=True)
class Invocation:
    """What a handler sees as Lambda's context."""

    function: str
    number: int
    deadline_us: int
    chain: int
    clock_us: Callable[[], int]
    message: str = ""  # of the queue, if one woke it

    def get_remaining_time_in_millis(self) -> int:
        return max(0, (self.deadline_us - self.clock_us()) // 1000)


class Container(Process):
    """A process of one function; `services` live as long as it does."""

    def __init__(self, name: str, function: str) -> None:
        super().__init__(name)
        self.function = function
        self.services: Services | None = None
        self.invocation: Invocation | None = None
        self.ended: Ended | None = None


class Lambdas:
    def __init__(self, world: Any) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._timeouts_s = timeouts_s()
        self._warm: dict[str, list[Container]] = {}
        self._invocations = 0
        self.kills = 0
        self.running: set[Container] = set()

    def set_timeout(self, function: str, seconds: int) -> None:
        self._timeouts_s[function] = seconds

    def timeout_s(self, function: str) -> int:
        return self._timeouts_s[function]

    def invoke(
        self,
        function: str,
        handler: Handler,
        *,
        chain: int = 0,
        message: str = "",
        ended: Ended = lambda ok, result: None,
    ) -> None:
        """`ended` is told whether it succeeded, and with what (its result, or its error)."""
        container = self._container(function)
        self._invocations += 1
        deadline_us = self._scheduler.now_us + self._timeouts_s[function] * 1_000_000
        number = self._invocations
        invocation = Invocation(function, number, deadline_us, chain, lambda: self._scheduler.now_us, message)
        container.invocation, container.ended = invocation, ended
        container.name = f"{function}-{number}"
        self.running.add(container)
        self._scheduler.thaw(container)

        def run() -> None:
            assert container.services is not None
            try:
                outcome: tuple[bool, Any] = (True, handler(container.services, invocation))
            except Exception as error:
                self._world.watch.raised(container, error)
                outcome = (False, error)
            self._scheduler.after(0, lambda: self._returned(container, invocation, outcome))

        self._scheduler.spawn(container, run, container.name)
        self._scheduler.after(deadline_us - self._scheduler.now_us, lambda: self._time_up(container, invocation))

    def invoke_later(self, function: str, handler: Handler, attempt: int = 0) -> None:
        """An asynchronous event: tried again twice when the function fails."""

        def ended(ok: bool, result: Any) -> None:
            if not ok and attempt < len(_RETRY_AFTER_US):
                again = partial(self.invoke_later, function, handler, attempt + 1)
                self._scheduler.after(_RETRY_AFTER_US[attempt], again)

        self.invoke(function, handler, ended=ended)

    def kill(self, container: Container, why: str) -> None:
        self.kills += 1
        self._world.trace.say(container.name, f"KILLED: {why}")
        self.running.discard(container)
        self._scheduler.kill(container)
        ended, container.ended = container.ended, None
        if ended is not None:
            self._scheduler.after(0, lambda: ended(False, None))

    def _container(self, function: str) -> Container:
        warm = self._warm.setdefault(function, [])
        while warm:
            container = warm.pop()
            if not self._world.faults.hits(Fault.COLD_START):
                return container
            self._scheduler.kill(container)
        container = Container(function, function)
        container.services = self._world.new_services(container)
        return container

    def _returned(self, container: Container, invocation: Invocation, outcome: tuple[bool, Any]) -> None:
        if container.invocation is not invocation or not container.is_alive:
            return
        if container.tasks:
            names = ", ".join(sorted(task.name for task in container.tasks))
            self._world.watch.violated(f"{container.name} returned while threads of it live: {names}")
        self._world.trace.say(container.name, f"returned {outcome[1]!r}"[:300])
        self.running.discard(container)
        ended, container.ended, container.invocation = container.ended, None, None
        self._scheduler.freeze(container)
        self._warm[container.function].append(container)
        if ended is not None:
            ended(*outcome)

    def _time_up(self, container: Container, invocation: Invocation) -> None:
        if container.invocation is invocation and container.is_alive and container in self.running:
            self.kill(container, "its deadline has passed")
