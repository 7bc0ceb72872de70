"""Runs of on-demand backups in the ledger: their rows, and every conditional write to them.

`ONDEMAND#{date}` / `RUN`             the run: the names of its tables
`ONDEMAND#{date}` / `TABLE#{table}`   one table's backup, and where it stands

The RUN row is written before the first backup is created, so a run that was begun is known whatever stops next. A TABLE
row is always written as a whole, over the one that was read: its status and attempt are the condition. Runs are kept
until retention drops them: they carry no TTL.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.backup import catalog
from chalicelib.backup.on_demand.rows import BackupState, RunRecord, RunRow, RunState, TableRow
from chalicelib.backup.plan import Failure
from chalicelib.backup.retention.on_demand import ListedBackup
from chalicelib.errors import LedgerEntryCorrupt, NotFound
from chalicelib.ledger import KIND_INDEX, ConditionFailed, Delete, Key, Ledger, Put, Row, Update, absent, decode

KIND = "ON_DEMAND"
PREFIX = "ONDEMAND"  # of the partition key, and how `Catalog.open_work` calls this kind of work
_RUN_SK = "RUN"
_TABLE_PREFIX = "TABLE#"


def run_key(backup_date: str) -> Key:
    return Key(f"{PREFIX}#{backup_date}", _RUN_SK)


def table_key(backup_date: str, table_name: str) -> Key:
    return Key(f"{PREFIX}#{backup_date}", f"{_TABLE_PREFIX}{table_name}")


class Runs:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    # --- reading ---------------------------------------------------------------------------------------------

    def run_row(self, backup_date: str) -> RunRow | None:
        """Raises LedgerEntryCorrupt."""
        row = self._ledger.get(run_key(backup_date))
        return decode(row, RunRow) if row else None

    def record(self, backup_date: str) -> RunRecord:
        """Raises NotFound, or LedgerEntryCorrupt for the RUN row itself."""
        run: RunRow | None = None
        rows: dict[str, TableRow] = {}
        corrupt: dict[str, str] = {}
        for row in self._ledger.query(run_key(backup_date).pk):
            sk = str(row["sk"])
            if sk == _RUN_SK:
                run = decode(row, RunRow)
            elif sk.startswith(_TABLE_PREFIX):
                try:
                    rows[sk.removeprefix(_TABLE_PREFIX)] = decode(row, TableRow)
                except LedgerEntryCorrupt as error:
                    corrupt[sk.removeprefix(_TABLE_PREFIX)] = error.message
        if run is None:
            raise NotFound("backup_not_found", f"the ledger knows no run of on-demand backups {backup_date}")
        return RunRecord(run, rows, corrupt)

    def list_page(self, *, limit: int, before: str | None) -> list[Row]:
        return self._ledger.list_page(KIND, limit=limit, before=before)

    def oldest_first(self) -> Iterator[Row]:
        """RUN rows by name, read as they are taken. The index may lag behind by a moment."""
        return self._ledger.query_index(KIND_INDEX, KIND)

    # --- writing ---------------------------------------------------------------------------------------------

    def create_run(self, run: RunRow) -> bool:
        """False when the run is there already, whoever made it."""
        attributes = {
            "kind": KIND,
            "sort_name": run.backup_date,
            "open_kind": catalog.KIND,
            "opened_at_ms": run.started_at_ms,
        }
        return self._try(Put(run_key(run.backup_date), _row(run) | attributes, absent()))

    def claim(self, row: TableRow, backup_name: str, until_ms: int) -> TableRow | None:
        """The right to create the backup until then; None when another process was faster."""
        claimed = msgspec.structs.replace(
            row, attempt=row.attempt + 1, attempt_until_ms=until_ms, backup_name=backup_name
        )
        return self._move(row, claimed)

    def note(self, row: TableRow, trouble: Failure, *, keeps_claim: bool) -> TableRow | None:
        """Why a row that has not ended could not be carried on. Without its claim, another attempt may follow at
        once."""
        until_ms = row.attempt_until_ms if keeps_claim else 0
        noted = msgspec.structs.replace(
            row, attempt_until_ms=until_ms, failure_code=trouble.code, failure_message=trouble.message
        )
        return row if noted == row else self._move(row, noted)

    def found(self, row: TableRow, backup: ListedBackup, now_ms: int) -> TableRow | None:
        """PENDING or CREATING to what DynamoDB says of the backup; None when the row has moved on meanwhile."""
        status = BackupState(backup.status)
        known = msgspec.structs.replace(
            row,
            status=status,
            attempt=max(row.attempt, 1),
            attempt_until_ms=0,
            backup_name=backup.name,
            backup_arn=backup.arn,
            size_bytes=backup.size_bytes,
            created_at_ms=backup.created_at_ms,
            ended_at_ms=now_ms if status is BackupState.AVAILABLE else None,
            failure_code=None,
            failure_message=None,
        )
        return self._move(row, known)

    def fail(self, row: TableRow, failure: Failure, now_ms: int) -> TableRow | None:
        failed = msgspec.structs.replace(
            row,
            status=BackupState.FAILED,
            attempt=max(row.attempt, 1),
            attempt_until_ms=0,
            ended_at_ms=now_ms,
            failure_code=failure.code,
            failure_message=failure.message,
        )
        return self._move(row, failed)

    def finish(self, run: RunRow, status: RunState, now_ms: int, notice: Put | None = None) -> bool:
        """Takes a run off the open work. False when another process finished it. `notice` is written with it."""
        update = Update(
            run_key(run.backup_date),
            set={"status": status.value, "finished_at_ms": now_ms},
            remove=["open_kind"],
            condition=Attr("status").eq(RunState.OPEN.value),
        )
        if notice is None:
            return self._try(update)
        try:
            self._ledger.transact([update, notice])
        except ConditionFailed:
            return False
        return True

    def drop(self, record: RunRecord) -> None:
        """The RUN row goes last: a stop before leaves one that is found, and dropped, by the next run."""
        for table_name in record.rows:
            self._ledger.write(Delete(table_key(record.run.backup_date, table_name)))
        self._try(Delete(run_key(record.run.backup_date), Attr("open_kind").not_exists()))

    def _move(self, before: TableRow, after: TableRow) -> TableRow | None:
        """`after` over `before`, as it was read."""
        key = table_key(before.backup_date, before.table_name)
        return after if self._try(Put(key, _row(after), _as_read(before))) else None

    def _try(self, write: Put | Update | Delete) -> bool:
        try:
            self._ledger.write(write)
        except ConditionFailed:
            return False
        return True


def _as_read(row: TableRow) -> ConditionBase:
    if not row.attempt:
        return absent()
    condition: ConditionBase = Attr("status").eq(row.status.value) & Attr("attempt").eq(row.attempt)
    return condition


def _row(record: msgspec.Struct) -> dict[str, Any]:
    """Without what is not set: the ledger holds no nulls."""
    return {name: value for name, value in msgspec.to_builtins(record).items() if value is not None}
