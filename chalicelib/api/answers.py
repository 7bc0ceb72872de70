"""What the API answers, declared once: every answer is built through these types, and the description is made of them.

A field that a service gives and no type here declares is a failure of the request, not an undeclared field: the tests
then show it at once. What comes out of ledger rows is typed no more strictly than the rows are: one odd row must not
end a listing.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.backup.manifest import ExportType, Manifest
from chalicelib.backup.on_demand.rows import BackupState, RunState
from chalicelib.backup.retention.found import FoundStatus
from chalicelib.backup.retention.plan import Why
from chalicelib.backup.states import ExportState, SetState
from chalicelib.restore.estimate import Estimate
from chalicelib.restore.model import Comparison, Mode, Status

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, description="ISO 8601, in UTC.")]


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Health(_Answer, frozen=True):
    """The API's function runs. Says nothing of what it needs."""

    status: Literal["ok"]


# --- restores --------------------------------------------------------------------------------------------------------


class RestoreLinks(_Answer, frozen=True):
    self: str
    cancel: str
    resume: str
    retry_failed: str


class AcceptedRestore(_Answer, frozen=True):
    """A restore that goes on by itself: `GET` its `links.self` to follow it."""

    restore_id: str
    status: Status
    links: RestoreLinks


class RestoreHead(_Answer, frozen=True):
    """`status_code` is set at the end: 200 all, 207 some, 500 nothing was restored."""

    restore_id: str
    status: Status
    status_code: int | None
    reason: str | None
    cancelled_in: Status | None
    backup_date: str
    dry_run: bool
    clear_existing_data: bool
    safety_backup: bool
    mode: Mode
    key_count: int
    create_missing_tables: bool
    max_write_units: int | None
    verify: Comparison
    max_workers: int
    resumes: int
    requested_by: str
    created_at: Time
    finished_at: Time | None


class PhaseShards(_Answer, frozen=True):
    """How far the phase is: shards in all, of them ended, of these failed."""

    total: int
    ended: int
    failed: int


class TableResult(_Answer, frozen=True):
    """A table's counts, in items. At the end `written + unchanged + skipped + deleted + filtered + rejected` is
    `item_count`, or the restore is not COMPLETED. `rejected_prefix`: where the rejected lines stand in the bucket, each
    with its reason; null when there are none. `split_is_approximate`: a worker was interrupted, so that some of
    `skipped` or `unchanged` may be its own writes; the sum is exact. `keys_not_in_backup`: positions, from 0, of the
    asked keys that the backup does not have, once all of it was looked through. `estimate`: of a dry run. `undo`: how
    to get back what stood in the target before."""

    source_table: str
    target_table: str
    item_count: int
    written: int
    unchanged: int
    skipped: int
    deleted: int
    filtered: int
    rejected: int
    split_is_approximate: bool
    keys_not_in_backup: list[int] | None
    rejected_prefix: str | None
    cleared: int
    data_files: int
    data_files_read_in_checking: int
    data_files_balanced: int
    data_bytes: int
    uncompressed_bytes_read_in_checking: int
    estimate: Estimate | None
    created: bool
    items_compared: int
    items_that_differ: int
    shards: int
    shards_ended: int
    shards_failed: int
    safety_backup_arn: str | None
    undo: list[str]


class Restore(RestoreHead, frozen=True):
    """`phase_shards` only while the restore is in a phase; `receipt_key` once its receipt stands in the bucket.
    `plan_digest` once everything was checked: of a dry run, give it to the restore that is to do just that."""

    plan_digest: str | None
    receipt_key: str | None
    phase_shards: PhaseShards | None
    blockers: list[str]
    warnings: list[str]
    failures: list[str]
    tables: list[TableResult]


# A Lambda function may answer 6 MB. There are three lists of findings, and each may have 100 texts of every table.
_LARGEST_FINDINGS_BYTES = 1_000_000


def as_many_as_fit(findings: Sequence[str]) -> list[str]:
    """The first findings, as many as an answer can carry; the last one then says how many there are besides."""
    left = _LARGEST_FINDINGS_BYTES
    for count, text in enumerate(findings):
        left -= len(json.dumps(text)) + 1
        if left < 0:
            more = len(findings) - count
            return [*findings[:count], f"and {more} more, for which this answer has no room; the receipt names them"]
    return list(findings)


class RestoreList(_Answer, frozen=True):
    """Newest first. `unreadable`: restores whose ledger rows are corrupt. `next_before`: null at the end."""

    restores: list[RestoreHead]
    unreadable: list[str]
    next_before: str | None


# --- backups ---------------------------------------------------------------------------------------------------------


class BackupHead(_Answer, frozen=True):
    """`unmatched`: entries of DYNAMODB_TABLES that chose no table."""

    backup_date: str
    status: SetState
    environment: str
    by_hand: bool
    started_at: Time
    completed_at: Time | None
    requested_time: Time | None
    total_tables: int
    unmatched: list[str]


class BackupTable(_Answer, frozen=True):
    """`notes`: what is worth knowing of how it was exported, such as why not as an increment."""

    table_name: str
    status: ExportState
    export_type: ExportType
    export_arn: str | None
    export_time: str | None
    item_count: int
    size_bytes: int
    failure_code: str | None
    failure_message: str | None
    notes: list[str]


class Backup(BackupHead, frozen=True):
    """A set that is still being made, as the ledger has it. `unreadable`: tables whose ledger rows are corrupt."""

    tables: list[BackupTable]
    unreadable: list[str]


class BackupLinks(_Answer, frozen=True):
    self: str


class StartedBackup(Backup, frozen=True):
    links: BackupLinks


class BackupList(_Answer, frozen=True):
    """Newest first. `unreadable`: sets whose ledger rows are corrupt. `next_before`: null at the end."""

    backups: list[BackupHead]
    unreadable: list[str]
    next_before: str | None


# A finished set is answered with its manifest, the one that stands in the bucket.
SHOWN_BACKUP = (Manifest, Backup)


class Shielded(_Answer, frozen=True):
    """Whether retention is kept off a set; since when, and by whom."""

    backup_date: str
    shielded: bool
    kept_at: Time | None
    kept_by: str | None


# --- on-demand backups -----------------------------------------------------------------------------------------------


class OnDemandHead(_Answer, frozen=True):
    """A run: one native on-demand backup of each table. `unmatched`: entries of DYNAMODB_TABLES that chose no table."""

    backup_date: str
    backup_type: Literal["DYNAMODB_ON_DEMAND_BACKUP"]
    status: RunState
    environment: str
    by_hand: bool
    started_at: Time
    completed_at: Time | None
    total_tables: int
    unmatched: list[str]


class OnDemandTable(_Answer, frozen=True):
    table_name: str
    status: BackupState
    backup_name: str
    backup_arn: str | None
    size_bytes: int
    created_at: Time | None
    failure_code: str | None
    failure_message: str | None


class OnDemandRun(OnDemandHead, frozen=True):
    """`unreadable`: tables whose ledger rows are corrupt."""

    tables: list[OnDemandTable]
    unreadable: list[str]


class StartedOnDemandRun(OnDemandRun, frozen=True):
    links: BackupLinks


class OnDemandList(_Answer, frozen=True):
    """Newest first. `unreadable`: runs whose ledger rows are corrupt. `next_before`: null at the end."""

    backups: list[OnDemandHead]
    unreadable: list[str]
    next_before: str | None


# --- retention -------------------------------------------------------------------------------------------------------


class PolicyShown(_Answer, frozen=True):
    """`days`: null where retention is off, and everything stays."""

    days: int | None
    minimum: int
    daily: int
    weekly: int
    monthly: int
    yearly: int
    timezone: str


class ReasonShown(_Answer, frozen=True):
    """`names`: the sets, tables or restores that it speaks of, the first hundred."""

    code: Why
    text: str
    names: list[str]


class SetDecision(_Answer, frozen=True):
    """`reasons`: all that keep it, or why it goes."""

    backup_date: str
    status: FoundStatus
    is_kept: bool
    reasons: list[ReasonShown]


class RetentionPlanned(_Answer, frozen=True):
    """Newest first. `removals`: what would go, in that order. `being_removed`: what goes already. `not_ours`: what
    stands among the sets and is none, which stays."""

    policy: PolicyShown
    sets: list[SetDecision]
    removals: list[str]
    being_removed: list[str]
    not_ours: list[str]


# --- the ledger ------------------------------------------------------------------------------------------------------


class RebuildProblem(_Answer, frozen=True):
    backup_date: str
    message: str


class LedgerRebuild(_Answer, frozen=True):
    """`phase`: sets with a manifest come first, newest first, then those without. `sets`: how many were looked at, of
    which `adopted` were not in the ledger, and `known` were. `problems`: the first fifty of `problems_total`."""

    status: Literal["OPEN", "COMPLETED"]
    asked_by: str
    started_at: Time
    finished_at: Time | None
    phase: Literal["MANIFESTS", "EXPORTS"]
    cursor: str | None
    sets: int
    adopted: int
    known: int
    removed: int
    tables_added: int
    problems: list[RebuildProblem]
    problems_total: int
    links: BackupLinks


# --- errors ----------------------------------------------------------------------------------------------------------


class ProblemFault(_Answer, frozen=True):
    """One thing wrong with a request: where, and what is allowed."""

    path: str
    message: str


class Problem(_Answer, frozen=True):
    """An error (RFC 9457). `code` is stable; `errors`, of a 422, names the faults: all of them, up to a thousand."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemFault] | UnsetType = UNSET


class GatewayMessage(msgspec.Struct, frozen=True):
    """API Gateway's own answer, before or instead of tablevault's."""

    message: str | UnsetType | None = UNSET
    Message: str | UnsetType = UNSET
