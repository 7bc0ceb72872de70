"""Defects in what increments continue, in exports that are several, and in what is tried again or has to wait."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from boto3.dynamodb.conditions import Attr
from msgspec.structs import replace

from chalicelib.backup import assembly, catalog, failures, plan, recorder, starter, windows
from chalicelib.backup.continuing import Chains
from chalicelib.backup.manifest import ManifestTable
from chalicelib.backup.recorder import Recorder
from chalicelib.backup.rows import ExportParameters, SetRecord
from chalicelib.backup.states import ExportState
from chalicelib.backup.windows import FullExport, Window, next_windows
from tests.simulation.mutations.mutation import mutation

_SECOND_MS = 1000
_DAY_MS = 24 * 3600 * 1000


def _with_windows(change: Any) -> Any:
    def changed(links: Any, recovery: Any, requested_ms: Any) -> Any:
        found = next_windows(links, recovery, requested_ms)
        return found if isinstance(found, FullExport) else change(found)

    return patch.object(plan, "next_windows", changed)


@mutation("incremental-days")
def a_window_that_begins_a_second_too_late() -> Iterator[None]:
    def late(found: tuple[Window, ...]) -> tuple[Window, ...]:
        return (replace(found[0], from_ms=found[0].from_ms + _SECOND_MS), *found[1:])

    with _with_windows(late):
        yield


@mutation("incremental-days")
def an_increment_of_the_last_day_only() -> Iterator[None]:
    """As if the day before had gone well."""

    def of_a_day(found: tuple[Window, ...]) -> tuple[Window, ...]:
        to_ms = found[-1].to_ms
        return (Window(max(found[0].from_ms, to_ms - _DAY_MS), to_ms),)

    with _with_windows(of_a_day):
        yield


@mutation("incremental-days")
def a_window_of_more_than_a_day() -> Iterator[None]:
    with patch.object(windows, "_split", lambda from_ms, to_ms: (Window(from_ms, to_ms),)):
        yield


@mutation("incremental-days")
def what_an_open_set_has_completed_is_exported_again() -> Iterator[None]:
    tables = Chains._tables

    def closed_ones(self: Chains, set_row: Any, name: str, *, is_open: bool) -> Any:
        return tables(self, set_row, name, is_open=False)

    with patch.object(Chains, "_tables", closed_ones):
        yield


@mutation("incremental-days")
def recovery_that_was_reset_is_not_noticed() -> Iterator[None]:
    def unlimited(links: Any, recovery: Any, requested_ms: Any) -> Any:
        known = recovery.earliest_ms is not None
        return next_windows(links, replace(recovery, earliest_ms=0) if known else recovery, requested_ms)

    with patch.object(plan, "next_windows", unlimited):
        yield


@mutation("incremental-days")
def a_failed_part_is_left_out() -> Iterator[None]:
    """A table COMPLETED whose other parts did."""
    table_of = assembly.table_of

    def of_the_others(record: SetRecord, table_name: str) -> ManifestTable:
        rows = record.exports_of(table_name)
        good = [row for row in rows if row.status is ExportState.COMPLETED]
        if len(good) in (0, len(rows)):
            return table_of(record, table_name)
        kept = [replace(row, base=rows[0].base, parts=len(good)) for row in good]
        return table_of(replace(record, exports=kept), table_name)

    with patch.object(assembly, "table_of", of_the_others):
        yield


@mutation("incremental-days")
def a_set_closed_while_a_part_runs() -> Iterator[None]:
    """The first part is taken for the table."""

    def is_decided(self: SetRecord) -> bool:
        first = [row for row in self.exports if row.part == 0]
        return not self.corrupt and not self.missing() and all(row.has_ended for row in first)

    with patch.object(SetRecord, "is_decided", property(is_decided)):
        yield


@mutation("export-retries")
def another_attempt_with_the_same_token() -> Iterator[None]:
    def same(backup_date: str, parameters: ExportParameters, attempt: int = 1) -> ExportParameters:
        return parameters

    with patch.object(recorder, "with_token", same):
        yield


@mutation("export-retries")
def a_retry_that_another_run_was_faster_with_is_a_failure() -> Iterator[None]:
    """And ends the attempt that this one has begun."""
    unended = Attr("status").is_in([ExportState.PENDING.value, ExportState.IN_PROGRESS.value])
    try_again = Recorder._try_again

    def exclusive(self: Recorder, case: Any, code: str, message: str) -> Any:
        moved: list[bool] = []
        real = self._catalog.try_again

        def noted(*what: Any) -> bool:
            moved.append(real(*what))
            return moved[-1]

        with patch.object(self._catalog, "try_again", noted):
            outcome = try_again(self, case, code, message)
        return None if moved == [False] else outcome

    with patch.object(Recorder, "_try_again", exclusive), patch.object(catalog, "_as_read", lambda row: unended):
        yield


@mutation("export-retries")
def attempts_without_end() -> Iterator[None]:
    with patch.object(recorder, "MOST_ATTEMPTS", 99):
        yield


@mutation("export-retries")
def what_fails_for_good_is_tried_again() -> Iterator[None]:
    with patch.object(recorder, "is_permanent", lambda code, message: False):
        yield


@mutation("export-quota")
def every_table_asks_although_no_more_exports_are_taken() -> Iterator[None]:
    with patch.object(starter, "_TOO_MANY", "nothing"):
        yield


@mutation("export-quota")
def a_table_that_has_to_wait_has_failed() -> Iterator[None]:
    with patch.object(failures, "_PASSES", frozenset[str]()):
        yield
