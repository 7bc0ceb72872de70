"""A set's manifest, made from its ledger rows and from nothing else. Pure: the same rows give the same bytes."""

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.chain import links_of, missing_links
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable
from chalicelib.backup.rows import ExportRow, SetRecord
from chalicelib.backup.states import ExportState
from chalicelib.clock import iso

_MEGABYTE = 1_000_000


def assemble(record: SetRecord) -> Manifest:
    """The manifest of a set whose exports have all ended. COMPLETE only when every table was exported and verified."""
    tables = tuple(table_of(record, table_name) for table_name in record.set.tables)
    exported = [table for table in tables if table.status == "COMPLETED"]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        revision=record.set.revision,
        backup_date=record.set.backup_date,
        environment=record.set.environment,
        backup_type=BACKUP_TYPE,
        status="COMPLETE" if len(exported) == len(tables) else "PARTIAL",
        s3_bucket=record.set.s3_bucket,
        manifest_s3_key=layout.manifest_key(record.set.exports_prefix, record.set.backup_date),
        total_tables_processed=len(tables),
        successful_exports=len(exported),
        failed_exports=len(tables) - len(exported),
        total_items_exported=sum(table.item_count for table in exported),
        total_size_mb=sum(table.size_bytes for table in exported) / _MEGABYTE,
        started_at=iso(record.set.started_at_ms),
        completed_at=iso(max(row.ended_at_ms or record.set.started_at_ms for row in record.exports)),
        tables=tables,
        unmatched=tuple(record.set.unmatched),
    )


def table_of(record: SetRecord, table_name: str) -> ManifestTable:
    """A table whose exports have ended. Of several parts the last one is its own export, the others are what that one
    builds on. It is FAILED when one part is, or is lost, or when they make no whole chain: there would be a gap."""
    rows = record.exports_of(table_name)
    notes = rows[0].notes
    if not record.has_completed(table_name):
        failed = next((row for row in rows if row.status is ExportState.FAILED), None)
        table = (
            _failed(failed) if failed else _without(_failed(rows[0]), "LedgerRowLost", "a part's ledger row is lost")
        )
        return msgspec.structs.replace(table, notes=notes)
    parts = [_completed(row) for row in rows]
    base = rows[0].base
    for part in parts[:-1]:
        base = links_of(msgspec.structs.replace(part, base=base))
    table = msgspec.structs.replace(parts[-1], base=base, notes=notes)
    broken = missing_links(table)
    return _without(_failed(rows[-1]), "ChainBroken", broken[0]) if broken else table


def _without(table: ManifestTable, code: str, message: str) -> ManifestTable:
    return msgspec.structs.replace(table, failure_code=code, failure_message=message)


def _failed(row: ExportRow) -> ManifestTable:
    requested_ms = row.parameters.requested_time_ms if row.parameters else None
    return ManifestTable(
        table_name=row.table_name,
        status="FAILED",
        table_arn=row.parameters.table_arn if row.parameters else None,
        export_type=row.parameters.export_type if row.parameters else "FULL_EXPORT",
        export_format=row.parameters.export_format if row.parameters else "DYNAMODB_JSON",
        export_arn=row.export_arn,
        requested_time=None if requested_ms is None else iso(requested_ms),
        failure_code=row.failure_code,
        failure_message=row.failure_message,
    )


def _completed(row: ExportRow) -> ManifestTable:
    return msgspec.structs.replace(
        _failed(row),
        status="COMPLETED",
        export_time=row.export_time,
        export_from=row.export_from,
        export_to=row.export_to,
        item_count=row.item_count,
        billed_size_bytes=row.billed_size_bytes,
        size_bytes=row.size_bytes,
        data_files=row.data_files,
        manifest_summary_key=row.manifest_summary_key,
        manifest_files_key=row.manifest_files_key,
        manifest_files_md5=row.manifest_files_md5,
        definition_key=row.definition_key,
        failure_code=None,
        failure_message=None,
    )
