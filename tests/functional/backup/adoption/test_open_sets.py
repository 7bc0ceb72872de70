"""The ledger is lost while sets are being made: what ran is found, what completed counts, and the sets are finished."""

import pytest

from chalicelib.backup.chain import missing_links
from tests.fake_exports import refusal
from tests.functional.backup.adoption.lost_ledger import by_hand, drop_ledger, finish, rebuild, seen
from tests.functional.backup.test_increments import DAYS, a_day, put, table_of
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, LEDGER_TABLE, MINUTE_MS, PREFIX, Stopped, World

THREE = ("orders", "catalog", "users")


@pytest.fixture
def weekly(aws) -> World:
    return World(("orders", "catalog"), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday")


def export_of(world: World, table_name: str):
    return world.dynamodb.of_table(table_name)[-1]


def begun(world: World) -> None:
    """Of three tables one's export completed and was recorded, one runs, and one was never begun."""
    throttled = refusal("ThrottlingException", "ExportTableToPointInTime")
    world.refuse("describe_table", throttled, when=lambda request: "users" in str(request))
    world.service.start_scheduled()
    world.mend()
    world.send(world.dynamodb.complete(export_of(world, "orders")))
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS", "users": "PENDING"}


def test_what_completed_what_runs_and_what_was_never_begun(aws):
    world = World(THREE)
    begun(world)
    drop_ledger(world)
    told = rebuild(world)
    assert told["adopted"] == 1
    assert world.is_open()
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS", "users": "None"}
    world.dynamodb.complete(export_of(world, "catalog"))
    world.reconcile_a_minute_later()
    manifest = world.manifest()
    assert (manifest.status, [table.table_name for table in manifest.tables]) == ("COMPLETE", ["catalog", "orders"])
    assert len(world.dynamodb.exports) == 2


def test_the_schedules_next_try_adds_what_was_never_begun(aws):
    world = World(THREE)
    begun(world)
    drop_ledger(world)
    rebuild(world)
    world.service.start_scheduled()
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS", "users": "IN_PROGRESS"}
    world.dynamodb.complete_all()
    finish(world)
    assert world.manifest().status == "COMPLETE"
    assert len(world.dynamodb.exports) == 3
    assert world.set_row()["adopted"] is False


def test_the_schedule_takes_a_finished_set_over_and_what_failed_in_it_is_tried(aws):
    world = World(THREE)
    begun(world)
    drop_ledger(world)
    rebuild(world)
    world.dynamodb.fail(export_of(world, "catalog"), "S3NoSuchBucket", "the bucket does not exist")
    finish(world)
    assert (world.manifest().status, world.manifest().revision) == ("PARTIAL", 1)
    world.clock.advance(9 * HOUR_MS)  # DynamoDB answers the same token with the export that failed, for eight hours
    world.service.start_scheduled()
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS", "users": "IN_PROGRESS"}
    world.dynamodb.complete_all()
    finish(world)
    assert (world.manifest().status, world.manifest().revision) == ("COMPLETE", 2)
    assert not world.is_open()
    assert len(world.dynamodb.of_table("orders")) == 1


def test_a_definition_without_an_export_is_named_as_lost(world):
    refused = refusal("ThrottlingException", "ExportTableToPointInTime")
    world.refuse("export_table_to_point_in_time", refused, when=lambda request: "/orders" in str(request))
    world.service.start_scheduled()
    world.mend()
    drop_ledger(world)
    rebuild(world)
    world.dynamodb.complete_all()
    finish(world)
    table = world.manifest().table("orders")
    assert table is not None
    assert (table.status, table.failure_code) == ("FAILED", "ExportLost")
    assert "no export that completed" in str(table.failure_message)
    assert world.manifest().status == "PARTIAL"


def test_an_export_that_failed_is_named_with_its_reason(world):
    world.service.start_scheduled()
    world.dynamodb.fail(export_of(world, "orders"), "S3NoSuchBucket", "the bucket does not exist")
    drop_ledger(world)
    rebuild(world)
    row = world.export_row("orders")
    assert (row["status"], row["failure_code"]) == ("FAILED", "S3NoSuchBucket")


def test_an_adopted_export_that_fails_is_tried_again_as_it_would_have_been(world):
    world.service.start_scheduled()
    drop_ledger(world)
    rebuild(world)
    world.dynamodb.fail(export_of(world, "orders"), "InternalError", "try again")
    finish(world)
    assert len(world.dynamodb.of_table("orders")) == 2
    world.dynamodb.complete_all()
    finish(world)
    assert world.manifest().status == "COMPLETE"


def test_one_that_dynamodb_does_not_tell_of_is_adopted_when_it_completes(world):
    """As of another account, which the copy of a bucket may be from."""
    world.service.start_scheduled()
    drop_ledger(world)
    denied = {
        "list_exports": refusal("AccessDeniedException", "ListExports"),
        "describe_table": refusal("ResourceNotFoundException", "DescribeTable"),
    }

    def before(name, request):
        if name in denied:
            raise denied[name]

    world.before = before
    rebuild(world)
    assert world.statuses() == {"orders": "FAILED", "catalog": "FAILED"}
    world.mend()
    finish(world)
    assert world.manifest().status == "PARTIAL"
    for key in world.dynamodb.complete_all():
        assert world.send(key) == "adopted"
    assert (world.manifest().status, world.manifest().revision) == ("COMPLETE", 3)
    assert not world.is_open()


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
def test_an_error_that_passes_and_a_missing_right_are_no_answer(world, code):
    world.service.start_scheduled()
    drop_ledger(world)
    world.service.rebuild.start("operator")
    world.refuse("list_exports", refusal(code, "ListExports"), when=lambda request: True)
    world.reconcile_a_minute_later()
    assert world.service.rebuild.describe()["status"] == "OPEN"
    assert world.set_row() == {}
    world.mend()
    world.reconcile_a_minute_later()
    assert world.statuses() == {"orders": "IN_PROGRESS", "catalog": "IN_PROGRESS"}


def test_completed_but_not_recorded_exports_are_found_without_asking_dynamodb(world):
    world.service.start_scheduled()
    world.dynamodb.complete_all()
    drop_ledger(world)
    world.service.rebuild.start("operator")
    world.watch()
    world.reconcile_a_minute_later()
    assert not {"list_exports", "describe_export", "describe_table"} & set(world.calls)
    finish(world)
    assert world.manifest().status == "COMPLETE"
    assert world.manifest().total_items_exported == 4


def test_the_lost_sets_times_and_items_are_those_it_would_have_had(world):
    world.service.start_scheduled()
    world.clock.advance(5 * MINUTE_MS)
    for key in world.dynamodb.complete_all():
        world.send(key)
    before = world.manifest()
    drop_ledger(world)
    world.s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/manifest.json")
    world.clock.advance(HOUR_MS)
    rebuild(world)
    finish(world)
    after = world.manifest()
    assert sorted(after.tables, key=lambda table: table.table_name) == sorted(
        before.tables, key=lambda table: table.table_name
    )
    assert (after.started_at, after.completed_at, after.revision) == (before.started_at, before.completed_at, 1)


# --- increments ------------------------------------------------------------------------------------------------------


def test_increments_in_two_lost_sets_continue_each_other(weekly):
    """Neither has a manifest: catalog's exports hang."""
    a_day(weekly)
    put(weekly, "orders", 1)
    for number in (2, 3):
        weekly.service.start_scheduled()
        weekly.dynamodb.complete(export_of(weekly, "orders"))
        weekly.reconcile_a_minute_later()
        put(weekly, "orders", number)
        weekly.clock.advance(24 * HOUR_MS - MINUTE_MS)
    drop_ledger(weekly)
    told = rebuild(weekly)
    assert told["adopted"] == 3
    assert told["problems"] == []
    weekly.dynamodb.complete_all()
    finish(weekly)
    last = table_of(weekly, DAYS[2])
    assert [link.backup_date for link in last.base] == list(DAYS[:2])
    assert missing_links(last) == []
    assert table_of(weekly, DAYS[1]).status == last.status == "COMPLETED"
    assert missing_links(table_of(weekly, a_day(weekly))) == []


def test_parts_of_one_set_are_found_together_the_running_one_too(weekly):
    a_day(weekly)
    put(weekly, "orders", 1)
    a_day(weekly, fail=("orders",))
    put(weekly, "orders", 2)
    weekly.service.start_scheduled()
    first, second = weekly.dynamodb.of_table("orders")[-2:]
    weekly.dynamodb.complete(first)
    weekly.dynamodb.complete_all(weekly.dynamodb.of_table("catalog")[-1:])
    drop_ledger(weekly)
    rebuild(weekly)
    rows = weekly.service._catalog.exports_of(DAYS[2], "orders")
    assert [(row.status.value, row.part, row.export_arn) for row in rows] == [
        ("COMPLETED", 0, first.arn),
        ("IN_PROGRESS", 1, second.arn),
    ]
    weekly.dynamodb.complete(second)
    finish(weekly)
    table = table_of(weekly, DAYS[2])
    assert [link.backup_date for link in table.base] == [DAYS[0], DAYS[2]]
    assert missing_links(table) == []


def test_increments_with_a_gap_before_them_fail_and_stay_in_the_bucket(weekly):
    a_day(weekly)
    weekly.service.start_scheduled()
    weekly.dynamodb.complete_all()
    for key in weekly.list_keys(f"{PREFIX}/{DAYS[0]}/"):
        weekly.s3.delete_object(Bucket=BUCKET, Key=key)
    drop_ledger(weekly)
    exports = weekly.list_keys(f"{PREFIX}/{DAYS[1]}/")
    rebuild(weekly)
    finish(weekly)
    table = table_of(weekly, DAYS[1])
    assert (table.status, table.failure_code) == ("FAILED", "ChainBroken")
    assert "no older backup set has an export of it that they continue" in str(table.failure_message)
    assert set(exports) <= set(weekly.list_keys(f"{PREFIX}/{DAYS[1]}/"))


def test_a_set_made_by_hand_that_reaches_further_is_not_what_increments_continue(weekly):
    """Its export shows a later moment than the lost increments end at: the chain before it is theirs."""
    a_day(weekly)
    put(weekly, "orders", 1)
    weekly.service.start_scheduled()
    weekly.dynamodb.complete_all()
    drop_ledger(weekly)
    weekly.clock.advance(HOUR_MS)
    by_hand(weekly, "orders", "2026-11-21T235959Z")
    weekly.dynamodb.complete_all()
    rebuild(weekly)
    finish(weekly)
    table = table_of(weekly, DAYS[1])
    assert table.status == "COMPLETED"
    assert [link.backup_date for link in table.base] == [DAYS[0]]


# --- stopped ---------------------------------------------------------------------------------------------------------


def test_stopped_after_any_call_an_open_set_is_adopted_with_one_export_each(aws):
    world = World(("orders", "catalog"))
    world.service.start_scheduled()
    world.dynamodb.complete(export_of(world, "orders"))
    for calls in range(1, 40):
        drop_ledger(world)
        world.service.rebuild.start("operator")
        stop = world.stop_after(calls)
        try:
            world.service.reconcile()
        except Stopped:
            pass
        finally:
            world.mend()
            world.service = world.new_process()
        world.service.reconcile()
        assert world.service.rebuild.describe()["status"] == "COMPLETED"
        assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS"}
        assert world.is_open()
        assert len(world.dynamodb.exports) == 2
        if not stop.was_reached:
            break
    # Begun, the first set, the second phase, two EXPORT rows, the SET row, the cursor, the end.
    assert calls == 9
    world.dynamodb.complete_all()
    finish(world)
    assert world.manifest().status == "COMPLETE"
    assert seen(world)["backups"][0]["status"] == "COMPLETE"
    assert world.ledger.table_name == LEDGER_TABLE
