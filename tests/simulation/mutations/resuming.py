"""Defects in carrying on what had ended, and in asking twice."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import msgspec
from boto3.dynamodb.conditions import Attr

from chalicelib.backup import layout
from chalicelib.idempotency import Chosen, IdempotencyKeys, _row_key
from chalicelib.ledger import Ledger, Put
from chalicelib.restore import advance, claims, locks, records
from chalicelib.restore.claims import Claims
from chalicelib.restore.desk import RestoreDesk
from chalicelib.restore.locks import Locks
from chalicelib.restore.model import ALLOWED_MOVES, Job, Stage, Status
from chalicelib.restore.phases import reopening
from chalicelib.restore.records import Lock
from chalicelib.restore.resuming import Resuming
from tests.simulation.mutations.mutation import mutation


@mutation("resumed-in-loading", "retried-after-denial", "resumed-twice", "chain-retried-after-damage")
def counts_of_a_reopened_shard_kept() -> Iterator[None]:
    """What it had counted is counted again when it ends."""
    reopen = Claims.reopen

    def without_counts(self: Claims, *what: Any) -> None:
        with patch.object(claims, "shard_counts", lambda shard: {}):
            reopen(self, *what)

    with patch.object(Claims, "reopen", without_counts):
        yield


@mutation("resumed-in-loading", "resumed-in-finishing", "retried-after-denial")
def cleared_again_after_loading() -> Iterator[None]:
    again = [(Status.CLEARING, frozenset({Stage.DONE, Stage.FAILED}))]
    to_reopen, go_on = reopening._phases_to_reopen, Resuming._go_on

    def back_to_clearing(self: Resuming, job: Job, to: Status) -> Job:
        return go_on(self, job, Status.CLEARING if to is Status.LOADING else to)

    with (
        patch.dict(ALLOWED_MOVES, {Status.REOPENING: ALLOWED_MOVES[Status.REOPENING] | {Status.CLEARING}}),
        patch.object(reopening, "_phases_to_reopen", lambda to: [*again, *to_reopen(Status.LOADING)]),
        patch.object(Resuming, "_go_on", back_to_clearing),
    ):
        yield


@mutation("resumed-in-loading", "resumed-in-clearing", "resumed-after-another")
def resumed_without_locks() -> Iterator[None]:
    take_all = Locks.take_all

    def only_at_first(self: Locks, job: Job) -> None:
        if job.status is Status.ACCEPTING:
            take_all(self, job)

    with patch.object(Locks, "take_all", only_at_first):
        yield


@mutation("resumed-twice", "resumed-in-loading", "resumed-in-checking", "resumed-in-planning")
def resumed_while_its_locks_are_given_back() -> Iterator[None]:
    """A lock has no holder but the restore: who is slow to give it back, gives back what was taken anew."""
    move = Resuming._move_to_resuming

    def at_once(self: Resuming, job: Job) -> Job:
        return move(self, msgspec.structs.replace(job, open_kind=None))

    with (
        patch.object(Resuming, "_move_to_resuming", at_once),
        patch.object(records, "lock_of", lambda job: Lock(job.restore_id, "")),
        patch.object(locks, "lock_of", lambda job: Lock(job.restore_id, "")),
        patch.object(advance, "lock_of", lambda job: Lock(job.restore_id, "")),
    ):
        yield


@mutation("retried-after-damage", "chain-retried-after-damage", "retried-after-denial")
def the_proof_not_made_again() -> Iterator[None]:
    """VERIFYING stands as it was before what failed was tried again."""
    to_reopen = reopening._phases_to_reopen

    def without_verifying(to: Status | None) -> Any:
        return [phase for phase in to_reopen(to) if phase[0] is not Status.VERIFYING]

    with patch.object(reopening, "_phases_to_reopen", without_verifying):
        yield


@mutation("resumed-in-loading", "retried-after-denial")
def only_a_part_of_the_failures_reopened() -> Iterator[None]:
    to_reopen = reopening._to_reopen

    with patch.object(reopening, "_to_reopen", lambda *where: list(to_reopen(*where))[::2]):
        yield


@mutation("resumed-in-loading", "resumed-twice", "retried-after-denial", "resumed-in-planning")
def one_receipt_for_all_ends() -> Iterator[None]:
    """The receipt of the first end stands for those that follow."""
    key = layout.receipt_key

    with patch.object(layout, "receipt_key", lambda restore_id, resumes=0: key(restore_id)):
        yield


@mutation("asked-again")
def a_request_remembered_after_it_was_done() -> Iterator[None]:
    """The row of an Idempotency-Key is written when the restore is made: whoever asks meanwhile makes another one."""
    choose, accept = IdempotencyKeys.choose, RestoreDesk.accept
    write_down: dict[str, Callable[[], Chosen]] = {}

    def later(self: IdempotencyKeys, key: str, caller: str, request: Any, fresh: Callable[[], str]) -> Chosen:
        if self._ledger.get(_row_key(caller, key)) is not None:
            return choose(self, key, caller, request, fresh)
        name = fresh()
        write_down[name] = lambda: choose(self, key, caller, request, lambda: name)
        return Chosen(name, is_repeated=False)

    def remembered(self: RestoreDesk, request: Any, requested_by: str, restore_id: str | None = None) -> Job:
        job = accept(self, request, requested_by, restore_id)
        write_down.pop(job.restore_id, lambda: None)()
        return job

    with patch.object(IdempotencyKeys, "choose", later), patch.object(RestoreDesk, "accept", remembered):
        yield


@mutation("asked-again")
def a_restore_made_twice_under_one_name() -> Iterator[None]:
    """The second request of a key writes its job over the first one's."""
    write = Ledger.write

    def unconditional(self: Ledger, write_: Any) -> Any:
        if isinstance(write_, Put) and "maker" in write_.row:
            write_ = Put(write_.key, write_.row, Attr("pk").not_exists() | Attr("pk").exists())
        return write(self, write_)

    with patch.object(Ledger, "write", unconditional):
        yield
