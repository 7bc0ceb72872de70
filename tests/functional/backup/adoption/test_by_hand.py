"""Exports that somebody made by hand into a set's place: adopted when their event comes, or when the ledger is
rebuilt. They never take away from a set what it has, nor from the schedule what it backs up."""

import itertools
from typing import Any

import msgspec
import pytest

from chalicelib.backup.removal_mark import removal_key
from chalicelib.errors import ExportNotReadable
from chalicelib.ledger import Put
from tests.fake_exports import FakeExport, refusal
from tests.functional.backup.adoption.lost_ledger import by_hand, drop_ledger, finish, rebuild, rows
from tests.functional.backup.test_increments import DAYS, a_day, put, table_of
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, MINUTE_MS, PREFIX, Stopped, World

NEW = "2026-11-20T120000Z"


def delete_table(world: World, name: str) -> None:
    world.dynamodb.delete_table(TableName=name)


def only_begun(world: World, export: FakeExport) -> None:
    """Some of its files, and not the summary, which is the last one."""
    world.s3.delete_object(Bucket=BUCKET, Key=world.dynamodb.write(export))


def test_one_into_a_new_date_becomes_a_set_with_its_table_described_now(world):
    key = world.dynamodb.complete(by_hand(world, "orders", NEW))
    world.clock.advance(HOUR_MS)
    assert world.send(key) == "adopted"
    manifest = world.manifest(NEW)
    assert (manifest.status, manifest.revision, manifest.total_items_exported) == ("COMPLETE", 1, 2)
    (table,) = manifest.tables
    assert table.export_arn == next(iter(world.dynamodb.exports))
    assert table.notes == (
        "the table's definition is of 2026-11-21T02:00:20.000Z, the export is older: it began at "
        "2026-11-21T01:00:20.000Z",
    )
    assert f"{PREFIX}/{NEW}/orders/table.json" in world.list_keys()
    assert [each["backup_date"] for each in world.service.list_page(10, None)["backups"]] == [NEW]
    assert not world.is_open(NEW)


def test_more_of_them_come_later_and_each_adds_its_table(world):
    for revision, name in enumerate(("orders", "catalog"), start=1):
        assert world.send(world.dynamodb.complete(by_hand(world, name, NEW))) == "adopted"
        manifest = world.manifest(NEW)
        assert (manifest.revision, len(manifest.tables), manifest.status) == (revision, revision, "COMPLETE")
        world.clock.advance(MINUTE_MS)
    record = world.service._catalog.record(NEW)
    assert not record.is_torn
    assert not record.set.is_open


def test_one_that_still_runs_beside_it_is_waited_for(world):
    orders, catalog = by_hand(world, "orders", NEW), by_hand(world, "catalog", NEW)
    only_begun(world, catalog)
    assert world.send(world.dynamodb.complete(orders)) == "adopted"
    assert world.is_open(NEW)
    assert world.export_row("catalog", NEW)["status"] == "IN_PROGRESS"
    world.send(world.dynamodb.complete(catalog))
    assert [table.status for table in world.manifest(NEW).tables] == ["COMPLETED", "COMPLETED"]


def test_one_of_theirs_that_fails_is_not_started_again(world):
    orders, catalog = by_hand(world, "orders", NEW), by_hand(world, "catalog", NEW)
    only_begun(world, catalog)
    world.clock.advance(5 * MINUTE_MS)
    world.send(world.dynamodb.complete(orders))
    world.dynamodb.fail(catalog, "InternalError", "try again")
    finish(world)
    assert len(world.dynamodb.exports) == 2
    assert world.manifest(NEW).status == "PARTIAL"


def test_an_event_that_comes_twice_changes_nothing(world):
    key = world.dynamodb.complete(by_hand(world, "orders", NEW))
    assert world.send(key) == "adopted"
    before = rows(world)
    assert world.send(key) == "already_recorded"
    assert rows(world) == before


@pytest.mark.parametrize("at", range(1, 12))
def test_two_events_at_once_make_one_set_with_both(aws, at):
    """The other event is handled in whole between any two calls of the first."""
    world = World()
    keys = [world.dynamodb.complete(by_hand(world, name, NEW)) for name in ("orders", "catalog")]
    other, calls = world.new_process(), itertools.count(1)

    def meanwhile(name: str, request: dict[str, Any]) -> None:
        if name in ("put_item", "transact_write_items", "put_object", "get_item") and next(calls) == at:
            world.before = lambda name, request: None
            other.record_export(BUCKET, keys[1])

    world.before = meanwhile
    world.send(keys[0])
    world.mend()
    finish(world)
    manifest = world.manifest(NEW)
    assert (manifest.status, manifest.successful_exports) == ("COMPLETE", 2)
    assert not world.service._catalog.record(NEW).is_torn
    assert not world.is_open(NEW)


def test_stopped_after_any_call_the_event_comes_again_and_all_is_well(aws):
    world = World(("orders",))
    for calls in range(1, 20):
        world.clock.advance(HOUR_MS)
        name = f"2026-11-19T{calls:02d}0000Z"
        key = world.dynamodb.complete(by_hand(world, "orders", name))
        stop = world.stop_after(calls)
        try:
            world.send(key)
        except Stopped:
            pass
        finally:
            world.mend()
            world.service = world.new_process()
        world.send(key)
        world.service.reconcile()
        assert world.manifest(name).status == "COMPLETE"
        assert not world.is_open(name)
        if not stop.was_reached:
            break
    # table.json, the EXPORT row, the SET row, the manifest, the SET row.
    assert calls == 6


# --- into a set that is there ----------------------------------------------------------------------------------------


def test_a_new_table_of_a_finished_set_is_added_to_it(world):
    world.finished_set()
    world.create_table("users")
    key = world.dynamodb.complete(by_hand(world, "users"))
    assert world.send(key) == "adopted"
    manifest = world.manifest()
    assert (manifest.status, manifest.revision, manifest.successful_exports) == ("COMPLETE", 2, 3)
    assert not world.service._catalog.record(DATE).is_torn


def test_what_is_not_complete_takes_nothing_from_a_complete_set(world):
    world.finished_set()
    world.create_table("users")
    before = rows(world)
    damaged = by_hand(world, "users")
    key = world.dynamodb.complete(damaged)
    (data, *_) = [each for each in world.list_keys(f"{PREFIX}/{DATE}/users/") if each.endswith(".json.gz")]
    world.s3.put_object(Bucket=BUCKET, Key=data, Body=b"short")
    with pytest.raises(ExportNotReadable):  # DynamoDB calls it complete: it may be a file that is not there yet
        world.send(key)
    del world.dynamodb.exports[damaged.arn]
    assert world.send(key) == "unknown_table"
    rebuild(world)
    assert {name: row for name, row in rows(world).items() if not name.startswith("LEDGER")} == before
    assert world.manifest().status == "COMPLETE"


def test_a_missing_file_is_waited_for(world):
    world.finished_set()
    world.create_table("users")
    key = world.dynamodb.complete(by_hand(world, "users"))
    checksum = key.replace(".json", ".md5")
    body = world.s3.get_object(Bucket=BUCKET, Key=checksum)["Body"].read()
    world.s3.delete_object(Bucket=BUCKET, Key=checksum)
    world.dynamodb.exports.clear()  # a copied bucket's: DynamoDB knows nothing
    with pytest.raises(ExportNotReadable):
        world.send(key)
    world.s3.put_object(Bucket=BUCKET, Key=checksum, Body=body)
    assert world.send(key) == "adopted"


def test_a_second_export_of_a_table_that_has_one_is_left(world):
    world.finished_set()
    before = rows(world)
    key = world.dynamodb.complete(by_hand(world, "orders"))
    assert world.send(key) == "another_export"
    assert rows(world) == before


def test_a_table_that_failed_is_completed_by_a_full_export(world):
    world.service.start_scheduled()
    for export in world.dynamodb.running():
        world.dynamodb.fail(export, "S3NoSuchBucket", "no bucket")
    finish(world)
    assert world.manifest().status == "PARTIAL"
    key = world.dynamodb.complete(by_hand(world, "orders"))
    assert world.send(key) in ("adopted", "recorded")
    assert world.send(world.dynamodb.complete(by_hand(world, "catalog"))) in ("adopted", "recorded")
    assert world.manifest().status == "COMPLETE"
    assert not world.service._catalog.record(DATE).is_torn


def test_one_that_could_not_even_be_described_is_completed_too(aws):
    world = World(("orders",))
    world.enable_recovery("orders", enabled=False)
    world.service.start_scheduled()
    assert world.manifest().status == "PARTIAL"
    world.enable_recovery("orders")
    assert world.send(world.dynamodb.complete(by_hand(world, "orders"))) == "adopted"
    manifest = world.manifest()
    assert (manifest.status, manifest.revision) == ("COMPLETE", 2)
    assert manifest.tables[0].failure_code is None


def test_a_failed_increments_table_is_completed_by_a_full_export(aws):
    world = World(("orders",), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday")
    a_day(world)
    name = a_day(world, fail=("orders",))
    put(world, "orders", 1)
    assert world.send(world.dynamodb.complete(by_hand(world, "orders", name))) == "adopted"
    table = table_of(world, name)
    assert (table.status, table.export_type, table.base) == ("COMPLETED", "FULL_EXPORT", ())
    following = table_of(world, a_day(world))
    assert [link.backup_date for link in following.base] == [name]


def test_its_own_export_that_is_still_to_come_is_not_replaced(world):
    throttled = refusal("ThrottlingException", "ExportTableToPointInTime")
    world.refuse("describe_table", throttled, when=lambda request: "orders" in str(request))
    world.service.start_scheduled()
    world.mend()
    key = world.dynamodb.complete(by_hand(world, "orders"))
    assert world.send(key) == "unknown_export"
    assert world.export_row("orders")["status"] == "PENDING"


def test_a_set_that_is_being_removed_takes_nothing(world):
    key = world.dynamodb.complete(by_hand(world, "orders", NEW))
    world.ledger.write(Put(removal_key(NEW), {"token": "t"}))
    before = rows(world)
    assert world.send(key) == "set_is_removed"
    assert rows(world) == before


# --- the schedule ----------------------------------------------------------------------------------------------------


def test_one_before_the_schedule_does_not_keep_it_from_the_other_tables(world):
    assert world.send(world.dynamodb.complete(by_hand(world, "orders"))) == "adopted"
    assert world.manifest().total_tables_processed == 1
    world.clock.advance(HOUR_MS)
    world.service.start_scheduled()
    assert world.statuses() == {"orders": "COMPLETED", "catalog": "IN_PROGRESS"}
    world.send(world.dynamodb.complete(*world.dynamodb.running()))
    manifest = world.manifest()
    assert (manifest.status, manifest.successful_exports, manifest.revision) == ("COMPLETE", 2, 2)
    assert len(world.dynamodb.exports) == 2
    assert not world.service._catalog.record(DATE).is_torn


def test_one_that_failed_before_the_schedule_does_not_keep_it_from_that_table(world):
    hand = by_hand(world, "orders")
    key = world.dynamodb.complete(hand)
    table_json = {"Bucket": BUCKET, "Key": f"{PREFIX}/{DATE}/orders/table.json", "Body": b"{}"}
    world.s3.put_object(**table_json)
    assert world.send(key) == "adopted"
    assert world.export_row("orders")["failure_code"] == "DefinitionInvalid"
    world.service.start_scheduled()
    assert world.statuses() == {"orders": "IN_PROGRESS", "catalog": "IN_PROGRESS"}
    world.dynamodb.complete_all()
    finish(world)
    assert (world.manifest().status, world.manifest().successful_exports) == ("COMPLETE", 2)


def test_the_schedules_strategy_counts_in_the_set_it_takes_over(aws):
    world = World(("orders", "catalog"), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday")
    a_day(world)
    world.send(world.dynamodb.complete(by_hand(world, "orders", DAYS[1])))
    name = a_day(world)
    assert name == DAYS[1]
    assert table_of(world, name, "orders").export_type == "FULL_EXPORT"
    assert table_of(world, name, "catalog").export_type == "INCREMENTAL_EXPORT"


@pytest.mark.parametrize("calls", range(1, 12))
def test_taking_over_stopped_after_any_call_is_done_by_the_next_try(aws, calls):
    world = World()
    world.send(world.dynamodb.complete(by_hand(world, "orders")))
    stop = world.stop_after(calls)
    try:
        world.service.start_scheduled()
    except Stopped:
        pass
    finally:
        world.mend()
        world.service = world.new_process()
    world.clock.advance(10 * MINUTE_MS)
    world.service.start_scheduled()  # Lambda tries an event again whose invocation ended badly
    world.dynamodb.complete_all()
    finish(world)
    assert world.manifest().successful_exports == 2
    assert len(world.dynamodb.exports) == 2
    assert not world.is_open()
    assert stop.was_reached or calls > 7


def test_the_closer_that_was_about_to_finish_sees_what_the_schedule_added(world):
    """The schedule takes the set over after the manifest was written, and before the set is finished."""
    key = world.dynamodb.complete(by_hand(world, "orders"))
    other = world.new_process()
    done: list[str] = []

    def after(name: str, request: dict[str, Any]) -> None:
        if name == "put_object" and str(request["Key"]).endswith("manifest.json") and not done:
            done.append(name)
            other.start_scheduled()

    world.after = after
    world.send(key)
    world.mend()
    assert world.is_open()
    world.dynamodb.complete_all()
    finish(world)
    assert (world.manifest().status, world.manifest().successful_exports) == ("COMPLETE", 2)


# --- whose events never came -----------------------------------------------------------------------------------------


def test_a_rebuild_finds_those_whose_events_never_came(world):
    world.finished_set()
    world.create_table("users")
    world.clock.advance(HOUR_MS)
    for name, date in (("users", DATE), ("orders", NEW)):
        world.dynamodb.complete(by_hand(world, name, date))
    told = rebuild(world)
    assert (told["adopted"], told["known"], told["tables_added"]) == (1, 1, 1)
    finish(world)
    assert world.manifest().successful_exports == 3
    assert world.manifest(NEW).status == "COMPLETE"


def test_of_several_full_exports_the_one_that_shows_the_latest_counts(world):
    first = by_hand(world, "orders", NEW)
    world.clock.advance(HOUR_MS)
    newest = by_hand(world, "orders", NEW)
    world.clock.advance(HOUR_MS)
    unfinished = by_hand(world, "orders", NEW)
    world.dynamodb.complete_all([newest, first])
    only_begun(world, unfinished)
    drop_ledger(world)
    rebuild(world)
    finish(world)
    (table,) = world.manifest(NEW).tables
    assert table.export_arn == newest.arn
    assert "2 other exports of it" in table.notes[-1]


def test_a_table_that_is_gone_fails_and_says_what_to_do(world):
    key = world.dynamodb.complete(by_hand(world, "orders", NEW))
    other = world.dynamodb.complete(by_hand(world, "orders", "2026-11-19"))
    world.send(other)
    delete_table(world, "orders")
    assert world.send(key) == "adopted"
    (table,) = world.manifest(NEW).tables
    assert (table.status, table.failure_code) == ("FAILED", "DefinitionLost")
    # What the message says to do is done.
    folder = f"{PREFIX}/2026-11-19/orders/table.json"
    body = world.s3.get_object(Bucket=BUCKET, Key=folder)["Body"].read()
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{NEW}/orders/table.json", Body=body)
    assert world.send(key) == "adopted"
    assert (world.manifest(NEW).status, world.manifest(NEW).revision) == ("COMPLETE", 2)


def test_an_export_of_another_account_is_adopted_from_a_copied_bucket(world):
    """The account and region of a copy are the original's; its definition came with it."""
    name = world.finished_set()
    manifest = msgspec.json.decode(
        world.s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{name}/manifest.json")["Body"].read()
    )
    assert manifest["status"] == "COMPLETE"
    world.s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{name}/manifest.json")
    for table in world.tables:
        delete_table(world, table)
    world.dynamodb.exports.clear()
    drop_ledger(world)
    rebuild(world)
    finish(world)
    assert world.manifest(name).status == "COMPLETE"
