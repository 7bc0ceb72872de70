"""One worker: woken for a slot of a restore, it claims shards and works on them one after another until none is left
or its deadline is near.

It may be killed anywhere. Its slot and its shard stay claimed until its invocation's hard deadline plus a margin has
passed; then `reconcile` wakes the slot and another worker goes on from the shard's last checkpoint.
"""

from collections.abc import Iterator

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import error_text, is_transient
from chalicelib.errors import TablevaultError
from chalicelib.restore.advance import Conductor
from chalicelib.restore.claims import Claim, ClaimLost, PhaseOver, shard_counts
from chalicelib.restore.datapath.write_units import Allowance
from chalicelib.restore.model import Job, Kind, Note, Shard, Status, Table, Task, blocker, tasks_of
from chalicelib.restore.phases import work_of
from chalicelib.restore.phases.planner import start_position
from chalicelib.restore.records import LAST_SHARD, shard_sk, table_number
from chalicelib.restore.slots import SlotMessage, Slots, slot_key
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, logger, outage_pause_ms

# Clocks of two Lambda hosts differ by milliseconds; a request on its way when a process is killed ends in seconds.
CLAIM_MARGIN_MS = 15_000
# How often in a row a shard may be claimed without moving on before it is given up.
FRUITLESS_LIMIT = 5
_SOFT_STOP_SHARE = 0.2
_LEAST_ROOM_MS = 2_000  # to write down how far the work is
_SOFT_STOP_MOST_MS = 30_000


class _Cursor(msgspec.Struct):
    """Where a worker looks for its next shard. It goes around the phase's shards once without finding any before
    it says that there is none."""

    phase: Status
    start_after: str | None


class Worker:
    def __init__(self, around: Surroundings, slots: Slots, conductor: Conductor) -> None:
        self._around = around
        self._slots = slots
        self._conductor = conductor

    def run(self, message: SlotMessage, remaining_ms: int) -> str:
        """Works for the slot the message names. `remaining_ms`: until Lambda ends this invocation."""
        now_ms = self._around.clock()
        deadline_ms = now_ms + remaining_ms
        until_ms = deadline_ms + CLAIM_MARGIN_MS
        if not self._slots.take(message, now_ms=now_ms, busy_until_ms=until_ms):
            return "stale"
        soft_stop_ms = deadline_ms - min(_SOFT_STOP_MOST_MS, int(remaining_ms * _SOFT_STOP_SHARE))
        run = _Run(self._around, self._conductor, message, soft_stop_ms, deadline_ms, until_ms)
        try:
            phase = run.work_until_none_is_left()
        except Exception:
            # No thread runs any more. Freed, the slot is woken by the next sweep; left busy, it would wait minutes
            # for a worker that is gone. A shard that could not be written down stays claimed until its claim lapses.
            self._slots.rest(message)
            raise
        if phase is not None and self._around.clock() >= soft_stop_ms:
            self._slots.pass_on(message, now_ms=self._around.clock())
            return "passed on"
        self._slots.rest(message)
        self._look_again(message, phase)
        return "rested"

    def _look_again(self, message: SlotMessage, phase: Status | None) -> None:
        """The phase may have moved between the last look and the slot's rest: whoever moved it saw this slot busy
        and did not wake it."""
        hop = message.hop + 1
        advanced = self._conductor.advance(message.restore_id, hop=hop)
        if advanced.job is not None and advanced.remaining and advanced.job.status is not phase:
            wanted = min(advanced.remaining, advanced.job.max_workers)
            self._slots.wake_free(message.restore_id, wanted, hop=hop, now_ms=self._around.clock())


class _Run:
    """One invocation's work for one slot."""

    def __init__(
        self,
        around: Surroundings,
        conductor: Conductor,
        message: SlotMessage,
        soft_stop_ms: int,
        deadline_ms: int,
        until_ms: int,
    ) -> None:
        self._around = around
        self._records = around.records
        self._claims = around.claims
        self._conductor = conductor
        self._message = message
        self._restore_id = message.restore_id
        self._soft_stop_ms = soft_stop_ms
        self._deadline_ms = deadline_ms
        self._until_ms = until_ms
        self._cursor: _Cursor | None = None
        self._claimable = 0

    def work_until_none_is_left(self) -> Status | None:
        """The phase in which no shard was left to claim, or in which time was up; None when the restore rests."""
        while True:
            advanced = self._conductor.advance(self._restore_id, hop=self._message.hop + 1)
            job = advanced.job
            if job is None or not advanced.remaining:
                return None
            if self._around.clock() >= self._soft_stop_ms:
                return job.status
            self._wake_for_next_link(job, advanced.tables)
            try:
                claim = self._claim_next(job, advanced.tables)
            except PhaseOver:
                continue
            except ClaimLost:
                return None
            if claim is None:
                return job.status
            self._work_on(job, advanced.tables, claim)

    def _wake_for_next_link(self, job: Job, tables: list[Table]) -> None:
        """The other workers went to rest when nothing was left of the link that has ended just now. Where this one
        stops before, `reconcile` wakes them."""
        if job.status is not Status.LOADING:
            return
        before, self._claimable = self._claimable, sum(table.claimable_shards for table in tables)
        if before and self._claimable > before:
            due = sum(table.claimable_shards - table.loading_ended for table in tables)
            self._conductor.wake(job, due, self._message.hop + 1)

    # --- claiming --------------------------------------------------------------------------------------------

    def _claim_next(self, job: Job, tables: list[Table]) -> Claim | None:
        if self._cursor is None or self._cursor.phase is not job.status:
            self._cursor = _Cursor(job.status, self._first_position(job, tables))
        claim = self._claim_from(job, tables, self._cursor.start_after)
        if claim is None and self._cursor.start_after is not None:
            self._cursor.start_after = None
            claim = self._claim_from(job, tables, None)
        return claim

    def _first_position(self, job: Job, tables: list[Table]) -> str | None:
        if job.status not in (Status.CHECKING, Status.LOADING, Status.COMPARING) or self._message.slot == 0:
            return None
        is_loading = job.status is Status.LOADING
        totals = [table.claimable_shards if is_loading else table.loading_total for table in tables]
        return shard_sk(Kind.LOAD, *start_position(self._message.slot, job.max_workers, totals))

    def _claim_from(self, job: Job, tables: list[Table], start_after: str | None) -> Claim | None:
        for task in tasks_of(job.status):
            begin = start_after if task.kind is Kind.LOAD else None
            for shard in self._claimable_shards(job, tables, task, begin):
                claim = self._claims.claim(
                    self._restore_id,
                    job.status,
                    task,
                    shard,
                    slot=slot_key(self._restore_id, self._message.slot),
                    wake=self._message.wake,
                    now_ms=self._around.clock(),
                    until_ms=self._until_ms,
                )
                if claim is not None:
                    if task.kind is Kind.LOAD and self._cursor:
                        self._cursor.start_after = shard.sk
                    return claim
        return None

    def _claimable_shards(self, job: Job, tables: list[Table], task: Task, begin: str | None) -> Iterator[Shard]:
        """Of a chain, those of the link that is loaded now: of later ones none, however many there are."""
        is_loading = job.status is Status.LOADING
        ends = {table.number: table.claimable_shards for table in tables} if is_loading else {}
        position, is_over = begin, False
        while not is_over:
            is_over = True
            for shard in self._records.claimable(self._restore_id, task, position, self._around.clock()):
                number = table_number(shard)
                if shard.number >= ends.get(number, shard.number + 1):
                    position, is_over = shard_sk(Kind.LOAD, number, LAST_SHARD), False
                    break
                yield shard

    # --- working ---------------------------------------------------------------------------------------------

    def _work_on(self, job: Job, tables: list[Table], claim: Claim) -> None:
        table = next(table for table in tables if table.number == table_number(claim.shard))
        try:
            answer = self._perform(job, table, claim)
            if self._all_is_answered():
                self._write_down(claim, answer)
            elif isinstance(answer, Yielded) and answer.checkpoint is not None:
                self._claims.checkpoint(self._restore_id, claim, answer.checkpoint)
        except (ClaimLost, PhaseOver) as lost:
            # What was done since the last checkpoint is done again by whoever holds the shard now.
            logger.warning(
                "claim lost", extra={"restore_id": self._restore_id, "shard": claim.shard.sk, "lost": str(lost)}
            )
            self._release(claim)

    def _perform(self, job: Job, table: Table, claim: Claim) -> Answer:
        if claim.shard.fruitless > FRUITLESS_LIMIT:
            return _given_up(claim, table)

        def save(checkpoint: str) -> None:
            self._claims.checkpoint(self._restore_id, claim, checkpoint)
            current = self._records.job(self._restore_id)
            if current is None or current.status is not claim.phase:
                raise PhaseOver(self._restore_id)

        share = self._share_of_write_units(job, table, claim)
        allowance = None
        if share is not None:
            allowance = self._around.kept.get("allowance", (self._restore_id, table.number), Allowance)
        run = Invocation(self._soft_stop_ms, self._deadline_ms, save, share, allowance)
        try:
            return work_of(claim.phase, claim.shard.kind)(self._around, run, job, table, claim.shard)
        except ClientError as error:
            if not is_transient(error):
                return _failed(claim, f"{table.source}: {error_text(error)}")
            return Yielded(reason=error_text(error), pause_ms=outage_pause_ms(claim.shard))
        except BotoCoreError as error:
            return Yielded(reason=type(error).__name__, pause_ms=outage_pause_ms(claim.shard))
        except TablevaultError as error:
            if not error.retryable:
                return _failed(claim, f"{table.source}: {error.message}")
            return Yielded(reason=error.message, pause_ms=outage_pause_ms(claim.shard))

    def _share_of_write_units(self, job: Job, table: Table, claim: Claim) -> float | None:
        """What this worker may write a second, so that all workers together keep to `max_write_units` of the target.

        `table` was read before the claim was granted. Every shard that is worked on now was open then, also those
        claimed since; so if each worker takes the part that its own view of the open shards gives it, the parts of all
        never add up to more than the whole. The slots bound their number too.
        """
        if job.max_write_units is None:
            return None
        phase = table.phase(claim.phase, job.resumes)
        is_loading = claim.phase is Status.LOADING
        open_shards = table.claimable_shards - table.loading_ended if is_loading else phase.remaining
        slots = min(job.max_workers, self._around.settings.restore_max_concurrency)
        return job.max_write_units / max(1, min(slots, open_shards))

    def _write_down(self, claim: Claim, answer: Answer) -> None:
        if isinstance(answer, Yielded):
            free_at_ms = self._around.clock() + answer.pause_ms if answer.pause_ms else 0
            self._claims.give_back(self._restore_id, claim, answer, free_at_ms=free_at_ms)
            return
        if answer.failure:
            logger.warning(
                "shard failed",
                extra={"restore_id": self._restore_id, "shard": claim.shard.sk, "reason": answer.failure},
            )
        self._claims.end_shard(self._restore_id, claim, answer)

    def _all_is_answered(self) -> bool:
        """Waits until no write without an answer can take effect any more. False when the deadline comes before: the
        claim is kept then, and lapses later than that."""
        wait_ms = self._around.unanswered.remaining_ms()
        if not wait_ms:
            return True
        if self._around.clock() + wait_ms > self._deadline_ms - _LEAST_ROOM_MS:
            return False
        self._around.sleep(wait_ms / 1000)
        return True

    def _release(self, claim: Claim) -> None:
        """After a cancel: the claim is given back, so that the restore need not wait for it to lapse."""
        if not self._all_is_answered():
            return
        try:
            self._claims.give_back(self._restore_id, claim, Yielded(), free_at_ms=0)
        except ClaimLost:
            return  # it is somebody else's already


def _failed(claim: Claim, reason: str) -> Ended:
    """A failure in CHECKING (or before) is a blocker: nothing has been touched, and nothing will be."""
    notes: tuple[Note, ...] = (blocker(reason),) if claim.phase in (Status.PLANNING, Status.CHECKING) else ()
    counts = shard_counts(claim.shard) if claim.phase in (Status.CLEARING, Status.LOADING) else {}
    return Ended(failure=reason, table_add=counts, notes=notes)


def _given_up(claim: Claim, table: Table) -> Ended:
    tries = claim.shard.fruitless - 1
    why = claim.shard.reason or "its workers died or ran out of time"
    return _failed(claim, f"{table.source}: given up after {tries} tries in a row without progress: {why}")
