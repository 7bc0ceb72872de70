"""The ledger's rows of a set, out of its manifest: such rows as give the same manifest when it is assembled. Pure.

What a manifest does not know, the tokens and whether an export was late, is left empty or made up: rows of exports that
ended are never used to start one. A failed increment's window is not known either, so if that export completes one day
it is not taken for the one that was asked for; the next set's increment covers its time again.
"""

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.manifest import BaseLink, Manifest, ManifestTable
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.backup.windows import Window
from chalicelib.clock import from_iso, iso

_FACTS = (
    "export_arn",
    "export_time",
    "export_from",
    "export_to",
    "item_count",
    "size_bytes",
    "data_files",
    "manifest_summary_key",
    "manifest_files_key",
    "manifest_files_md5",
)


def set_row_of(manifest: Manifest, bucket: str, exports_prefix: str) -> SetRow:
    """Of a manifest that `decode_manifest` took. `bucket`: where it was read, whatever bucket it names."""
    requested = (moment_ms(table.requested_time) for table in manifest.tables)
    is_incremental = any(table.export_type == "INCREMENTAL_EXPORT" for table in manifest.tables)
    started_at_ms, finished_at_ms = _times(manifest)
    revision = max(manifest.revision, 1)
    return SetRow(
        backup_date=manifest.backup_date,
        status=SetState(manifest.status),
        environment=manifest.environment,
        s3_bucket=bucket,
        exports_prefix=exports_prefix,
        started_at_ms=started_at_ms,
        tables=[table.table_name for table in manifest.tables],
        unmatched=list(manifest.unmatched),
        export_type="INCREMENTAL_EXPORT" if is_incremental else "FULL_EXPORT",
        by_hand=is_by_hand(manifest.backup_date),
        requested_time_ms=next((each for each in requested if each is not None), None),
        revision=revision,
        adopted=True,
        adopted_revisions=revision - 1,
        finished_at_ms=finished_at_ms,
    )


def export_rows_of(manifest: Manifest, table: ManifestTable, bucket: str, exports_prefix: str) -> list[ExportRow]:
    """Of one of its tables, in the order of their windows."""
    prefix = layout.export_prefix(exports_prefix, manifest.backup_date, table.table_name)
    if table.status == "FAILED":
        return [_failed(manifest, table, bucket, prefix)]
    count = _parts_before(manifest, table)
    base, parts = table.base[: len(table.base) - count], table.base[len(table.base) - count :]
    exports: list[ManifestTable | BaseLink] = [*parts, table]
    rows = [_completed(manifest, table, each, bucket, prefix, part) for part, each in enumerate(exports)]
    first = msgspec.structs.replace(rows[0], base=base, parts=len(rows), notes=table.notes)
    return [first, *rows[1:]]


def moment_ms(text: str | None) -> int | None:
    """Epoch milliseconds; None for what is no time in the calendar."""
    try:
        moment = from_iso(text or "")
        iso(moment)  # a zone may lead out of the calendar
    except (ValueError, OverflowError):
        return None
    return moment


def is_by_hand(backup_date: str) -> bool:
    return "T" in backup_date


def named_ms(backup_date: str) -> int:
    """The moment that a set's name says; 0 for a day that the calendar lacks."""
    day, _, time = backup_date.removesuffix("Z").partition("T")
    return moment_ms(f"{day}T{time or '000000'}+00:00") or 0


def _times(manifest: Manifest) -> tuple[int, int]:
    started_at_ms = moment_ms(manifest.started_at)
    if started_at_ms is None:
        started_at_ms = named_ms(manifest.backup_date)
    finished_at_ms = moment_ms(manifest.completed_at)
    return started_at_ms, started_at_ms if finished_at_ms is None else finished_at_ms


def _parts_before(manifest: Manifest, table: ManifestTable) -> int:
    """How many of the last links are of this set itself: parts of one plan, of which the table's own export is the
    last."""
    count = 0
    for link in reversed(table.base):
        if link.backup_date != manifest.backup_date:
            break
        count += 1
    return count


def _failed(manifest: Manifest, table: ManifestTable, bucket: str, prefix: str) -> ExportRow:
    return ExportRow(
        backup_date=manifest.backup_date,
        table_name=table.table_name,
        status=ExportState.FAILED,
        parameters=None if table.table_arn is None else _parameters(table, table, bucket, prefix),
        notes=table.notes,
        export_arn=table.export_arn,
        ended_at_ms=_times(manifest)[1],
        failure_code=table.failure_code,
        failure_message=table.failure_message,
    )


def _completed(
    manifest: Manifest, table: ManifestTable, export: ManifestTable | BaseLink, bucket: str, prefix: str, part: int
) -> ExportRow:
    needs_parameters = table.table_arn is not None or export.export_type == "INCREMENTAL_EXPORT"
    return ExportRow(
        backup_date=manifest.backup_date,
        table_name=table.table_name,
        status=ExportState.COMPLETED,
        part=part,
        parameters=_parameters(table, export, bucket, prefix) if needs_parameters else None,
        ended_at_ms=_times(manifest)[1],
        billed_size_bytes=export.billed_size_bytes if isinstance(export, ManifestTable) else 0,
        definition_key=table.definition_key,
        **{name: getattr(export, name) for name in _FACTS},
    )


def _parameters(table: ManifestTable, export: ManifestTable | BaseLink, bucket: str, prefix: str) -> ExportParameters:
    """`client_token` is empty: nothing is started with these."""
    window = Window(moment_ms(export.export_from) or 0, moment_ms(export.export_to) or 0)
    return ExportParameters(
        table_arn=table.table_arn or (export.export_arn or "").partition("/export/")[0],
        s3_bucket=bucket,
        s3_prefix=prefix,
        client_token="",
        export_format=export.export_format,
        requested_time_ms=moment_ms(table.requested_time),
        window=window if export.export_type == "INCREMENTAL_EXPORT" else None,
    )
