"""What was found of a table in a set, and the rows that it becomes. Pure.

A full export counts before increments, and of several the one that shows the latest moment: a table of a set is one
state. Without a full one, all increments are the table's parts in the order of their windows, and they must continue an
older set's chain. Whatever is not used stays in the bucket.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.adoption.from_manifest import is_by_hand, moment_ms, named_ms
from chalicelib.backup.assembly import table_of
from chalicelib.backup.definition import TableDefinition
from chalicelib.backup.manifest import MOST_LINKS, BaseLink
from chalicelib.backup.plan import Failure
from chalicelib.backup.recorder import MOST_ATTEMPTS
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRecord, SetRow
from chalicelib.backup.running import started_at_ms
from chalicelib.backup.states import ExportState, SetState
from chalicelib.backup.verification import VerifiedExport
from chalicelib.backup.windows import Window
from chalicelib.clock import iso

_CLOCKS_DIFFER_MS = 60 * 1000
_MOST_LINKS = MOST_LINKS - 2  # they are written in one transaction, with the set's row and a check


class CompleteExport(msgspec.Struct, frozen=True, kw_only=True):
    """An export whose files are all there and agree. `window`: of an incremental one."""

    export_arn: str
    table_arn: str
    export_format: str
    window: Window | None
    ended_at_ms: int
    facts: VerifiedExport


class RunningExport(msgspec.Struct, frozen=True):
    """One that DynamoDB knows of and whose files are not all there yet."""

    export_arn: str
    parameters: ExportParameters


class FoundTable(msgspec.Struct, frozen=True, kw_only=True):
    """`failure`: why no export of it can be used, where that is so. `unused`: how many others there are."""

    table_name: str
    complete: tuple[CompleteExport, ...] = ()
    running: tuple[RunningExport, ...] = ()
    failure: Failure | None = None
    definition: TableDefinition | None = None
    unused: int = 0

    @property
    def defined_at_ms(self) -> int | None:
        return moment_ms(self.definition.captured_at) if self.definition else None

    @property
    def windows(self) -> list[Window]:
        """Of its increments, where they are what counts."""
        if any(each.window is None for each in self.complete):
            return []
        if not self.complete and any(each.parameters.window is None for each in self.running):
            return []
        running = (each.parameters.window for each in self.running)
        return [window for window in (*(each.window for each in self.complete), *running) if window is not None]


class Place(NamedTuple):
    bucket: str
    exports_prefix: str
    backup_date: str
    environment: str


def open_set(place: Place, rows: Sequence[ExportRow], now_ms: int) -> SetRow:
    """The set that these rows are all of, to be finished as any other."""
    starts = [row.started_at_ms for row in rows if row.started_at_ms]
    is_incremental = any(row.parameters is not None and row.parameters.window is not None for row in rows)
    return SetRow(
        backup_date=place.backup_date,
        status=SetState.OPEN,
        environment=place.environment,
        s3_bucket=place.bucket,
        exports_prefix=place.exports_prefix,
        started_at_ms=min(starts, default=named_ms(place.backup_date) or now_ms),
        tables=sorted({row.table_name for row in rows}),
        export_type="INCREMENTAL_EXPORT" if is_incremental else "FULL_EXPORT",
        by_hand=is_by_hand(place.backup_date),
        adopted=True,
        open_kind="BACKUP",
    )


def rows_of_table(place: Place, found: FoundTable, chain: Sequence[BaseLink], now_ms: int) -> list[ExportRow]:
    """`chain`: what increments of it may build on. One row, or one per increment."""
    full = [each for each in found.complete if each.window is None]
    if full:
        return [_completed(place, found, max(full, key=_shows_ms))]
    if found.windows:
        return _parts(place, found, chain, now_ms)
    if found.running:
        newest = max(found.running, key=lambda each: started_at_ms(each.export_arn))
        return [_in_progress(place, found, newest)]
    return [_failed(place, found, found.failure or _lost(place, found.table_name), now_ms)]


def parameters_of(
    place: Place, table_name: str, table_arn: str, export_format: str, window: Window | None
) -> ExportParameters:
    """Of an export that somebody else started; `client_token` is empty, and another attempt makes its own."""
    return ExportParameters(
        table_arn=table_arn,
        s3_bucket=place.bucket,
        s3_prefix=layout.export_prefix(place.exports_prefix, place.backup_date, table_name),
        client_token="",
        export_format=export_format,
        window=window,
    )


def fits(place: Place, found: FoundTable, chain: Sequence[BaseLink]) -> bool:
    """Whether increments continue this chain without a gap."""
    return not isinstance(_continued(place, found, chain), Failure)


def _parts(place: Place, found: FoundTable, chain: Sequence[BaseLink], now_ms: int) -> list[ExportRow]:
    rows = _continued(place, found, chain)
    return [_failed(place, found, rows, now_ms)] if isinstance(rows, Failure) else rows


def _continued(place: Place, found: FoundTable, chain: Sequence[BaseLink]) -> list[ExportRow] | Failure:
    parts = _in_order(
        [_completed(place, found, each) for each in found.complete]
        + [_in_progress(place, found, each) for each in found.running if each.parameters.window is not None]
    )
    rows = [msgspec.structs.replace(row, part=part, notes=()) for part, row in enumerate(parts)]
    rows[0] = msgspec.structs.replace(rows[0], parts=len(rows), base=tuple(chain), notes=parts[0].notes)
    if not chain:
        return _broken(place, found, "no older backup set has an export of it that they continue")
    if len(rows) + len(chain) > _MOST_LINKS:
        return _broken(place, found, f"with those that they build on there are more than {_MOST_LINKS}")
    why = _gap(place, [_as_if_completed(place, row) for row in rows])
    return _broken(place, found, why) if why else rows


def _in_order(rows: list[ExportRow]) -> list[ExportRow]:
    """Without those whose time lies within that of another one: it has all that they have."""
    kept: list[ExportRow] = []
    for row in sorted(rows, key=lambda row: (_window(row).from_ms, -_window(row).to_ms)):
        if not kept or _window(row).to_ms > _window(kept[-1]).to_ms:
            kept.append(row)
    return kept


def _gap(place: Place, rows: list[ExportRow]) -> str | None:
    """Said by the same rules that a manifest is assembled by."""
    table = table_of(SetRecord(open_set(place, rows, 0), rows), rows[0].table_name)
    return table.failure_message if table.status == "FAILED" else None


def _as_if_completed(place: Place, row: ExportRow) -> ExportRow:
    """What one that still runs will be: its window is known already."""
    if row.status is ExportState.COMPLETED:
        return row
    window, export_id = _window(row), str(row.export_arn).rsplit("/", 1)[-1]
    summary_key = layout.summary_key(place.exports_prefix, place.backup_date, row.table_name, export_id)
    return msgspec.structs.replace(
        row,
        status=ExportState.COMPLETED,
        export_from=iso(window.from_ms),
        export_to=iso(window.to_ms),
        manifest_summary_key=summary_key,
        manifest_files_key=summary_key.replace(layout.SUMMARY_NAME, layout.FILES_NAME),
    )


def _window(row: ExportRow) -> Window:
    assert row.parameters is not None
    assert row.parameters.window is not None
    return row.parameters.window


def _shows_ms(export: CompleteExport) -> int:
    return moment_ms(export.facts.export_time) or 0


def _completed(place: Place, found: FoundTable, export: CompleteExport) -> ExportRow:
    facts = export.facts
    return ExportRow(
        backup_date=place.backup_date,
        table_name=found.table_name,
        status=ExportState.COMPLETED,
        parameters=parameters_of(place, found.table_name, export.table_arn, export.export_format, export.window),
        notes=_notes(found, export.export_arn),
        export_arn=export.export_arn,
        started_at_ms=started_at_ms(export.export_arn),
        ended_at_ms=export.ended_at_ms,
        export_time=facts.export_time,
        export_from=facts.export_from,
        export_to=facts.export_to,
        item_count=facts.item_count,
        billed_size_bytes=facts.billed_size_bytes,
        size_bytes=facts.size_bytes,
        data_files=facts.data_files,
        manifest_summary_key=facts.summary_key,
        manifest_files_key=facts.files_key,
        manifest_files_md5=facts.files_md5,
        definition_key=layout.definition_key(place.exports_prefix, place.backup_date, found.table_name),
    )


def _in_progress(place: Place, found: FoundTable, export: RunningExport) -> ExportRow:
    """Tried again if it fails, unless it was somebody else who started it: what tablevault starts has its definition
    beside it before."""
    began_ms = started_at_ms(export.export_arn)
    is_own = found.defined_at_ms is not None and found.defined_at_ms <= began_ms + _CLOCKS_DIFFER_MS
    return ExportRow(
        backup_date=place.backup_date,
        table_name=found.table_name,
        status=ExportState.IN_PROGRESS,
        attempt=1 if is_own else MOST_ATTEMPTS,
        parameters=export.parameters,
        notes=_notes(found, export.export_arn),
        export_arn=export.export_arn,
        started_at_ms=began_ms,
    )


def _failed(place: Place, found: FoundTable, failure: Failure, now_ms: int) -> ExportRow:
    exports = [*(each.export_arn for each in found.complete), *(each.export_arn for each in found.running)]
    return ExportRow(
        backup_date=place.backup_date,
        table_name=found.table_name,
        status=ExportState.FAILED,
        export_arn=max(exports, key=started_at_ms, default=None),
        ended_at_ms=now_ms,
        failure_code=failure.code,
        failure_message=failure.message,
    )


def _notes(found: FoundTable, export_arn: str) -> tuple[str, ...]:
    notes = []
    began_ms = started_at_ms(export_arn)
    if found.defined_at_ms is not None and found.defined_at_ms > began_ms + _CLOCKS_DIFFER_MS:
        notes.append(
            f"the table's definition is of {iso(found.defined_at_ms)}, the export is older: it began at {iso(began_ms)}"
        )
    if found.unused:
        notes.append(f"{found.unused} other exports of it stand in this set's place and are not part of the set")
    return tuple(notes)


def _broken(place: Place, found: FoundTable, why: str) -> Failure:
    text = f"{found.table_name}: its increments in {place.backup_date} cannot be restored: {why}"
    return Failure("ChainBroken", f"{text}; they stay in the bucket")


def _lost(place: Place, table_name: str) -> Failure:
    folder = layout.export_prefix(place.exports_prefix, place.backup_date, table_name)
    return Failure(
        "ExportLost",
        f"the ledger lost what became of {table_name}: {folder} has no export that completed, and DynamoDB tells of "
        "none that runs; back it up again, or wait: one that completes yet is adopted",
    )
