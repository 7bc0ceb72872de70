"""What a restore is made of: its statuses, the table of allowed moves, its phases, and the plain rows of the ledger.

Pure. A restore goes through phases; in each phase workers claim shards. A shard is the unit one worker takes: in
CHECKING and LOADING a handful of data files, in CLEARING a scan segment, in the other phases one table. Every
shard of a phase ends before the next phase begins, so no claim of an earlier phase can be alive in a later one.
"""

from enum import StrEnum

import msgspec


class Status(StrEnum):
    ACCEPTING = "ACCEPTING"  # the request is being written down; nobody works yet
    RESUMING = "RESUMING"  # the same, of a restore that had ended and is to go on
    REOPENING = "REOPENING"
    PLANNING = "PLANNING"
    CHECKING = "CHECKING"
    SAFEGUARDING = "SAFEGUARDING"
    CREATING = "CREATING"
    CLEARING = "CLEARING"
    LOADING = "LOADING"
    COMPARING = "COMPARING"
    FINISHING = "FINISHING"
    VERIFYING = "VERIFYING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


# Before LOADING everything is planned anew.
_RESUMABLE_IN = (Status.PLANNING, Status.LOADING, Status.COMPARING, Status.FINISHING, Status.VERIFYING)
ALLOWED_MOVES: dict[Status, frozenset[Status]] = {
    Status.ACCEPTING: frozenset({Status.PLANNING, Status.FAILED}),
    # Back to where it ended, when the request to go on was not written down completely.
    Status.RESUMING: frozenset({Status.REOPENING, Status.CANCELLED, Status.PARTIAL, Status.FAILED}),
    Status.REOPENING: frozenset({*_RESUMABLE_IN, Status.CANCELLING, Status.CANCELLED, Status.PARTIAL, Status.FAILED}),
    Status.PLANNING: frozenset({Status.CHECKING, Status.FAILED, Status.CANCELLING}),
    Status.CHECKING: frozenset(
        {
            Status.SAFEGUARDING,
            Status.CREATING,
            Status.CLEARING,
            Status.LOADING,
            Status.COMPLETED,
            Status.FAILED,
            Status.CANCELLING,
        }
    ),
    Status.SAFEGUARDING: frozenset(
        {Status.CREATING, Status.CLEARING, Status.LOADING, Status.FAILED, Status.CANCELLING}
    ),
    Status.CREATING: frozenset({Status.CLEARING, Status.LOADING, Status.FAILED, Status.CANCELLING}),
    Status.CLEARING: frozenset({Status.LOADING, Status.CANCELLING}),
    Status.LOADING: frozenset({Status.COMPARING, Status.FINISHING, Status.VERIFYING, Status.CANCELLING}),
    Status.COMPARING: frozenset({Status.FINISHING, Status.VERIFYING, Status.CANCELLING}),
    Status.FINISHING: frozenset({Status.VERIFYING, Status.CANCELLING}),
    Status.VERIFYING: frozenset({Status.COMPLETED, Status.PARTIAL, Status.FAILED, Status.CANCELLING}),
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.PARTIAL: frozenset({Status.RESUMING}),
    Status.FAILED: frozenset({Status.RESUMING}),
    Status.CANCELLED: frozenset({Status.RESUMING}),
}
TERMINAL = frozenset({Status.COMPLETED, Status.PARTIAL, Status.FAILED, Status.CANCELLED})
CANCELLABLE = frozenset(status for status, targets in ALLOWED_MOVES.items() if Status.CANCELLING in targets)


class Mode(StrEnum):
    """What becomes of a target's item that the backup has too."""

    OVERWRITE = "overwrite"
    MISSING_ONLY = "missing_only"
    CHANGED_ONLY = "changed_only"


class Comparison(StrEnum):
    """How much of what was restored is read back: nothing, some items of every data file, or all."""

    NONE = "none"
    SAMPLE = "sample"
    FULL = "full"

    @property
    def reads(self) -> bool:
        return self is not Comparison.NONE


class LineKind(StrEnum):
    """What the lines of an export are."""

    ITEM = "item"  # of a full export: `{"Item": {...}}`
    RECORD = "record"  # of an incremental one: `{"Metadata": …, "Keys": …, "OldImage"?: …, "NewImage"?: …}`


class Kind(StrEnum):
    """Kinds of shards, by what is done with them."""

    REOPEN = "reopen"
    PLAN = "plan"
    TARGET = "target"
    LOAD = "load"
    SAFEGUARD = "safeguard"
    CREATE = "create"
    CLEAR = "clear"
    FINISH = "finish"
    VERIFY = "verify"


class Stage(StrEnum):
    TODO = "TODO"
    CHECKED = "CHECKED"
    DONE = "DONE"
    COMPARED = "COMPARED"
    NOT_COMPARED = "NOT_COMPARED"  # loaded, but it could not be read back
    FAILED = "FAILED"


# A LOAD shard whose data files were all read to their end and written.
LOADED = frozenset({Stage.DONE, Stage.COMPARED, Stage.NOT_COMPARED})


class Task(msgspec.Struct, frozen=True):
    """What a phase does with a kind of shard: it takes them at one stage and leaves them at the next, or at `fails`."""

    kind: Kind
    takes: Stage
    leaves: Stage
    fails: Stage = Stage.FAILED


PHASES: dict[Status, tuple[Task, ...]] = {
    Status.REOPENING: (Task(Kind.REOPEN, Stage.TODO, Stage.DONE),),
    Status.PLANNING: (Task(Kind.PLAN, Stage.TODO, Stage.DONE),),
    Status.CHECKING: (
        Task(Kind.TARGET, Stage.TODO, Stage.DONE),
        Task(Kind.LOAD, Stage.TODO, Stage.CHECKED),
    ),
    Status.SAFEGUARDING: (Task(Kind.SAFEGUARD, Stage.TODO, Stage.DONE),),
    Status.CREATING: (Task(Kind.CREATE, Stage.TODO, Stage.DONE),),
    Status.CLEARING: (Task(Kind.CLEAR, Stage.TODO, Stage.DONE),),
    Status.LOADING: (Task(Kind.LOAD, Stage.CHECKED, Stage.DONE),),
    Status.COMPARING: (Task(Kind.LOAD, Stage.DONE, Stage.COMPARED, Stage.NOT_COMPARED),),
    Status.FINISHING: (Task(Kind.FINISH, Stage.TODO, Stage.DONE),),
    Status.VERIFYING: (Task(Kind.VERIFY, Stage.TODO, Stage.DONE),),
}


def tasks_of(status: Status) -> tuple[Task, ...]:
    """What there is to do in a status; nothing in those that are no phases."""
    return PHASES.get(status, ())


_REOPENING = Status.REOPENING


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The JOB row. `targets` are the locked table names, empty for a dry run, which takes no locks. `holder`: the name
    under which the locks are held, another one each time they are taken."""

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
    mode: Mode = Mode.OVERWRITE
    comparison: Comparison = Comparison.NONE
    key_count: int = 0
    keys_digest: str | None = None
    create_missing_tables: bool = False
    max_write_units: int | None = None
    plan_digest: str | None = None
    holder: str = ""
    resumes: int = 0
    resume_to: Status | None = None
    resumed_from: Status | None = None
    failed_reopenings: int = 0
    open_kind: str | None = None
    finished_at_ms: int | None = None
    status_code: int | None = None
    reason: str | None = None
    cancelled_in: Status | None = None
    receipt_key: str | None = None

    @property
    def resolves_chains(self) -> bool:
        """Whether of each key only the last record of a chain is used, instead of every one in turn."""
        return self.mode is not Mode.OVERWRITE or self.key_count > 0

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
    """A TABLE row: one source table and its target. Counters move only in the transaction that ends a shard.

    `known_blockers`: what the manifest alone says against it. `link_ends`: how many LOAD shards there are up to the end
    of each link that is loaded by itself; later links wait for all shards of the earlier ones. `target_facts`: what
    CHECKING saw of the target, as JSON text (`target.TargetFacts`). `survey_…`: what a dry run found in the data files
    (`datapath.survey.SurveyTotals`). `found_keys`: positions among the asked keys of those the backup has.
    `approximate`: shards that cannot tell what they wrote before a repetition from what stood there already.
    `target_id`: DynamoDB's own id of the target; a table that is made anew under its name has another one.
    """

    source: str
    target: str
    number: int
    item_count: int
    definition_key: str
    data_files: int = 0
    data_bytes: int = 0
    uncompressed_bytes: int = 0
    data_files_read: int = 0
    known_blockers: list[str] = []
    link_ends: list[int] = []
    is_new: bool = False
    plan_digest: str | None = None
    target_digest: str | None = None
    target_facts: str | None = None
    target_id: str | None = None
    reopening_ended: int = 0
    reopening_failed: int = 0
    planning_total: int = 1
    planning_ended: int = 0
    planning_failed: int = 0
    checking_total: int = 1
    checking_ended: int = 0
    checking_failed: int = 0
    safeguarding_total: int = 0
    safeguarding_ended: int = 0
    safeguarding_failed: int = 0
    creating_total: int = 0
    creating_ended: int = 0
    creating_failed: int = 0
    clearing_total: int = 0
    clearing_ended: int = 0
    clearing_failed: int = 0
    loading_total: int = 0
    loading_ended: int = 0
    loading_failed: int = 0
    finishing_total: int = 0
    finishing_ended: int = 0
    finishing_failed: int = 0
    comparing_ended: int = 0
    comparing_failed: int = 0
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
    approximate: int = 0
    compared: int = 0
    differing: int = 0
    unbalanced: int = 0
    balanced: int = 0
    survey_items: int = 0
    survey_removals: int = 0
    survey_item_bytes: int = 0
    survey_write_units: int = 0
    survey_index_write_units: int = 0
    survey_read_units: int = 0
    survey_not_items: int = 0
    survey_wrong_keys: int = 0
    survey_wrong_index_keys: int = 0
    survey_too_large: int = 0
    survey_expired: int = 0
    found_keys: set[int] | None = None
    safety_backup_arn: str | None = None
    later_safety_backup_arns: list[str] = []

    def phase(self, status: Status, resumes: int = 0) -> PhaseCount:
        """The shards of a phase. `resumes`: how often the restore was resumed; each time it has one more to reopen."""
        name = status.value.lower()
        ended, failed = getattr(self, f"{name}_ended"), getattr(self, f"{name}_failed")
        if status is Status.REOPENING:
            return PhaseCount(resumes, ended, failed)
        if status is Status.LOADING:
            return PhaseCount(self.loading_due, ended, failed)
        if status is Status.COMPARING:
            return PhaseCount(self.loading_ended - self.loading_failed, ended, failed)
        return PhaseCount(getattr(self, f"{name}_total"), ended, failed)

    @property
    def claimable_shards(self) -> int:
        """How many LOAD shards may be loaded now, counted from the first: those of the links up to the first one that
        has not ended. After a failure no later link is begun: what it builds on is not there."""
        if self.loading_failed:
            return self.loading_due
        return next((end for end in self.link_ends if end > self.loading_ended), self.loading_total)

    @property
    def loading_due(self) -> int:
        """The LOAD shards that LOADING waits for: all, or after a failure those of the links that were begun."""
        if not self.loading_failed:
            return self.loading_total
        return next((end for end in self.link_ends if end >= self.loading_ended), self.loading_total)

    @property
    def failed_shards(self) -> int:
        """Of the phases that do the work; what failed in REOPENING ended that round."""
        return sum(getattr(self, f"{status.value.lower()}_failed") for status in PHASES if status is not _REOPENING)

    @property
    def is_made(self) -> bool:
        """Whether the restore has made the target."""
        return self.is_new and self.creating_ended > self.creating_failed

    @property
    def restored(self) -> int:
        """Data lines that the target is now as they say."""
        return self.written + self.unchanged + self.skipped + self.deleted

    @property
    def accounted(self) -> int:
        """Data lines whose fate is known. The table is balanced when this equals `item_count`."""
        return self.written + self.unchanged + self.skipped + self.deleted + self.rejected + self.filtered


class Link(msgspec.Struct, frozen=True, array_like=True):
    """One export that a table is restored from: of a chain the full one first, then every increment."""

    manifest_files_key: str
    manifest_files_md5: str
    item_count: int
    line_kind: LineKind


class PlannedFile(msgspec.Struct, frozen=True, array_like=True):
    """A data file, or a slice of one, as planning found it. `etag` is the object's own at that time; `content_check`
    says that it is not the one the export recorded, so that only reading the object can tell whether its content is.

    `item_count` is the whole file's. A slice is the lines from `first_line` to before `end_line` (None: to the end).
    Of a chain that is resolved in `turns`, only the lines are taken whose key belongs to `turn`.
    """

    key: str
    etag: str
    size_bytes: int
    md5: str
    item_count: int
    content_check: bool
    first_line: int = 0
    end_line: int | None = None
    turn: int = 0
    turns: int = 1

    @property
    def line_count(self) -> int:
        return (self.item_count if self.end_line is None else self.end_line) - self.first_line


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
    """How far one data file, or a slice of it, is: every line of it before `line` is accounted for in the counts.
    `verified`: read to its end; of a whole file and of the last slice, MD5 and line count as the export recorded them.
    `reasons`: the first ones, of the rejected lines. `elsewhere`: lines that belong to another turn. `found`:
    positions of the asked keys that the file has."""

    line: int = 0
    verified: bool = False
    written: int = 0
    unchanged: int = 0
    skipped: int = 0
    deleted: int = 0
    rejected: int = 0
    filtered: int = 0
    reasons: tuple[Reason, ...] = ()
    elsewhere: int = 0
    found: tuple[int, ...] = ()

    @property
    def accounted(self) -> int:
        return self.written + self.unchanged + self.skipped + self.deleted + self.rejected + self.filtered


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A SHARD row. `attempt` counts the claims granted so far; `fruitless` those in a row that moved nothing on.
    `claimed_until_ms` is 0 unless a worker holds the shard, or died on it; `paused_until_ms`: not to be claimed before.

    `files` (of a LOAD shard its data files, of a PLAN shard its table's links) and `checkpoint` are JSON texts: the
    ledger never looks inside. `link`: the position in the chain of the export that the data files are of.
    `comparison`: the checkpoint of COMPARING, which must not touch the one of LOADING.

    `in_good_order`: the last claim was given back by its worker, with everything it wrote in the checkpoint.
    `is_exact`: so was every one before it; otherwise items may have been written that no checkpoint counts.
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
    link: int = 0
    line_kind: LineKind = LineKind.ITEM
    files: str = "[]"
    checkpoint: str | None = None
    comparison: str | None = None
    reason: str | None = None
    in_good_order: bool = True
    is_exact: bool = True

    def planned_files(self) -> list[PlannedFile]:
        return msgspec.json.decode(self.files, type=list[PlannedFile])

    def links(self) -> list[Link]:
        return msgspec.json.decode(self.files, type=list[Link])

    def file_checkpoints(self) -> list[FileCheckpoint]:
        """One per data file; of a shard that was never checkpointed, all at their first line."""
        if self.checkpoint is None:
            return [FileCheckpoint(line=file.first_line) for file in self.planned_files()]
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


class Note(msgspec.Struct, frozen=True):
    """A finding about a table: a blocker ends the restore before anything is touched, a warning does not."""

    level: str
    text: str


def blocker(text: str) -> Note:
    return Note("blocker", text)


def warning(text: str) -> Note:
    return Note("warning", text)
