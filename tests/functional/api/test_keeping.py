"""Retention, on-demand backups and the rebuild of the ledger, over HTTP."""

import pytest

from chalicelib.services import services
from tests.functional.api.gateway import READER, WRITER, assert_problem, faults
from tests.functional.restore.world import DATE

DAY_S = 24 * 3600


@pytest.fixture
def _retention_of_a_day(monkeypatch, world):
    """The process' services with it, on the world's clock."""
    settings = world.services.settings
    world.services.settings = settings._replace(retention=settings.retention._replace(days=1, minimum=1))


# --- shields --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("backed_up")
def test_a_set_is_shielded_until_it_is_released(api):
    kept = api.call("POST", f"/backups/{DATE}/keep")
    assert (kept.status, kept.body["shielded"], kept.body["kept_by"]) == (200, True, "operator")
    again = api.call("POST", f"/backups/{DATE}/keep", {})
    assert again.body == kept.body
    reasons = api.call("POST", "/retention/plan", {"days": 1}).body["sets"][0]["reasons"]
    assert "SHIELDED" in [each["code"] for each in reasons]
    released = api.call("POST", f"/backups/{DATE}/release")
    assert (released.status, released.body["shielded"], released.body["kept_by"]) == (200, False, None)
    reasons = api.call("POST", "/retention/plan", {"days": 1}).body["sets"][0]["reasons"]
    assert "SHIELDED" not in [each["code"] for each in reasons]


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("what", ["keep", "release"])
def test_what_is_no_set_cannot_be_shielded(api, what):
    for name in ("2020-01-01", "latest", "..%2F2026-11-21", "%00", "x" * 1000):
        document = assert_problem(api.call("POST", f"/backups/{name}/{what}"), 404, "backup_not_found")
        assert DATE in document["detail"]
    assert "$.days" in faults(api.call("POST", f"/backups/{DATE}/{what}", {"days": 1}))


@pytest.mark.usefixtures("_retention_of_a_day", "backed_up")
def test_a_set_that_is_being_removed_is_neither_shielded_nor_restored(api):
    services().set_pruner._removals.mark(DATE, "too old")
    for path in (f"/backups/{DATE}/keep", f"/backups/{DATE}/release"):
        assert_problem(api.call("POST", path), 409, "backup_being_removed")
    assert_problem(api.call("POST", "/restores", {"backup_date": DATE}), 409, "backup_being_removed")


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("backed_up")
def test_without_retention_the_plan_keeps_everything_and_says_so(api):
    shown = api.call("POST", "/retention/plan", token=READER)
    assert shown.status == 200
    assert (shown.body["policy"]["days"], shown.body["removals"]) == (None, [])
    assert [(each["backup_date"], each["is_kept"]) for each in shown.body["sets"]] == [(DATE, True)]
    assert shown.body["sets"][0]["reasons"][0]["code"] == "RETENTION_OFF"


@pytest.mark.usefixtures("backed_up")
def test_another_policy_can_be_tried_out_and_changes_nothing(api):
    api.world.clock.sleep(40 * DAY_S)
    later = "2026-12-25"
    api.world.back_up({"orders": [{"id": {"S": "x"}}]}, date=later)
    shown = api.call("POST", "/retention/plan", {"days": 7, "minimum": 1})
    assert shown.body["policy"] == {
        "days": 7, "minimum": 1, "daily": 0, "weekly": 0, "monthly": 0, "yearly": 0, "timezone": "UTC"
    }  # fmt: skip
    assert [(each["backup_date"], each["is_kept"]) for each in shown.body["sets"]] == [(later, True), (DATE, False)]
    assert shown.body["removals"] == [DATE]
    monthly = api.call("POST", "/retention/plan", {"days": 7, "minimum": 1, "monthly": 2})
    assert monthly.body["removals"] == []
    assert api.call("GET", f"/backups/{DATE}").status == 200


def test_every_fault_of_a_policy_is_named_at_once(api):
    body = {"days": 0, "minimum": "3", "daily": -1, "weekly": 1001, "hourly": 5, "monthly": None}
    assert set(faults(api.call("POST", "/retention/plan", body))) == {f"$.{name}" for name in body}


# --- on-demand backups ----------------------------------------------------------------------------------------------


@pytest.fixture
def _orders(world):
    world.create_table("orders")


@pytest.mark.usefixtures("_orders")
def test_on_demand_backups_are_asked_for_and_made_by_reconcile(api):
    body = {"backup_type": "DYNAMODB_ON_DEMAND_BACKUP", "tables": ["orders"]}
    accepted = api.call("POST", "/backups", body)
    name = accepted.body["backup_date"]
    assert (accepted.status, accepted.body["status"]) == (202, "OPEN")
    assert accepted.body["links"] == {"self": f"/on-demand-backups/{name}"}
    assert [each["status"] for each in accepted.body["tables"]] == ["PENDING"]
    assert api.world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []
    services().backups.reconcile()
    services().backups.reconcile()
    shown = api.call("GET", f"/on-demand-backups/{name}", token=READER).body
    assert (shown["status"], shown["tables"][0]["status"]) == ("COMPLETE", "AVAILABLE")
    made = api.world.dynamodb.list_backups(TableName="orders")["BackupSummaries"]
    assert [each["BackupName"] for each in made] == [shown["tables"][0]["backup_name"]]
    listed = api.call("GET", "/on-demand-backups", token=READER).body
    assert [each["backup_date"] for each in listed["backups"]] == [name]
    assert_problem(api.call("GET", f"/backups/{name}"), 404, "backup_not_found")


@pytest.mark.usefixtures("_orders")
def test_on_demand_backups_sent_again_are_one_run(api):
    body = {"backup_type": "DYNAMODB_ON_DEMAND_BACKUP"}
    first = api.call("POST", "/backups", body, headers={"Idempotency-Key": "a-key"})
    api.world.clock.sleep(90)
    again = api.call("POST", "/backups", body, headers={"Idempotency-Key": "a-key"})
    assert again.body["backup_date"] == first.body["backup_date"]
    assert len(api.call("GET", "/on-demand-backups").body["backups"]) == 1


def test_what_makes_no_sense_of_on_demand_backups_is_refused(api):
    increments = {"backup_type": "DYNAMODB_ON_DEMAND_BACKUP", "export_type": "INCREMENTAL_EXPORT"}
    assert set(faults(api.call("POST", "/backups", increments))) == {"$.export_type"}
    assert set(faults(api.call("POST", "/backups", {"backup_type": "AWS_BACKUP"}))) == {"$.backup_type"}
    unknown = {"backup_type": "DYNAMODB_ON_DEMAND_BACKUP", "tables": ["users"]}
    assert "orders" in faults(api.call("POST", "/backups", unknown))["$.tables"]
    assert_problem(api.call("GET", "/on-demand-backups/2020-01-01"), 404, "backup_not_found")


# --- the ledger -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("backed_up")
def test_a_lost_ledger_is_rebuilt_from_the_bucket(api):
    assert_problem(api.call("GET", "/ledger/rebuild"), 404, "rebuild_not_found")
    assert api.call("GET", "/backups").body["backups"] == []  # its sets were put into the bucket alone
    started = api.call("POST", "/ledger/rebuild", token=WRITER)
    assert (started.status, started.body["status"], started.body["asked_by"]) == (202, "OPEN", WRITER.name)
    assert api.call("POST", "/ledger/rebuild").body == started.body
    services().backups.reconcile()
    ended = api.call("GET", "/ledger/rebuild", token=READER).body
    assert (ended["status"], ended["adopted"], ended["problems"]) == ("COMPLETED", 1, [])
    assert [each["backup_date"] for each in api.call("GET", "/backups").body["backups"]] == [DATE]
