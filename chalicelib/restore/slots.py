"""Slots: the places to work that a restore has, and the messages that wake workers for them.

The slot's row is the truth, the message only wakes a worker: one whose `wake` is not the row's, or that finds the
slot taken, ends without effect. Row first, then message: if the program stops between the two, `reconcile` sees a
slot woken long ago that nobody took, and wakes it again.

Real Lambda stops a function that keeps waking itself through SQS after about 16 invocations in a chain
(https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html): after HOP_LIMIT hops nothing is sent and
`reconcile`, whose invocation starts a chain of its own, goes on.
"""

import json
import secrets
from collections.abc import Callable
from typing import Annotated

import msgspec
from boto3.dynamodb.conditions import Attr
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client, error_code
from chalicelib.errors import Unavailable
from chalicelib.ledger import ConditionFailed, Key, Ledger, Update, decode
from chalicelib.restore.model import Slot, SlotState
from chalicelib.restore.records import expiry

HOP_LIMIT = 12
_UNANSWERED_AFTER_MS = 60_000


class SlotMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{"restore_id": …, "slot": 3, "wake": 7, "hop": 1}`: work for that restore in that slot.

    Whoever can send to the queue can forge one; a hop below 0 would outlive HOP_LIMIT.
    """

    restore_id: Annotated[str, msgspec.Meta(max_length=64)]
    slot: Annotated[int, msgspec.Meta(ge=0, lt=10_000)]
    wake: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    hop: Annotated[int, msgspec.Meta(ge=0, le=HOP_LIMIT)]


def parse_message(body: str) -> SlotMessage | None:
    """The message, or None when it is not one of ours."""
    try:
        return msgspec.json.decode(body, type=SlotMessage)
    except (msgspec.MsgspecError, UnicodeError):
        return None


def slot_key(restore_id: str, number: int) -> Key:
    return Key(f"RESTORE#{restore_id}", f"SLOT#{number:04d}")


def is_free(slot: Slot | None, now_ms: int) -> bool:
    """Whether a slot may be woken: unused, idle, woken but never taken, or held by a worker that must be dead."""
    if slot is None or slot.state is SlotState.IDLE:
        return True
    if slot.state is SlotState.WOKEN:
        return now_ms - slot.sent_at_ms > _UNANSWERED_AFTER_MS
    return slot.busy_until_ms <= now_ms


class Slots:
    def __init__(
        self, ledger: Ledger, sqs: Callable[[], Client], queue_url: Callable[[], str], *, most_awake: int
    ) -> None:
        self._ledger = ledger
        self._sqs = sqs
        self._queue_url = queue_url
        self._most_awake = most_awake

    def reach_queue(self) -> None:
        """Raises Unavailable when there is no way to wake workers: for before anything is written down."""
        try:
            self._queue_url()
        except (ClientError, BotoCoreError) as error:
            code = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            raise Unavailable(
                f"the queue that wakes workers cannot be reached ({code}); nothing was started; look whether the queue"
                " that RESTORE_QUEUE names exists, and whether this function may call sqs:GetQueueUrl on it"
            ) from error

    def all(self, restore_id: str) -> dict[int, Slot]:
        slots = [decode(row, Slot) for row in self._ledger.query(f"RESTORE#{restore_id}", "SLOT#")]
        return {slot.number: slot for slot in slots}

    def get(self, restore_id: str, number: int) -> Slot | None:
        row = self._ledger.get(slot_key(restore_id, number))
        return decode(row, Slot) if row else None

    def wake_free(self, restore_id: str, wanted: int, *, hop: int, now_ms: int) -> int:
        """Wakes those of the first `wanted` slots that are free; returns how many. Past HOP_LIMIT, none.

        Never more slots than Lambda runs workers at once: the messages of the others would only wait in the queue
        until they are taken for lost, and be sent again every minute.
        """
        if hop > HOP_LIMIT:
            return 0
        slots = self.all(restore_id)
        woken = 0
        for number in range(min(wanted, self._most_awake)):
            slot = slots.get(number)
            if is_free(slot, now_ms) and self._wake(restore_id, number, slot, hop, now_ms):
                woken += 1
        return woken

    def _wake(self, restore_id: str, number: int, slot: Slot | None, hop: int, now_ms: int) -> bool:
        wake = slot.wake + 1 if slot else 1
        changes = {"number": number, "state": SlotState.WOKEN.value, "wake": wake, "hop": hop}
        changes |= {"sent_at_ms": now_ms, "busy_until_ms": 0, **expiry(now_ms)}
        unchanged = (
            Attr("wake").eq(slot.wake) & Attr("state").eq(slot.state.value) & Attr("busy_until_ms").lte(now_ms)
            if slot
            else Attr("pk").not_exists()
        )
        try:
            self._ledger.write(Update(slot_key(restore_id, number), set=changes, condition=unchanged))
        except ConditionFailed:
            return False
        self._send(SlotMessage(restore_id, number, wake, hop))
        return True

    def take(self, message: SlotMessage, *, now_ms: int, busy_until_ms: int) -> bool:
        """For the worker the message woke. False when the message is old, or a worker holds the slot."""
        takable = Attr("state").eq(SlotState.WOKEN.value) | Attr("state").eq(SlotState.BUSY.value)
        free = Attr("wake").eq(message.wake) & takable & Attr("busy_until_ms").lte(now_ms)
        holder = secrets.token_hex(8)
        changes = {"state": SlotState.BUSY.value, "busy_until_ms": busy_until_ms, "holder": holder}
        try:
            self._ledger.write(Update(slot_key(message.restore_id, message.slot), set=changes, condition=free))
        except ConditionFailed as failed:
            # A write whose answer was lost is sent again by the client, and then fails on its own effect.
            return (failed.rows[0] or {}).get("holder") == holder
        return True

    def rest(self, message: SlotMessage) -> None:
        """The worker found nothing more to do. Only when no thread of it runs any more."""
        self._leave(message, {"state": SlotState.IDLE.value, "busy_until_ms": 0})

    def pass_on(self, message: SlotMessage, *, now_ms: int) -> None:
        """The worker's time is up and there is more to do: the slot's next message, unless the chain is too long."""
        following = SlotMessage(message.restore_id, message.slot, message.wake + 1, message.hop + 1)
        if following.hop > HOP_LIMIT:
            self.rest(message)
            return
        changes = {"state": SlotState.WOKEN.value, "busy_until_ms": 0, "sent_at_ms": now_ms}
        if self._leave(message, changes | {"wake": following.wake, "hop": following.hop}):
            self._send(following)

    def free(self, message: SlotMessage, now_ms: int) -> bool:
        """For a message that ended in the dead-letter queue: its slot is free again, unless a worker holds it."""
        dead = Attr("wake").eq(message.wake) & Attr("busy_until_ms").lte(now_ms)
        changes = {"state": SlotState.IDLE.value, "busy_until_ms": 0}
        try:
            self._ledger.write(Update(slot_key(message.restore_id, message.slot), set=changes, condition=dead))
        except ConditionFailed:
            return False
        return True

    def _leave(self, message: SlotMessage, changes: dict[str, object]) -> bool:
        ours = Attr("wake").eq(message.wake) & Attr("state").eq(SlotState.BUSY.value)
        try:
            self._ledger.write(Update(slot_key(message.restore_id, message.slot), set=changes, condition=ours))
        except ConditionFailed:
            return False  # woken anew meanwhile: another worker's slot now
        return True

    def _send(self, message: SlotMessage) -> None:
        body = json.dumps(msgspec.to_builtins(message))
        self._sqs().send_message(QueueUrl=self._queue_url(), MessageBody=body)
