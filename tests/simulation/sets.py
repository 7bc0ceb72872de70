"""Tables and finished backup sets to begin with, put in place without a call to AWS. Sets are made once and copied."""

import gzip
import io
from datetime import date, timedelta
from functools import lru_cache
from random import Random
from typing import Any

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.chain import links_of
from chalicelib.backup.definition import (
    Attribute,
    Autoscaling,
    KeyAttribute,
    ScalingPolicy,
    TableDefinition,
    encode_definition,
)
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable, encode_manifest
from chalicelib.clock import iso
from sandbox.exports.incremental import Change, write_incremental_export
from sandbox.exports.writer import WrittenExport, write_export
from tests.simulation.aws.exports import Staging
from tests.simulation.aws.history import History
from tests.simulation.aws.s3 import stored
from tests.simulation.chains import Backed, Item, changes_of, full_items
from tests.simulation.world import BUCKET, PREFIX, World

DATE = "2026-11-20"
_MADE_AT = "2026-11-20T01:00:00.000Z"
_MADE_AT_MS = 1_795_136_400_000
_DAY_MS = 24 * 3600 * 1000
_DEFINITION: dict[str, Any] = {
    "BillingMode": "PAY_PER_REQUEST",
    "TableSizeBytes": 200 * 1024 * 1024,  # so that it is cleared in several segments
}
Objects = dict[str, tuple[bytes, str | None]]


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
    world: World,
    name: str,
    items: list[Item],
    *,
    has_recovery: bool = True,
    key_name: str = "id",
    index: str | None = None,
) -> None:
    definition = {
        **_DEFINITION,
        "AttributeDefinitions": [{"AttributeName": key_name, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": key_name, "KeyType": "HASH"}],
    }
    if index is not None:
        projection = {"ProjectionType": "ALL"}
        keys = [{"AttributeName": key_name, "KeyType": "HASH"}]
        definition["GlobalSecondaryIndexes"] = [{"IndexName": index, "KeySchema": keys, "Projection": projection}]
    table = world.dynamodb.create_table(name, **definition)
    table.has_recovery = has_recovery
    table.history = History()
    for item in items:
        table.set((item["id"]["S"],), item)


def put_set(world: World, tables: tuple[Backed, ...]) -> None:
    """A finished set, as the backup side leaves it, and the exports that it builds on."""
    for key, (body, etag) in finished_set(tables).items():
        world.s3.objects[key] = stored(body, etag)


@lru_cache(maxsize=64)
def finished_set(tables: tuple[Backed, ...]) -> Objects:
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
    """The table in the set of DATE; what it builds on stands in the places of earlier sets."""
    random = Random(
        repr(table).replace(", increments=0", "")
    )  # so that a seed's run is as it was before there were any
    entry = _full_export(staging, table, random)
    for number, changes in enumerate(changes_of(table), start=1):
        entry = _increment(staging, table, random, entry, number, changes)
    return entry


def _full_export(staging: Staging, table: Backed, random: Random) -> ManifestTable:
    moment_ms = _MADE_AT_MS - table.increments * _DAY_MS
    written = write_export(
        staging,
        bucket=BUCKET,
        prefix=layout.export_prefix(PREFIX, _date_of(table, 0), table.name),
        table_arn=_arn(table),
        items=full_items(table),
        key_names=["id"],
        partitions=table.files,
        random_bytes=random.randbytes,
        now_ms=lambda: moment_ms,
    )
    if table.damaged:
        key = written.files[0].key
        body, etag = staging.objects[key]
        staging.objects[key] = (body[:-9] + b"123456789", etag)
    return msgspec.structs.replace(_entry(staging, table, written, 0), export_time=iso(moment_ms))


def _increment(
    staging: Staging, table: Backed, random: Random, before: ManifestTable, number: int, changes: list[Change]
) -> ManifestTable:
    to_ms = _MADE_AT_MS - (table.increments - number) * _DAY_MS
    written = write_incremental_export(
        staging,
        bucket=BUCKET,
        prefix=layout.export_prefix(PREFIX, _date_of(table, number), table.name),
        table_arn=_arn(table),
        records=changes,
        key_names=["id"],
        from_ms=to_ms - _DAY_MS,
        to_ms=to_ms,
        view=random.choice(("NEW_AND_OLD_IMAGES", "NEW_IMAGE")),
        partitions=table.files,
        random_bytes=random.randbytes,
        now_ms=lambda: to_ms,
    )
    return msgspec.structs.replace(
        _entry(staging, table, written, number),
        export_type="INCREMENTAL_EXPORT",
        export_from=iso(to_ms - _DAY_MS),
        export_to=iso(to_ms),
        base=links_of(before),
    )


def _date_of(table: Backed, number: int) -> str:
    """The set that holds the table's full export (0) or one of its increments; of the last of them it is DATE."""
    return str(date.fromisoformat(DATE) - timedelta(days=table.increments - number))


def _arn(table: Backed) -> str:
    return f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table.name}"


def _entry(staging: Staging, table: Backed, written: WrittenExport, number: int) -> ManifestTable:
    definition = _definition(table)
    definition_key = layout.definition_key(PREFIX, _date_of(table, number), table.name)
    staging.put_object(Bucket=BUCKET, Key=definition_key, Body=encode_definition(definition))
    return ManifestTable(
        table_name=table.name,
        status="COMPLETED",
        table_arn=_arn(table),
        export_arn=written.export_arn,
        item_count=written.item_count,
        data_files=len(written.files),
        manifest_summary_key=written.summary_key,
        manifest_files_key=written.files_key,
        manifest_files_md5=md5_of(staging.objects[written.files_key][0]),
        definition_key=definition_key,
    )


def _definition(table: Backed) -> TableDefinition:
    plain = TableDefinition(
        table_name=table.name,
        table_arn=_arn(table),
        captured_at=_MADE_AT,
        keys=(KeyAttribute("id", "HASH"),),
        attributes=(Attribute("id", "S"),),
        billing_mode="PAY_PER_REQUEST",
    )
    return msgspec.structs.replace(plain, **_SETTINGS) if table.has_settings else plain


# All that FINISHING puts on a table that CREATING has made.
_SETTINGS: dict[str, Any] = {
    "billing_mode": "PROVISIONED",
    "provisioned_throughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
    "time_to_live_attribute": "expires",
    "point_in_time_recovery": True,
    "recovery_period_days": 7,
    "deletion_protection": True,
    "tags": {"team": "shop"},
    "autoscaling": (
        Autoscaling(
            dimension="dynamodb:table:WriteCapacityUnits",
            min_capacity=5,
            max_capacity=50,
            policies=(
                ScalingPolicy(
                    policy_name="writes",
                    target_tracking={
                        "TargetValue": 70.0,
                        "PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBWriteCapacityUtilization"},
                    },
                ),
            ),
        ),
    ),
}
