"""Tables and finished backup sets to begin with, put in place without a call to AWS. Sets are made once and copied."""

import gzip
import io
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from chalicelib.backup import layout
from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition, encode_definition
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable, encode_manifest
from sandbox.exports.writer import write_export
from tests.simulation.aws.exports import Staging
from tests.simulation.aws.s3 import stored
from tests.simulation.watch import ITEM_MARK
from tests.simulation.world import BUCKET, PREFIX, World

DATE = "2026-11-20"
_MADE_AT = "2026-11-20T01:00:00.000Z"
_MADE_AT_MS = 1_795_136_400_000
_DEFINITION: dict[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "TableSizeBytes": 200 * 1024 * 1024,  # so that it is cleared in several segments
}
Item = dict[str, Any]
Objects = dict[str, tuple[bytes, str | None]]


@dataclass(frozen=True)
class Backed:
    """A table of a set: its number of items, how many of them DynamoDB refuses, and what is wrong with its files."""

    name: str
    items: int = 110
    refused: int = 0
    damaged: bool = False
    files: int = 3


def backed_items(table: Backed) -> list[Item]:
    items = [_item(table.name, number, "backup") for number in range(table.items - table.refused)]
    refused = [{"id": {"S": ""}, "n": {"N": str(number)}, "said": {"S": ITEM_MARK}} for number in range(table.refused)]
    return items + refused


def standing_items(name: str, count: int) -> list[Item]:
    """What a target holds before: some ids that the backup has too, with other values, and strangers."""
    shared = [_item(name, number, "before") for number in range(0, count, 2)]
    return shared + [_item(name, 100_000 + number, "stranger") for number in range(count // 2)]


def _item(name: str, number: int, said: str) -> Item:
    return {
        "id": {"S": f"{ITEM_MARK}-{name}-{number:06d}"},
        "n": {"N": str(number)},
        "said": {"S": said},
        "raw": {"B": bytes([number % 256, 255, 0])},
    }


def foreign_data_file(data_file: bytes) -> bytes:
    """Another one of the same size, with as many items, none of them as ours are: only its ETag and MD5 tell."""
    content = gzip.decompress(data_file)
    for word in (b"forged", b"bakcup", b"kcabup", b"pukcab", b"backpu", b"abckup"):
        forged = io.BytesIO()
        with gzip.GzipFile("", "wb", 6, forged, mtime=0) as file:
            file.write(content.replace(b"backup", word))
        if len(forged.getvalue()) == len(data_file):
            return forged.getvalue()
    raise AssertionError("no forged file of the same size was found")


def create_table(
    world: World, name: str, items: list[Item], *, has_recovery: bool = True, key_name: str = "id"
) -> None:
    definition = {
        **_DEFINITION,
        "AttributeDefinitions": [{"AttributeName": key_name, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": key_name, "KeyType": "HASH"}],
    }
    table = world.dynamodb.create_table(name, **definition)
    table.has_recovery = has_recovery
    for item in items:
        table.set((item["id"]["S"],), item)


def put_set(world: World, tables: tuple[Backed, ...]) -> None:
    """A finished set, as the backup side leaves it."""
    for key, (body, etag) in _finished_set(tables).items():
        world.s3.objects[key] = stored(body, etag)


@lru_cache(maxsize=64)
def _finished_set(tables: tuple[Backed, ...]) -> Objects:
    staging = Staging()
    entries = [_export(staging, table) for table in tables]
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        revision=1,
        backup_date=DATE,
        environment="simulation",
        backup_type=BACKUP_TYPE,
        status="COMPLETE",
        s3_bucket=BUCKET,
        manifest_s3_key=layout.manifest_key(PREFIX, DATE),
        total_tables_processed=len(entries),
        successful_exports=len(entries),
        failed_exports=0,
        total_items_exported=sum(entry.item_count for entry in entries),
        total_size_mb=0.0,
        started_at=_MADE_AT,
        completed_at=_MADE_AT,
        tables=tuple(entries),
    )
    staging.put_object(Bucket=BUCKET, Key=manifest.manifest_s3_key, Body=encode_manifest(manifest))
    return staging.objects


def _export(staging: Staging, table: Backed) -> ManifestTable:
    random = Random(repr(table))
    arn = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table.name}"
    written = write_export(
        staging,
        bucket=BUCKET,
        prefix=layout.export_prefix(PREFIX, DATE, table.name),
        table_arn=arn,
        items=backed_items(table),
        key_names=["id"],
        partitions=table.files,
        random_bytes=random.randbytes,
        now_ms=lambda: _MADE_AT_MS,
    )
    if table.damaged:
        key = written.files[0].key
        body, etag = staging.objects[key]
        staging.objects[key] = (body[:-9] + b"123456789", etag)
    definition = TableDefinition(
        table_name=table.name,
        table_arn=arn,
        captured_at=_MADE_AT,
        keys=(KeyAttribute("id", "HASH"),),
        attributes=(Attribute("id", "S"),),
        billing_mode="PAY_PER_REQUEST",
    )
    definition_key = layout.definition_key(PREFIX, DATE, table.name)
    staging.put_object(Bucket=BUCKET, Key=definition_key, Body=encode_definition(definition))
    return ManifestTable(
        table_name=table.name,
        status="COMPLETED",
        table_arn=arn,
        export_arn=written.export_arn,
        item_count=written.item_count,
        data_files=len(written.files),
        manifest_summary_key=written.summary_key,
        manifest_files_key=written.files_key,
        manifest_files_md5=md5_of(staging.objects[written.files_key][0]),
        definition_key=definition_key,
    )
