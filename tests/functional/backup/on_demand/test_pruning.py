"""Retention of on-demand backups: what goes, what stays whatever happens, and the rows of runs that go after them."""

import contextlib

import pytest

from chalicelib.backup.backup_names import safety_name, scheduled_name
from chalicelib.backup.on_demand.runs import run_key, table_key
from chalicelib.errors import OutOfTime
from chalicelib.ledger import Update
from tests.fake_exports import refusal
from tests.functional.backup.on_demand.world import World
from tests.functional.backup.world import HOUR_MS, Stopped

DAY_MS = 24 * HOUR_MS
RESTORE = "r-20261121T010000Z-0123abcd"
DAYS = {"ON_DEMAND_RETENTION_DAYS": "3", "RETENTION_MINIMUM": "2"}
SCHEDULED_DAYS = ["01", "02", "03", "04"]
SAFETY = {"SAFETY_BACKUP_RETENTION_DAYS": "5"}


def a_world(
    *tables: str, environ: dict[str, str] | None = None, environment: str = "tests", beside: World | None = None
) -> World:
    world = World(tables or ("orders",), environ=environ, environment=environment, beside=beside)
    world.dynamodb.takes_ms = 0
    return world


def daily(world: World, days: int, first: int = 1) -> list[str]:
    """A run a day, in December from the `first` on; the names of the runs."""
    names = [f"2026-12-{day:02d}" for day in range(first, first + days)]
    for name in names:
        world.clock.advance(DAY_MS)
        world.start(name)
    world.clock.advance(HOUR_MS)
    return names


def days_left(world: World, table_name: str = "orders") -> list[str]:
    return [name[-2:] for name in world.names(table_name)]


def test_what_is_older_goes_with_the_rows_of_its_run(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    names = daily(world, 5)
    before = {each["BackupName"]: each["BackupArn"] for each in world.dynamodb.backups("orders")}
    pruned = world.prune()
    assert days_left(world) == days_left(world, "catalog") == ["03", "04", "05"]
    assert len(pruned["deleted"]) == 4
    assert before["tablevault-tests-scheduled-2026-12-01"] in pruned["deleted"]
    assert pruned["dropped_runs"] == names[:2]
    assert (pruned["left"], pruned["gone"], pruned["tables_left"]) == ({}, [], 0)
    assert [run["backup_date"] for run in world.on_demand.list_page(10, None)["backups"]] == names[:1:-1]
    for name in names[:2]:
        assert (world.run_row(name), world.table_row("orders", name)) == (None, None)
    assert world.table_row("orders", names[2]) is not None


def test_twice_is_once(aws):
    world = a_world(environ=DAYS)
    daily(world, 5)
    world.prune()
    assert world.prune() == {"deleted": [], "gone": [], "left": {}, "tables_left": 0, "dropped_runs": []}
    assert days_left(world) == ["03", "04", "05"]


def test_the_minimum_stays_when_runs_have_stopped_and_so_do_their_rows(aws):
    world = a_world(environ=DAYS)
    names = daily(world, 5)
    world.clock.advance(100 * DAY_MS)
    assert world.prune()["deleted"] == []
    assert days_left(world) == ["01", "02", "03", "04", "05"]
    assert world.run_row(names[0]) is not None


def test_without_retention_nothing_is_even_asked(aws):
    world = a_world()
    daily(world, 5)
    world.clock.advance(1000 * DAY_MS)
    calls = world.count()
    assert world.prune()["deleted"] == []
    assert calls == []


@pytest.mark.parametrize("days", [DAYS, {}], ids=["both", "safety alone"])
def test_safety_backups_have_a_limit_of_their_own(aws, days):
    world = a_world(environ=SAFETY | days)
    for resumes in range(2):
        world.dynamodb.create_backup(TableName="orders", BackupName=safety_name("tests", RESTORE, resumes))
    daily(world, 4)
    safety = [safety_name("tests", RESTORE), safety_name("tests", RESTORE, 1)]
    scheduled = [scheduled_name("tests", f"2026-12-{day}") for day in (["02", "03", "04"] if days else SCHEDULED_DAYS)]
    world.prune()
    assert world.names("orders") == safety + scheduled  # four days old
    world.clock.advance(DAY_MS)
    world.restores_not_ended = {RESTORE}
    world.prune()
    assert set(safety) <= set(world.names("orders"))
    world.restores_not_ended = {"r-20261121T010000Z-ffffffff"}
    world.prune()
    assert world.names("orders") == scheduled[-2 if days else 0 :]


def test_safety_backups_stay_where_only_scheduled_ones_go(aws):
    world = a_world(environ=DAYS)
    world.dynamodb.create_backup(TableName="orders", BackupName=safety_name("tests", RESTORE))
    daily(world, 6)
    world.prune()
    assert safety_name("tests", RESTORE) in world.names("orders")
    assert days_left(world)[-3:] == ["04", "05", "06"]


def test_what_is_not_ours_stays(aws):
    world = a_world(environ=DAYS | SAFETY)
    for name in ("before-the-migration", "tablevault-scheduled-2020-01-01", scheduled_name("tests2", "2020-01-01")):
        world.dynamodb.create_backup(TableName="orders", BackupName=name)
    system = world.dynamodb.create_backup(TableName="orders", BackupName=scheduled_name("tests", "2020-01-01"))
    world.dynamodb.kinds[system["BackupDetails"]["BackupArn"]] = "SYSTEM"
    daily(world, 6)
    world.clock.advance(HOUR_MS)
    world.prune()
    assert len(world.names("orders")) == 4 + 3


def test_backups_made_by_hand_go_like_scheduled_ones(aws):
    world = a_world(environ=DAYS)
    world.start("2026-11-21T093000Z", by_hand=True)
    daily(world, 5)
    assert "2026-11-21T093000Z" in world.prune()["dropped_runs"]
    assert days_left(world) == ["03", "04", "05"]


def test_two_stages_of_one_account_see_only_their_own(aws):
    """One is called as the names of the other one begin."""
    world = a_world(environment="prod", environ=DAYS)
    other = a_world(environment="prod-scheduled-2026-12-01", beside=world, environ={"ON_DEMAND_RETENTION_DAYS": "1"})
    for day in range(1, 7):
        world.clock.advance(DAY_MS)
        world.start(f"2026-12-{day:02d}")
        other.start(f"2026-12-{day:02d}")
    world.clock.advance(HOUR_MS)
    of_other = [name for name in world.names("orders") if "prod-scheduled-2026-12-01-" in name]
    assert len(of_other) == 6
    world.prune()
    left = world.names("orders")
    assert [name for name in left if "prod-scheduled-2026-12-01-" in name] == of_other
    assert [name[-2:] for name in left if name not in of_other] == ["04", "05", "06"]
    # Its own minimum of three is not there within its one day, whatever the other stage has.
    assert other.prune()["deleted"] == []
    decided = world.pruner.plan(stop_at_ms=world.clock() + 1)["orders"].decisions
    theirs = {each["BackupArn"] for each in world.dynamodb.backups() if each["BackupName"] in of_other}
    assert len(decided) == 3
    assert theirs.isdisjoint(each.name for each in decided)


def test_tables_that_are_gone_or_no_longer_selected_are_pruned_all_the_same(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 4)
    world.tables = ("orders",)
    world.dynamodb.delete_table(TableName="catalog")
    world.clock.advance(HOUR_MS)
    world.prune()
    assert days_left(world, "catalog") == ["02", "03", "04"]
    daily(world, 10, first=5)
    world.prune()
    # Its last ones stay: no younger ones came.
    assert days_left(world, "catalog") == ["02", "03", "04"]


def test_very_many_tables_are_listed_in_pages_and_never_one_by_one(aws):
    world = a_world(
        *(f"table-{number:03d}" for number in range(110)),
        environ={"ON_DEMAND_RETENTION_DAYS": "1", "RETENTION_MINIMUM": "1"},
    )
    daily(world, 2)
    calls = world.count()
    pruned = world.prune()
    assert calls.count("list_backups") == 3
    assert calls.count("delete_backup") == len(pruned["deleted"]) == 110
    assert {tuple(days_left(world, name)) for name in world.tables} == {("02",)}


# --- a list that is not complete ---------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_list_that_is_cut_off_by_an_error_decides_nothing(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 60)
    pages = [0]

    def before(name, request):
        if name == "list_backups":
            pages[0] += 1
            if pages[0] == 2:
                raise refusal("InternalServerError", "ListBackups")

    world.before = before
    with pytest.raises(Exception, match="InternalServerError"):
        world.prune()
    assert pages[0] == 2
    assert len(world.dynamodb.backups()) == 120
    world.mend()
    world.prune()
    assert len(world.dynamodb.backups()) == 6


def test_a_list_that_is_throttled_is_waited_for_until_the_time_is_over(aws):
    world = a_world(environ=DAYS)
    daily(world, 5)
    throttled = [4]

    def before(name, request):
        if name == "list_backups" and throttled[0]:
            throttled[0] -= 1
            raise refusal("ThrottlingException", "ListBackups")

    world.before = before
    assert len(world.prune()["deleted"]) == 2
    assert len(world.slept_s) == 4
    throttled[0] = 10_000
    with pytest.raises(Exception, match="ThrottlingException"):
        world.prune()
    with pytest.raises(OutOfTime):
        world.prune(budget_ms=0)


def test_restores_that_cannot_be_read_keep_everything(aws):
    world = a_world(environ=DAYS)
    daily(world, 5)

    def broken() -> set[str]:
        raise RuntimeError("no restores")

    world.pruner._not_ended = broken
    with pytest.raises(RuntimeError):
        world.prune()
    assert len(world.names("orders")) == 5


# --- deletions that do not work ----------------------------------------------------------------------------------


def test_one_that_is_gone_already_is_as_good_as_deleted(aws):
    world = a_world(environ=DAYS)
    daily(world, 5)
    world.refuse("delete_backup", refusal("BackupNotFoundException", "DeleteBackup"))
    pruned = world.prune()
    assert (len(pruned["gone"]), pruned["left"], len(pruned["dropped_runs"])) == (2, {}, 2)


@pytest.mark.parametrize("code", ["BackupInUseException", "InternalServerError"])
def test_one_that_is_in_use_is_left_and_others_go(aws, code):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 5)
    (first, *_) = world.dynamodb.backups("catalog")
    world.refuse(
        "delete_backup", refusal(code, "DeleteBackup"), when=lambda request: request["BackupArn"] == first["BackupArn"]
    )
    pruned = world.prune()
    assert (list(pruned["left"]), len(pruned["deleted"])) == ([first["BackupArn"]], 3)
    # The run with one left keeps its rows; the next one's are all gone.
    assert pruned["dropped_runs"] == ["2026-12-02"]
    world.mend()
    assert world.prune()["dropped_runs"] == ["2026-12-01"]
    assert days_left(world, "catalog") == ["03", "04", "05"]


def test_where_dynamodb_takes_no_more_the_rest_is_the_next_runs(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 5)
    calls = [0]

    def before(name, request):
        if name == "delete_backup":
            calls[0] += 1
            if calls[0] > 1:
                raise refusal("LimitExceededException", "DeleteBackup")

    world.before = before
    pruned = world.prune()
    assert (calls[0], len(pruned["deleted"]), pruned["tables_left"]) == (2, 1, 2)
    world.mend()
    assert len(world.prune()["deleted"]) == 3


def test_throttled_deletions_are_waited_for(aws):
    world = a_world(environ=DAYS)
    daily(world, 5)
    throttled = [3]

    def before(name, request):
        if name == "delete_backup" and throttled[0]:
            throttled[0] -= 1
            raise refusal("ThrottlingException", "DeleteBackup")

    world.before = before
    pruned = world.prune()
    assert (len(pruned["deleted"]), pruned["left"], len(world.slept_s)) == (2, {}, 3)


def test_whoever_may_not_delete_is_told_once_for_each_table(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 6)
    calls = world.count()
    world.refuse("delete_backup", refusal("AccessDeniedException", "DeleteBackup"))
    pruned = world.prune()
    assert len(pruned["left"]) == 6
    assert all("grant dynamodb:DeleteBackup" in text for text in pruned["left"].values())
    assert (calls, len(world.dynamodb.backups()), pruned["dropped_runs"]) == ([], 12, [])


def test_what_there_is_no_time_for_is_left(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 5)

    def after(name, request):
        if name == "delete_backup":
            world.clock.advance(15_000)

    world.after = after
    pruned = world.prune(budget_ms=20_000)
    assert (len(pruned["deleted"]), pruned["tables_left"], pruned["dropped_runs"]) == (2, 1, [])
    world.mend()
    assert len(world.prune()["deleted"]) == 2


def test_stopped_after_any_call_the_next_run_ends_it(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 3)
    for calls in range(1, 13):
        daily(world, 2, first=2 * calls + 2)
        before = {name: days_left(world, name) for name in world.tables}
        stop = world.stop_after(calls)
        with contextlib.suppress(Stopped):
            world.prune()
        world.mend()
        world.new_process()
        for name in world.tables:  # what is left is the younger end of what was there
            assert before[name][-len(days_left(world, name)) :] == days_left(world, name)
            assert len(days_left(world, name)) >= 3
        world.prune()
        runs = world.on_demand.list_page(100, None)["backups"]
        assert [run["backup_date"][-2:] for run in reversed(runs)] == days_left(world)
        if not stop.was_reached:
            break
    # Two days' backups of two tables, and rows of two runs with two tables.
    assert calls - 1 == 4 + 6


# --- rows of runs ------------------------------------------------------------------------------------------------


def test_rows_stay_of_an_open_run_and_of_one_that_cannot_be_read(aws):
    world = a_world(environ=DAYS)
    names = daily(world, 6)
    world.ledger.write(Update(run_key(names[0]), set={"open_kind": "BACKUP"}))
    world.ledger.write(Update(run_key(names[1]), set={"tables": 17}))
    world.ledger.write(Update(table_key(names[2], "orders"), set={"status": 17}))
    pruned = world.prune()
    assert (len(pruned["deleted"]), pruned["dropped_runs"]) == (3, [])
    assert all(world.run_row(name) for name in names)


def test_rows_of_a_run_that_made_nothing_go_too(aws):
    world = a_world(environ=DAYS)
    world.refuse("create_backup", refusal("AccessDeniedException", "CreateBackup"))
    names = daily(world, 5)
    world.mend()
    assert world.prune()["dropped_runs"] == names[:2]


def test_a_plan_tells_of_all_tables_and_deletes_nothing(aws):
    world = a_world("orders", "catalog", environ=DAYS)
    daily(world, 5)
    calls = world.count()
    plan = world.pruner.plan(["orders", "without"], stop_at_ms=world.clock() + 1000)
    assert list(plan) == ["catalog", "orders", "without"]
    assert [len(plan[name].removals) for name in plan] == [2, 2, 0]
    assert {name for name in calls if name.startswith(("delete", "put", "update"))} == set()
