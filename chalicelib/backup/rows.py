"""What the ledger knows of a backup set: its SET row, its EXPORT rows, and both as one strongly consistent read.

A set's `revision` is 1 plus the number of exports that completed after they had been given up (`late` rows), plus its
`adopted_revisions`. They move in one transaction, so rows read while it happens contradict each other, and `is_torn`
says so.
"""

from functools import cached_property

import msgspec

from chalicelib.backup.manifest import BaseLink, ExportType
from chalicelib.backup.states import ENDED, ExportState, SetState
from chalicelib.backup.windows import Window


class ExportParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What an export is started with, exactly: the same client token must always go with the same parameters.

    `requested_time_ms` is what the settings ask for, `export_time_ms` what is sent; None is the start's own time. An
    incremental export has a `window` instead.
    """

    table_arn: str
    s3_bucket: str
    s3_prefix: str
    client_token: str
    export_format: str = "DYNAMODB_JSON"
    requested_time_ms: int | None = None
    export_time_ms: int | None = None
    window: Window | None = None
    s3_bucket_owner: str | None = None
    s3_sse_kms_key_id: str | None = None

    @property
    def export_type(self) -> ExportType:
        return "FULL_EXPORT" if self.window is None else "INCREMENTAL_EXPORT"


class SetRow(msgspec.Struct, frozen=True, kw_only=True):
    """`tables`: all that were chosen. `unmatched`: entries of DYNAMODB_TABLES that chose none, as they were written.
    `export_type`: of the exports, where a table's chain can be continued; else they are full ones.

    `adopted`: the rows were made from what stands in the bucket; the schedule's run, if it comes yet, adds its tables.
    `adopted_revisions`: how many revisions came about that way, or stood in the manifest already.
    """

    backup_date: str
    status: SetState
    environment: str
    s3_bucket: str
    exports_prefix: str
    started_at_ms: int
    tables: list[str]
    unmatched: list[str] = []
    export_type: ExportType = "FULL_EXPORT"
    by_hand: bool = False
    requested_time_ms: int | None = None
    revision: int = 1
    adopted: bool = False
    adopted_revisions: int = 0
    finished_at_ms: int | None = None
    open_kind: str | None = None

    @property
    def is_open(self) -> bool:
        return self.open_kind is not None


class ExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One export of a table. `parameters`: None while the table could not be described yet. `failure_*` of a PENDING
    row say why it could not be started yet, or why its last attempt failed. `late`: completed after it was given up.

    A table has several, `parts` in all, where what changed since its last export is more than one export takes; `part`
    is which of them this is. The first one has in `base` what they build on, the number of parts, and in `notes` what
    people should know of how it was planned.
    """

    backup_date: str
    table_name: str
    status: ExportState
    part: int = 0
    parts: int = 1
    attempt: int = 1
    parameters: ExportParameters | None = None
    base: tuple[BaseLink, ...] = ()
    notes: tuple[str, ...] = ()
    export_arn: str | None = None
    started_at_ms: int | None = None
    checked_at_ms: int | None = None
    ended_at_ms: int | None = None
    export_time: str | None = None
    export_from: str | None = None
    export_to: str | None = None
    item_count: int = 0
    billed_size_bytes: int = 0
    size_bytes: int = 0
    data_files: int = 0
    manifest_summary_key: str | None = None
    manifest_files_key: str | None = None
    manifest_files_md5: str | None = None
    definition_key: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    late: bool = False

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class SetRecord(msgspec.Struct, frozen=True, dict=True):
    """A set and its exports as one strongly consistent read found them. `corrupt` says of which tables rows cannot be
    read, and why."""

    set: SetRow
    exports: list[ExportRow]
    corrupt: dict[str, str] = msgspec.field(default_factory=dict)

    @cached_property
    def _by_table(self) -> dict[str, list[ExportRow]]:
        rows: dict[str, list[ExportRow]] = {}
        for row in sorted(self.exports, key=lambda row: row.part):
            rows.setdefault(row.table_name, []).append(row)
        return rows

    def exports_of(self, table_name: str) -> list[ExportRow]:
        """In the order of their windows. The first one's row says how many parts there are: without it there are none,
        and those beyond its number are of a plan that was lost."""
        rows = self._by_table.get(table_name, [])
        return [row for row in rows if row.part < rows[0].parts] if rows and rows[0].part == 0 else []

    def missing(self) -> list[str]:
        """Tables that have no row yet, or no longer."""
        return [name for name in self.set.tables if not self.exports_of(name) and name not in self.corrupt]

    def has_all_parts(self, table_name: str) -> bool:
        rows = self.exports_of(table_name)
        return bool(rows) and [row.part for row in rows] == list(range(rows[0].parts))

    def has_completed(self, table_name: str) -> bool:
        is_completed = (row.status is ExportState.COMPLETED for row in self.exports_of(table_name))
        return self.has_all_parts(table_name) and all(is_completed)

    @property
    def is_torn(self) -> bool:
        return self.set.revision != 1 + self.set.adopted_revisions + sum(row.late for row in self.exports)

    @property
    def is_decided(self) -> bool:
        """Whether every table's exports have ended."""
        readable = not self.corrupt and not self.missing()
        return readable and all(row.has_ended for name in self.set.tables for row in self.exports_of(name))
