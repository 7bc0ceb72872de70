"""Reconcile: whatever no event brought to its end, each set and each export on its own."""

import pytest

from chalicelib.backup.catalog import export_key, set_key
from tests.fake_exports import refusal
from tests.functional.backup.world import DATE, HOUR_MS, MINUTE_MS


def test_nothing_to_do_costs_one_query(world):
    world.finished_set()
    world.watch()
    assert world.reconcile_a_minute_later() == []
    assert world.calls == ["query"]


def test_missed_events_are_made_up_for(world):
    world.service.start_scheduled()
    world.dynamodb.complete_all()
    assert world.reconcile_a_minute_later() == [DATE]
    assert world.manifest().status == "COMPLETE"
    assert world.reconcile_a_minute_later() == []


def test_a_running_export_is_checked_once_a_minute(world):
    world.service.start_scheduled()
    world.watch()
    world.service.reconcile()
    assert world.calls.count("describe_export") == 2
    world.clock.advance(MINUTE_MS - 1)
    world.service.reconcile()
    assert world.calls.count("describe_export") == 2
    world.clock.advance(1)
    world.service.reconcile()
    assert world.calls.count("describe_export") == 4


def test_a_failed_export_is_named_with_dynamodbs_reason(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    world.dynamodb.fail(export, "S3NoSuchBucket", "The specified bucket does not exist")
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    manifest = world.manifest()
    assert (manifest.status, manifest.failed_exports) == ("PARTIAL", 1)
    assert manifest.tables[0].failure_code == "S3NoSuchBucket"
    assert manifest.tables[0].failure_message == "The specified bucket does not exist"
    assert manifest.tables[0].export_arn == export.arn


def test_an_export_that_dynamodb_no_longer_knows_fails(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    del world.dynamodb.exports[export.arn]
    world.reconcile_a_minute_later()
    assert world.export_row("orders")["failure_code"] == "ExportNotFound"


def test_an_export_in_progress_for_a_day_is_overdue(world):
    world.service.start_scheduled()
    world.clock.advance(24 * HOUR_MS)
    world.service.reconcile()
    assert set(world.statuses().values()) == {"IN_PROGRESS"}
    world.reconcile_a_minute_later()
    assert world.export_row("orders")["failure_code"] == "Overdue"
    assert "24 hours" in world.export_row("orders")["failure_message"]
    assert world.manifest().status == "PARTIAL"


def test_an_export_that_cannot_be_asked_for_is_overdue_after_a_day_too(world):
    world.service.start_scheduled()
    error = refusal("AccessDeniedException", "DescribeExport", "not authorized")
    world.refuse("describe_export", error, when=lambda request: "/orders/" in str(request))
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    assert world.statuses() == {"orders": "IN_PROGRESS", "catalog": "COMPLETED"}
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    row = world.export_row("orders")
    assert row["failure_code"] == "Overdue"
    assert "not authorized" in row["failure_message"]


def test_a_corrupt_set_does_not_stop_the_others(world):
    world.service.start_scheduled()
    world.clock.advance(24 * HOUR_MS)
    second = world.service.start_scheduled()["backup_date"]
    world.corrupt(set_key(DATE))
    world.dynamodb.complete_all()
    assert world.reconcile_a_minute_later() == [DATE, second]
    assert world.manifest(second).status == "COMPLETE"


def test_a_corrupt_export_row_stops_only_its_own_table_and_its_set_once_mended_is_finished(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    key = export_key(DATE, "orders")
    world.corrupt(key)
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    assert world.export_row("catalog")["status"] == "COMPLETED"
    assert world.is_open()
    # Removing the row is enough: it is made again, and the same token finds the same export.
    world.dynamodb.delete_item(TableName=world.ledger.table_name, Key={"pk": {"S": key.pk}, "sk": {"S": key.sk}})
    world.reconcile_a_minute_later()
    world.reconcile_a_minute_later()
    assert world.dynamodb.of_table("orders") == [export]
    assert world.manifest().status == "COMPLETE"


def test_a_run_that_gets_late_leaves_the_rest_to_the_next_one(world):
    world.service.start_scheduled()
    world.dynamodb.complete_all()
    world.clock.advance(24 * HOUR_MS - MINUTE_MS)
    world.service.start_scheduled()

    def before(name, request):
        if name == "query":
            world.clock.advance(MINUTE_MS)

    world.before = before
    assert world.service.reconcile() == []
    world.mend()
    assert len(world.service.reconcile()) == 2


def test_a_listing_or_download_that_fails_is_tried_again(world):
    world.service.start_scheduled()
    world.dynamodb.complete_all()
    world.refuse("get_object", refusal("SlowDown", "GetObject"), when=lambda request: True)
    world.reconcile_a_minute_later()
    assert set(world.statuses().values()) == {"IN_PROGRESS"}
    world.mend()
    world.reconcile_a_minute_later()
    assert world.manifest().status == "COMPLETE"


def test_a_manifest_that_cannot_be_written_yet_is_written_later(world):
    world.service.start_scheduled()
    keys = world.dynamodb.complete_all()
    world.send(keys[0])
    world.refuse("put_object", refusal("AccessDenied", "PutObject", "Access Denied"), when=lambda request: True)
    with pytest.raises(Exception, match="Access Denied"):
        world.send(keys[1])
    assert world.is_open()
    world.mend()
    world.service.reconcile()
    assert world.manifest().status == "COMPLETE"
