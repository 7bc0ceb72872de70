"""The schedule's run, where its set was adopted before it came: somebody exported a table by hand into the day's place,
or the ledger was lost. The set keeps what it has; the run's other tables, and those that failed, are added to it.

Order, and what is left if the program stops right after each step:

1. rows of tables that failed are deleted   an adopted set, some of whose tables have no rows; the schedule's next try
                                            takes it over, and if it is open, reconcile starts their exports
2. the SET row gets all the tables          an open set that is no adopted one any more; reconcile goes on from here
"""

from collections.abc import Sequence

from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.backup.catalog import KIND, Catalog, export_key, row_of, set_key
from chalicelib.backup.rows import SetRecord, SetRow
from chalicelib.backup.states import SetState
from chalicelib.ledger import Delete, Update

_TRIES = 8
_OF_THE_RUN = ("export_type", "started_at_ms", "unmatched", "environment")


def take_over(catalog: Catalog, planned: SetRow) -> None:
    """`planned`: the set as the schedule would begin it. Does nothing for a set that is no adopted one (any more)."""
    for _ in range(_TRIES):
        record = catalog.record(planned.backup_date)
        if not record.set.adopted:
            return
        failed = [name for name in planned.tables if _has_failed(record, name)]
        if not _forget(catalog, record, failed):
            continue
        lacking = {name for name in planned.tables if name not in record.set.tables} | {*failed, *record.missing()}
        if catalog.try_all([_taken_over(record.set, planned) if lacking else _left(record.set)]):
            return


def _has_failed(record: SetRecord, table_name: str) -> bool:
    """Rows of which one was late stay: the set's revision counts them."""
    rows = record.exports_of(table_name)
    has_ended = bool(rows) and all(row.has_ended for row in rows)
    return has_ended and not record.has_completed(table_name) and not any(row.late for row in rows)


def _forget(catalog: Catalog, record: SetRecord, table_names: Sequence[str]) -> bool:
    """The first part's row makes the others of a table count or not."""
    for name in table_names:
        row = record.exports_of(name)[0]
        as_read = Attr("status").eq(row.status.value) & Attr("late").eq(False)
        if not catalog.try_all([Delete(export_key(row.backup_date, name), as_read)]):
            return False
    return True


def _taken_over(standing: SetRow, planned: SetRow) -> Update:
    """The revision moves, so that a run that was about to finish the set looks at it again."""
    of_the_run = row_of(planned)
    changes = {name: of_the_run[name] for name in _OF_THE_RUN}
    if planned.requested_time_ms is not None:
        changes["requested_time_ms"] = planned.requested_time_ms
    return Update(
        set_key(standing.backup_date),
        set={
            **changes,
            "tables": list(dict.fromkeys([*standing.tables, *planned.tables])),
            "status": SetState.OPEN.value,
            "open_kind": KIND,
            "opened_at_ms": planned.started_at_ms,
            "adopted": False,
            "revision": standing.revision + 1,
            "adopted_revisions": standing.adopted_revisions + 1,
        },
        remove=["finished_at_ms", *(() if planned.requested_time_ms is not None else ("requested_time_ms",))],
        condition=_is_as_read(standing),
    )


def _left(standing: SetRow) -> Update:
    """It has all that the schedule would back up."""
    return Update(set_key(standing.backup_date), set={"adopted": False}, condition=_is_as_read(standing))


def _is_as_read(standing: SetRow) -> ConditionBase:
    return Attr("adopted").eq(True) & Attr("revision").eq(standing.revision)
