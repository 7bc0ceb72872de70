"""manifest.json: the contract between backup and restore, read years later and perhaps in another account.

Pure: types, encoding and decoding. Nothing in it is trusted beyond what `decode_manifest` checks: keys must stay
inside the set's own prefix, and the bucket it was read from counts, not the one it names.
"""

from typing import Annotated, Any, Literal

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.documents import DocumentInvalid, decode_document, is_md5, shown
from chalicelib.backup.export_files import Count
from chalicelib.errors import ManifestInvalid
from chalicelib.settings import TABLE_NAME

SCHEMA_VERSION = 1
BACKUP_TYPE = "DYNAMODB_NATIVE_EXPORT"

# Ten thousand tables, the most an account may have, take less.
LARGEST_MANIFEST_BYTES = 16 * 1024 * 1024
_MOST_TABLES = 10_000

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
    item_count: Count = 0
    billed_size_bytes: Count = 0
    size_bytes: Count = 0
    data_files: Count = 0
    manifest_summary_key: str | None = None
    manifest_files_key: str | None = None
    manifest_files_md5: str | None = None
    definition_key: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None

    @property
    def why_failed(self) -> str:
        """For people: whatever stands in the bucket, one short printable line."""
        return shown(self.failure_message or self.failure_code or "no reason is given")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: Count
    revision: Count
    backup_date: str
    environment: str
    backup_type: str
    status: SetStatus
    s3_bucket: str
    manifest_s3_key: str
    total_tables_processed: Count
    successful_exports: Count
    failed_exports: Count
    total_items_exported: Count
    total_size_mb: Annotated[float, msgspec.Meta(ge=0)]
    started_at: str
    completed_at: str
    tables: Annotated[tuple[ManifestTable, ...], msgspec.Meta(max_length=_MOST_TABLES)]

    def table(self, name: str) -> ManifestTable | None:
        return next((table for table in self.tables if table.table_name == name), None)


class _Version(msgspec.Struct):
    schema_version: Count


def encode_manifest(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def decode_manifest(content: bytes, *, key: str, exports_prefix: str, backup_date: str) -> Manifest:
    """A manifest that may be acted on.

    Raises ManifestInvalid when it is not JSON of this schema, is of a newer one, names another set than the one
    it was read for, contradicts itself, or names a key outside `{exports_prefix}/{backup_date}/{table}/`.
    """
    try:
        _check_version(decode_document(content, _Version).schema_version, key)
        manifest = decode_document(content, Manifest)
    except DocumentInvalid as error:
        raise ManifestInvalid(f"{key} is not a manifest of ours: {error}") from None
    problem = _contradiction(manifest, exports_prefix, backup_date)
    if problem:
        raise ManifestInvalid(f"{key} cannot be trusted: {problem}; nothing of it was read")
    return manifest


def _check_version(version: int, key: str) -> None:
    if version > SCHEMA_VERSION:
        raise ManifestInvalid(
            f"{key} has schema version {version}, this tablevault reads up to {SCHEMA_VERSION}: "
            "restore it with a newer tablevault"
        )
    if version < 1:
        raise ManifestInvalid(f"{key} has schema version {version}, which never existed")


def _contradiction(manifest: Manifest, exports_prefix: str, backup_date: str) -> str | None:
    if manifest.backup_date != backup_date:
        return f"it is of the set '{shown(manifest.backup_date)}', not of '{backup_date}'"
    names = [table.table_name for table in manifest.tables]
    # They become targets, and parts of keys in the bucket and the ledger.
    bad_name = next((name for name in names if not TABLE_NAME.match(name)), None)
    if bad_name is not None:
        return f"it names '{shown(bad_name)}', which cannot be a table's name"
    if len(set(names)) != len(names):
        return "it names a table twice"
    failed = [table for table in manifest.tables if table.status == "FAILED"]
    if manifest.status == "COMPLETE" and failed:
        return f"it says COMPLETE although {failed[0].table_name} failed"
    problems = (_table_contradiction(table, exports_prefix, backup_date) for table in manifest.tables)
    return next((problem for problem in problems if problem), None) or _wrong_total(manifest, len(failed))


def _wrong_total(manifest: Manifest, failed: int) -> str | None:
    counted = {
        "total_tables_processed": len(manifest.tables),
        "successful_exports": len(manifest.tables) - failed,
        "failed_exports": failed,
        "total_items_exported": sum(table.item_count for table in manifest.tables if table.status == "COMPLETED"),
    }
    for name, count in counted.items():
        said = getattr(manifest, name)
        if said != count:
            return f"its {name} is {said}, its tables make {count}"
    return None


def _table_contradiction(table: ManifestTable, exports_prefix: str, backup_date: str) -> str | None:
    if table.status == "FAILED":
        return None
    if (table.export_type, table.export_format) != ("FULL_EXPORT", "DYNAMODB_JSON"):
        kind = f"{table.export_type} in {shown(table.export_format)}"
        return f"{table.table_name} is a {kind}; schema version {SCHEMA_VERSION} has FULL_EXPORT in DYNAMODB_JSON only"
    if table.manifest_files_md5 is None or not is_md5(table.manifest_files_md5):
        return f"{table.table_name} has no MD5 of its file list in manifest_files_md5"
    return _misplaced(table, exports_prefix, backup_date)


def _misplaced(table: ManifestTable, exports_prefix: str, backup_date: str) -> str | None:
    inside = layout.export_prefix(exports_prefix, backup_date, table.table_name)
    for name in ("manifest_summary_key", "manifest_files_key", "definition_key"):
        if getattr(table, name) is None:
            return f"{table.table_name} has no {name}"
    export_id = layout.export_id_of(inside, str(table.manifest_summary_key), layout.SUMMARY_NAME)
    if export_id is None:
        return _outside("manifest_summary_key", table, inside)
    if layout.export_id_of(inside, str(table.manifest_files_key), layout.FILES_NAME) != export_id:
        return _outside("manifest_files_key", table, f"{inside}/AWSDynamoDB/{export_id}")
    if table.definition_key != layout.definition_key(exports_prefix, backup_date, table.table_name):
        return _outside("definition_key", table, inside)
    return None


def _outside(name: str, table: ManifestTable, folder: str) -> str:
    key = shown(getattr(table, name))
    return f"the {name} of {table.table_name} is '{key}', outside of where it stands: {folder}/"


def to_json_object(manifest: Manifest) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(manifest)
    return built
