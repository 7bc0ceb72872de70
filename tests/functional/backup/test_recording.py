"""Recording exports and finishing sets: whatever order, number and timing of events, the same manifest comes out."""

import json
from urllib.parse import quote_plus

import pytest

from chalicelib import entry
from chalicelib.backup.catalog import export_key
from chalicelib.backup.manifest import Manifest, decode_manifest, encode_manifest
from chalicelib.backup.rows import ExportRow
from chalicelib.errors import ExportNotReadable, LedgerEntryCorrupt, ManifestInvalid
from chalicelib.ledger import decode
from tests.fake_exports import refusal
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, MINUTE_MS, PREFIX

MANIFEST_KEY = f"{PREFIX}/{DATE}/manifest.json"


def started(world) -> dict[str, str]:
    """A set whose exports have all completed, and nobody told us; the summaries' keys by table."""
    world.service.start_scheduled()
    return {
        export.request["TableArn"].rsplit("/", 1)[-1]: world.dynamodb.complete(export)
        for export in world.dynamodb.running()
    }


def put_manifest(world, manifest: Manifest) -> None:
    world.s3.put_object(Bucket=BUCKET, Key=MANIFEST_KEY, Body=encode_manifest(manifest))


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


def test_an_event_that_comes_twice_changes_nothing(world):
    keys = started(world)
    for key in (keys["orders"], keys["orders"], keys["catalog"]):
        world.send(key)
    first = world.s3.get_object(Bucket=BUCKET, Key=MANIFEST_KEY)
    world.clock.advance(HOUR_MS)
    assert world.send(keys["catalog"]) == "already_recorded"
    again = world.s3.get_object(Bucket=BUCKET, Key=MANIFEST_KEY)
    assert (again["LastModified"], again["Body"].read()) == (first["LastModified"], first["Body"].read())


def summary_key(date: str, table_name: str) -> str:
    return f"{PREFIX}/{date}/{table_name}/AWSDynamoDB/01795222820000-00000000/manifest-summary.json"


def test_events_that_are_not_ours_are_ignored_and_say_so(world):
    world.service.start_scheduled()
    before = world.statuses()
    for bucket, key, result in [
        ("another-bucket", summary_key(DATE, "orders"), "foreign_bucket"),
        (BUCKET, "AWSDynamoDB/01795222820000-00000000/manifest-summary.json", "foreign_key"),
        (BUCKET, summary_key("..", "orders"), "foreign_key"),
        (BUCKET, summary_key(DATE, "a+b:é"), "foreign_key"),
        (BUCKET, summary_key("٢٠٢٦-11-21", "orders"), "foreign_key"),
        (BUCKET, summary_key(DATE, "orders") + ".tmp", "foreign_key"),
        (BUCKET, summary_key("2026-11-20", "orders"), "unknown_set"),
        (BUCKET, summary_key(DATE, "another"), "unknown_table"),
        (BUCKET, summary_key(DATE, "orders"), "another_export"),
    ]:
        assert world.service.record_export(bucket, key) == {"result": result, "bucket": bucket, "key": key}
    assert world.statuses() == before


def test_an_events_encoded_key_is_understood(world):
    """AWS, moto and others encode keys differently; the entry point decodes once."""
    keys = started(world)

    class Services:
        backups = world.service

    encoded = [encode(keys["orders"]) for encode in (quote_plus, lambda key: quote_plus(key, safe="/"), str)]
    event = {"Records": [{"s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}} for key in encoded]}
    assert "%2F" in encoded[0]
    results = [each["result"] for each in entry.record_export(Services, event)]
    assert results == ["recorded", "already_recorded", "already_recorded"]


def test_an_event_before_the_export_is_written_down_is_recorded(world):
    # The export starts and completes while the starter still waits for the ledger.
    keys = []

    def before(name, request):
        if name == "update_item" and "EXPORT#orders" in str(request) and not keys:
            (export,) = world.dynamodb.of_table("orders")
            keys.append(world.dynamodb.complete(export))
            assert world.send(keys[0]) == "recorded"

    world.before = before
    world.service.start_scheduled()
    assert world.export_row("orders")["status"] == "COMPLETED"
    assert world.export_row("orders")["export_arn"].endswith(keys[0].split("/")[-2])


def test_an_event_before_its_ledger_row_exists_is_recorded(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    row = export_key(DATE, "orders")
    world.dynamodb.delete_item(TableName=world.ledger.table_name, Key={"pk": {"S": row.pk}, "sk": {"S": row.sk}})
    assert world.send(world.dynamodb.complete(export)) == "recorded"
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS"}


def test_an_event_before_its_set_exists_is_left_to_reconcile(world):
    keys = []

    def before(name, request):
        if name == "put_item" and not keys:
            keys.append(
                world.send(f"{PREFIX}/{DATE}/orders/AWSDynamoDB/{world.clock():014d}-00000000/manifest-summary.json")
            )

    world.before = before
    world.service.start_scheduled()
    world.mend()
    assert keys == ["unknown_set"]
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    assert world.manifest().status == "COMPLETE"


def test_the_event_is_a_hint_and_describe_export_decides(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    key = world.dynamodb.write(export)
    assert world.send(key) == "in_progress"
    assert world.statuses()["orders"] == "IN_PROGRESS"
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    assert world.statuses()["orders"] == "COMPLETED"


def test_a_missing_checksum_is_read_again_later(world):
    keys = started(world)
    gone = keys["orders"].replace(".json", ".md5")
    content = world.s3.get_object(Bucket=BUCKET, Key=gone)["Body"].read()
    world.s3.delete_object(Bucket=BUCKET, Key=gone)
    assert world.send(keys["orders"]) == "not_readable_yet"
    world.s3.put_object(Bucket=BUCKET, Key=gone, Body=content)
    world.reconcile_a_minute_later()
    assert world.manifest().status == "COMPLETE"


def test_an_object_that_stays_missing_for_an_hour_fails_its_export(world):
    keys = started(world)
    gone = keys["orders"].replace("manifest-summary.json", "manifest-files.md5")
    world.s3.delete_object(Bucket=BUCKET, Key=gone)
    world.send(keys["orders"])
    world.clock.advance(HOUR_MS)
    world.service.reconcile()
    manifest = world.manifest()
    assert manifest.status == "PARTIAL"
    assert manifest.tables[0].failure_code == "ExportNotReadable"
    assert gone in str(manifest.tables[0].failure_message)


def test_an_export_whose_files_are_damaged_fails_with_the_reason_and_the_others_go_on(world):
    keys = started(world)
    world.s3.put_object(Bucket=BUCKET, Key=keys["orders"], Body=b"{}")
    assert world.send(keys["orders"]) == "failed"
    row = world.export_row("orders")
    assert row["failure_code"] == "ExportInvalid"
    assert "does not match its checksum" in row["failure_message"]
    assert world.send(keys["catalog"]) == "recorded"
    assert world.manifest().status == "PARTIAL"


@pytest.mark.parametrize(
    "said",
    [{"S3Prefix": "other"}, {"TableArn": "other"}, {"ItemCount": 17}, {"ExportManifest": "x"}],
)
def test_an_export_that_dynamodb_describes_otherwise_fails(world, said):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    export.description = said
    assert world.send(world.dynamodb.complete(export)) == "failed"
    assert world.export_row("orders")["failure_code"] == "ExportInvalid"


def test_an_export_made_by_hand_in_the_place_of_a_failed_one_is_adopted(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    world.dynamodb.fail(export, "S3NoSuchBucket", "bucket does not exist")
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    assert world.manifest().status == "PARTIAL"
    again = {**export.request, "ClientToken": "by-hand"}
    arn = world.dynamodb.export_table_to_point_in_time(**again)["ExportDescription"]["ExportArn"]
    assert world.send(world.dynamodb.complete(world.dynamodb.exports[arn])) == "recorded"
    manifest = world.manifest()
    assert (manifest.status, manifest.revision, manifest.tables[0].export_arn) == ("COMPLETE", 2, arn)


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


def test_the_event_of_a_late_export_that_still_runs_comes_again(world):
    world.service.start_scheduled()
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    (late,) = world.dynamodb.of_table("orders")
    with pytest.raises(ExportNotReadable):
        world.send(world.dynamodb.write(late))


def test_two_last_exports_at_once_are_both_harmless(world):
    keys = started(world)
    other = []

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
    done = []

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
    done = []

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
    records = []
    real = world.service._catalog.record

    def torn_once(backup_date):
        record = real(backup_date)
        if not records:
            records.append(record)
            record.exports["orders"] = decode(old, ExportRow)
            assert record.is_torn
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


def test_a_corrupt_ledger_row_is_an_error_and_changes_nothing(world):
    keys = started(world)
    world.corrupt(export_key(DATE, "orders"))
    with pytest.raises(LedgerEntryCorrupt, match="EXPORT#orders"):
        world.send(keys["orders"])
    assert world.send(keys["catalog"]) == "recorded"
    assert world.is_open()


def test_a_denied_describe_export_is_an_error_so_that_the_event_comes_again(world):
    keys = started(world)
    world.refuse("describe_export", refusal("AccessDeniedException", "DescribeExport"), when=lambda request: True)
    with pytest.raises(Exception, match="AccessDenied"):
        world.send(keys["orders"])
    world.mend()
    assert world.send(keys["orders"]) == "recorded"
