"""Messages whose workers failed again and again, and messages that are not ours.

A message of ours frees its slot, and fails the shard that its workers died on, if that shard is still in the state
they left it in. Everything else is kept in the bucket under `quarantine/`, so that it is neither lost nor looping.
"""

import json
from typing import Any

from chalicelib.backup import layout
from chalicelib.clock import iso
from chalicelib.restore.model import Job, Shard, Slot
from chalicelib.restore.slots import Slots, parse_message
from chalicelib.restore.work import Surroundings, logger


def quarantine(around: Surroundings, message_id: str, body: str, why: str) -> str:
    """Keeps a message that is not ours and says so loudly; returns its key in the bucket."""
    key = layout.quarantine_key(iso(around.clock()), message_id)
    content = json.dumps({"message_id": message_id, "why": why, "body": body}).encode()
    around.s3.put_object(Bucket=around.settings.backup_bucket, Key=key, Body=content, ContentType="application/json")
    logger.error("message quarantined", extra={"message_id": message_id, "why": why, "key": key})
    return key


class DeadLetters:
    def __init__(self, around: Surroundings, slots: Slots) -> None:
        self._around = around
        self._slots = slots

    def record(self, record: dict[str, Any]) -> str:
        """Takes one SQS record of the dead-letter queue; returns what was done, for the log."""
        message = parse_message(record["body"])
        if message is None:
            return quarantine(self._around, record["messageId"], record["body"], "not a message of tablevault")
        job = self._around.records.job(message.restore_id)
        if job is None:
            return quarantine(self._around, record["messageId"], record["body"], "no such restore")
        now_ms = self._around.clock()
        slot = self._slots.get(message.restore_id, message.slot)
        failed = False
        if slot is not None and slot.shard is not None and slot.wake == message.wake == slot.shard_wake:
            shard = self._around.records.shard(message.restore_id, slot.shard)
            failed = shard is not None and self._fail(job, slot, shard, now_ms)
        freed = self._slots.free(message, now_ms)
        logger.error(
            "worker failed again and again",
            extra={"restore_id": message.restore_id, "slot": message.slot, "freed": freed, "shard_failed": failed},
        )
        return f"slot freed: {freed}, shard failed: {failed}"

    def _fail(self, job: Job, slot: Slot, shard: Shard, now_ms: int) -> bool:
        reason = f"{shard.source}: its workers died again and again; see the worker's log for shard {shard.sk}"
        return self._around.claims.fail_dead_shard(job, shard, slot.shard_attempt, reason, now_ms)
