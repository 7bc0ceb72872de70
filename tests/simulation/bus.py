"""The event bus: S3 events, SQS messages and schedule ticks, delivered late, twice, in any order, or not at all.

SQS' own promises are kept: a message whose worker failed is visible again after its timeout, and goes to the
dead-letter queue when it was received too often.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from chalicelib import entry
from chalicelib.backup.layout import SUMMARY_NAME
from chalicelib.services import Services
from sandbox.resources import MAX_RECEIVE_COUNT
from tests.simulation.aws.dynamodb import Answer, Request
from tests.simulation.faults import Fault
from tests.simulation.lambdas import LONGEST_CHAIN, Handler, Invocation

_MINUTE_US = 60_000_000
_VISIBILITY_FACTOR = 6  # of the function's timeout, as the sandbox and the README set it
_POLL_US = 1_000_000
RecordHandler = Callable[[Services, dict[str, Any], Invocation], Any]


@dataclass
class Message:
    number: int
    body: str
    chain: int
    receives: int = 0
    is_deleted: bool = False
    visible_at_us: int = 0

    def record(self) -> dict[str, Any]:
        return {"messageId": f"message-{self.number:06d}", "body": self.body}


class Queue:
    """One queue and the event source mapping that feeds its function from it."""

    def __init__(
        self, world: Any, function: str, handler: RecordHandler, *, concurrency: int, dead_letters: "Queue | None"
    ) -> None:
        self._world = world
        self._function = function
        self._handler = handler
        self._concurrency = concurrency
        self._dead_letters = dead_letters
        self._running = 0
        self._sent = 0
        self.pending: dict[int, Message] = {}

    def send(self, body: str, chain: int, number: int | None = None) -> Message:
        self._sent += 1
        message = Message(self._sent if number is None else number, body, chain)
        faults, random = self._world.faults, self._world.random
        if faults.hits(Fault.MESSAGE_DROPPED):
            self._world.trace.say("sqs", f"drops {body}")
            return message
        self.pending[message.number] = message
        delay_us = random.randrange(1_000, 50_000)
        if faults.hits(Fault.MESSAGE_DELAYED):
            delay_us = random.randrange(_MINUTE_US * 3)
        self._world.scheduler.after(delay_us, lambda: self._offer(message))
        if faults.hits(Fault.MESSAGE_DUPLICATED):
            again_us = delay_us + random.randrange(_MINUTE_US)
            self._world.scheduler.after(again_us, lambda: self._invoke(message, lambda ok, result: None))
        return message

    def _offer(self, message: Message) -> None:
        if message.is_deleted or message.visible_at_us > self._world.scheduler.now_us:
            return
        if self._running >= self._concurrency:
            self._world.scheduler.after(_POLL_US, lambda: self._offer(message))
            return
        message.receives += 1
        if self._dead_letters is not None and message.receives > MAX_RECEIVE_COUNT:
            self._bury(message)
            return
        visibility_us = _VISIBILITY_FACTOR * self._world.lambdas.timeout_s(self._function) * 1_000_000
        message.visible_at_us = self._world.scheduler.now_us + visibility_us
        self._world.scheduler.after(visibility_us, lambda: self._offer(message))

        def ended(ok: bool, result: Any) -> None:
            if ok:
                self._delete(message)

        self._invoke(message, ended)

    def _invoke(self, message: Message, ended: Callable[[bool, Any], None]) -> None:
        if message.chain > LONGEST_CHAIN:
            self._world.watch.violated(f"Lambda stopped a chain of {message.chain} invocations: {message.body}")
            self._bury(message)
            return
        self._running += 1
        self._world.counts["messages"] += 1

        def done(ok: bool, result: Any) -> None:
            self._running -= 1
            ended(ok, result)

        def handle(services: Services, invocation: Invocation) -> Any:
            return self._handler(services, message.record(), invocation)

        self._world.lambdas.invoke(self._function, handle, chain=message.chain, message=message.body, ended=done)

    def _bury(self, message: Message) -> None:
        self._delete(message)
        if self._dead_letters is not None:
            self._world.trace.say("sqs", f"dead letter {message.body}")
            self._world.counts["dead letters"] += 1
            self._dead_letters.send(message.body, message.chain)

    def _delete(self, message: Message) -> None:
        message.is_deleted = True
        self.pending.pop(message.number, None)


class Bus:
    def __init__(self, world: Any, concurrency: int) -> None:
        self._world = world
        self.reconciles_from_us = 0  # nothing reconciles before
        self.copies = 1  # of each event, all at the same time
        self.tick_us = _MINUTE_US
        self.is_idle: Callable[[], bool] = lambda: False  # then a reconcile, which would find nothing, is left out
        self.dead_letters = Queue(
            world,
            "record_dead_letter",
            lambda services, record, invocation: entry.record_dead_letter(services, record),
            concurrency=5,
            dead_letters=None,
        )
        self.restore_queue = Queue(
            world, "restore_shards", entry.restore_shards, concurrency=concurrency, dead_letters=self.dead_letters
        )

    # --- SQS -------------------------------------------------------------------------------------------------

    def get_queue_url(self, request: Request) -> Answer:
        return {"QueueUrl": f"https://sqs.simulated/{request['QueueName']}"}

    def send_message(self, request: Request) -> Answer:
        self.restore_queue.send(request["MessageBody"], request["Chain"])
        return {}

    # --- S3 --------------------------------------------------------------------------------------------------

    def object_created(self, key: str) -> None:
        if key.endswith(SUMMARY_NAME):
            for _ in range(self.copies):
                self._announce(key)

    def _announce(self, key: str) -> None:
        faults, random = self._world.faults, self._world.random
        if faults.hits(Fault.EVENT_DROPPED):
            self._world.trace.say("s3", f"loses the event of {key}")
            return
        delay_us = random.randrange(50_000, 500_000)
        if faults.hits(Fault.EVENT_DELAYED):
            delay_us = random.randrange(_MINUTE_US * 30)
        self._world.scheduler.after(delay_us, lambda: self._record_export(key))
        if faults.hits(Fault.EVENT_DUPLICATED):
            self._world.scheduler.after(delay_us + random.randrange(_MINUTE_US), lambda: self._record_export(key))

    def _record_export(self, key: str) -> None:
        self._world.counts["events"] += 1
        record = {"s3": {"bucket": {"name": self._world.s3.bucket}, "object": {"key": quote_plus(key)}}}
        event = {"Records": [record]}
        self._world.lambdas.invoke_later(
            "record_export", lambda services, invocation: entry.record_export(services, event)
        )

    # --- schedules -------------------------------------------------------------------------------------------

    def start_ticking(self) -> None:
        self._world.scheduler.after(self._world.random.randrange(_MINUTE_US), self._tick)

    def _tick(self) -> None:
        scheduler, faults = self._world.scheduler, self._world.faults
        scheduler.after(self.tick_us, self._tick)
        if scheduler.now_us < self.reconciles_from_us or self.is_idle() or faults.hits(Fault.TICK_DROPPED):
            return
        self._reconcile()
        if faults.hits(Fault.TICK_DUPLICATED):
            scheduler.after(self._world.random.randrange(_MINUTE_US // 2), self._reconcile)

    def _reconcile(self) -> None:
        self._world.counts["ticks"] += 1
        self._world.lambdas.invoke_later("reconcile", lambda services, invocation: entry.reconcile(services))

    def schedule_exports(self, delay_us: int) -> None:
        """The daily tick. EventBridge promises it at least once; one that is lost is the next day's to make good."""
        self._schedule("start_exports", lambda services, invocation: entry.start_exports(services), delay_us)

    def schedule_retention(self, delay_us: int) -> None:
        self._schedule("prune", lambda services, invocation: entry.prune(services, invocation), delay_us)

    def _schedule(self, function: str, handler: Handler, delay_us: int) -> None:
        def start() -> None:
            self._world.counts["ticks"] += 1
            self._world.lambdas.invoke_later(function, handler)

        self._world.scheduler.after(delay_us, start)
        if self._world.faults.hits(Fault.TICK_DUPLICATED):
            self._world.scheduler.after(delay_us + self._world.random.randrange(_MINUTE_US), start)
