"""Where messages go: an SNS topic, and an EventBridge bus. Both raise NotSent, which says whether trying again helps.

A call whose answer was lost is made again, by botocore or a minute later: who is told may be told twice, with the same
notification id. A FIFO topic leaves a second one of five minutes out
(https://docs.aws.amazon.com/sns/latest/dg/fifo-message-dedup.html).
"""

from collections.abc import Callable
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import DENIED, Client, error_code, error_text
from chalicelib.backup.failures import AwsError, may_pass, text_of
from chalicelib.telling.wording import Message

SOURCE = "tablevault"
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
_PASSING_ENTRY_ERRORS = frozenset({"InternalFailure", "InternalException", "ThrottlingException"})
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html#API_Publish_Errors
_PASSING_TOPIC_ERRORS = frozenset({"KMSThrottling", "Throttled"})


class NotSent(Exception):
    """The reason, with what to do. `may_pass`: without anybody changing anything."""

    def __init__(self, reason: str, *, may_pass: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_pass = may_pass


class Channel(Protocol):
    def send(self, message: Message, notification_id: str) -> None: ...


class Topic:
    def __init__(self, arn: str, sns: Callable[[], Client]) -> None:
        self._arn = arn
        self._sns = sns

    def send(self, message: Message, notification_id: str) -> None:
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items() if value
        }
        request = {
            "TopicArn": self._arn,
            "Subject": message.subject,
            "Message": message.body,
            "MessageAttributes": attributes,
        }
        try:
            self._sns().publish(**request, **self._order(message, notification_id))
        except AwsError as error:
            passes = may_pass(error) or _code(error) in _PASSING_TOPIC_ERRORS
            advice = (
                f"correct NOTIFICATION_TOPIC, now {self._arn}, or allow sns:Publish on it to the role of reconcile; an "
                "encrypted topic needs kms:GenerateDataKey and kms:Decrypt on its key too"
            )
            raise NotSent(_told(error, passes, advice), may_pass=passes) from error

    def _order(self, message: Message, notification_id: str) -> dict[str, str]:
        if not self._arn.endswith(".fifo"):
            return {}
        group = f"tablevault-{message.attributes['environment']}"
        return {"MessageGroupId": group[:128], "MessageDeduplicationId": notification_id[:128]}


class Bus:
    """PutEvents takes events for a bus that does not exist, and drops them (https://github.com/aws/aws-sdk/issues/186):
    a bus other than the default one is looked for first. Who may not look, sends all the same."""

    def __init__(self, name: str, events: Callable[[], Client]) -> None:
        self._name = name
        self._events = events
        self._is_there = name == "default"

    def send(self, message: Message, notification_id: str) -> None:
        """`notification_id` stands in the message's detail."""
        try:
            self._look_for_bus()
            answer = self._events().put_events(Entries=[self._entry(message)])
        except AwsError as error:
            passes = may_pass(error)
            raise NotSent(_told(error, passes, self._advice()), may_pass=passes) from error
        failed = [each for each in answer.get("Entries", []) if each.get("ErrorCode")]
        if failed or answer.get("FailedEntryCount"):
            self._refuse(failed[0] if failed else {})

    def _entry(self, message: Message) -> dict[str, str]:
        return {
            "Source": SOURCE,
            "DetailType": message.detail_type,
            "Detail": message.detail,
            "EventBusName": self._name,
        }

    def _look_for_bus(self) -> None:
        if self._is_there:
            return
        try:
            self._events().describe_event_bus(Name=self._name)
        except ClientError as error:
            if error_code(error) not in DENIED:
                raise
        self._is_there = True

    def _refuse(self, entry: dict[str, Any]) -> None:
        code = str(entry.get("ErrorCode", "InternalFailure"))
        passes = code in _PASSING_ENTRY_ERRORS
        text = f"{code}: {entry.get('ErrorMessage', '')}"
        raise NotSent(text if passes else f"{text}; {self._advice()}", may_pass=passes)

    def _advice(self) -> str:
        return f"correct EVENT_BUS, now {self._name}, or allow events:PutEvents on it to the role of reconcile"


def _told(error: ClientError | BotoCoreError, passes: bool, advice: str) -> str:
    text = error_text(error) if isinstance(error, ClientError) else text_of(error)
    return text if passes else f"{text}; {advice}"


def _code(error: ClientError | BotoCoreError) -> str:
    return error_code(error) if isinstance(error, ClientError) else ""
