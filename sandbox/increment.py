"""An incremental backup set, as a schedule of full and incremental exports leaves it: what changed in a table since its
newest set, for trying to restore from a chain. The app of this version starts full exports only.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.capture import capture_table
from chalicelib.backup.chain import links_of
from chalicelib.backup.definition import TableDefinition, encode_definition
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import BaseLink, Manifest, ManifestTable, encode_manifest
from chalicelib.backup.reading import latest_manifest
from chalicelib.clock import from_iso, iso, system_clock
from chalicelib.errors import TablevaultError
from sandbox.compare import canonical
from sandbox.errors import SandboxError
from sandbox.exports.incremental import Change, Delete, Insert, Update, write_incremental_export
from sandbox.exports.layout import Item
from sandbox.exports.snapshot import scan_items
from sandbox.exports.writer import WrittenExport

_DAY_MS = 24 * 3600 * 1000  # an incremental export covers no more


def back_up_changes(s3: Client, dynamodb: Client, *, bucket: str, exports_prefix: str, table_name: str) -> Manifest:
    """Writes a set of one table's changes since the newest set that has it, and returns its manifest.

    `dynamodb` gives scans in wire form (`exports.snapshot.scan_in_wire_form`). Raises SandboxError where there is no
    set, or it is more than a day old.
    """
    try:
        newest = latest_manifest(s3, bucket, exports_prefix, (table_name,))
    except TablevaultError as error:
        raise SandboxError(f"{error.message}; back {table_name} up first") from error
    base = newest.table(table_name)
    assert base is not None
    links = links_of(base)
    from_ms = from_iso(links[-1].export_to or links[-1].export_time or "") // 1000 * 1000
    # Whole seconds, and at least one: a second increment may follow at once.
    to_ms = max(system_clock() // 1000 * 1000, from_ms) + 1000
    if to_ms - from_ms > _DAY_MS:
        raise SandboxError(f"the newest set of {table_name} is more than a day old: back it up in full first")
    backup_date = f"{datetime.fromtimestamp(to_ms / 1000, UTC):%Y-%m-%dT%H%M%SZ}"
    definition = put_definition(s3, dynamodb, bucket, exports_prefix, backup_date, table_name)
    key_names = [key.attribute_name for key in definition.keys]
    written = write_incremental_export(
        s3,
        bucket=bucket,
        prefix=layout.export_prefix(exports_prefix, backup_date, table_name),
        table_arn=str(base.table_arn),
        records=_changes(_backed_up(s3, bucket, links, key_names), scan_items(dynamodb, table_name), key_names),
        key_names=key_names,
        from_ms=from_ms,
        to_ms=to_ms,
    )
    entry = msgspec.structs.replace(
        _entry(s3, base, written, from_ms, to_ms, links),
        definition_key=layout.definition_key(exports_prefix, backup_date, table_name),
    )
    return _put_manifest(s3, newest, backup_date, exports_prefix, entry)


def put_definition(
    s3: Client, dynamodb: Client, bucket: str, exports_prefix: str, backup_date: str, table_name: str
) -> TableDefinition:
    """`table.json` of a set, as the table is now."""
    definition = capture_table(dynamodb, table_name, system_clock()).definition
    key = layout.definition_key(exports_prefix, backup_date, table_name)
    s3.put_object(Bucket=bucket, Key=key, Body=encode_definition(definition))
    return definition


def _backed_up(s3: Client, bucket: str, links: Sequence[BaseLink], key_names: Sequence[str]) -> dict[str, Item]:
    """The table as restoring the chain would leave it, by key."""
    items: dict[str, Item] = {}
    for link in links:
        for line in _lines(s3, bucket, str(link.manifest_files_key)):
            record = json.loads(line)
            item = record.get("Item", record.get("NewImage"))
            key = _key(item or record["Keys"], key_names)
            if item is None:
                items.pop(key, None)
            else:
                items[key] = item
    return items


def _lines(s3: Client, bucket: str, files_key: str) -> Iterator[bytes]:
    for entry in _read(s3, bucket, files_key).splitlines():
        yield from gzip.decompress(_read(s3, bucket, json.loads(entry)["dataFileS3Key"])).splitlines()


def _changes(before: dict[str, Item], now: Iterator[Item], key_names: Sequence[str]) -> Iterator[Change]:
    gone = dict(before)
    for item in now:
        old = gone.pop(_key(item, key_names), None)
        if old is None:
            yield Insert(item)
        elif canonical(old) != canonical(item):
            yield Update(old, item)
    yield from (Delete(old) for old in gone.values())


def _key(item: Item, key_names: Sequence[str]) -> str:
    return canonical({name: item[name] for name in key_names})


def _entry(
    s3: Client, base: ManifestTable, written: WrittenExport, from_ms: int, to_ms: int, links: tuple[BaseLink, ...]
) -> ManifestTable:
    return msgspec.structs.replace(
        base,
        export_arn=written.export_arn,
        export_type="INCREMENTAL_EXPORT",
        export_time=None,
        export_from=iso(from_ms),
        export_to=iso(to_ms),
        item_count=written.item_count,
        size_bytes=sum(_size_bytes(s3, written.facts.bucket, file.key) for file in written.files),
        data_files=len(written.files),
        manifest_summary_key=written.summary_key,
        manifest_files_key=written.files_key,
        manifest_files_md5=md5_of(_read(s3, written.facts.bucket, written.files_key)),
        base=links,
    )


def _put_manifest(
    s3: Client, newest: Manifest, backup_date: str, exports_prefix: str, entry: ManifestTable
) -> Manifest:
    key = layout.manifest_key(exports_prefix, backup_date)
    now = iso(system_clock())
    manifest = msgspec.structs.replace(
        newest,
        backup_date=backup_date,
        status="COMPLETE",
        manifest_s3_key=key,
        total_tables_processed=1,
        successful_exports=1,
        failed_exports=0,
        total_items_exported=entry.item_count,
        started_at=now,
        completed_at=now,
        tables=(entry,),
    )
    s3.put_object(Bucket=newest.s3_bucket, Key=key, Body=encode_manifest(manifest))
    return manifest


def _size_bytes(s3: Client, bucket: str, key: str) -> int:
    return int(s3.head_object(Bucket=bucket, Key=key)["ContentLength"])


def _read(s3: Client, bucket: str, key: str) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
