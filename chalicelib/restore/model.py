"""What a restore is made of: its statuses, the table of allowed moves, its phases, and the plain rows of the ledger.

Pure. A restore goes through phases; in each phase workers claim shards. A shard is the unit one worker takes: in
CHECKING and LOADING a handful of data files, in CLEARING a scan segment, in the other phases one table. Every
shard of a phase ends before the next phase begins, so no claim of an earlier phase can be alive in a later one.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Status(StrEnum):
    ACCEPTING = "ACCEPTING"  # the request is being written down; nobody works yet
    PLANNING = "PLANNING"
    CHECKING = "CHECKING"
    SAFEGUARDING = "SAFEGUARDING"
    CLEARING = "CLEARING"
    LOADING = "LOADING"
    VERIFYING = "VERIFYING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


ALLOWED_MOVES: dict[Status, frozenset[Status]] = {
    Status.ACCEPTING: frozenset({Status.PLANNING, Status.FAILED}),
    Status.PLANNING: frozenset({Status.CHECKING, Status.FAILED, Status.CANCELLING}),
    Status.CHECKING: frozenset(
        {
            Status.SAFEGUARDING,
            Status.CLEARING,
            Status.LOADING,
            Status.COMPLETED,
            Status.FAILED,
            Status.CANCELLING,
        }
    ),
    Status.SAFEGUARDING: frozenset({Status.CLEARING, Status.LOADING, Status.FAILED, Status.CANCELLING}),
    Status.CLEARING: frozenset({Status.LOADING, Status.CANCELLING}),
    Status.LOADING: frozenset({Status.VERIFYING, Status.CANCELLING}),
    Status.VERIFYING: frozenset({Status.COMPLETED, Status.PARTIAL, Status.FAILED, Status.CANCELLING}),
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.PARTIAL: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
TERMINAL = frozenset(status for status, targets in ALLOWED_MOVES.items() if not targets)
CANCELLABLE = frozenset(status for status, targets in ALLOWED_MOVES.items() if Status.CANCELLING in targets)


class Kind(StrEnum):
    """Kinds of shards, by what is done with them."""

    PLAN = "plan"
    TARGET = "target"
    LOAD = "load"
    SAFEGUARD = "safeguard"
    CLEAR = "clear"
    VERIFY = "verify"


class Stage(StrEnum):
    TODO = "TODO"
    CHECKED = "CHECKED"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Task:
    """What a phase does with a kind of shard: it takes them at one stage and leaves them at the next."""

    kind: Kind
    takes: Stage
    leaves: Stage


PHASES: dict[Status, tuple[Task, ...]] = {
    Status.PLANNING: (Task(Kind.PLAN, Stage.TODO, Stage.DONE),),
    Status.CHECKING: (
        Task(Kind.TARGET, Stage.TODO, Stage.DONE),
        Task(Kind.LOAD, Stage.TODO, Stage.CHECKED),
    ),
    Status.SAFEGUARDING: (Task(Kind.SAFEGUARD, Stage.TODO, Stage.DONE),),
    Status.CLEARING: (Task(Kind.CLEAR, Stage.TODO, Stage.DONE),),
    Status.LOADING: (Task(Kind.LOAD, Stage.CHECKED, Stage.DONE),),
    Status.VERIFYING: (Task(Kind.VERIFY, Stage.TODO, Stage.DONE),),
}


def tasks_of(status: Status) -> tuple[Task, ...]:
    """What there is to do in a status; nothing in those that are no phases."""
    return PHASES.get(status, ())


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The JOB row. `targets` are the locked table names, empty for a dry run, which takes no locks."""

    restore_id: str
    status: Status
    created_at_ms: int
    moved_at_ms: int
    bucket: str
    exports_prefix: str
    backup_date: str
    dry_run: bool
    clear_existing_data: bool
    safety_backup: bool
    max_workers: int
    table_count: int
    targets: list[str]
    requested_by: str
    open_kind: str | None = None
    finished_at_ms: int | None = None
    status_code: int | None = None
    reason: str | None = None
    cancelled_in: Status | None = None
    receipt_key: str | None = None

    @property
    def pk(self) -> str:
        return f"RESTORE#{self.restore_id}"


class PhaseCount(msgspec.Struct, frozen=True):
    total: int
    ended: int
    failed: int

    @property
    def remaining(self) -> int:
        return max(0, self.total - self.ended)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A TABLE row: one source table and its target. Counters move only in the transaction that ends a shard."""

    source: str
    target: str
    number: int
    item_count: int
    manifest_files_key: str
    definition_key: str
    manifest_files_md5: str | None = None
    data_files: int = 0
    data_bytes: int = 0
    uncompressed_bytes: int = 0
    data_files_read: int = 0
    not_items: int = 0
    planning_total: int = 1
    planning_ended: int = 0
    planning_failed: int = 0
    checking_total: int = 1
    checking_ended: int = 0
    checking_failed: int = 0
    safeguarding_total: int = 0
    safeguarding_ended: int = 0
    safeguarding_failed: int = 0
    clearing_total: int = 0
    clearing_ended: int = 0
    clearing_failed: int = 0
    loading_total: int = 0
    loading_ended: int = 0
    loading_failed: int = 0
    verifying_total: int = 1
    verifying_ended: int = 0
    verifying_failed: int = 0
    blockers: int = 0
    warnings: int = 0
    cleared: int = 0
    written: int = 0
    unchanged: int = 0
    skipped: int = 0
    deleted: int = 0
    rejected: int = 0
    filtered: int = 0
    unbalanced: int = 0
    balanced: int = 0
    safety_backup_arn: str | None = None

    def phase(self, status: Status) -> PhaseCount:
        name = status.value.lower()
        return PhaseCount(
            getattr(self, f"{name}_total"), getattr(self, f"{name}_ended"), getattr(self, f"{name}_failed")
        )

    @property
    def failed_shards(self) -> int:
        return sum(self.phase(status).failed for status in PHASES)

    @property
    def accounted(self) -> int:
        """Data lines whose fate is known. The table is balanced when this equals `item_count`."""
        return self.written + self.unchanged + self.skipped + self.deleted + self.rejected + self.filtered


class PlannedFile(msgspec.Struct, frozen=True, array_like=True):
    """A data file as planning found it. `etag` is the object's own at that time; `content_check` says that it is
    not the one the export recorded, so that only reading the object can tell whether its content is."""

    key: str
    etag: str
    size_bytes: int
    md5: str
    item_count: int
    content_check: bool


class Reason(msgspec.Struct, frozen=True, array_like=True):
    """Why `count` lines of a data file were rejected; `line` is the first of them, from 1. No item content."""

    code: str
    message: str
    count: int
    line: int


class PlacedReason(Reason, frozen=True, array_like=True):
    """A reason of a whole shard or table: with the key of the data file that `line` counts in."""

    data_file: str


class FileCheckpoint(msgspec.Struct, frozen=True, array_like=True):
    """How far one data file is: every line before `line` is accounted for in the counts. `verified`: read to its
    end, MD5 and line count as the export recorded them. `reasons`: the first ones, of the rejected lines."""

    line: int = 0
    verified: bool = False
    written: int = 0
    unchanged: int = 0
    skipped: int = 0
    deleted: int = 0
    rejected: int = 0
    filtered: int = 0
    reasons: tuple[Reason, ...] = ()

    @property
    def accounted(self) -> int:
        return self.written + self.unchanged + self.skipped + self.deleted + self.rejected + self.filtered


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A SHARD row. `attempt` counts the claims granted so far; `fruitless` those in a row that moved nothing on.
    `claimed_until_ms` is 0 unless a worker holds the shard, or died on it; `paused_until_ms`: not to be claimed before.

    `files` (kind load) and `checkpoint` are JSON texts: the ledger never looks inside.
    """

    sk: str
    kind: Kind
    source: str
    number: int
    stage: Stage = Stage.TODO
    attempt: int = 0
    fruitless: int = 0
    claimed_until_ms: int = 0
    claimed_slot: int | None = None
    paused_until_ms: int = 0
    segments: int = 1
    files: str = "[]"
    checkpoint: str | None = None
    reason: str | None = None

    def planned_files(self) -> list[PlannedFile]:
        return msgspec.json.decode(self.files, type=list[PlannedFile])

    def file_checkpoints(self) -> list[FileCheckpoint]:
        """One per data file; of a shard that was never checkpointed, all at line 0."""
        if self.checkpoint is None:
            return [FileCheckpoint()] * len(self.planned_files())
        return msgspec.json.decode(self.checkpoint, type=list[FileCheckpoint])


class SlotState(StrEnum):
    IDLE = "IDLE"
    WOKEN = "WOKEN"
    BUSY = "BUSY"


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A SLOT row: the truth about one place to work. A message only wakes a worker for it: it counts only while
    its `wake` is the row's. `shard`: the last one that was claimed from here, by the worker of `shard_wake`."""

    number: int
    state: SlotState
    wake: int
    hop: int
    sent_at_ms: int
    busy_until_ms: int = 0
    shard: str | None = None
    shard_attempt: int = 0
    shard_wake: int = 0


@dataclass(frozen=True)
class Note:
    """A finding about a table: a blocker ends the restore before anything is touched, a warning does not."""

    level: str
    text: str


def blocker(text: str) -> Note:
    return Note("blocker", text)


def warning(text: str) -> Note:
    return Note("warning", text)
