"""Recording exports: whatever the order, number and timing of events, what is recorded is the same."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import pytest

from chalicelib import entry
from chalicelib.backup.catalog import export_key
from chalicelib.errors import ExportNotReadable, LedgerEntryCorrupt
from tests.fake_exports import refusal
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, MINUTE_MS, PREFIX, started

MANIFEST_KEY = f"{PREFIX}/{DATE}/manifest.json"


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
    encoded = [encode(keys["orders"]) for encode in (quote_plus, lambda key: quote_plus(key, safe="/"), str)]
    event = {"Records": [{"s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}} for key in encoded]}
    assert "%2F" in encoded[0]
    services: Any = SimpleNamespace(backups=world.service)
    results = [each["result"] for each in entry.record_export(services, event)]
    assert results == ["recorded", "already_recorded", "already_recorded"]


def test_an_event_before_the_export_is_written_down_is_recorded(world):
    # The export starts and completes while the starter still waits for the ledger.
    keys: list[str] = []

    def before(name, request):
        if name == "update_item" and "EXPORT#orders" in str(request) and "IN_PROGRESS" in str(request) and not keys:
            (export,) = world.dynamodb.of_table("orders")
            keys.append(world.dynamodb.complete(export))
            assert world.send(keys[0]) == "recorded"

    world.before = before
    world.service.start_scheduled()
    assert world.export_row("orders")["status"] == "COMPLETED"
    assert world.export_row("orders")["export_arn"].endswith(keys[0].split("/")[-2])


def test_an_export_whose_ledger_row_was_lost_is_found_again_and_not_paid_for_twice(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    row = export_key(DATE, "orders")
    world.dynamodb.delete_item(TableName=world.ledger.table_name, Key={"pk": {"S": row.pk}, "sk": {"S": row.sk}})
    assert world.send(world.dynamodb.complete(export)) == "unknown_export"
    world.reconcile_a_minute_later()  # starts it by the same token, and so gets the same export
    world.reconcile_a_minute_later()
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS"}
    assert world.dynamodb.of_table("orders") == [export]


def test_a_stranger_in_its_folder_says_nothing_about_an_export_that_is_not_started_yet(world):
    throttled = refusal("ThrottlingException", "ExportTableToPointInTime")
    world.refuse("export_table_to_point_in_time", throttled, when=lambda request: "/orders" in str(request))
    world.service.start_scheduled()
    assert world.send(summary_key(DATE, "orders")) == "unknown_export"
    assert world.statuses()["orders"] == "PENDING"


def test_an_event_before_its_set_exists_is_left_to_reconcile(world):
    keys: list[str] = []

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


def test_an_event_a_moment_before_describe_export_says_so_is_recorded_at_once(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    key = world.dynamodb.write(export)
    looks = []

    def asleep() -> None:
        looks.append(world.statuses()["orders"])
        if len(looks) == 2:
            world.dynamodb.complete(export)

    world.asleep = asleep
    assert world.send(key) == "recorded"
    assert looks == ["IN_PROGRESS", "IN_PROGRESS"]


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


def test_the_event_of_a_late_export_that_still_runs_comes_again(world):
    world.service.start_scheduled()
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    (late,) = world.dynamodb.of_table("orders")
    with pytest.raises(ExportNotReadable):
        world.send(world.dynamodb.write(late))


@pytest.mark.parametrize(("hours", "call", "revision"), [(0, "update_item", 1), (25, "transact_write_items", 2)])
def test_an_event_that_two_runs_record_at_once_counts_once(world, hours, call, revision):
    world.service.start_scheduled()
    world.clock.advance(hours * HOUR_MS)
    if hours:
        world.service.reconcile()
    keys = world.dynamodb.complete_all()
    rows: list[Any] = []

    def before(name, request):
        # The second run records it while the first one is about to; a minute later it would be another time.
        if name == call and "COMPLETED" in str(request) and not rows:
            rows.append(None)
            assert world.send(keys[0]) == "recorded"
            rows[0] = world.export_row("orders")
            world.clock.advance(MINUTE_MS)

    world.before = before
    assert world.send(keys[0]) == "already_recorded"
    assert world.export_row("orders") == rows[0]
    assert world.set_row()["revision"] == revision


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
