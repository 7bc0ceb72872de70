"""Manifests and notices as plain data."""

from typing import Any

from chalicelib.backup.manifest import Manifest, ManifestTable
from chalicelib.backup.notices import NoticeRow, What

HOSTILE = "\x00\x1b[31m\r\nSubject: free money\u202e\ud800 \U0001f600" * 40


def failed(name: str, message: str = "no way", code: str = "AccessDenied") -> ManifestTable:
    return ManifestTable(table_name=name, status="FAILED", failure_code=code, failure_message=message)


def completed(name: str, notes: tuple[str, ...] = ()) -> ManifestTable:
    return ManifestTable(table_name=name, status="COMPLETED", item_count=7, size_bytes=1000, notes=notes)


def manifest(tables: list[ManifestTable], **changes: Any) -> Manifest:
    failures = sum(table.status == "FAILED" for table in tables)
    facts: dict[str, Any] = {
        "schema_version": 2,
        "revision": 1,
        "backup_date": "2026-11-21",
        "environment": "prod",
        "backup_type": "DYNAMODB_NATIVE_EXPORT",
        "status": "PARTIAL" if failures else "COMPLETE",
        "s3_bucket": "backups",
        "manifest_s3_key": "native-exports/2026-11-21/manifest.json",
        "total_tables_processed": len(tables),
        "successful_exports": len(tables) - failures,
        "failed_exports": failures,
        "total_items_exported": 7 * (len(tables) - failures),
        "total_size_mb": 0.001 * (len(tables) - failures),
        "started_at": "2026-11-21T01:00:00.000Z",
        "completed_at": "2026-11-21T03:05:00.000Z",
        "tables": tuple(tables),
    }
    return Manifest(**{**facts, **changes})


def notice(what: What = What.FINISHED, **changes: Any) -> NoticeRow:
    facts: dict[str, Any] = {
        "what": what,
        "name": "2026-11-21",
        "environment": "prod",
        "notification_id": "prod/FINISHED/2026-11-21/1/1795222820000",
        "opened_at_ms": 1_795_222_820_000,
        "status": "PARTIAL",
    }
    return NoticeRow(**{**facts, **changes})
