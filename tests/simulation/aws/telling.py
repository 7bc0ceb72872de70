"""What tells people and other systems: SNS topics and EventBridge buses. What was taken is kept, in order."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.aws.dynamodb import Answer, Request, error

_LONGEST_MESSAGE_BYTES = 262_144
_LONGEST_SUBJECT = 100
_MOST_ENTRIES = 10
_LARGEST_ENTRIES_BYTES = 1_000_000


@dataclass(frozen=True)
class Told:
    at_ms: int
    request: Request


class Topics:
    """`published`: the requests that were taken. A topic that is not among `arns` is unknown."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.arns: set[str] = set()
        self.published: list[Told] = []

    def publish(self, request: Request) -> Answer:
        """https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
        if request["TopicArn"] not in self.arns:
            raise error("NotFound", "Publish", "Topic does not exist", status=404)
        message, subject = request.get("Message", ""), request.get("Subject")
        if not message:
            raise error("InvalidParameter", "Publish", "Invalid parameter: Empty message")
        if len(message.encode()) > _LONGEST_MESSAGE_BYTES:
            raise error("InvalidParameter", "Publish", "Invalid parameter: Message too long")
        if subject is not None and (not 0 < len(subject) <= _LONGEST_SUBJECT or not _is_subject(subject)):
            raise error("InvalidParameter", "Publish", "Invalid parameter: Subject")
        self.published.append(Told(self._clock(), request))
        return {"MessageId": f"message-{len(self.published):06d}"}


def _is_subject(text: str) -> bool:
    """ASCII that begins with a letter, number or punctuation mark, without line breaks and control characters."""
    return text.isascii() and text.isprintable() and not text[0].isspace()


class EventBuses:
    """`taken`: the entries that a bus took, in order."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.taken: list[Told] = []

    def put_events(self, request: Request) -> Answer:
        """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html"""
        entries: list[dict[str, Any]] = request["Entries"]
        if not 1 <= len(entries) <= _MOST_ENTRIES:
            raise error("ValidationException", "PutEvents", f"{len(entries)} entries")
        if sum(len(str(entry.get("Detail", "")).encode()) for entry in entries) > _LARGEST_ENTRIES_BYTES:
            raise error("ValidationException", "PutEvents", "the entries are too large together")
        answers = [self._put(entry) for entry in entries]
        return {"FailedEntryCount": sum("ErrorCode" in each for each in answers), "Entries": answers}

    def _put(self, entry: dict[str, Any]) -> dict[str, str]:
        """An entry that is refused does not keep the others back."""
        for name in ("Source", "DetailType", "Detail"):
            if not entry.get(name):
                reason = f"Parameter {name} is not valid. Reason: {name} is a required argument."
                return {"ErrorCode": "InvalidArgument", "ErrorMessage": reason}
        try:
            json.loads(entry["Detail"])
        except ValueError:
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        self.taken.append(Told(self._clock(), entry))
        return {"EventId": f"event-{len(self.taken):06d}"}
