"""The backup side of the ledger: its rows, and every conditional write to them.

`BACKUP#{date}` / `SET`              the set: the names of its tables
`BACKUP#{date}` / `EXPORT#{table}`   one export: its exact parameters, and where it stands; further ones of the same
                                     table are `EXPORT#{table}#{part}`

The SET row is written before the first export starts, so a set that was begun is known whatever stops next; EXPORT
rows that are missing are made from it again. An export's exact parameters stand in its row before it is started, and
never change. Sets are kept until retention removes them: they carry no TTL.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.backup.manifest import BaseLink
from chalicelib.backup.removal_mark import marked_among, not_marked
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRecord, SetRow
from chalicelib.backup.states import EXPORT_MOVES, SET_MOVES, ExportState, SetState, states_before
from chalicelib.errors import LedgerEntryCorrupt, NotFound
from chalicelib.ledger import (
    OPEN_INDEX,
    ConditionFailed,
    Key,
    Ledger,
    Put,
    Row,
    Update,
    Write,
    absent,
    decode,
)

KIND = "BACKUP"
_SET_SK = "SET"
_EXPORT_PREFIX = "EXPORT#"


def set_key(backup_date: str) -> Key:
    return Key(f"BACKUP#{backup_date}", _SET_SK)


def export_key(backup_date: str, table_name: str, part: int = 0) -> Key:
    return Key(f"BACKUP#{backup_date}", f"{_EXPORT_PREFIX}{table_name}{f'#{part}' if part else ''}")


class Catalog:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    # --- reading ---------------------------------------------------------------------------------------------

    def set_row(self, backup_date: str) -> SetRow | None:
        """Raises LedgerEntryCorrupt."""
        row = self._ledger.get(set_key(backup_date))
        return decode(row, SetRow) if row else None

    def export_row(self, backup_date: str, table_name: str, part: int = 0) -> ExportRow | None:
        """Raises LedgerEntryCorrupt."""
        row = self._ledger.get(export_key(backup_date, table_name, part))
        return decode(row, ExportRow) if row else None

    def exports_of(self, backup_date: str, table_name: str) -> list[ExportRow]:
        """All exports of a table, in the order of their windows. Raises LedgerEntryCorrupt."""
        first = self.export_row(backup_date, table_name)
        if first is None:
            return []
        others = (self.export_row(backup_date, table_name, part) for part in range(1, first.parts))
        return [first, *(row for row in others if row is not None)]

    def record(self, backup_date: str) -> SetRecord:
        """The set with all its exports. Raises NotFound, or LedgerEntryCorrupt for the SET row itself."""
        set_row: SetRow | None = None
        exports: list[ExportRow] = []
        corrupt: dict[str, str] = {}
        for row in self._ledger.query(set_key(backup_date).pk):
            if row["sk"] == _SET_SK:
                set_row = decode(row, SetRow)
            if not str(row["sk"]).startswith(_EXPORT_PREFIX):
                continue
            try:
                exports.append(decode(row, ExportRow))
            except LedgerEntryCorrupt as error:
                corrupt[str(row["sk"]).removeprefix(_EXPORT_PREFIX).partition("#")[0]] = error.message
        if set_row is None:
            raise NotFound("backup_not_found", f"the ledger knows no backup {backup_date}")
        return SetRecord(set_row, exports, corrupt)

    def open_work(self) -> list[tuple[str, str]]:
        """All of the backup side with something left to do, each once, oldest first; one query. Kind and name, as its
        rows' `pk` has them: a set is `BACKUP` and its date. The index may lag behind by a moment."""
        rows = self._ledger.query_index(OPEN_INDEX, KIND)
        parts = (str(row["pk"]).partition("#") for row in rows)
        return list(dict.fromkeys((kind, name) for kind, _, name in parts))

    def open_dates(self) -> list[str]:
        """Sets with something left to do, oldest first."""
        return [name for kind, name in self.open_work() if kind == KIND]

    def being_removed(self, backup_dates: Iterable[str]) -> list[str]:
        """Those of the sets that are marked for removal."""
        return marked_among(self._ledger, backup_dates)

    def list_page(self, *, limit: int, before: str | None) -> list[Row]:
        return self._ledger.list_page(KIND, limit=limit, before=before)

    # --- writing ---------------------------------------------------------------------------------------------

    def create_set(self, set_row: SetRow) -> bool:
        """False when the set is there already, whoever made it."""
        attributes = {"kind": KIND, "sort_name": set_row.backup_date, "opened_at_ms": set_row.started_at_ms}
        return self._try(Put(set_key(set_row.backup_date), row_of(set_row) | attributes, absent()))

    def create_export(self, backup_date: str, table_name: str) -> ExportRow | None:
        """The PENDING row of a table, or the one that stands there already. Raises LedgerEntryCorrupt."""
        row = ExportRow(backup_date=backup_date, table_name=table_name, status=ExportState.PENDING)
        if self._try(Put(export_key(backup_date, table_name), row_of(row), absent())):
            return row
        return self.export_row(backup_date, table_name)

    def plan(
        self,
        row: ExportRow,
        planned: Sequence[ExportParameters],
        base: Sequence[BaseLink],
        notes: Sequence[str] = (),
    ) -> bool:
        """What a PENDING table's exports are started with, and build on; set once, by the run that described it first.

        The rows of further parts come about in the same transaction, so that a table never has some of its parts. So
        does the check that no set they build on is being removed; where one is, the row stays as it is.
        """
        first = Update(
            _key(row),
            set={
                "parameters": _builtin(planned[0]),
                "base": _builtin(base),
                "parts": len(planned),
                "notes": list(notes),
            },
            condition=Attr("status").eq(ExportState.PENDING.value) & Attr("parameters").not_exists(),
        )
        checks = [not_marked(name) for name in dict.fromkeys(link.backup_date for link in base)]
        if len(planned) == 1 and not checks:
            return self._try(first)
        parts = (self._part(row, part, each) for part, each in enumerate(planned) if part)
        return self.try_all([first, *checks, *parts])

    def _part(self, row: ExportRow, part: int, parameters: ExportParameters) -> Put:
        """Over whatever stands there: without parameters of the first part, there are no others that count."""
        other = ExportRow(
            backup_date=row.backup_date,
            table_name=row.table_name,
            status=ExportState.PENDING,
            part=part,
            parameters=parameters,
        )
        return Put(_key(other), row_of(other))

    def note_trouble(self, row: ExportRow, code: str, message: str) -> None:
        """Why a PENDING export could not be started yet; only for people to see."""
        if (row.failure_code, row.failure_message) == (code, message):
            return
        condition = Attr("status").eq(ExportState.PENDING.value)
        self._try(Update(_key(row), set={"failure_code": code, "failure_message": message}, condition=condition))

    def mark_checked(self, row: ExportRow, now_ms: int) -> None:
        condition = Attr("status").eq(ExportState.IN_PROGRESS.value)
        self._try(Update(_key(row), set={"checked_at_ms": now_ms}, condition=condition))

    def start(self, row: ExportRow, export_arn: str, now_ms: int) -> bool:
        """PENDING to IN_PROGRESS. False when the row has moved on meanwhile, be it to another attempt."""
        update = Update(
            _key(row),
            set={"status": ExportState.IN_PROGRESS.value, "export_arn": export_arn, "started_at_ms": now_ms},
            remove=["failure_code", "failure_message"],
            condition=_as_read(row),
        )
        return self._try(update)

    def try_again(self, row: ExportRow, parameters: ExportParameters, code: str, message: str) -> bool:
        """IN_PROGRESS back to PENDING, for another attempt with another token; why the last one failed stays told."""
        update = Update(
            _key(row),
            set={
                "status": ExportState.PENDING.value,
                "attempt": row.attempt + 1,
                "parameters": _builtin(parameters),
                "failure_code": code,
                "failure_message": message,
            },
            remove=["export_arn", "started_at_ms", "checked_at_ms"],
            condition=Attr("status").eq(ExportState.IN_PROGRESS.value) & Attr("export_arn").eq(row.export_arn),
        )
        return self._try(update)

    def fail(self, row: ExportRow, code: str, message: str, now_ms: int) -> bool:
        """False when the row has moved on meanwhile: another run knows more."""
        changes = {
            "status": ExportState.FAILED.value,
            "failure_code": code,
            "failure_message": message,
            "ended_at_ms": now_ms,
        }
        if row.status not in states_before(EXPORT_MOVES, ExportState.FAILED):
            return False
        return self._try(Update(_key(row), set=changes, condition=_as_read(row)))

    def complete(self, row: ExportRow, facts: Mapping[str, Any], now_ms: int) -> bool:
        """`row`, as it was read, to COMPLETED with `facts` (fields of ExportRow). False when it moved on meanwhile.

        A row that had FAILED opens its set again in the same transaction: a stop right after it leaves an open
        set, which reconcile finishes.
        """
        if row.status not in states_before(EXPORT_MOVES, ExportState.COMPLETED):
            return False
        is_late = row.status is ExportState.FAILED
        update = Update(
            _key(row),
            set={**facts, "status": ExportState.COMPLETED.value, "ended_at_ms": now_ms, "late": is_late},
            remove=["failure_code", "failure_message"],
            condition=_as_read(row),
        )
        if not is_late:
            return self._try(update)
        return self._complete_late(update, row.backup_date)

    def _complete_late(self, update: Update, backup_date: str) -> bool:
        reopen = Update(
            set_key(backup_date),
            set={"open_kind": KIND},
            add={"revision": 1},
            condition=Attr("revision").exists(),
        )
        return self.try_all([update, reopen, not_marked(backup_date)])

    def finish(self, set_row: SetRow, status: SetState, finished_at_ms: int, notice: Put | None = None) -> bool:
        """Takes a set off the open work, and puts the notice of it there, in one transaction. False when an export
        completed meanwhile, or another run finished it."""
        before = Attr("status").is_in(_names(states_before(SET_MOVES, status)))
        update = Update(
            set_key(set_row.backup_date),
            set={"status": status.value, "finished_at_ms": finished_at_ms},
            remove=["open_kind"],
            condition=before & Attr("revision").eq(set_row.revision) & Attr("open_kind").exists(),
        )
        return self._try(update) if notice is None else self.try_all([update, notice])

    def try_all(self, writes: Sequence[Write]) -> bool:
        """All or none; False when the ledger holds another state than one of them expects."""
        try:
            self._ledger.transact(writes)
        except ConditionFailed:
            return False
        return True

    def _try(self, write: Put | Update) -> bool:
        try:
            self._ledger.write(write)
        except ConditionFailed:
            return False
        return True


def _key(row: ExportRow) -> Key:
    return export_key(row.backup_date, row.table_name, row.part)


def _as_read(row: ExportRow) -> ConditionBase:
    """That the row is still of the export that it was read as: it may be another attempt, or planned anew."""
    condition: ConditionBase = Attr("status").eq(row.status.value) & Attr("attempt").eq(row.attempt)
    return condition & Attr("export_arn").eq(row.export_arn) if row.export_arn else condition


def _builtin(value: Any) -> Any:
    """Without what is not set: the ledger holds no nulls."""
    return _bare(msgspec.to_builtins(value))


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(each) for name, each in value.items() if each is not None}
    return [_bare(each) for each in value] if isinstance(value, list | tuple) else value


def _names(states: list[Any]) -> list[str]:
    return [state.value for state in states]


def row_of(record: msgspec.Struct) -> Row:
    row: Row = _builtin(record)
    return row
