"""Backup sets over HTTP. Exports are moto's: they start, and what they leave in the bucket does not matter here."""

import pytest

from tests.functional.api.conftest import items
from tests.functional.api.gateway import READER, assert_problem, faults
from tests.functional.api.test_restores import walk
from tests.functional.restore.world import DATE


@pytest.fixture
def orders(world):
    """The one table this stage backs up."""
    world.create_table("orders")
    world.dynamodb.update_continuous_backups(
        TableName="orders", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("body", [None, {}, {"tables": ["orders"], "export_type": "FULL_EXPORT"}])
def test_a_set_by_hand_is_accepted_and_can_be_looked_at(api, body):
    accepted = api.call("POST", "/backups", body)
    assert (accepted.status, accepted.content_type) == (202, "application/json")
    backup_date = accepted.body["backup_date"]
    assert backup_date.endswith("Z")
    assert accepted.body["links"] == {"self": f"/backups/{backup_date}"}
    shown = api.call("GET", f"/backups/{backup_date}", token=READER)
    assert shown.status == 200
    assert (shown.body["by_hand"], shown.body["status"]) == (True, "OPEN")
    assert [(table["table_name"], table["status"]) for table in shown.body["tables"]] == [("orders", "IN_PROGRESS")]
    listed = api.call("GET", "/backups", token=READER)
    assert [each["backup_date"] for each in listed.body["backups"]] == [backup_date]
    assert (listed.body["next_before"], listed.body["unreadable"]) == (None, [])


def test_a_table_that_cannot_be_exported_is_named_with_its_reason(api):
    accepted = api.call("POST", "/backups")
    shown = api.call("GET", f"/backups/{accepted.body['backup_date']}").body
    assert shown["tables"][0]["status"] == "FAILED"
    assert "orders" in shown["tables"][0]["failure_message"]


@pytest.mark.usefixtures("backed_up")
def test_a_finished_set_is_shown_as_its_manifest_has_it(api):
    shown = api.call("GET", f"/backups/{DATE}", token=READER)
    assert (shown.status, shown.content_type) == (200, "application/json")
    assert (shown.body["status"], shown.body["total_items_exported"]) == ("COMPLETE", 8)
    assert [table["table_name"] for table in shown.body["tables"]] == ["orders"]


@pytest.mark.usefixtures("orders")
def test_paging_walks_through_all_sets_without_gaps_or_repeats(api):
    expected: list[str] = []
    for _ in range(5):
        api.world.clock.sleep(1)
        expected.insert(0, api.call("POST", "/backups").body["backup_date"])
    for limit in (1, 2, 5, 6):
        assert walk(api, "/backups", "backups", "backup_date", limit) == expected


@pytest.mark.usefixtures("backed_up")
def test_a_set_that_does_not_exist_is_404_and_what_exists_is_named(api):
    written = ["2020-01-01", "latest", "2026-11-21T10:15:00Z", "2026-11-21%0A", "..%2F2026-11-21", "%00", "%FF"]
    for name in [*written, "\N{ARABIC-INDIC DIGIT TWO}026-11-21", "x" * 1000]:
        document = assert_problem(api.call("GET", f"/backups/{name}"), 404, "backup_not_found")
        assert DATE in document["detail"]
        assert len(document["detail"]) < 500


def test_a_set_is_found_percent_encoded_too(api):
    api.world.create_table("orders")
    api.world.back_up({"orders": items(1)})
    assert api.call("GET", f"/backups/{DATE.replace('-', '%2D')}").status == 200


def test_all_faults_of_a_backup_request_are_named_at_once(api):
    body = {"tables": ["orders", 7, None], "export_type": "INCREMENTAL", "table": "orders", "Tables": []}
    answer = api.call("POST", "/backups", body)
    assert set(faults(answer)) == {"$.tables[1]", "$.tables[2]", "$.export_type", "$.table", "$.Tables"}
    assert api.call("GET", "/backups").body["backups"] == []


def test_a_list_of_tables_that_makes_no_sense_is_refused(api):
    lists: list[object] = [[], "orders", None, {}, ["orders", "orders"], ["users"], ["t"] * 501, [["orders"]]]
    for tables in lists:
        found = faults(api.call("POST", "/backups", {"tables": tables}))
        assert {path.split("[")[0] for path in found} == {"$.tables"}
    assert "at most 500" in faults(api.call("POST", "/backups", {"tables": ["t"] * 501}))["$.tables"]


def test_a_table_that_is_not_configured_is_refused_and_the_configured_ones_are_named(api):
    assert "orders" in faults(api.call("POST", "/backups", {"tables": ["users"]}))["$.tables"]


@pytest.mark.usefixtures("orders")
def test_the_same_request_with_the_same_idempotency_key_is_one_set(api):
    def post(body, key="a-key"):
        return api.call("POST", "/backups", body, headers={"Idempotency-Key": key})

    first = post({"tables": ["orders"]})
    assert first.status == 202
    api.world.clock.sleep(90)
    again = post({"tables": ["orders"]})
    assert (again.status, again.body["backup_date"]) == (202, first.body["backup_date"])
    assert "another request" in faults(post({}))["Idempotency-Key"]
    other = post({"tables": ["orders"]}, key="another")
    assert other.body["backup_date"] != first.body["backup_date"]
    listed = [each["backup_date"] for each in api.call("GET", "/backups").body["backups"]]
    assert listed == [other.body["backup_date"], first.body["backup_date"]]
    table_arn = api.world.dynamodb.describe_table(TableName="orders")["Table"]["TableArn"]
    assert len(api.world.dynamodb.list_exports(TableArn=table_arn)["ExportSummaries"]) == 2
