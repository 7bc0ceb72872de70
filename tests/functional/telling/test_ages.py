"""How old the newest complete backups are: metrics every hour, a notice a day where they are too old."""

import pytest

from chalicelib.backup.catalog import export_key, set_key
from chalicelib.ledger import Update
from tests.fake_exports import refusal
from tests.functional.backup.adoption.lost_ledger import by_hand, drop_ledger, rebuild
from tests.functional.backup.test_stopping import stopped_after
from tests.functional.backup.world import HOUR_MS, MINUTE_MS
from tests.functional.telling.world import TellingWorld

DAY_MS = 24 * HOUR_MS
AGE = "NewestCompleteBackupAgeSeconds"


def ages(world) -> dict[str | None, float]:
    """By table in hours; the largest of all under None."""
    return {each.get("TableName"): each[AGE] / 3600 for each in world.metrics() if AGE in each}


def told(world) -> list[str]:
    return [mail["Subject"] for mail in world.mails() if "STALE" in mail["Subject"]]


def a_set(world) -> None:
    world.finished_set()
    world.reconcile_a_minute_later()
    world.clock.advance(-MINUTE_MS)
    world.mails(), world.events(), world.metrics()


def hours_later(world, hours: int) -> None:
    """Reconcile runs every minute: what matters of it, each hour."""
    for _ in range(hours):
        world.clock.advance(HOUR_MS)
        world.ages.run()
        world.service.reconcile()


def test_each_hour_has_the_age_of_every_table_once(world):
    a_set(world)
    assert world.ages.run()
    assert ages(world) == {"orders": 0, "catalog": 0, None: 0}
    world.clock.advance(HOUR_MS)
    assert world.ages.run()
    assert ages(world) == {"orders": 1, "catalog": 1, None: 1}
    world.clock.advance(MINUTE_MS)
    assert not world.ages.run()
    assert ages(world) == {}


def test_within_an_hour_a_process_reads_nothing_and_a_new_one_one_row(world):
    world.ages.run()
    world.watch()
    world.ages.run()
    assert world.calls == []
    world.service = world.new_process()
    world.ages.run()
    world.ages.run()
    assert world.calls == ["get_item"]


def test_two_runs_at_once_do_an_hour_once(world):
    a_set(world)
    world.clock.advance(2 * HOUR_MS)
    world.ages.run()
    world.metrics()
    world.clock.advance(HOUR_MS)
    inside: list[str] = []

    def before(name, request):
        if name == "update_item" and not inside:
            inside.append(name)
            world.service = world.new_process()
            assert world.ages.run()

    first = world.ages
    world.before = before
    assert not first.run()
    assert ages(world) == {"orders": 3, "catalog": 3, None: 3}


def test_a_table_that_fails_keeps_the_age_of_its_last_backup(world):
    a_set(world)
    world.clock.advance(DAY_MS)
    world.enable_recovery("orders", enabled=False)
    a_set(world)
    hours_later(world, 1)
    assert ages(world) == {"orders": 25, "catalog": 1, None: 25}


def test_what_is_too_old_is_told_once_a_day_with_the_last_reason(world):
    a_set(world)
    world.clock.advance(DAY_MS)
    world.enable_recovery("orders", enabled=False)
    a_set(world)
    hours_later(world, 12)
    assert told(world) == []
    hours_later(world, 2)
    mails = world.mails()
    assert [each["Subject"] for each in mails] == [
        "[tablevault tests] backups STALE: 1 of 2 tables have none of the last 36 h"
    ]
    assert "- orders: 37 h old, of 2026-11-21T01:00:20.000Z; point-in-time recovery is off" in mails[0]["Message"]
    assert "catalog" not in mails[0]["Message"]
    (event,) = world.events()
    assert (event["DetailType"], event["detail"]["stale_tables"]) == ("Backups Stale", 1)
    assert event["detail"]["failures"][0]["table"] == "orders"
    hours_later(world, 6)
    assert told(world) == []
    hours_later(world, 24)
    assert len(told(world)) == 1


def test_a_schedule_that_no_longer_runs_is_told(world):
    a_set(world)
    hours_later(world, 36)
    assert told(world) == []
    hours_later(world, 2)
    assert told(world) == ["[tablevault tests] backups STALE: 2 of 2 tables have none of the last 36 h"]
    assert [name for name in world.notices() if name.startswith("STALE")] == ["STALE#2026-11-22#1"]


def test_a_new_installation_is_told_of_no_backup_only_after_the_longest_age(world):
    world.ages.run()
    hours_later(world, 36)
    assert told(world) == []
    hours_later(world, 2)
    (subject,) = told(world)
    assert subject == "[tablevault tests] backups STALE: no scheduled backup since 2026-11-21T01:00Z"
    assert ages(world)[None] == 38


def test_sets_by_hand_alone_are_no_schedule(world):
    world.ages.run()
    for _ in range(2):
        world.clock.advance(12 * HOUR_MS)
        world.service.start_by_hand(None)
        for key in world.dynamodb.complete_all():
            world.send(key)
    hours_later(world, 14)
    assert len(told(world)) == 1


def test_a_set_by_hand_makes_a_table_young_again(world):
    a_set(world)
    world.clock.advance(30 * HOUR_MS)
    world.service.start_by_hand(["orders"])
    for key in world.dynamodb.complete_all():
        world.send(key)
    hours_later(world, 1)
    assert ages(world) == {"orders": 1, "catalog": 31, None: 31}


def test_an_export_by_hand_in_a_days_place_does_not_hide_that_the_schedule_stands_still(world):
    a_set(world)
    for day in ("2026-11-22", "2026-11-23"):
        world.clock.advance(DAY_MS)
        world.send(world.dynamodb.complete(by_hand(world, "orders", day)))
    world.ages.run()
    assert ages(world) == {"orders": 0, "catalog": 48, None: 48}
    world.service.reconcile()
    assert told(world) == ["[tablevault tests] backups STALE: 1 of 2 tables have none of the last 36 h"]


def test_backups_that_are_asked_to_show_an_older_day_are_not_told_of_until_none_comes(aws):
    world = TellingWorld(BACKUP_DAY="1")
    world.clock.advance(25 * DAY_MS)
    a_set(world)
    hours_later(world, 35)
    assert ages(world)[None] > 14 * 24
    assert told(world) == []
    hours_later(world, 3)
    assert told(world) == ["[tablevault tests] backups STALE: 2 of 2 tables have none of the last 36 h"]


def test_where_all_sets_are_adopted_the_newest_days_set_says_which_tables_there_are(world):
    a_set(world)
    drop_ledger(world)
    rebuild(world)
    world.clock.advance(2 * HOUR_MS)
    world.ages.run()
    assert ages(world).keys() == {"orders", "catalog", None}


def test_a_table_without_any_backup_is_as_old_as_the_sets_that_have_it(world):
    world.enable_recovery("orders", enabled=False)
    a_set(world)
    world.clock.advance(DAY_MS)
    a_set(world)
    hours_later(world, 13)
    assert ages(world)["orders"] == 37
    (mail,) = world.mails()
    assert "- orders: none for at least 37 h; point-in-time recovery is off" in mail["Message"]


def test_a_set_that_is_not_finished_does_not_make_a_table_young(world):
    a_set(world)
    world.clock.advance(DAY_MS)
    world.service.start_scheduled()
    world.send(world.dynamodb.complete(*world.dynamodb.running()[:1]))
    world.clock.advance(HOUR_MS)
    world.ages.run()
    assert ages(world) == {"orders": 25, "catalog": 25, None: 25}


@pytest.mark.parametrize("key", [set_key("2026-11-22"), export_key("2026-11-22", "orders")], ids=str)
def test_rows_that_cannot_be_read_are_passed_over(world, key):
    a_set(world)
    world.clock.advance(DAY_MS)
    a_set(world)
    world.ledger.write(Update(key, set={"status": 17}))
    hours_later(world, 1)
    assert ages(world)["orders"] == 25


def test_sets_are_looked_at_only_as_far_as_needed_and_not_without_end(world):
    world.enable_recovery("orders", enabled=False)
    a_set(world)
    set_row, rows = world.set_row(), [world.export_row("orders"), world.export_row("catalog")]
    for number in range(60):
        name = f"2026-{10 + number // 28}-{number % 28 + 1:02d}"
        bare = [{key: value for key, value in row.items() if key not in ("pk", "sk")} for row in (set_row, *rows)]
        keys = [set_key(name), export_key(name, "orders"), export_key(name, "catalog")]
        renamed = [{**row, "backup_date": name} for row in bare]
        world.ledger.put_all(zip(keys, [renamed[0] | {"sort_name": name}, *renamed[1:]], strict=True))
    world.watch()
    world.clock.advance(HOUR_MS)
    world.ages.run()
    assert 40 <= world.calls.count("query") <= 45
    assert ages(world)["catalog"] == 1


def test_no_limit_says_nothing_and_still_measures(aws):
    world = TellingWorld(LONGEST_BACKUP_AGE_HOURS="0")
    a_set(world)
    hours_later(world, 100)
    assert told(world) == []
    assert ages(world)[None] == 100


def test_a_run_that_stops_is_made_up_for_in_the_next_hour(world):
    a_set(world)
    world.clock.advance(40 * HOUR_MS)
    for calls in (1, 2):
        assert stopped_after(world, calls, world.ages.run)
        world.clock.advance(HOUR_MS)
    hours_later(world, 1)
    hours_later(world, 1)
    assert len(told(world)) == 1


def test_a_ledger_that_cannot_be_read_is_asked_again_the_next_minute(world):
    a_set(world)
    world.clock.advance(HOUR_MS)
    world.refuse("get_item", refusal("InternalServerError", "GetItem"), when=lambda request: True)
    with pytest.raises(Exception, match="InternalServerError"):
        world.ages.run()
    world.mend()
    assert world.ages.run()
