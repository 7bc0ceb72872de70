"""Incremental sets: each continues where a table's last completed export ended, and says alone what it builds on."""

from typing import Any

import pytest

from chalicelib.backup import closing
from chalicelib.backup.catalog import export_key
from chalicelib.backup.chain import links_of, missing_links
from chalicelib.errors import Conflict
from tests.fake_exports import refusal
from tests.functional.backup.world import DATE, HOUR_MS, MINUTE_MS, PREFIX, World

DAYS = ("2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24")  # the first is a Saturday
WINDOW = "IncrementalExportSpecification"


@pytest.fixture
def weekly(aws) -> World:
    """Full exports on Saturdays."""
    return World(("orders", "catalog"), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday")


def a_day(world: World, *, fail: tuple[str, ...] = ()) -> str:
    """An hour, the schedule's run, all exports complete, and it is 23 hours later; the set's name."""
    world.clock.advance(HOUR_MS)
    name = str(world.service.start_scheduled()["backup_date"])
    for export in world.dynamodb.running():
        if export.request["TableArn"].rsplit("/", 1)[-1] in fail:
            world.dynamodb.fail(export, "S3NoSuchBucket", "the bucket does not exist")
        else:
            world.send(world.dynamodb.complete(export))
    world.clock.advance(23 * HOUR_MS)
    world.service.reconcile()
    return name


def put(world: World, table_name: str, number: int) -> None:
    world.dynamodb.put_item(TableName=table_name, Item={"id": {"S": f"new-{number}"}, "n": {"N": str(number)}})


def table_of(world: World, name: str, table_name: str = "orders"):
    table = world.manifest(name).table(table_name)
    assert table is not None
    return table


def test_days_after_a_full_export_are_increments_that_name_all_they_build_on(weekly):
    for number in range(3):
        name = a_day(weekly)
        put(weekly, "orders", number)
        assert weekly.manifest(name).status == "COMPLETE"
    saturday, sunday, monday = (table_of(weekly, day) for day in DAYS[:3])
    assert [each.export_type for each in (saturday, sunday, monday)] == ["FULL_EXPORT", *["INCREMENTAL_EXPORT"] * 2]
    assert [link.backup_date for link in monday.base] == list(DAYS[:2])
    assert links_of(monday) == (*links_of(sunday), links_of(monday)[-1])
    assert missing_links(monday) == []
    assert (sunday.export_to, sunday.item_count) == (monday.export_from, 1)
    assert sunday.definition_key == f"{PREFIX}/{DAYS[1]}/orders/table.json"
    assert "/AWSDynamoDB/data/" in weekly.list_keys(f"{PREFIX}/{DAYS[1]}/orders/AWSDynamoDB/data/")[0]


def test_what_is_asked_for_is_what_dynamodb_takes(weekly):
    a_day(weekly)
    weekly.service.start_scheduled()
    export = weekly.dynamodb.of_table("orders")[-1]
    said = export.request[WINDOW]
    assert export.request["ExportType"] == "INCREMENTAL_EXPORT"
    assert said["ExportViewType"] == "NEW_AND_OLD_IMAGES"
    assert "ExportTime" not in export.request
    assert (said["ExportToTime"].microsecond, said["ExportFromTime"].microsecond) == (0, 0)


def test_the_full_exports_day_comes_around(weekly):
    for _ in range(7):
        a_day(weekly)
    assert table_of(weekly, a_day(weekly)).export_type == "FULL_EXPORT"


def test_a_failed_days_changes_are_in_the_next_days_windows(weekly):
    a_day(weekly)
    put(weekly, "orders", 1)
    assert weekly.manifest(a_day(weekly, fail=("orders",))).status == "PARTIAL"
    put(weekly, "orders", 2)
    table = table_of(weekly, a_day(weekly))
    assert [link.backup_date for link in table.base] == [DAYS[0], DAYS[2]]  # two parts in one set: 48 hours
    assert missing_links(table) == []
    assert sum(link.item_count for link in links_of(table)[1:]) == 2
    assert [link.backup_date for link in table_of(weekly, DAYS[2], "catalog").base] == [DAYS[0], DAYS[1]]


def test_a_failed_part_fails_the_table_and_the_next_set_begins_before_it(weekly):
    a_day(weekly)
    a_day(weekly, fail=("orders",))
    weekly.service.start_scheduled()
    first, second = weekly.dynamodb.of_table("orders")[-2:]
    weekly.dynamodb.fail(second, "S3NoSuchBucket", "no bucket")
    weekly.dynamodb.complete_all()
    weekly.reconcile_a_minute_later()
    assert table_of(weekly, DAYS[2]).failure_code == "S3NoSuchBucket"
    assert first.status == "COMPLETED"
    weekly.clock.advance(24 * HOUR_MS)
    table = table_of(weekly, a_day(weekly))
    assert [link.backup_date for link in table.base] == [DAYS[0], DAYS[3], DAYS[3]]
    assert missing_links(table) == []


def test_an_event_of_a_part_before_it_is_written_down_is_recorded_as_that_part(weekly):
    a_day(weekly)
    a_day(weekly, fail=("orders",))
    seen: list[str] = []

    def before(name: str, request: dict[str, Any]) -> None:
        if name == "update_item" and "IN_PROGRESS" in str(request) and "EXPORT#orders#1" in str(request) and not seen:
            export = weekly.dynamodb.of_table("orders")[-1]
            seen.append(weekly.send(weekly.dynamodb.complete(export)))

    weekly.before = before
    weekly.service.start_scheduled()
    weekly.mend()
    assert seen == ["recorded"]
    assert [row.status for row in weekly.service._catalog.exports_of(DAYS[2], "orders")][1] == "COMPLETED"
    for key in weekly.dynamodb.complete_all():
        weekly.send(key)
    assert missing_links(table_of(weekly, DAYS[2])) == []


def test_what_completed_in_a_set_that_is_still_open_is_continued_and_not_paid_for_again(weekly):
    a_day(weekly)
    weekly.service.start_scheduled()
    (orders,) = [each for each in weekly.dynamodb.running() if each.request["TableArn"].endswith("/orders")]
    weekly.send(weekly.dynamodb.complete(orders))  # catalog's export hangs: the set has no manifest
    weekly.clock.advance(23 * HOUR_MS)
    weekly.service.start_scheduled()
    assert weekly.set_row(DAYS[2])["export_type"] == "INCREMENTAL_EXPORT"
    newest = weekly.dynamodb.of_table("orders")[-1]
    assert newest.window_ms is not None
    assert orders.window_ms is not None
    assert newest.window_ms[0] == orders.window_ms[1]
    catalog = weekly.dynamodb.of_table("catalog")
    assert len(catalog) == 4  # the full one, the one that hangs, and two parts of today
    assert catalog[2].window_ms[0] == catalog[1].window_ms[0]


@pytest.mark.parametrize("how", ["recovery was reset", "its sets are gone", "a table made anew"])
def test_without_a_chain_to_continue_the_table_alone_has_a_full_export(weekly, how):
    a_day(weekly)
    if how == "recovery was reset":
        weekly.enable_recovery("orders", enabled=False)
        weekly.enable_recovery("orders")
    elif how == "a table made anew":
        weekly.dynamodb.delete_table(TableName="orders")
        weekly.create_table("orders")
    else:
        weekly.s3.delete_object(Bucket=weekly.settings.backup_bucket, Key=f"{PREFIX}/{DATE}/manifest.json")
    weekly.clock.advance(HOUR_MS)
    name = a_day(weekly)
    assert table_of(weekly, name).export_type == "FULL_EXPORT"
    assert "a full export was made instead of an increment" in table_of(weekly, name).notes[0]
    expected = "FULL_EXPORT" if how == "its sets are gone" else "INCREMENTAL_EXPORT"
    assert table_of(weekly, name, "catalog").export_type == expected


def test_an_unreadable_manifest_is_passed_over(weekly):
    a_day(weekly)
    a_day(weekly)
    key = f"{PREFIX}/{DAYS[1]}/manifest.json"
    weekly.s3.put_object(Bucket=weekly.settings.backup_bucket, Key=key, Body=b'{"schema_version": 99}')
    table = table_of(weekly, a_day(weekly))
    assert [link.backup_date for link in table.base] == [DAYS[0], DAYS[2]]
    assert missing_links(table) == []


def test_by_hand_an_increment_is_made_when_asked_for(weekly):
    a_day(weekly)
    name = weekly.service.start_by_hand(("orders",), export_type="INCREMENTAL_EXPORT")["backup_date"]
    for key in weekly.dynamodb.complete_all():
        weekly.send(key)
    assert table_of(weekly, name).export_type == "INCREMENTAL_EXPORT"
    with pytest.raises(Conflict):
        weekly.service.start_by_hand(("orders",), export_type="FULL_EXPORT")
    weekly.clock.advance(MINUTE_MS)
    weekly.service.start_by_hand(("orders",))
    assert weekly.dynamodb.of_table("orders")[-1].window_ms is None


def test_what_a_set_continues_is_decided_once(weekly):
    """The parameters and the base of a planned table stay, whatever is found when it is started later."""
    a_day(weekly)
    weekly.refuse("export_table_to_point_in_time", refusal("ThrottlingException", "X"), when=lambda request: True)
    weekly.service.start_scheduled()
    planned = weekly.export_row("orders", DAYS[1])
    weekly.mend()
    weekly.clock.advance(3 * HOUR_MS)
    weekly.service.reconcile()
    started = weekly.export_row("orders", DAYS[1])
    assert started["status"] == "IN_PROGRESS"
    assert (started["parameters"], started["base"]) == (planned["parameters"], planned["base"])


# --- what a review thought of ---------------------------------------------------------------------------------------


def test_a_table_of_that_name_in_another_region_is_not_continued(weekly):
    """A bucket that moved, or that two stages share."""
    a_day(weekly)
    for table_name in ("orders", "catalog"):
        weekly.replace_in_manifest(
            DATE, f":us-east-1:123456789012:table/{table_name}", f":eu-west-1:1:table/{table_name}"
        )
    table = table_of(weekly, a_day(weekly))
    assert table.export_type == "FULL_EXPORT"
    assert "another account or region" in table.notes[0]


def test_a_full_export_that_does_not_say_of_when_it_is_is_not_continued(weekly):
    a_day(weekly)
    weekly.replace_in_manifest(DATE, f'"export_time": "{table_of(weekly, DATE).export_time}"', '"export_time": null')
    assert table_of(weekly, a_day(weekly)).export_type == "FULL_EXPORT"


def two_parts(world: World) -> None:
    """An open set of which orders' two parts run."""
    a_day(world)
    a_day(world, fail=("orders",))
    world.service.start_scheduled()


@pytest.mark.parametrize("part", [0, 1])
def test_a_lost_row_of_a_part_never_makes_the_others_the_whole(weekly, part):
    two_parts(weekly)
    weekly.dynamodb.complete_all()
    weekly.lose(export_key(DAYS[2], "orders", part))
    for _ in range(4):
        weekly.reconcile_a_minute_later()
        weekly.dynamodb.complete_all()
    table = table_of(weekly, DAYS[2])
    if part:
        assert (table.status, table.failure_code) == ("FAILED", "LedgerRowLost")
    else:
        assert table.status == "COMPLETED"
        assert missing_links(table) == []


def test_why_a_part_failed_is_shown_although_another_one_completed(weekly):
    two_parts(weekly)
    first, second = weekly.dynamodb.of_table("orders")[-2:]
    weekly.dynamodb.fail(first, "S3NoSuchBucket", "no bucket")
    weekly.send(weekly.dynamodb.complete(second))
    weekly.reconcile_a_minute_later()
    (orders, _) = weekly.service.describe(DAYS[2])["tables"]
    assert (orders["status"], orders["failure_code"]) == ("FAILED", "S3NoSuchBucket")


def test_a_set_by_hand_after_the_hour_that_sets_show_does_not_break_the_chain(aws):
    """The schedule's set shows noon; the one by hand, of that night, is later than that."""
    world = World(("orders",), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday", BACKUP_HOUR="0")
    world.clock.advance(6 * HOUR_MS)
    a_day(world)
    by_hand = world.service.start_by_hand(None)["backup_date"]
    for key in world.dynamodb.complete_all():
        world.send(key)
    assert by_hand > DAYS[1]
    world.clock.advance(20 * HOUR_MS)
    table = table_of(world, a_day(world))
    assert table.export_type == "INCREMENTAL_EXPORT"


def test_a_manifest_that_nobody_could_read_is_not_written(weekly, monkeypatch):
    monkeypatch.setattr(closing, "LARGEST_MANIFEST_BYTES", 500)
    weekly.service.start_scheduled()
    weekly.dynamodb.complete_all()
    weekly.reconcile_a_minute_later()
    assert weekly.is_open(DATE)
    assert f"{PREFIX}/{DATE}/manifest.json" not in weekly.list_keys(f"{PREFIX}/{DATE}/")
    monkeypatch.undo()
    weekly.reconcile_a_minute_later()
    assert weekly.manifest(DATE).status == "COMPLETE"
