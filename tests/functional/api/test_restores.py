"""Restores over HTTP: from the request to the receipt."""

import re

import pytest

from chalicelib.ledger import Key, Ledger, Update
from tests.functional.api.conftest import items
from tests.functional.api.gateway import READER, WRITER, assert_problem, faults
from tests.functional.restore.world import BUCKET, DATE, LEDGER, PREFIX

UNKNOWN_ID = "r-20200101T000000Z-00000000"
ENDED = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")


def run(api, restore_id):
    """The workers, until the restore has ended; what the API says of it then."""
    api.world.settle(restore_id)
    return api.call("GET", f"/restores/{restore_id}").body


def walk(api, path, key, name, limit):
    """All names of a listing, page by page."""
    names, before = [], ""
    for _ in range(100):
        body = api.call("GET", f"{path}?limit={limit}{before}").body
        names += [entry[name] for entry in body[key]] + body["unreadable"]
        if body["next_before"] is None:
            return names
        before = f"&before={body['next_before']}"
    raise AssertionError("the listing does not end")


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("body", [None, {"backup_date": DATE, "tables": ["orders"], "max_workers": 1}])
def test_a_restore_is_accepted_and_can_be_followed_to_its_end(api, body):
    accepted = api.call("POST", "/restores", body)
    assert (accepted.status, accepted.content_type) == (202, "application/json")
    restore_id = accepted.body["restore_id"]
    assert re.fullmatch(r"r-\d{8}T\d{6}Z-[0-9a-f]{8}", restore_id)
    links = {"self": f"/restores/{restore_id}"}
    links |= {name.replace("-", "_"): f"{links['self']}/{name}" for name in ("cancel", "resume", "retry-failed")}
    assert accepted.body == {"restore_id": restore_id, "status": "PLANNING", "links": links}

    begun = api.call("GET", links["self"], token=READER)
    assert (begun.status, begun.body["status"], begun.body["requested_by"]) == (200, "PLANNING", "operator")
    assert [table["written"] for table in begun.body["tables"]] == [0]

    ended = run(api, restore_id)
    assert (ended["status"], ended["status_code"], ended["finished_at"] is not None) == ("COMPLETED", 200, True)
    assert ended["tables"][0] | {"written": 8, "item_count": 8, "rejected": 0} == ended["tables"][0]
    assert ended["receipt_key"] == f"restores/{restore_id}/receipt.json"
    assert ended["blockers"] == ended["failures"] == []
    assert api.world.items("orders") == items(8)


@pytest.mark.usefixtures("backed_up")
def test_a_dry_run_writes_nothing(api):
    ended = run(api, api.restore(dry_run=True))
    assert (ended["status"], ended["dry_run"]) == ("COMPLETED", True)
    assert api.world.items("orders") == items(3)


@pytest.mark.usefixtures("backed_up")
def test_what_checking_finds_ends_the_restore_failed_and_says_why(api):
    ended = run(api, api.restore(target_tables={"orders": "missing-target"}))
    assert (ended["status"], ended["status_code"]) == ("FAILED", 500)
    assert "missing-target" in " ".join(ended["blockers"])


@pytest.mark.usefixtures("backed_up")
def test_an_unknown_set_or_table_is_404_and_what_exists_is_named(api):
    document = assert_problem(api.call("POST", "/restores", {"backup_date": "2020-01-01"}), 404, "backup_not_found")
    assert DATE in document["detail"]
    for body in ({"backup_date": DATE, "tables": ["users"]}, {"target_tables": {"users": "copy"}}):
        document = assert_problem(api.call("POST", "/restores", body), 404, "table_not_in_backup")
        assert "users" in document["detail"]
        assert "orders" in document["detail"]
    assert api.call("GET", "/restores").body["restores"] == []


def test_without_any_backup_latest_is_404(api):
    document = assert_problem(api.call("POST", "/restores", {}), 404, "backup_not_found")
    assert "no backups yet" in document["detail"]


@pytest.mark.usefixtures("backed_up")
def test_a_set_that_is_not_complete_is_409(api):
    api.world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/2026-11-22/orders/AWSDynamoDB/x/_started", Body=b"")
    assert_problem(api.call("POST", "/restores", {"backup_date": "2026-11-22"}), 409, "backup_not_complete")
    api.world.back_up({"orders": items(2)}, date="2026-11-23", failed={"users": "recovery is off"})
    document = assert_problem(api.call("POST", "/restores", {"backup_date": "2026-11-23"}), 409, "backup_not_complete")
    assert "recovery is off" in document["detail"]


@pytest.mark.usefixtures("backed_up")
def test_a_manifest_that_cannot_be_trusted_is_409(api):
    api.world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/manifest.json", Body=b'{"schema_version": 99}')
    assert_problem(api.call("POST", "/restores", {"backup_date": DATE}), 409, "manifest_invalid")
    assert_problem(api.call("GET", f"/backups/{DATE}"), 409, "manifest_invalid")


@pytest.mark.usefixtures("backed_up")
def test_a_target_under_another_restore_is_409_and_the_other_is_named(api):
    first = api.restore()
    document = assert_problem(api.call("POST", "/restores", {}), 409, "target_locked")
    assert first in document["detail"]
    assert [each["restore_id"] for each in api.call("GET", "/restores").body["restores"]] == [first]
    assert run(api, first)["status"] == "COMPLETED"
    assert run(api, api.restore())["status"] == "COMPLETED"


@pytest.mark.usefixtures("backed_up")
def test_a_running_restore_can_be_cancelled_and_a_finished_one_cannot(api):
    restore_id = api.restore()
    bodies: list[object] = [None, b"", {}]
    for body in bodies:
        cancelled = api.call("POST", f"/restores/{restore_id}/cancel", body)
        assert (cancelled.status, cancelled.body["status"]) == (202, "CANCELLING")
    ended = run(api, restore_id)
    assert (ended["status"], ended["cancelled_in"]) == ("CANCELLED", "PLANNING")
    answer = api.call("POST", f"/restores/{restore_id}/cancel")
    assert "CANCELLED" in assert_problem(answer, 409, "restore_not_cancellable")["detail"]


@pytest.mark.usefixtures("backed_up")
def test_a_cancel_that_says_more_than_that_is_refused_not_half_understood(api):
    restore_id = api.restore()
    assert set(faults(api.call("POST", f"/restores/{restore_id}/cancel", {"tables": ["orders"]}))) == {"$.tables"}
    assert_problem(api.call("POST", f"/restores/{restore_id}/cancel", b"stop!"), 400, "malformed_request")
    assert api.call("GET", f"/restores/{restore_id}").body["status"] == "PLANNING"


def test_a_restore_that_does_not_exist_is_404_however_it_is_written(api):
    written = [UNKNOWN_ID, "latest", "%72-20200101T000000Z-00000000", "..%2F..%2Frestores", f"{UNKNOWN_ID}%0A", "%00"]
    written += ["%", "%F0%9F%92%A9", "%FF%FE", "\N{SNOWMAN}", "x" * 1000, "%F0%9F%92%A9" * 1000]
    for restore_id in written:
        paths = [f"/restores/{restore_id}/{action}" for action in ("cancel", "resume", "retry-failed")]
        for method, path in (("GET", f"/restores/{restore_id}"), *(("POST", path) for path in paths)):
            document = assert_problem(api.call(method, path), 404, "restore_not_found")
            assert len(document["detail"]) < 1000


@pytest.mark.usefixtures("backed_up")
def test_an_id_is_found_percent_encoded_too(api):
    restore_id = api.restore()
    assert api.call("GET", f"/restores/{restore_id.replace('-', '%2D')}").body["restore_id"] == restore_id


def a_list_of_restores(api, count):
    """Newest first. Dry runs, as they take no locks."""
    restore_ids = []
    for _ in range(count):
        api.world.clock.sleep(1)
        restore_ids.append(api.restore(dry_run=True))
    return restore_ids[::-1]


@pytest.mark.usefixtures("backed_up")
def test_paging_walks_through_all_restores_without_gaps_or_repeats(api):
    expected = a_list_of_restores(api, 7)
    for limit in (1, 2, 3, 7, 8, 100):
        assert walk(api, "/restores", "restores", "restore_id", limit) == expected
    assert [each["restore_id"] for each in api.call("GET", "/restores").body["restores"]] == expected
    newest = api.call("GET", "/restores?limit=2").body
    assert newest["next_before"] == expected[1]
    assert api.call("GET", f"/restores?before={expected[-1]}").body["restores"] == []


@pytest.mark.usefixtures("backed_up")
def test_restores_whose_rows_are_corrupt_are_named_and_do_not_end_the_listing(api):
    expected = a_list_of_restores(api, 7)
    corrupt = [expected[index] for index in (1, 3, 4, 6)]
    ledger = Ledger(api.world.dynamodb, LEDGER)
    for restore_id in corrupt:
        ledger.write(Update(Key(f"RESTORE#{restore_id}", "JOB"), set={"max_workers": "many"}))
    for limit in (1, 2, 3, 4, 100):
        assert sorted(walk(api, "/restores", "restores", "restore_id", limit), reverse=True) == expected
    document = assert_problem(api.call("GET", f"/restores/{corrupt[0]}"), 500, "ledger_entry_corrupt")
    assert "max_workers" in document["detail"]
    assert api.records()[-1]["exception_name"] == "LedgerEntryCorrupt"


@pytest.mark.usefixtures("backed_up")
def test_a_cancelled_restore_is_resumed_over_http_and_one_that_clears_only_with_the_scope_for_that(api):
    for body, status in (({}, 202), ({"clear_existing_data": True}, 403)):
        restore_id = api.restore(**body)
        assert api.call("POST", f"/restores/{restore_id}/cancel").status == 202
        assert run(api, restore_id)["status"] == "CANCELLED"
        path = f"/restores/{restore_id}/resume"
        assert api.call("POST", path, token=WRITER).status == status
        if status == 403:
            assert_problem(api.call("POST", path, token=WRITER), 403, "forbidden")
            assert api.call("POST", path).status == 202
        ended = run(api, restore_id)
        assert (ended["status"], ended["resumes"]) == ("COMPLETED", 1)
        assert api.world.items("orders") == items(8)


@pytest.mark.usefixtures("backed_up")
def test_a_dry_run_says_what_the_restore_will_cost_and_the_restore_is_held_to_it(api):
    dry = run(api, api.restore(dry_run=True))
    (table,) = dry["tables"]
    assert (table["estimate"]["items"], table["estimate"]["write_units"]) == (8, 8)
    assert run(api, api.restore(plan_digest=dry["plan_digest"]))["status"] == "COMPLETED"
    changed = run(api, api.restore(plan_digest=dry["plan_digest"], mode="missing_only"))
    assert changed["status"] == "FAILED"
    assert changed["reason"].startswith("plan_changed")


@pytest.mark.usefixtures("backed_up")
def test_every_field_of_a_request_goes_through_to_its_restore(api):
    body = {"mode": "changed_only", "keys": [{"id": {"S": "item-00001"}}], "max_write_units": 50, "verify": "full"}
    ended = run(api, api.restore(**body, create_missing_tables=True))
    shown = {name: ended[name] for name in ("mode", "key_count", "max_write_units", "verify", "create_missing_tables")}
    assert shown == {
        "mode": "changed_only",
        "key_count": 1,
        "max_write_units": 50,
        "verify": "full",
        "create_missing_tables": True,
    }
    (table,) = ended["tables"]
    assert (ended["status"], table["unchanged"], table["filtered"]) == ("COMPLETED", 1, 7)
    assert (table["items_compared"], table["keys_not_in_backup"]) == (1, [])


@pytest.mark.usefixtures("backed_up")
def test_keys_that_are_none_of_the_table_are_422_each_with_its_path(api):
    keys = [{"id": {"S": "item-00001"}}, {"id": {"N": "1"}}, {"other": {"S": "x"}}]
    assert {path[:9] for path in faults(api.call("POST", "/restores", {"keys": keys}))} == {"$.keys[1]", "$.keys[2]"}
    api.world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/orders/table.json", Body=b"{}")
    assert_problem(api.call("POST", "/restores", {"keys": keys[:1]}), 409, "export_invalid")
    assert api.call("GET", "/restores").body["restores"] == []
