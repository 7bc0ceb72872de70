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
from chalicelib.selection import TABLE_NAME

# 2: incremental exports, with the links they build on.
SCHEMA_VERSION = 2
BACKUP_TYPE = "DYNAMODB_NATIVE_EXPORT"

# Ten thousand tables, the most an account may have, with a week's increments each take less; so do a thousand tables
# with as many links as there may be. What would be larger is not written (`Closer`).
LARGEST_MANIFEST_BYTES = 80 * 1024 * 1024
_INDENTED_BYTES = 1024 * 1024
_MOST_TABLES = 10_000
# A full export and three months of daily increments: restoring takes longer with each.
MOST_LINKS = 100

SetStatus = Literal["COMPLETE", "PARTIAL"]
ExportStatus = Literal["COMPLETED", "FAILED"]
ExportType = Literal["FULL_EXPORT", "INCREMENTAL_EXPORT"]
_FORMATS = frozenset({"DYNAMODB_JSON", "ION"})
_KEY_NAMES = {"manifest_summary_key": layout.SUMMARY_NAME, "manifest_files_key": layout.FILES_NAME}


class BaseLink(msgspec.Struct, frozen=True, kw_only=True):
    """An export that an incremental one builds on, as the set `backup_date` recorded it.

    A full export is the table at `export_time`; an incremental one is what changed since `export_from`, inclusive,
    and before `export_to`, written `from` and `to`. Times are ISO 8601 in UTC.
    """

    backup_date: str
    export_type: ExportType
    export_format: str
    item_count: Count
    size_bytes: Count
    data_files: Count
    manifest_summary_key: str
    manifest_files_key: str
    manifest_files_md5: str
    export_arn: str | None = None
    export_time: str | None = None
    export_from: str | None = msgspec.field(name="from", default=None)
    export_to: str | None = msgspec.field(name="to", default=None)


class ManifestTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a set: an export that was verified, or a failure with its reason. Times are ISO 8601 in UTC.

    `base`: all that an incremental export builds on, the full export first, then every earlier increment, so that
    the set says alone what is needed to restore it. `notes`: what people should know of how it was exported.
    """

    table_name: str
    status: ExportStatus
    table_arn: str | None = None
    export_arn: str | None = None
    export_type: ExportType = "FULL_EXPORT"
    export_format: str = "DYNAMODB_JSON"
    requested_time: str | None = None
    export_time: str | None = None
    export_from: str | None = msgspec.field(name="from", default=None)
    export_to: str | None = msgspec.field(name="to", default=None)
    item_count: Count = 0
    billed_size_bytes: Count = 0
    size_bytes: Count = 0
    data_files: Count = 0
    manifest_summary_key: str | None = None
    manifest_files_key: str | None = None
    manifest_files_md5: str | None = None
    definition_key: str | None = None
    base: Annotated[tuple[BaseLink, ...], msgspec.Meta(max_length=MOST_LINKS - 1)] = ()
    failure_code: str | None = None
    failure_message: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def why_failed(self) -> str:
        """For people: whatever stands in the bucket, one short printable line."""
        return shown(self.failure_message or self.failure_code or "no reason is given")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`unmatched`: entries of DYNAMODB_TABLES, as they were written, that chose no table when the set was started."""

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
    unmatched: Annotated[tuple[str, ...], msgspec.Meta(max_length=_MOST_TABLES)] = ()

    def table(self, name: str) -> ManifestTable | None:
        return next((table for table in self.tables if table.table_name == name), None)


class _Version(msgspec.Struct):
    schema_version: Count


def encode_manifest(manifest: Manifest) -> bytes:
    """Indented, for people, unless it is large."""
    encoded = msgspec.json.encode(manifest)
    return msgspec.json.format(encoded, indent=2) if len(encoded) < _INDENTED_BYTES else encoded


def decode_manifest(content: bytes, *, key: str, exports_prefix: str, backup_date: str) -> Manifest:
    """A manifest that may be acted on.

    Raises ManifestInvalid when it is not JSON of this schema, is of a newer one, names another set than the one
    it was read for, contradicts itself, or names a key outside `{exports_prefix}/{backup_date}/{table}/`, of a base
    link with that link's backup date. Whether the links of a chain follow each other is for `chain` to say.
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
    what = table.table_name
    if table.base and table.export_type == "FULL_EXPORT":
        return f"{what} is a full export, which builds on no other one, and names a base"
    if table.manifest_files_md5 is None or not is_md5(table.manifest_files_md5):
        return f"{what} has no MD5 of its file list in manifest_files_md5"
    folder = layout.export_prefix(exports_prefix, backup_date, table.table_name)
    if table.definition_key is None:
        return f"{what} has no definition_key"
    if table.definition_key != layout.definition_key(exports_prefix, backup_date, table.table_name):
        return _outside("definition_key", table.definition_key, what, folder)
    return _export_contradiction(table, what, folder) or _base_contradiction(table, exports_prefix)


def _base_contradiction(table: ManifestTable, exports_prefix: str) -> str | None:
    for number, link in enumerate(table.base):
        what = f"base link {number + 1} of {table.table_name}"
        if not layout.BACKUP_DATE.match(link.backup_date):
            return f"{what} is of the set '{shown(link.backup_date)}', which cannot be a set's name"
        if not is_md5(link.manifest_files_md5):
            return f"{what} has no MD5 of its file list in manifest_files_md5"
        problem = _export_contradiction(
            link, what, layout.export_prefix(exports_prefix, link.backup_date, table.table_name)
        )
        if problem:
            return problem
    keys = [*(link.manifest_files_key for link in table.base), table.manifest_files_key]
    return f"{table.table_name} names an export twice in its base" if len(set(keys)) != len(keys) else None


def _export_contradiction(export: ManifestTable | BaseLink, what: str, folder: str) -> str | None:
    """Whether it is in an unknown format, or its manifests are not both in one export's folder below `folder`."""
    if export.export_format not in _FORMATS:
        return f"{what} is in {shown(export.export_format)}, which is no format of an export"
    ids = set()
    for name, object_name in _KEY_NAMES.items():
        key: str | None = getattr(export, name)
        if key is None:
            return f"{what} has no {name}"
        ids.add(export_id := layout.export_id_of(folder, key, object_name))
        if export_id is None or len(ids) > 1:
            return _outside(name, key, what, folder)
    return None


def _outside(name: str, key: str, what: str, folder: str) -> str:
    return f"the {name} of {what} is '{shown(key)}', outside of where it stands: {folder}/"


def to_json_object(manifest: Manifest) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(manifest)
    return built
