"""A set's manifest, made from its ledger rows and from nothing else. Pure: the same rows give the same bytes."""

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable
from chalicelib.backup.rows import ExportRow, SetRecord
from chalicelib.backup.states import ExportState
from chalicelib.clock import iso

_MEGABYTE = 1_000_000


def assemble(record: SetRecord) -> Manifest:
    """The manifest of a set whose exports have all ended. COMPLETE only when every table was exported and verified."""
    rows = [record.exports[table_name] for table_name in record.set.tables]
    exported = [row for row in rows if row.status is ExportState.COMPLETED]
    return Manifest(
        schema_version=SCHEMA_VERSION,
        revision=record.set.revision,
        backup_date=record.set.backup_date,
        environment=record.set.environment,
        backup_type=BACKUP_TYPE,
        status="COMPLETE" if len(exported) == len(rows) else "PARTIAL",
        s3_bucket=record.set.s3_bucket,
        manifest_s3_key=layout.manifest_key(record.set.exports_prefix, record.set.backup_date),
        total_tables_processed=len(rows),
        successful_exports=len(exported),
        failed_exports=len(rows) - len(exported),
        total_items_exported=sum(row.item_count for row in exported),
        total_size_mb=sum(row.size_bytes for row in exported) / _MEGABYTE,
        started_at=iso(record.set.started_at_ms),
        completed_at=iso(max(row.ended_at_ms or record.set.started_at_ms for row in rows)),
        tables=tuple(_table(row) for row in rows),
        unmatched=tuple(record.set.unmatched),
    )


def _table(row: ExportRow) -> ManifestTable:
    requested_ms = row.parameters.requested_time_ms if row.parameters else None
    known = ManifestTable(
        table_name=row.table_name,
        status="FAILED",
        table_arn=row.parameters.table_arn if row.parameters else None,
        export_arn=row.export_arn,
        requested_time=None if requested_ms is None else iso(requested_ms),
        failure_code=row.failure_code,
        failure_message=row.failure_message,
    )
    if row.status is not ExportState.COMPLETED:
        return known
    return msgspec.structs.replace(
        known,
        status="COMPLETED",
        export_time=row.export_time,
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
