"""manifest.json: the contract between backup and restore, read years later and perhaps in another account.

Pure: types, encoding and decoding. Nothing in it is trusted beyond what `decode_manifest` checks: keys must stay
inside the set's own prefix, and the bucket it was read from counts, not the one it names.
"""

from typing import Any, Literal

import msgspec

from chalicelib.backup import layout
from chalicelib.errors import ManifestInvalid

SCHEMA_VERSION = 1
BACKUP_TYPE = "DYNAMODB_NATIVE_EXPORT"

# All that a decoder may raise for hostile bytes: also text that is no UTF-8, and nesting without end.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

SetStatus = Literal["COMPLETE", "PARTIAL"]
ExportStatus = Literal["COMPLETED", "FAILED"]


class ManifestTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a set: an export that was verified, or a failure with its reason. Times are ISO 8601 in UTC."""

    table_name: str
    status: ExportStatus
    table_arn: str | None = None
    export_arn: str | None = None
    export_type: Literal["FULL_EXPORT", "INCREMENTAL_EXPORT"] = "FULL_EXPORT"
    export_format: str = "DYNAMODB_JSON"
    requested_time: str | None = None
    export_time: str | None = None
    item_count: int = 0
    billed_size_bytes: int = 0
    size_bytes: int = 0
    data_files: int = 0
    manifest_summary_key: str | None = None
    manifest_files_key: str | None = None
    manifest_files_md5: str | None = None
    definition_key: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int
    revision: int
    backup_date: str
    environment: str
    backup_type: str
    status: SetStatus
    s3_bucket: str
    manifest_s3_key: str
    total_tables_processed: int
    successful_exports: int
    failed_exports: int
    total_items_exported: int
    total_size_mb: float
    started_at: str
    completed_at: str
    tables: tuple[ManifestTable, ...]

    def table(self, name: str) -> ManifestTable | None:
        return next((table for table in self.tables if table.table_name == name), None)


class _Version(msgspec.Struct):
    schema_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def decode_manifest(content: bytes, *, key: str, exports_prefix: str, backup_date: str) -> Manifest:
    """A manifest that may be acted on.

    Raises ManifestInvalid when it is not JSON of this schema, is of a newer one, names another set than the one
    it was read for, contradicts itself, or names a key outside `{exports_prefix}/{backup_date}/{table}/`.
    """
    _check_version(content, key)
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except _UNREADABLE as error:
        raise ManifestInvalid(f"{key} is not a manifest of ours: {error}") from error
    problem = _contradiction(manifest, exports_prefix, backup_date)
    if problem:
        raise ManifestInvalid(f"{key} cannot be trusted: {problem}; nothing of it was read")
    return manifest


def _check_version(content: bytes, key: str) -> None:
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
    except _UNREADABLE as error:
        raise ManifestInvalid(f"{key} is not a manifest of ours: {error}") from error
    if version > SCHEMA_VERSION:
        raise ManifestInvalid(
            f"{key} has schema version {version}, this tablevault reads up to {SCHEMA_VERSION}: "
            "restore it with a newer tablevault"
        )
    if version < 1:
        raise ManifestInvalid(f"{key} has schema version {version}, which never existed")


def _contradiction(manifest: Manifest, exports_prefix: str, backup_date: str) -> str | None:
    if manifest.backup_date != backup_date:
        return f"it is of the set {manifest.backup_date!r}, not of {backup_date!r}"
    names = [table.table_name for table in manifest.tables]
    if len(set(names)) != len(names):
        return "it names a table twice"
    failed = [table for table in manifest.tables if table.status == "FAILED"]
    if manifest.status == "COMPLETE" and failed:
        return f"it says COMPLETE although {failed[0].table_name} failed"
    for table in manifest.tables:
        problem = _table_contradiction(table, exports_prefix, backup_date)
        if problem:
            return problem
    return None


def _table_contradiction(table: ManifestTable, exports_prefix: str, backup_date: str) -> str | None:
    if table.status == "FAILED":
        return None
    inside = layout.export_prefix(exports_prefix, backup_date, table.table_name) + "/"
    for name in ("manifest_summary_key", "manifest_files_key", "definition_key"):
        key = getattr(table, name)
        if key is None:
            return f"{table.table_name} has no {name}"
        if not key.startswith(inside) or "/../" in key:
            return f"the {name} of {table.table_name} is outside {inside}"
    if table.item_count < 0 or table.data_files < 0:
        return f"the counts of {table.table_name} are negative"
    return None


def to_json_object(manifest: Manifest) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(manifest)
    return built
