"""Days on which something is wrong with what comes in: events of long ago, two sets at once, a schedule that fires
twice, tables that disappear."""

import threading
from typing import Any

import pytest

from chalicelib.backup.manifest import Manifest
from tests.fake_exports import FakeExport, refusal
from tests.functional.backup.world import (
    BUCKET,
    DATE,
    HOUR_MS,
    PREFIX,
    TABLES,
    World,
)

DAY_MS = 24 * HOUR_MS


def table_of(export: FakeExport) -> str:
    return str(export.request["TableArn"]).rsplit("/", 1)[-1]


def exports_of_set(world: World, backup_date: str) -> list[FakeExport]:
    prefix = f"{PREFIX}/{backup_date}/"
    return [export for export in world.dynamodb.exports.values() if export.request["S3Prefix"].startswith(prefix)]


def complete_set(world: World, backup_date: str) -> Manifest:
    for export in exports_of_set(world, backup_date):
        assert world.send(world.dynamodb.complete(export)) == "recorded"
    return world.manifest(backup_date)


# --- two sets at once ------------------------------------------------------------------------------------------------


def test_two_sets_of_the_same_tables_at_once_each_have_exports_and_a_manifest_of_their_own(world):
    world.service.start_scheduled()
    by_hand = str(world.service.start_by_hand(("orders",))["backup_date"])
    assert sorted(map(table_of, world.dynamodb.running())) == ["catalog", "orders", "orders"]
    manifest = complete_set(world, by_hand)
    assert (manifest.status, [table.table_name for table in manifest.tables]) == ("COMPLETE", ["orders"])
    assert world.is_open(DATE)
    assert set(world.statuses(DATE).values()) == {"IN_PROGRESS"}
    assert complete_set(world, DATE).status == "COMPLETE"
    arns = [table.export_arn for date in (by_hand, DATE) for table in world.manifest(date).tables]
    assert len(set(arns)) == len(arns) == 3
    assert world.manifest(by_hand) == manifest


def test_two_sets_by_hand_begun_in_one_second_of_two_processes_are_one(world):
    names = {str(world.new_process().start_by_hand(("orders",))["backup_date"]) for _ in range(2)}
    assert len(names) == 1
    assert len(world.dynamodb.exports) == 1


@pytest.mark.parametrize("runs", [2, 4])
def test_a_schedule_that_fires_several_times_at_the_same_moment_starts_each_export_once(world, runs):
    at_once = threading.Barrier(runs)
    results: list[Any] = []

    def run() -> None:
        process = world.new_process()
        at_once.wait()
        results.append(process.start_scheduled())

    threads = [threading.Thread(target=run) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result["backup_date"] for result in results} == {DATE}
    world.reconcile_a_minute_later()  # what one run left to another, and that one had passed already
    assert sorted(map(table_of, world.dynamodb.exports.values())) == sorted(TABLES)
    assert set(world.statuses().values()) == {"IN_PROGRESS"}
    assert complete_set(world, DATE).status == "COMPLETE"


def test_a_day_that_begins_while_yesterdays_set_is_open_leaves_both_to_their_own_exports(world):
    today = "2026-11-22"
    world.service.start_scheduled()
    world.clock.advance(DAY_MS)
    for _ in range(2):
        assert world.service.start_scheduled()["backup_date"] == today
    assert len(world.dynamodb.exports) == 2 * len(TABLES)
    assert world.service.reconcile() == [DATE, today]
    assert complete_set(world, today).status == "COMPLETE"
    assert world.is_open(DATE)
    manifest = complete_set(world, DATE)
    assert manifest.status == "COMPLETE"
    assert manifest.started_at < world.manifest(today).started_at <= str(manifest.completed_at)


# --- events of long ago ----------------------------------------------------------------------------------------------


def test_an_event_for_an_export_of_a_set_finished_last_month_changes_nothing(world):
    world.service.start_scheduled()
    keys = [world.dynamodb.complete(export) for export in world.dynamodb.running()]
    for key in keys:
        world.send(key)
    manifest, before = world.manifest(), world.set_row()
    world.clock.advance(31 * DAY_MS)
    assert {world.send(key) for key in keys} == {"already_recorded"}
    assert world.service.reconcile() == []
    assert world.manifest() == manifest
    assert world.set_row() == before


def test_an_export_of_a_set_finished_partial_last_month_that_completes_now_is_added(world):
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    assert world.manifest().status == "PARTIAL"
    world.clock.advance(31 * DAY_MS)
    key = world.dynamodb.complete(late)
    assert [world.send(key) for _ in range(2)] == ["recorded", "already_recorded"]
    manifest = world.manifest()
    assert (manifest.status, manifest.revision, manifest.failed_exports) == ("COMPLETE", 2, 0)
    assert world.service.reconcile() == []


def test_a_failed_exports_event_of_last_month_is_no_success(world):
    """DynamoDB writes no summary of an export that failed; one that stands there all the same proves nothing."""
    world.service.start_scheduled()
    (failed,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.dynamodb.fail(failed, "S3AccessDenied", "Access Denied")
    world.reconcile_a_minute_later()
    manifest = world.manifest()
    world.clock.advance(31 * DAY_MS)
    assert world.send(world.dynamodb.write(failed)) == "failed"
    assert world.manifest() == manifest
    assert manifest.status == "PARTIAL"


def test_an_event_of_a_set_that_the_ledger_no_longer_has_writes_nothing(world):
    key = f"{PREFIX}/2026-10-21/orders/AWSDynamoDB/01792544420000-0123abcd/manifest-summary.json"
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    before = world.list_keys()
    calls: list[str] = []
    world.before = lambda name, request: calls.append(name)
    assert world.send(key) == "unknown_set"
    assert [name for name in calls if name.startswith(("put_", "update_", "transact_", "batch_write_"))] == []
    assert world.list_keys() == before


# --- some of very many -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.thorough)])
def test_of_very_many_tables_three_that_fail_are_named_and_no_others(aws, count):
    names = tuple(f"table-{number:03}" for number in range(count))
    off, deleted, denied = names[1], names[count // 2], names[-1]
    world = World(names)
    world.enable_recovery(off, enabled=False)
    world.dynamodb.delete_table(TableName=deleted)
    error = refusal("AccessDeniedException", "DescribeTable", "not authorized")
    world.refuse("describe_table", error, when=lambda request: request["TableName"] == denied)
    result = world.service.start_scheduled()
    assert result["statusCode"] == 207
    assert {off} <= result["failures"].keys() <= {off, deleted, denied}
    while world.dynamodb.running():
        for key in [world.dynamodb.complete(export, partitions=1) for export in world.dynamodb.running()]:
            world.send(key)
        world.reconcile_a_minute_later()  # DynamoDB exports 300 tables at once
    manifest = world.manifest()
    assert (manifest.status, manifest.successful_exports, manifest.failed_exports) == ("PARTIAL", count - 3, 3)
    failures = {table.table_name: table.failure_code for table in manifest.tables if table.status != "COMPLETED"}
    assert failures == {
        off: "PointInTimeRecoveryUnavailableException",
        deleted: "TableNotFoundException",
        denied: "AccessDeniedException",
    }
    assert [table.table_name for table in manifest.tables] == list(names)
    assert not world.is_open()


# --- tables that disappear -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["completes", "fails for it", "fails without saying so", "is forgotten"])
def test_a_table_deleted_while_it_is_exported_is_recorded_or_named(world, how):
    world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    world.dynamodb.delete_table(TableName="orders")
    if how == "completes":
        assert world.send(world.dynamodb.complete(export)) == "recorded"
    elif how == "is forgotten":
        del world.dynamodb.exports[export.arn]
    else:
        code = "TableNotFoundException" if how == "fails for it" else "InternalServerError"
        world.dynamodb.fail(export, code, "it broke off")
    for _ in range(2):
        world.reconcile_a_minute_later()
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    manifest = world.manifest()
    orders = manifest.tables[0]
    failure, said = {
        "completes": (None, "None"),
        "fails for it": ("TableNotFoundException", "it broke off"),
        "fails without saying so": ("TableNotFoundException", "table orders does not exist"),
        "is forgotten": ("ExportNotFound", "DynamoDB does not know the export"),
    }[how]
    assert (manifest.status, orders.failure_code) == ("PARTIAL" if failure else "COMPLETE", failure)
    assert said in str(orders.failure_message)


@pytest.mark.parametrize("entries", ['["*"]', '["orders", "catalog"]'], ids=["by a pattern", "by their names"])
def test_the_day_after_a_table_was_deleted_it_is_missed_only_where_it_is_named(aws, entries):
    world = World(TABLES, DYNAMODB_TABLES=entries)
    world.finished_set()
    world.dynamodb.delete_table(TableName="orders")
    world.clock.advance(DAY_MS)
    result = world.service.start_scheduled()
    is_named = "orders" in entries
    assert result["statusCode"] == (207 if is_named else 200)
    assert result["failures"].keys() == ({"orders"} if is_named else set())
    if is_named:
        assert "table orders does not exist in this account and region" in result["failures"]["orders"]
    manifest = complete_set(world, "2026-11-22")
    assert [table.table_name for table in manifest.tables] == (list(TABLES) if is_named else ["catalog"])
    assert manifest.status == ("PARTIAL" if is_named else "COMPLETE")
