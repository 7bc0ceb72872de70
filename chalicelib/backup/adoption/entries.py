"""The ledger's rows of adopted sets, and every conditional write to them.

Order, and what is left if the program stops right after each step:

1. EXPORT rows, each if it is absent   rows without a set, which nothing looks at; the next run finds and keeps them
2. the SET row, if it is absent        nothing: the set is finished, or open and reconcile goes on with it

The SET row comes last: a set whose tables have no rows yet would have their exports started. What is added to a set
that stands already is one transaction with its SET row, whose revision moves: a run that was about to finish the set
looks at it again. No set is adopted, or added to, while it or a set that it builds on is being removed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr

from chalicelib.backup.catalog import KIND, Catalog, export_key, row_of, set_key
from chalicelib.backup.removal_mark import not_marked, removal_key
from chalicelib.backup.rows import ExportRow, SetRow
from chalicelib.backup.starter import in_parallel
from chalicelib.backup.states import ExportState, SetState
from chalicelib.errors import LedgerEntryCorrupt
from chalicelib.ledger import Check, ConditionFailed, Key, Ledger, Put, Update, absent, decode


class Entries:
    def __init__(self, catalog: Catalog, ledger: Ledger) -> None:
        self._catalog = catalog
        self._ledger = ledger

    def is_being_removed(self, backup_date: str) -> bool:
        return self._ledger.get(removal_key(backup_date)) is not None

    def may_stay(self, backup_date: str) -> bool:
        """Of a set that is marked: whether the mark may be taken back yet, as nothing of the set is touched."""
        return (self._ledger.get(removal_key(backup_date)) or {}).get("stage") == "MARKED"

    def exports(self, backup_date: str) -> list[ExportRow]:
        """The EXPORT rows that can be read, also where there is no SET row."""
        rows = []
        for row in self._ledger.query(set_key(backup_date).pk, "EXPORT#"):
            try:
                rows.append(decode(row, ExportRow))
            except LedgerEntryCorrupt:
                continue  # it is named by whoever looks at the set
        return rows

    def put_absent(self, rows: Sequence[ExportRow]) -> None:
        """Each on its own. What stands there already stays."""
        in_parallel(lambda row: self._put(row, or_failed=False), rows)

    def put_over_failed(self, rows: Sequence[ExportRow]) -> None:
        """The same, but in the place of rows that FAILED too."""
        in_parallel(lambda row: self._put(row, or_failed=True), rows)

    def create(self, set_row: SetRow, rows: Sequence[ExportRow] = ()) -> bool:
        """`rows`: its exports, where what they build on is to stay. False when the set is there already, or one of
        these sets is being removed."""
        attributes: dict[str, Any] = {"kind": KIND, "sort_name": set_row.backup_date}
        attributes["opened_at_ms"] = set_row.started_at_ms
        put = Put(set_key(set_row.backup_date), row_of(set_row) | attributes, absent())
        return self._catalog.try_all([put, *_not_being_removed(set_row, rows)])

    def add(self, set_row: SetRow, rows: Sequence[ExportRow], over: ExportRow | None = None) -> bool:
        """All rows of one table to a set that stands; it is open afterwards, to be finished with them. `over`: the row,
        as it was read, that the only one replaces. False when the set has moved on, or is being removed."""
        name = rows[0].table_name
        reopened = Update(
            set_key(set_row.backup_date),
            set={
                "tables": set_row.tables if name in set_row.tables else [*set_row.tables, name],
                "status": SetState.OPEN.value,
                "open_kind": KIND,
                "revision": set_row.revision + 1,
                "adopted_revisions": set_row.adopted_revisions + 1,
            },
            remove=["finished_at_ms"],
            condition=Attr("revision").eq(set_row.revision),
        )
        condition = None if over is None else Attr("status").eq(over.status.value) & Attr("late").eq(over.late)
        puts = [Put(_key(row), row_of(row), condition) for row in rows]
        return self._catalog.try_all([reopened, *_not_being_removed(set_row, rows), *puts])

    def bring_to(self, standing: SetRow, wanted: SetRow) -> bool:
        """A finished set's row to what the bucket's manifest says; it stays finished. False when it moved on."""
        following = row_of(wanted)
        changes = {name: following[name] for name in ("tables", "status", "revision", "adopted_revisions")}
        condition = Attr("revision").eq(standing.revision) & Attr("open_kind").not_exists()
        update = Update(set_key(standing.backup_date), set=changes, condition=condition)
        return self._catalog.try_all([update, *_not_being_removed(standing, ())])

    def _put(self, row: ExportRow, *, or_failed: bool) -> None:
        condition = absent() | Attr("status").eq(ExportState.FAILED.value) if or_failed else absent()
        try:
            self._ledger.write(Put(_key(row), row_of(row), condition))
        except ConditionFailed:
            return


def with_revision(set_row: SetRow, rows: Sequence[ExportRow]) -> SetRow:
    """The SET row that agrees with these EXPORT rows, of which some may have stood in the ledger before."""
    late = sum(row.late for row in rows)
    revision = max(set_row.revision, 1 + late)
    return msgspec.structs.replace(set_row, revision=revision, adopted_revisions=revision - 1 - late)


def _not_being_removed(set_row: SetRow, rows: Sequence[ExportRow]) -> Iterator[Check]:
    builds_on = (link.backup_date for row in rows for link in row.base)
    yield from (not_marked(name) for name in dict.fromkeys([set_row.backup_date, *builds_on]))


def _key(row: ExportRow) -> Key:
    return export_key(row.backup_date, row.table_name, row.part)
