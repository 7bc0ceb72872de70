"""Finishing sets: one manifest comes out, however many runs finish at once and however late an export completes."""

import json
from typing import Any

import pytest

from chalicelib.backup.manifest import decode_manifest, encode_manifest
from chalicelib.backup.rows import ExportRow, SetRecord
from chalicelib.errors import ManifestInvalid
from chalicelib.ledger import decode
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, MINUTE_MS, PREFIX, started

MANIFEST_KEY = f"{PREFIX}/{DATE}/manifest.json"


def test_the_last_export_writes_the_manifest_with_every_fact(world):
    keys = started(world)
    assert world.send(keys["orders"]) == "recorded"
    assert MANIFEST_KEY not in world.list_keys()
    world.clock.advance(MINUTE_MS)
    assert world.send(keys["catalog"]) == "recorded"
    manifest = world.manifest()
    assert (manifest.status, manifest.revision, manifest.total_items_exported) == ("COMPLETE", 1, 4)
    assert (manifest.total_tables_processed, manifest.successful_exports, manifest.failed_exports) == (2, 2, 0)
    assert manifest.started_at == "2026-11-21T01:00:20.000Z"
    assert manifest.completed_at == "2026-11-21T01:01:20.000Z"
    orders = manifest.tables[0]
    (export,) = world.dynamodb.of_table("orders")
    sizes = {each["Key"]: each["Size"] for each in world.s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert orders.export_arn == export.arn
    assert orders.manifest_summary_key == keys["orders"]
    assert orders.definition_key == f"{PREFIX}/{DATE}/orders/table.json"
    folder = keys["orders"].replace("manifest-summary.json", "data/")
    assert orders.size_bytes == sum(size for key, size in sizes.items() if key.startswith(folder))
    assert (orders.item_count, orders.data_files) == (2, 2)
    assert orders.export_time == "2026-11-21T01:00:20.000Z"
    assert world.set_row()["status"] == "COMPLETE"
    assert not world.is_open()


def test_an_overdue_export_that_completes_replaces_the_partial_manifest(world):
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    partial = world.manifest()
    assert (partial.status, partial.revision, partial.tables[0].failure_code) == ("PARTIAL", 1, "Overdue")
    assert not world.is_open()
    world.clock.advance(HOUR_MS)
    assert world.send(world.dynamodb.complete(late)) == "recorded"
    complete = world.manifest()
    assert (complete.status, complete.revision) == ("COMPLETE", 2)
    assert complete.tables[1] == partial.tables[1]
    assert (world.set_row()["status"], world.is_open()) == ("COMPLETE", False)


def test_two_last_exports_at_once_are_both_harmless(world):
    keys = started(world)
    other: list[Any] = []

    def before(name, request):
        # While the first run is about to write the manifest, the second one does all of it.
        if name == "put_object" and not other:
            other.append(None)
            other[0] = world.send(keys["orders"])

    world.send(keys["orders"])
    world.before = before
    assert world.send(keys["catalog"]) == "recorded"
    assert other == ["already_recorded"]
    assert (world.manifest().status, world.manifest().revision) == ("COMPLETE", 1)
    assert not world.is_open()


def test_a_slow_run_cannot_put_an_older_state_over_a_newer_manifest(world):
    """The slow run has read that `orders` is overdue; before it writes, the export completes after all."""
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    done: list[bool] = []

    def before(name, request):
        if name == "put_object" and not done:
            done.append(True)
            assert world.send(world.dynamodb.complete(late)) == "recorded"

    world.before = before
    world.service.reconcile()
    assert done
    manifest = world.manifest()
    assert (manifest.status, manifest.revision) == ("COMPLETE", 2)
    assert (world.set_row()["status"], world.set_row()["revision"], world.is_open()) == ("COMPLETE", 2, False)


def test_a_set_is_not_closed_over_an_export_that_completed_meanwhile(world):
    """The same, but the export completes between the manifest and the SET row, and its own run dies right there."""
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    done: list[bool] = []

    def after(name, request):
        if name == "put_object" and not done:
            done.append(True)
            key = world.dynamodb.complete(late)
            world.before = lambda name, request: dies(name)
            with pytest.raises(RuntimeError):
                world.send(key)
            world.before = lambda name, request: None

    def dies(name):
        if name == "query":
            raise RuntimeError("the run that recorded it ended here")

    world.after = after
    world.service.reconcile()
    assert done
    assert (world.manifest().status, world.manifest().revision) == ("COMPLETE", 2)
    assert not world.is_open()


def test_a_torn_read_is_read_again(world):
    """DynamoDB answers a query row by row: the EXPORT row from before a late completion, the SET row from after it."""
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    old = world.export_row("orders")
    key = world.dynamodb.complete(late)
    records: list[Any] = []
    real = world.service._catalog.record

    def torn_once(backup_date):
        record = real(backup_date)
        if not records:
            records.append(record)
            others = [row for row in record.exports if row.table_name != "orders"]
            torn = SetRecord(record.set, [*others, decode(old, ExportRow)])
            assert torn.is_torn
            return torn
        return record

    world.service._closer._catalog.record = torn_once
    assert world.send(key) == "recorded"
    assert (world.manifest().status, world.manifest().revision) == ("COMPLETE", 2)
    assert not world.is_open()


def test_a_set_made_again_after_the_ledger_was_lost_takes_no_table_away(world):
    world.finished_set()
    first = world.manifest()
    for row in list(world.ledger.query(f"BACKUP#{DATE}")):
        world.dynamodb.delete_item(
            TableName=world.ledger.table_name, Key={"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}}
        )
    world.clock.advance(9 * HOUR_MS)
    world.enable_recovery("orders", enabled=False)
    world.service.start_scheduled()
    for key in world.dynamodb.complete_all():
        world.send(key)
    assert world.manifest() == first
    assert world.set_row()["status"] == "COMPLETE"
    assert not world.is_open()


def test_something_else_in_the_manifests_place_is_not_overwritten(world):
    keys = started(world)
    world.s3.put_object(Bucket=BUCKET, Key=MANIFEST_KEY, Body=json.dumps({"schema_version": 99}).encode())
    world.send(keys["orders"])
    with pytest.raises(ManifestInvalid, match="newer tablevault"):
        world.send(keys["catalog"])
    assert world.reconcile_a_minute_later() == [DATE]
    assert world.is_open()
    world.s3.delete_object(Bucket=BUCKET, Key=MANIFEST_KEY)
    world.service.reconcile()
    assert world.manifest().status == "COMPLETE"


def test_the_manifest_that_is_written_is_one_that_can_be_read(world):
    world.finished_set()
    content = world.s3.get_object(Bucket=BUCKET, Key=MANIFEST_KEY)["Body"].read()
    manifest = decode_manifest(content, key=MANIFEST_KEY, exports_prefix=PREFIX, backup_date=DATE)
    assert encode_manifest(manifest) == content
