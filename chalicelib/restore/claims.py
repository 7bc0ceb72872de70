"""Claims: a worker's time-limited right to a shard in one phase, and everything that is written under it.

Fencing. DynamoDB cannot refuse a late batch write, so time must: a claim is granted until its invocation's hard
deadline plus a margin, never renewed, never taken over before:

    claim granted          soft stop    hard deadline      claim lapses
    |---- shard is worked on ----|---- checkpoint ----|---- margin ----|  only now may another worker claim it

A phase moves on only when every one of its shards has ended, and each phase takes shards at a stage of its own: of a
phase that is over there is nothing left to claim. Only a cancelled restore has open shards: whoever claims one looks
at the restore's status afterwards, and gives it back. A restore is CANCELLED when it has been CANCELLING and no claim
was alive then; one granted since sees the status, and does nothing under it.

No transaction of a worker names the restore's own row: those of many workers would meet on it all the time, and
DynamoDB refuses all but one.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.ledger import Check, ConditionFailed, Delete, Key, Put, Update, Write, present
from chalicelib.restore.model import PHASES, Job, Kind, Shard, Stage, Status, Task, tasks_of
from chalicelib.restore.records import RestoreRecords, expiry, job_key, table_key, table_number
from chalicelib.restore.rejections import shard_reasons
from chalicelib.restore.work import Ended, Yielded

_CLEAR = PHASES[Status.CLEARING][0]
_LOAD = PHASES[Status.LOADING][0]


class ClaimLost(Exception):
    """The claim this worker acts under is no longer the shard's: whatever it did since is somebody else's to redo."""


class PhaseOver(Exception):
    """The restore is no longer in the phase this worker works for."""


class Claim(msgspec.Struct, frozen=True):
    """A worker's right to one shard, in one phase, until `until_ms`."""

    shard: Shard
    attempt: int
    phase: Status
    task: Task
    slot: int
    until_ms: int


class Claims:
    def __init__(self, records: RestoreRecords) -> None:
        self._records = records
        self._ledger = records.ledger

    def claim(
        self,
        restore_id: str,
        phase: Status,
        task: Task,
        shard: Shard,
        *,
        slot: Key,
        wake: int,
        now_ms: int,
        until_ms: int,
    ) -> Claim | None:
        """The shard, if it is still free; None when another worker was faster. Raises PhaseOver or ClaimLost."""
        free = Attr("stage").eq(task.takes.value) & Attr("claimed_until_ms").lte(now_ms)
        number = int(slot.sk.split("#")[1])
        attempt = shard.attempt + 1
        is_exact = shard.is_exact and shard.in_good_order
        writes: list[Write] = [
            Update(
                slot,
                set={"shard": shard.sk, "shard_attempt": attempt, "shard_wake": wake},
                condition=Attr("wake").eq(wake) & Attr("busy_until_ms").gt(now_ms),
            ),
            Update(
                Key(slot.pk, shard.sk),
                set={
                    "claimed_until_ms": until_ms,
                    "claimed_slot": number,
                    "attempt": attempt,
                    "in_good_order": False,
                    "is_exact": is_exact,
                },
                add={"fruitless": 1},
                condition=free & Attr("attempt").eq(shard.attempt),
            ),
        ]
        try:
            self._ledger.transact(writes)
        except ConditionFailed as failed:
            if failed.failed[0]:
                raise ClaimLost(f"slot {number} of {restore_id} was woken anew") from failed
            return None
        claimed = msgspec.structs.replace(
            shard,
            attempt=attempt,
            fruitless=shard.fruitless + 1,
            claimed_until_ms=until_ms,
            claimed_slot=number,
            is_exact=is_exact,
        )
        claim = Claim(claimed, attempt, phase, task, number, until_ms)
        self._check_phase(restore_id, claim)
        return claim

    def _check_phase(self, restore_id: str, claim: Claim) -> None:
        """Raises PhaseOver, the claim being given back, when the restore was cancelled before it was granted."""
        job = self._records.job(restore_id)
        if job is not None and job.status is claim.phase:
            return
        with suppress(ClaimLost):
            self.give_back(restore_id, claim, Yielded(in_good_order=True), free_at_ms=0)
        raise PhaseOver(restore_id)

    def checkpoint(self, restore_id: str, claim: Claim, checkpoint: str) -> None:
        self._update_claimed(restore_id, claim, {_checkpoint_of(claim.phase): checkpoint, "fruitless": 0})

    def give_back(self, restore_id: str, claim: Claim, answer: Yielded, *, free_at_ms: int) -> None:
        """Ends the claim without ending the shard. `free_at_ms`: not to be claimed again before (0: at once)."""
        changes: dict[str, Any] = {"claimed_until_ms": 0, "paused_until_ms": free_at_ms}
        changes["in_good_order"] = answer.in_good_order
        if answer.checkpoint is not None:
            changes[_checkpoint_of(claim.phase)] = answer.checkpoint
        if answer.progressed:
            changes["fruitless"] = 0
        if answer.reason is not None:
            changes["reason"] = answer.reason
        self._update_claimed(restore_id, claim, changes)

    def _update_claimed(self, restore_id: str, claim: Claim, changes: Mapping[str, Any]) -> None:
        key = Key(job_key(restore_id).pk, claim.shard.sk)
        try:
            self._ledger.write(Update(key, set=changes, condition=_still_claimed(claim)))
        except ConditionFailed as failed:
            raise ClaimLost(str(key)) from failed

    def end_shard(self, restore_id: str, claim: Claim, answer: Ended) -> None:
        """Where totals move: the shard's final state and the table's counters in one transaction.

        A shard that fails in CHECKING has found a blocker, which stands among the answer's notes.
        """
        failure, checkpoint, notes = answer.failure, answer.checkpoint, answer.notes
        number = table_number(claim.shard)
        pk = job_key(restore_id).pk
        phase = claim.phase.value.lower()
        stage = claim.task.fails if failure else claim.task.leaves
        changes: dict[str, Any] = {"stage": stage.value, "claimed_until_ms": 0, "fruitless": 0}
        changes |= {"reason": failure} if failure else {}
        if claim.phase is not Status.LOADING:
            changes |= {"in_good_order": True, "is_exact": True}  # LOADING begins with nothing written
        elif not failure:
            changes["in_good_order"] = True
        if claim.shard.kind is Kind.CLEAR:
            checkpoint = _without_position(answer.table_add)
        changes |= {"checkpoint": checkpoint} if checkpoint is not None else {}
        added = {f"{phase}_ended": 1, **({f"{phase}_failed": 1} if failure else {}), **answer.table_add}
        for level in ("blocker", "warning"):
            count = sum(note.level == level for note in notes)
            added |= {f"{level}s": count} if count else {}
        writes: list[Write] = [
            Update(Key(pk, claim.shard.sk), set=changes, condition=_still_claimed(claim)),
            Update(table_key(restore_id, number), set=answer.table_set, add=added, condition=present()),
        ]
        note_sk = f"NOTE#{number:04d}#{claim.shard.sk}"
        writes += [
            Put(
                Key(pk, f"{note_sk}#{index:02d}"),
                {"level": note.level, "text": note.text[:1000], **expiry(claim.until_ms)},
            )
            for index, note in enumerate(notes)
        ]
        if failure:
            writes.append(_failure_row(pk, number, claim.shard, failure, claim.until_ms))
        if claim.phase is Status.LOADING:
            writes += _rejected_rows(pk, number, claim.shard, checkpoint, claim.until_ms)
        try:
            self._ledger.transact(writes)
        except ConditionFailed as failed:
            if not self._ended_by_us(restore_id, claim, stage):
                raise ClaimLost(claim.shard.sk) from failed

    def _ended_by_us(self, restore_id: str, claim: Claim, stage: Stage) -> bool:
        """An answer lost on its way makes the repeated transaction fail although the first one succeeded."""
        shard = self._records.shard(restore_id, claim.shard.sk)
        return shard is not None and shard.stage is stage and shard.attempt == claim.attempt

    def fail_dead_shard(self, job: Job, shard: Shard, attempt: int, reason: str, now_ms: int) -> bool:
        """Fails a shard whose worker died on it, on behalf of the dead-letter queue. False when its state is another
        by now; also when it was given back or ended in good order, which leaves no claim behind."""
        task = next(
            (task for task in tasks_of(job.status) if (task.kind, task.takes) == (shard.kind, shard.stage)), None
        )
        if task is None or shard.attempt != attempt or not shard.claimed_until_ms:
            return False
        return self._fail_unclaimed(job, job.status, shard, reason, now_ms)

    def settle_open_shards(self, job: Job, now_ms: int) -> bool:
        """Of a cancelled restore, when no claim is alive: what its open shards did joins the totals.

        False when that has to be tried again: somebody has claimed such a shard since, and is about to give it back.
        Those of a table whose row is lost stay as they are: there are no totals to join.
        """
        are_settled = True
        known = {table.number for table in self._records.tables(job.restore_id)}
        for task, phase in ((_CLEAR, Status.CLEARING), (_LOAD, Status.LOADING)):
            for shard in list(self._records.at_stage(job.restore_id, task)):
                if table_number(shard) not in known or shard.checkpoint is None:
                    continue
                if shard_counts(shard) or shard.kind is Kind.CLEAR:
                    are_settled &= self._fail_unclaimed(job, phase, shard, _cancelled_text(shard), now_ms)
        return are_settled

    def reopen(self, job: Job, phase: Status, task: Task, shard: Shard) -> None:
        """Takes a shard that ended in a phase back to the stage the phase takes it at, and what it counted out of its
        table's counters. Its checkpoint stays: what was written is not written again. Repeating it changes nothing."""
        name, number = phase.value.lower(), table_number(shard)
        counts = shard_counts(shard) if phase is Status.LOADING else {}
        taken_back = {f"{name}_ended": -1, **{counted: -count for counted, count in counts.items()}}
        if shard.stage is task.fails:
            taken_back[f"{name}_failed"] = -1
        unchanged = Attr("stage").eq(shard.stage.value) & Attr("attempt").eq(shard.attempt)
        changes: dict[str, Any] = {"stage": task.takes.value, "fruitless": 0, "paused_until_ms": 0}
        writes: list[Write] = [
            Update(Key(job.pk, shard.sk), set=changes, remove=("reason",), condition=unchanged),
            Update(table_key(job.restore_id, number), add=taken_back, condition=present()),
            Delete(_failure_key(job.pk, number, shard)),
            Delete(_rejected_key(job.pk, number, shard)),
        ]
        with suppress(ConditionFailed):  # another worker did it
            self._ledger.transact(writes)

    def _fail_unclaimed(self, job: Job, phase: Status, shard: Shard, reason: str, now_ms: int) -> bool:
        name = phase.value.lower()
        counts = shard_counts(shard) if phase in (Status.LOADING, Status.CLEARING) else {}
        blocks = {"blockers": 1} if phase is Status.CHECKING else {}
        changes = {"stage": _fails_at(phase, shard).value, "reason": reason, "claimed_until_ms": 0}
        if shard.kind is Kind.CLEAR:
            changes["checkpoint"] = _without_position(counts)
        unclaimed = Attr("attempt").eq(shard.attempt) & Attr("claimed_until_ms").lte(now_ms)
        number = table_number(shard)
        writes: list[Write] = [
            Check(job_key(job.restore_id), Attr("status").eq(job.status.value)),
            Update(
                Key(job.pk, shard.sk),
                set=changes,
                condition=unclaimed & Attr("stage").eq(shard.stage.value),
            ),
            Update(
                table_key(job.restore_id, number),
                add={f"{name}_ended": 1, f"{name}_failed": 1, **counts, **blocks},
                condition=present(),
            ),
        ]
        writes.append(_failure_row(job.pk, number, shard, reason, now_ms))
        if phase is Status.LOADING:
            writes += _rejected_rows(job.pk, number, shard, None, now_ms)
        if blocks:
            note = Key(job.pk, f"NOTE#{number:04d}#{shard.sk}#00")
            writes.append(Put(note, {"level": "blocker", "text": reason, **expiry(now_ms)}))
        try:
            self._ledger.transact(writes)
        except ConditionFailed:
            return False
        return True


def _cancelled_text(shard: Shard) -> str:
    return f"{shard.source}: cancelled before all of its work was done; what was done is counted"


def _fails_at(phase: Status, shard: Shard) -> Stage:
    return next((task.fails for task in tasks_of(phase) if task.kind is shard.kind), Stage.FAILED)


def _checkpoint_of(phase: Status) -> str:
    return "comparison" if phase is Status.COMPARING else "checkpoint"


def shard_counts(shard: Shard) -> dict[str, int]:
    """What a shard's checkpoint adds to its table's counters, when it stands for CLEARING or LOADING."""
    if shard.checkpoint is None:
        return {}
    if shard.kind is Kind.CLEAR:
        return {"cleared": int(msgspec.json.decode(shard.checkpoint)[0])}
    if shard.kind is not Kind.LOAD:
        return {}
    names = ("written", "unchanged", "skipped", "deleted", "rejected", "filtered")
    files = shard.file_checkpoints()
    totals = {name: sum(getattr(file, name) for file in files) for name in names}
    return {name: count for name, count in totals.items() if count}


def _without_position(counts: Mapping[str, int | set[int]]) -> str:
    """The checkpoint of a shard of CLEARING that ends. Its scan position is made of an item's key: the ledger keeps
    it only as long as somebody may go on from there."""
    return json.dumps([counts.get("cleared", 0), None])


def _failure_key(pk: str, table_number: int, shard: Shard) -> Key:
    return Key(pk, f"FAILURE#{table_number:04d}#{shard.sk}")


def _rejected_key(pk: str, table_number: int, shard: Shard) -> Key:
    return Key(pk, f"REJECTED#{table_number:04d}#{shard.sk}")


def _failure_row(pk: str, table_number: int, shard: Shard, reason: str, now_ms: int) -> Put:
    return Put(_failure_key(pk, table_number, shard), {"text": reason[:1000], **expiry(now_ms)})


def _rejected_rows(pk: str, table_number: int, shard: Shard, checkpoint: str | None, now_ms: int) -> list[Put]:
    """Why lines of a shard that ends in LOADING were rejected, by the checkpoint its counts are taken from."""
    if checkpoint is not None:
        shard = msgspec.structs.replace(shard, checkpoint=checkpoint)
    reasons = shard_reasons(shard)
    if not reasons:
        return []
    row = {"reasons": msgspec.json.encode(reasons).decode(), **expiry(now_ms)}
    return [Put(_rejected_key(pk, table_number, shard), row)]


def _still_claimed(claim: Claim) -> ConditionBase:
    return (
        Attr("attempt").eq(claim.attempt)
        & Attr("stage").eq(claim.task.takes.value)
        & Attr("claimed_until_ms").eq(claim.until_ms)
    )
