"""The ledger is dropped and rebuilt from the bucket alone: what is seen of the backups is what it was."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.backup.catalog import set_key
from chalicelib.backup.chain import missing_links
from chalicelib.backup.removal_mark import removal_key
from chalicelib.backup.states import ExportState
from chalicelib.errors import NotFound
from chalicelib.ledger import Put, Update
from tests.fake_exports import refusal
from tests.functional.backup.adoption.lost_ledger import drop_ledger, rebuild, rows, seen
from tests.functional.backup.test_increments import DAYS, a_day, put, table_of
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, MINUTE_MS, PREFIX, Stopped, World


@pytest.fixture
def weekly(aws) -> World:
    """Full exports on Saturdays, of which the first day is one."""
    return World(("orders", "catalog"), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday")


def several_days(world: World) -> None:
    """A full set; one with a failed table; one whose increment has two parts; one by hand; one asked for twice."""
    a_day(world)
    put(world, "orders", 1)
    a_day(world, fail=("orders",))
    put(world, "orders", 2)
    a_day(world)
    world.service.start_by_hand(["orders"])
    for key in world.dynamodb.complete_all():
        world.send(key)
    world.clock.advance(MINUTE_MS)
    a_day(world)


def late_and_unmatched(world: World) -> None:
    """A set whose overdue export completed after all, so that its manifest was written twice."""
    world.service.start_scheduled()
    (orders,) = [each for each in world.dynamodb.running() if each.request["TableArn"].endswith("/orders")]
    world.dynamodb.complete_all([each for each in world.dynamodb.running() if each is not orders])
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    world.send(world.dynamodb.complete(orders))


@pytest.mark.parametrize("make", [several_days, late_and_unmatched])
def test_what_is_seen_is_what_it_was(weekly, make):
    make(weekly)
    before = seen(weekly)
    assert len(before["backups"]) >= 1
    drop_ledger(weekly)
    assert seen(weekly)["backups"] == []
    told = rebuild(weekly)
    assert seen(weekly) == before
    assert (told["sets"], told["adopted"], told["known"]) == (len(before["backups"]), len(before["backups"]), 0)
    assert (told["problems"], told["problems_total"], told["phase"]) == ([], 0, "EXPORTS")


@pytest.mark.thorough
def test_nothing_is_left_open_and_no_manifest_is_written_again(weekly):
    several_days(weekly)
    written = {key: weekly.s3.head_object(Bucket=BUCKET, Key=key)["ETag"] for key in weekly.list_keys()}
    drop_ledger(weekly)
    rebuild(weekly)
    assert weekly.service._catalog.open_work() == []
    assert {key: weekly.s3.head_object(Bucket=BUCKET, Key=key)["ETag"] for key in weekly.list_keys()} == written
    weekly.watch()
    weekly.reconcile_a_minute_later()
    assert weekly.calls == ["query"]


def test_chains_go_on_the_next_day_as_if_nothing_had_happened(weekly):
    several_days(weekly)
    drop_ledger(weekly)
    rebuild(weekly)
    put(weekly, "orders", 3)
    name = a_day(weekly)
    table = table_of(weekly, name)
    assert table.export_type == "INCREMENTAL_EXPORT"
    assert missing_links(table) == []
    assert table.item_count == 1
    assert weekly.manifest(name).status == "COMPLETE"


@pytest.mark.thorough
def test_rows_rebuilt_say_what_the_lost_ones_said(weekly):
    """Apart from what a manifest does not know: tokens, how often a row was tried, what a failed one built on."""
    several_days(weekly)
    catalog = weekly.service._catalog
    before = {name: catalog.record(name) for name in catalog_names(weekly)}
    drop_ledger(weekly)
    rebuild(weekly)
    for name, lost in before.items():
        found = catalog.record(name)
        assert (found.set.tables, found.set.status, found.set.by_hand) == (
            lost.set.tables,
            lost.set.status,
            lost.set.by_hand,
        )
        for row in (each for each in lost.exports if each.status is ExportState.COMPLETED):
            (again,) = [each for each in found.exports if (each.table_name, each.part) == (row.table_name, row.part)]
            for field in ("status", "parts", "base", "notes", "export_arn", "item_count", "manifest_files_key"):
                assert getattr(again, field) == getattr(row, field), (name, row.table_name, field)


def catalog_names(world: World) -> list[str]:
    return [each["backup_date"] for each in world.service.list_page(100, None)["backups"]]


@pytest.mark.thorough
def test_a_rebuild_of_a_ledger_that_lacks_nothing_changes_nothing(weekly):
    several_days(weekly)
    before = rows(weekly)
    told = rebuild(weekly)
    after = {key: row for key, row in rows(weekly).items() if key != "LEDGER#REBUILD/RUN"}
    assert after == before
    assert (told["sets"], told["adopted"], told["known"], told["tables_added"]) == (5, 0, 5, 0)


@pytest.mark.thorough
def test_tables_that_the_manifest_has_and_the_ledger_lost_come_back(weekly):
    several_days(weekly)
    before = seen(weekly)
    for row in [key for key in rows(weekly) if key.startswith("BACKUP#") and key.endswith("EXPORT#catalog")]:
        pk, _, sk = row.partition("/")
        weekly.lose(type(set_key(DATE))(pk, sk))
    weekly.ledger.write(Update(set_key(DATE), set={"tables": ["orders"]}))  # the SET row of an older copy
    told = rebuild(weekly)
    assert told["tables_added"] == 4
    assert seen(weekly)["each"] == before["each"]
    for name in catalog_names(weekly):
        record = weekly.service._catalog.record(name)
        assert record.missing() == []
        assert not record.is_torn
        assert not record.set.is_open
    assert weekly.set_row(DATE)["tables"] == ["orders", "catalog"]


@pytest.mark.thorough
def test_a_set_row_alone_that_was_lost_comes_back_over_rows_with_late_ones(weekly):
    late_and_unmatched(weekly)
    before = seen(weekly)
    weekly.lose(set_key(DATE))
    rebuild(weekly)
    assert seen(weekly) == before
    record = weekly.service._catalog.record(DATE)
    assert any(row.late for row in record.exports)
    assert not record.is_torn


def test_a_set_that_is_open_is_left_to_itself(world):
    world.service.start_scheduled()
    before = world.service._catalog.record(DATE)
    told = rebuild(world)
    assert told["known"] == 1
    after = world.service._catalog.record(DATE)
    assert [row.status for row in after.exports] == [row.status for row in before.exports]
    assert len(world.dynamodb.exports) == 2


@pytest.mark.thorough
def test_a_set_that_is_being_removed_is_passed_over(weekly):
    several_days(weekly)
    drop_ledger(weekly)
    weekly.ledger.write(Put(removal_key(DAYS[1]), {"token": "t"}))
    told = rebuild(weekly)
    assert (told["adopted"], told["removed"]) == (4, 1)
    assert weekly.set_row(DAYS[1]) == {}
    assert weekly.export_row("orders", DAYS[1]) == {}


def test_a_manifest_that_cannot_be_trusted_is_named_and_nothing_is_written_for_it(weekly):
    several_days(weekly)
    drop_ledger(weekly)
    weekly.replace_in_manifest(DAYS[1], '"total_tables_processed": 2', '"total_tables_processed": 3')
    weekly.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{DAYS[2]}/manifest.json", Body=b'{"schema_version": 99}')
    told = rebuild(weekly)
    assert [problem["backup_date"] for problem in told["problems"]] == [DAYS[2], DAYS[1]]
    assert "newer tablevault" in told["problems"][0]["message"]
    assert told["adopted"] == 3
    assert weekly.set_row(DAYS[1]) == weekly.set_row(DAYS[2]) == {}
    assert not [key for key in rows(weekly) if DAYS[1] in key.partition("/")[0]]


def test_problems_are_bounded_in_number_and_length(world):
    for number in range(60):
        key = f"{PREFIX}/2025-{number % 12 + 1:02d}-{number // 12 + 1:02d}/manifest.json"
        world.s3.put_object(Bucket=BUCKET, Key=key, Body=b'{"schema_version": "' + b"x" * 5000 + b'"}')
    told = rebuild(world)
    assert (len(told["problems"]), told["problems_total"], told["sets"]) == (50, 60, 60)
    assert max(len(problem["message"]) for problem in told["problems"]) <= 501


def test_asked_for_twice_it_is_one_and_after_it_another(world):
    with pytest.raises(NotFound) as caught:
        world.service.rebuild.describe()
    assert caught.value.code == "rebuild_not_found"
    first = world.service.rebuild.start("alice")
    world.clock.advance(MINUTE_MS)
    assert world.service.rebuild.start("bob") == first
    assert (first["status"], first["asked_by"], first["links"]) == ("OPEN", "alice", {"self": "/ledger/rebuild"})
    world.service.reconcile()
    assert world.service.rebuild.describe()["status"] == "COMPLETED"
    assert world.service.rebuild.start("bob")["asked_by"] == "bob"


def test_it_goes_on_where_its_time_ended(weekly):
    several_days(weekly)
    before = seen(weekly)
    drop_ledger(weekly)
    weekly.service.rebuild.start("operator")
    taken_ms = 12 * 1000  # each set's manifest takes so long to read: two sets a run

    def slow(name: str, request: dict[str, Any]) -> None:
        if name == "get_object" and request["Key"].endswith("manifest.json"):
            weekly.clock.advance(taken_ms)

    weekly.before = slow
    runs: list[int] = []
    while weekly.service.rebuild.describe()["status"] == "OPEN" and len(runs) < 10:
        weekly.service.reconcile()
        runs.append(weekly.service.rebuild.describe()["adopted"])
    weekly.mend()
    assert runs[:2] == [2, 4]
    assert seen(weekly) == before


@pytest.mark.thorough
def test_an_error_that_passes_leaves_the_set_to_the_next_run_and_one_that_does_not_is_a_problem(weekly):
    several_days(weekly)
    before = seen(weekly)
    drop_ledger(weekly)
    weekly.service.rebuild.start("operator")

    def of_day(request: dict[str, Any]) -> bool:
        return str(request.get("Key")) == f"{PREFIX}/{DAYS[1]}/manifest.json"

    weekly.refuse("get_object", refusal("SlowDown", "GetObject"), when=of_day)
    weekly.reconcile_a_minute_later()
    told = weekly.service.rebuild.describe()
    assert (told["status"], told["cursor"], told["adopted"]) == ("OPEN", DAYS[2], 3)
    weekly.mend()
    weekly.reconcile_a_minute_later()
    assert weekly.service.rebuild.describe()["status"] == "COMPLETED"
    assert seen(weekly) == before


@pytest.mark.thorough
def test_a_set_that_fails_without_end_is_given_up_and_the_others_have_their_turn(weekly):
    several_days(weekly)
    drop_ledger(weekly)

    def of_day(request: dict[str, Any]) -> bool:
        return str(request.get("Key")) == f"{PREFIX}/{DAYS[1]}/manifest.json"

    weekly.refuse("get_object", refusal("SlowDown", "GetObject"), when=of_day)
    told = rebuild(weekly, most_runs=30)
    assert [problem["backup_date"] for problem in told["problems"]] == [DAYS[1], DAYS[1]]
    assert told["adopted"] == 4


def test_a_listing_that_is_refused_is_raised_and_the_rebuild_stays(world):
    world.service.rebuild.start("operator")
    world.refuse("get_paginator", refusal("AccessDenied", "ListObjectsV2"), when=lambda request: True)
    with pytest.raises(ClientError):
        world.service.rebuild.carry_on("REBUILD", world.clock() + HOUR_MS)
    assert world.service.reconcile() == ["REBUILD"]
    assert world.service.rebuild.describe()["status"] == "OPEN"


@pytest.mark.thorough
def test_two_runs_at_once_make_one_ledger(weekly):
    several_days(weekly)
    before = seen(weekly)
    drop_ledger(weekly)
    weekly.service.rebuild.start("operator")
    other = weekly.new_process()
    entered: list[str] = []

    def meanwhile(name: str, request: dict[str, Any]) -> None:
        if name == "transact_write_items" and not entered:
            entered.append(name)
            other.rebuild.carry_on("REBUILD", weekly.clock() + HOUR_MS)

    weekly.before = meanwhile
    weekly.service.reconcile()
    weekly.mend()
    weekly.reconcile_a_minute_later()
    assert weekly.service.rebuild.describe()["status"] == "COMPLETED"
    assert seen(weekly) == before


def test_stopped_after_any_call_it_is_carried_on(aws):
    world = World(("orders", "catalog"), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="saturday")
    a_day(world)
    a_day(world, fail=("orders",))
    a_day(world)
    before = seen(world)
    for calls in range(1, 100):
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
        assert seen(world) == before
        assert world.service._catalog.open_work() == []
        if not stop.was_reached:
            break
    assert 15 < calls < 99
