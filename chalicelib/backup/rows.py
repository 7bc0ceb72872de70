"""What the ledger knows of a backup set: its SET row, its EXPORT rows, and both as one strongly consistent read.

A set's `revision` is 1 plus the number of exports that completed after they had been given up (`late` rows). Both
move in one transaction, so rows read while it happens contradict each other, and `is_torn` says so.
"""

import msgspec

from chalicelib.backup.states import ENDED, ExportState, SetState


class ExportParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What an export is started with, exactly: the same client token must always go with the same parameters.

    `requested_time_ms` is what the settings ask for, `export_time_ms` what is sent; None is the start's own time.
    """

    table_arn: str
    s3_bucket: str
    s3_prefix: str
    client_token: str
    export_format: str = "DYNAMODB_JSON"
    requested_time_ms: int | None = None
    export_time_ms: int | None = None
    s3_bucket_owner: str | None = None
    s3_sse_kms_key_id: str | None = None


class SetRow(msgspec.Struct, frozen=True, kw_only=True):
    """`tables`: all that were chosen. `unmatched`: entries of DYNAMODB_TABLES that chose none, as they were written."""

    backup_date: str
    status: SetState
    environment: str
    s3_bucket: str
    exports_prefix: str
    started_at_ms: int
    tables: list[str]
    unmatched: list[str] = []
    by_hand: bool = False
    requested_time_ms: int | None = None
    revision: int = 1
    finished_at_ms: int | None = None
    open_kind: str | None = None

    @property
    def is_open(self) -> bool:
        return self.open_kind is not None


class ExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """`parameters`: None while the table could not be described yet. `failure_*` of a PENDING row say why it could not
    be started yet. `late`: completed after it was given up."""

    backup_date: str
    table_name: str
    status: ExportState
    parameters: ExportParameters | None = None
    export_arn: str | None = None
    started_at_ms: int | None = None
    checked_at_ms: int | None = None
    ended_at_ms: int | None = None
    export_time: str | None = None
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


class SetRecord(msgspec.Struct, frozen=True):
    """A set and its exports as one strongly consistent read found them. `corrupt` says which rows cannot be read."""

    set: SetRow
    exports: dict[str, ExportRow]
    corrupt: dict[str, str] = msgspec.field(default_factory=dict)

    def missing(self) -> list[str]:
        known = self.exports.keys() | self.corrupt.keys()
        return [table_name for table_name in self.set.tables if table_name not in known]

    @property
    def is_torn(self) -> bool:
        return self.set.revision != 1 + sum(row.late for row in self.exports.values())

    @property
    def is_decided(self) -> bool:
        """Whether every table's export has ended."""
        readable = not self.corrupt and not self.missing()
        return readable and all(row.has_ended for row in self.exports.values())
