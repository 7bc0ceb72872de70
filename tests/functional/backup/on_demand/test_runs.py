"""Runs of on-demand backups, from their start until every table's backup is available or has failed."""

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from chalicelib.backup.on_demand.runs import run_key, table_key
from chalicelib.errors import Conflict, LedgerEntryCorrupt, NotFound
from chalicelib.ledger import Update
from chalicelib.selection import Chosen
from tests.fake_exports import refusal
from tests.functional.backup.on_demand.world import BUDGET_MS, World
from tests.functional.backup.world import DATE, HOUR_MS, MINUTE_MS

NAME = f"tablevault-tests-scheduled-{DATE}"
NO_ANSWER = ReadTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com")


def refuse_orders(world: World) -> None:
    """For now."""
    in_use = refusal("TableInUseException", "CreateBackup")
    world.refuse("create_backup", in_use, when=lambda request: request["TableName"] == "orders")


def throttling(operation: str) -> ClientError:
    return refusal("ThrottlingException", operation)


def test_every_table_gets_one_and_the_run_is_complete_when_all_are_available(world):
    started = world.start()
    assert (started["status"], started["total_tables"]) == ("OPEN", 2)
    assert world.statuses() == {"orders": "CREATING", "catalog": "CREATING"}
    assert [world.names(name) for name in world.tables] == [[NAME], [NAME]]
    tables = world.reconcile()
    assert {table["status"] for table in tables.values()} == {"AVAILABLE"}
    assert {table["backup_arn"] for table in tables.values()} == {
        each["BackupArn"] for each in world.dynamodb.backups()
    }
    ended = world.on_demand.describe(DATE)
    assert (ended["status"], ended["completed_at"]) == ("COMPLETE", "2026-11-21T01:01:20.000Z")
    assert not world.is_open()


def test_what_is_shown_of_a_table(world):
    world.start()
    (backup,) = world.dynamodb.backups("orders")
    assert world.reconcile()["orders"] == {
        "table_name": "orders",
        "status": "AVAILABLE",
        "backup_name": NAME,
        "backup_arn": backup["BackupArn"],
        "size_bytes": 123,
        "created_at": "2026-11-21T01:00:20.000Z",
        "failure_code": None,
        "failure_message": None,
    }


@pytest.mark.thorough
def test_a_run_asks_for_one_list_a_minute_and_for_nothing_else(aws):
    world = World(tuple(f"table-{number:03d}" for number in range(250)))
    world.dynamodb.takes_ms = 90_000
    calls = world.count()
    world.start()
    assert (calls.count("create_backup"), calls.count("list_backups")) == (250, 0)
    calls.clear()
    world.reconcile()
    assert [name for name in calls if "backup" in name] == ["list_backups"] * 3
    world.reconcile()
    assert world.status() == "COMPLETE"
    assert "describe_backup" not in calls


def test_only_backups_since_the_run_began_are_listed(world):
    world.start()
    asked = []
    world.before = lambda name, request: asked.append(request) if name == "list_backups" else None
    world.reconcile()
    (request,) = asked
    assert request["TimeRangeLowerBound"] == datetime(2026, 11, 21, 0, 50, 20, tzinfo=UTC)
    assert "TableName" not in request


def test_a_second_start_goes_on_with_the_run(world):
    refuse_orders(world)
    world.start()
    world.mend()
    world.tables = ("another",)
    again = world.start()
    assert [table["status"] for table in again["tables"]] == ["CREATING", "CREATING"]
    assert len(world.dynamodb.backups()) == 2


def test_by_hand_another_run_of_that_second_is_not_taken_over(world):
    name = "2026-11-21T010020Z"
    assert world.start(name, by_hand=True)["by_hand"]
    world.start(name, by_hand=True)
    world.tables = ("orders",)
    with pytest.raises(Conflict, match="ask again"):
        world.start(name, by_hand=True)
    assert world.names("orders") == [f"tablevault-tests-scheduled-{name}"]


def test_a_run_that_has_ended_stays_as_it_is(world):
    world.start()
    world.reconcile()
    before = world.on_demand.describe(DATE)
    calls = world.count()
    world.clock.advance(HOUR_MS)
    assert world.start() == before
    world.on_demand.carry_on(DATE, world.clock() + BUDGET_MS)
    assert not [name for name in calls if name.startswith(("create_", "list_", "put_", "update_"))]


def test_runs_are_listed_newest_first_and_paged(world):
    for day in (21, 22, 23):
        world.start(f"2026-11-{day}")
    first = world.on_demand.list_page(2, None)
    assert [run["backup_date"] for run in first["backups"]] == ["2026-11-23", "2026-11-22"]
    last = world.on_demand.list_page(2, first["next_before"])
    assert ([run["backup_date"] for run in last["backups"]], last["next_before"]) == (["2026-11-21"], None)
    world.ledger.write(Update(run_key("2026-11-22"), set={"status": 17}))
    assert world.on_demand.list_page(5, None)["unreadable"] == ["2026-11-22"]


def test_the_result_of_a_run_counts_what_is_made_and_names_what_failed(world):
    world.tables = (*world.tables, "gone")
    world.start()
    result = world.on_demand.result_of_run(DATE)
    assert (result["statusCode"], result["successful_backups"], result["failed_backups"]) == (207, 2, 1)
    assert list(result["failures"]) == ["gone"]
    assert "table gone does not exist" in result["failures"]["gone"]
    world.refuse("create_backup", refusal("AccessDeniedException", "CreateBackup"))
    world.start("2026-11-22")
    assert world.on_demand.result_of_run("2026-11-22")["statusCode"] == 500


def test_a_run_that_nobody_began_is_not_found(world):
    with pytest.raises(NotFound, match="no run of on-demand backups 2026-11-21"):
        world.on_demand.describe(DATE)


# --- refusals --------------------------------------------------------------------------------------------------


PASSING = [
    "LimitExceededException",
    "BackupInUseException",
    "TableInUseException",
    "ContinuousBackupsUnavailableException",
    "ThrottlingException",
    "ExpiredTokenException",
]


@pytest.mark.parametrize("code", PASSING)
def test_what_passes_is_waited_for(world, code):
    world.refuse("create_backup", refusal(code, "CreateBackup"), when=lambda request: request["TableName"] == "orders")
    world.start()
    assert world.shown()["orders"]["failure_code"] == code
    world.reconcile(minutes=10)
    assert world.statuses() == {"orders": "PENDING", "catalog": "AVAILABLE"}
    world.mend()
    world.reconcile(minutes=2)
    assert (world.status(), world.statuses()["orders"]) == ("COMPLETE", "AVAILABLE")
    assert world.shown()["orders"]["failure_code"] is None
    assert len(world.names("orders")) == 1


PERMANENT = {
    "AccessDeniedException": "grant it to this function's role",
    "TableNotFoundException": "correct DYNAMODB_TABLES, or create it",
    "ValidationException": "CreateBackup for table orders was refused",
}


@pytest.mark.parametrize(("code", "told"), PERMANENT.items())
def test_what_does_not_pass_fails_that_table_and_says_what_to_do(world, code, told):
    world.refuse("create_backup", refusal(code, "CreateBackup"), when=lambda request: request["TableName"] == "orders")
    world.start()
    assert world.statuses()["orders"] == "FAILED"
    assert told in world.shown()["orders"]["failure_message"]
    world.mend()
    world.reconcile()
    assert (world.status(), world.statuses()) == ("PARTIAL", {"orders": "FAILED", "catalog": "AVAILABLE"})
    assert not world.is_open()


def test_a_table_deleted_meanwhile_fails_and_one_whose_backup_is_being_made_does_not(world):
    refuse_orders(world)
    world.start()
    world.mend()
    for name in world.tables:
        world.dynamodb.delete_table(TableName=name)
    assert world.reconcile()["orders"]["failure_code"] == "TableNotFoundException"
    assert world.statuses() == {"orders": "FAILED", "catalog": "AVAILABLE"}


@pytest.mark.parametrize("code", ["LimitExceededException", "ThrottlingException"])
def test_a_storm_is_waited_out_with_few_calls_and_one_backup_each(aws, code):
    """DynamoDB takes seven of them a minute."""
    world = World(tuple(f"table-{number:02d}" for number in range(40)))
    taken, calls = [0], [0]

    def before(name, request):
        if name == "create_backup":
            calls[0] += 1
            taken[0] += 1
            if taken[0] > 7:
                raise refusal(code, "CreateBackup")

    world.before = before
    world.start()
    minutes = 0
    while world.is_open():
        taken[0] = 0
        world.reconcile()
        minutes += 1
        assert minutes < 15
    assert world.status() == "COMPLETE"
    assert [world.names(name) for name in world.tables] == [[NAME]] * 40
    assert calls[0] <= (7 + 10) * (minutes + 1)  # at most the pool meets the refusal, each minute


def test_no_time_left_leaves_the_rest_to_reconcile(world):
    assert [table["status"] for table in world.start(budget_ms=0)["tables"]] == ["PENDING", "PENDING"]
    assert world.dynamodb.backups() == []
    world.reconcile(minutes=2)
    assert world.status() == "COMPLETE"


def test_after_a_day_it_is_given_up(world):
    world.refuse("create_backup", refusal("LimitExceededException", "CreateBackup", "too many"))
    world.start()
    world.reconcile()
    world.clock.advance(24 * HOUR_MS)
    tables = world.reconcile()
    assert {table["failure_code"] for table in tables.values()} == {"NotCreated"}
    assert "for 24 hours, at last: LimitExceededException: too many" in tables["orders"]["failure_message"]
    assert (world.status(), world.is_open()) == ("PARTIAL", False)


def test_a_backup_that_is_not_available_after_a_day_is_given_up_and_kept(world):
    world.dynamodb.takes_ms = 30 * HOUR_MS
    world.start()
    world.clock.advance(24 * HOUR_MS - 2 * MINUTE_MS)
    assert world.reconcile()["orders"]["status"] == "CREATING"
    tables = world.reconcile()
    assert {table["failure_code"] for table in tables.values()} == {"Overdue"}
    assert tables["orders"]["backup_arn"] in tables["orders"]["failure_message"]
    assert len(world.dynamodb.backups()) == 2


@pytest.mark.parametrize("shows_deleted", [True, False])
def test_a_backup_that_is_deleted_while_it_is_made_fails(world, shows_deleted):
    world.start()
    (backup,) = world.dynamodb.backups("orders")
    world.clock.advance(HOUR_MS)
    world.dynamodb.forget(backup["BackupArn"])
    world.dynamodb.shows_deleted = shows_deleted
    assert world.reconcile()["orders"]["failure_code"] == "BackupDeleted"
    assert world.names("orders") == []
    assert world.status() == "PARTIAL"


def test_one_that_is_not_listed_yet_is_described(world):
    world.start()
    (backup,) = world.dynamodb.backups("orders")
    world.dynamodb.unlisted.add(backup["BackupArn"])
    assert world.reconcile()["orders"]["status"] == "AVAILABLE"


def test_one_that_nobody_knows_of_a_moment_after_its_start_is_waited_for(world):
    world.start()
    (backup,) = world.dynamodb.backups("orders")
    world.dynamodb.unlisted.add(backup["BackupArn"])
    world.refuse("describe_backup", refusal("BackupNotFoundException", "DescribeBackup"))
    assert world.reconcile()["orders"]["status"] == "CREATING"
    world.mend()
    assert world.reconcile()["orders"]["status"] == "AVAILABLE"


# --- no answer, and looking before making ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [NO_ANSWER, refusal("InternalServerError", "CreateBackup")])
def test_a_backup_that_was_made_without_an_answer_is_found_by_its_name(world, error):
    if not isinstance(error, ReadTimeoutError):
        error.response["ResponseMetadata"]["HTTPStatusCode"] = 500

    def after(name, request):
        if name == "create_backup":
            raise error

    world.after = after
    world.start()
    world.mend()
    assert world.statuses() == {"orders": "PENDING", "catalog": "PENDING"}
    world.reconcile()
    assert (world.status(), len(world.dynamodb.backups())) == ("COMPLETE", 2)


def test_a_backup_that_was_not_made_is_made_once_that_is_certain(world):
    """The call without an answer may have an effect that the list does not show at once: nobody calls again before."""
    world.refuse("create_backup", NO_ANSWER)
    world.start()
    world.mend()
    calls = world.count()
    world.reconcile(minutes=2)
    assert "create_backup" not in calls
    world.reconcile(minutes=2)
    assert (world.status(), len(world.dynamodb.backups())) == ("COMPLETE", 2)


def test_one_that_is_listed_late_is_not_made_again(world):
    def after(name, request):
        if name == "create_backup":
            raise NO_ANSWER

    world.after = after
    world.start()
    world.mend()
    late = {each["BackupArn"] for each in world.dynamodb.backups()}
    world.dynamodb.unlisted = set(late)
    world.reconcile(minutes=2)
    world.dynamodb.unlisted.clear()
    world.reconcile(minutes=4)
    assert {each["BackupArn"] for each in world.dynamodb.backups()} == late
    assert world.status() == "COMPLETE"


def test_a_list_from_before_the_end_of_a_claim_is_not_enough(world):
    """The backup is asked for at the claim's very end, while another process is waiting for its list."""
    world.start(budget_ms=0)
    attempt = table_key(DATE, "orders")
    world.start()  # the RUN row is there, the tables are claimed and made
    backups = {each["BackupArn"] for each in world.dynamodb.backups()}
    now_ms = world.clock()
    # As if the process that made it had not come to write it down, with a claim that ends in a second.
    facts = {"status": "PENDING", "attempt_until_ms": now_ms + MINUTE_MS + 1_000}
    world.ledger.write(Update(attempt, set=facts, remove=["backup_arn"]))
    world.dynamodb.unlisted = set(backups)

    def after(name, request):
        if name == "list_backups":
            world.clock.advance(2_000)

    world.after = after
    calls = world.count()
    world.reconcile()
    assert "create_backup" not in calls
    world.dynamodb.unlisted.clear()
    world.reconcile()
    assert {each["BackupArn"] for each in world.dynamodb.backups()} == backups


def test_of_two_with_one_name_the_first_one_counts(world):
    """Anybody may give a backup any name."""
    world.start(budget_ms=0)
    world.dynamodb.takes_ms = 0
    first = world.dynamodb.create_backup(TableName="orders", BackupName=NAME)["BackupDetails"]["BackupArn"]
    world.clock.advance(1000)
    world.dynamodb.create_backup(TableName="orders", BackupName=NAME)
    system = world.dynamodb.create_backup(TableName="catalog", BackupName=NAME)["BackupDetails"]["BackupArn"]
    world.dynamodb.kinds[system] = "SYSTEM"
    world.reconcile()
    tables = world.reconcile()
    assert tables["orders"]["backup_arn"] == first
    assert tables["catalog"]["backup_arn"] != system


def test_while_backups_cannot_be_listed_none_is_made_and_those_being_made_are_described(world):
    refuse_orders(world)
    world.start()
    world.refuse("list_backups", refusal("InternalServerError", "ListBackups"))
    world.reconcile()
    assert world.statuses() == {"orders": "PENDING", "catalog": "AVAILABLE"}
    world.mend()
    world.reconcile(minutes=2)
    assert world.status() == "COMPLETE"


def test_a_list_that_is_throttled_is_waited_for(world):
    world.start()
    throttled = [6]

    def before(name, request):
        if name == "list_backups" and throttled[0]:
            throttled[0] -= 1
            raise throttling("ListBackups")

    world.before = before
    world.reconcile()
    assert world.status() == "COMPLETE"
    assert len(world.slept_s) == 6


def test_a_list_that_is_throttled_for_the_whole_turn_is_left_to_the_next_one(world):
    refuse_orders(world)
    world.start()
    world.refuse("list_backups", throttling("ListBackups"))
    began_ms = world.clock()
    world.reconcile()
    assert world.clock() - began_ms <= MINUTE_MS + BUDGET_MS
    assert world.statuses()["orders"] == "PENDING"
    assert len(world.dynamodb.backups("orders")) == 0


def test_a_list_that_is_throttled_leaves_time_for_what_comes_after_it(world):
    refuse_orders(world)
    world.start()
    world.refuse("list_backups", throttling("ListBackups"))
    began_ms = world.clock()
    world.reconcile()
    assert world.clock() - began_ms <= MINUTE_MS + BUDGET_MS / 2


def test_whoever_may_not_list_is_told_at_once(world):
    refuse_orders(world)
    world.start()
    world.refuse("list_backups", refusal("AccessDeniedException", "ListBackups"))
    tables = world.reconcile()
    assert "grant dynamodb:ListBackups" in tables["orders"]["failure_message"]
    assert (world.status(), tables["catalog"]["status"]) == ("PARTIAL", "AVAILABLE")


def test_whoever_may_not_describe_is_told_when_it_is_given_up(world):
    world.dynamodb.unlisted = {"nothing"}
    world.start()
    world.dynamodb.unlisted = {each["BackupArn"] for each in world.dynamodb.backups()}
    world.refuse("describe_backup", refusal("AccessDeniedException", "DescribeBackup"))
    assert world.reconcile()["orders"]["failure_code"] == "AccessDeniedException"
    world.clock.advance(24 * HOUR_MS)
    assert "at last: AccessDeniedException" in world.reconcile()["orders"]["failure_message"]


# --- rows -------------------------------------------------------------------------------------------------------


def test_a_row_that_cannot_be_read_stops_only_what_depends_on_it(world):
    world.start()
    world.ledger.write(Update(table_key(DATE, "orders"), set={"status": 17}))
    world.reconcile()
    shown = world.on_demand.describe(DATE)
    assert (shown["status"], shown["unreadable"]) == ("OPEN", ["orders"])
    assert [table["status"] for table in shown["tables"]] == ["AVAILABLE"]
    world.ledger.write(Update(run_key(DATE), set={"status": 17}))
    with pytest.raises(LedgerEntryCorrupt):
        world.on_demand.carry_on(DATE, world.clock() + BUDGET_MS)


def test_a_row_that_is_lost_is_made_again_and_the_backup_is_not(world):
    world.start()
    key = table_key(DATE, "orders")
    world.dynamodb.delete_item(TableName=world.ledger_table, Key={"pk": {"S": key.pk}, "sk": {"S": key.sk}})
    world.reconcile()
    assert (world.status(), len(world.names("orders"))) == ("COMPLETE", 1)


def test_whatever_goes_wrong_with_one_table_the_others_have_their_turn(world, caplog):
    world.refuse("create_backup", KeyError("BackupDetails"), when=lambda request: request["TableName"] == "orders")
    world.start()
    assert world.statuses() == {"orders": "PENDING", "catalog": "CREATING"}
    assert "on-demand backup could not be carried on" in caplog.text


def test_entries_that_chose_nothing_are_shown(world):
    stop_at_ms = world.clock() + BUDGET_MS
    shown = world.on_demand.start(DATE, lambda: Chosen(("orders",), ("old_*",)), by_hand=False, stop_at_ms=stop_at_ms)
    assert (shown["unmatched"], shown["total_tables"]) == (["old_*"], 1)
