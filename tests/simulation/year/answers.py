"""Which messages were sent without the sender being able to know it, or to write it down: only those may come twice."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.simulation.aws.dynamodb import Answer, Request
from tests.simulation.faults import Fault

_ID = re.compile(r"^Notification (\S+);", re.MULTILINE)
_KILLED = "KILLED"
Sent = tuple[str, str]  # the channel, and the id of the notice


def id_of(channel: str, request: Request) -> str:
    if channel == "bus":
        return str(json.loads(request["Entries"][0]["Detail"])["notification_id"])
    found = _ID.search(request["Message"])
    assert found is not None, "a message does not say which notification it is"
    return found[1]


class LostAnswers:
    """`lost`: how often each message was sent like that. From a message's effect to the next write to the ledger its
    sender must neither die nor meet a fault, or it is one of them."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.lost: Counter[Sent] = Counter()
        self._unnoted: dict[str, Sent] = {}  # by the sender
        self._fault: dict[str, Fault | None] = {}  # of the sender's latest call
        self._chain()

    def _chain(self) -> None:
        world = self._world
        call, say = world.trace.call, world.trace.say

        def called(process: str, *what: Any) -> Callable[[str], None]:
            note: Callable[[str], None] = call(process, *what)
            return self._called(process, what, note)

        def said(process: str, text: str) -> None:
            say(process, text)
            if text.startswith(_KILLED):
                self._count(process)

        world.trace.call, world.trace.say = called, said
        for channel, operation in (("topic", ("sns", "publish")), ("bus", ("events", "put_events"))):
            world.effects[operation] = self._sending(channel, world.effects[operation])

    def _called(self, process: str, what: tuple[Any, ...], note: Callable[[str], None]) -> Callable[[str], None]:
        _, service, operation, _, fault = what
        self._fault[process] = fault
        if process in self._unnoted and fault is not None:
            self._count(process)

        is_note = (service, operation) == ("dynamodb", "update_item")
        sent = self._unnoted.pop(process, None) if is_note else self._unnoted.get(process)

        def noted(refusal: str) -> None:
            note(refusal)
            if sent is not None and (is_note or self._unnoted.pop(process, None) is not None):
                self.lost[sent] += 1

        return noted

    def _sending(self, channel: str, effect: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        def send(request: Request) -> Answer:
            answer = effect(request)
            sent = (channel, id_of(channel, request))
            task = self._world.scheduler.current
            if task is None or self._fault.get(task.process.name) is not None:
                self.lost[sent] += 1
            else:
                self._unnoted[task.process.name] = sent
            return answer

        return send

    def _count(self, process: str) -> None:
        sent = self._unnoted.pop(process, None)
        if sent is not None:
            self.lost[sent] += 1
