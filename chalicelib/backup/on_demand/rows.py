"""What the ledger knows of a run of on-demand backups: its RUN row, and a TABLE row of each table that had its turn."""

from enum import StrEnum

import msgspec


class RunState(StrEnum):
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"


class BackupState(StrEnum):
    PENDING = "PENDING"  # whether DynamoDB knows of it is not known yet
    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    FAILED = "FAILED"


ENDED = frozenset({BackupState.AVAILABLE, BackupState.FAILED})


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """`tables`: all that were chosen. `unmatched`: entries of DYNAMODB_TABLES that chose none, as they were written.
    `environment` stands in the backups' names."""

    backup_date: str
    status: RunState
    environment: str
    started_at_ms: int
    tables: list[str]
    unmatched: list[str] = []
    by_hand: bool = False
    finished_at_ms: int | None = None
    open_kind: str | None = None

    @property
    def is_open(self) -> bool:
        return self.open_kind is not None


class TableRow(msgspec.Struct, frozen=True, kw_only=True):
    """One table's backup. `attempt` counts the claims to create it; 0: no row stands in the ledger. Until
    `attempt_until_ms` the process that has the claim may still be about to call, and nobody else does.

    `failure_*` of a PENDING row say why it could not be created yet. `created_at_ms`: by DynamoDB's clock.
    """

    backup_date: str
    table_name: str
    status: BackupState = BackupState.PENDING
    attempt: int = 0
    attempt_until_ms: int = 0
    backup_name: str | None = None
    backup_arn: str | None = None
    size_bytes: int = 0
    created_at_ms: int | None = None
    ended_at_ms: int | None = None
    failure_code: str | None = None
    failure_message: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class RunRecord(msgspec.Struct, frozen=True):
    """A run and its tables' rows, by table, as one strongly consistent read found them. `corrupt` says of which tables
    the row cannot be read, and why."""

    run: RunRow
    rows: dict[str, TableRow]
    corrupt: dict[str, str] = {}

    def row_of(self, table_name: str) -> TableRow:
        """One that has no row waits for its turn."""
        made = self.rows.get(table_name)
        return made or TableRow(backup_date=self.run.backup_date, table_name=table_name)

    def waiting(self) -> list[TableRow]:
        """Of all tables with something left to do: those that were tried least come first, so that where DynamoDB
        takes only a few at a time, each has its turn."""
        rows = (self.row_of(name) for name in self.run.tables if name not in self.corrupt)
        return sorted((row for row in rows if not row.has_ended), key=lambda row: row.attempt)

    @property
    def is_decided(self) -> bool:
        return not self.corrupt and not self.waiting()
