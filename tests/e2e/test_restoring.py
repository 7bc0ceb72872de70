"""What a restore can do, once each through the deployed app: over HTTP, with real processes and IAM enforced."""

import time

import pytest

from sandbox.compare import compare
from tests.e2e.conftest import wait_for
from tests.e2e.sets import INDEX, KEY_NAMES, Notes, note

pytestmark = pytest.mark.e2e
ENDED = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")
COUNT = 300


def ended(api, restore_id):
    restore = api.call("GET", f"/restores/{restore_id}")
    return restore if restore["status"] in ENDED and restore["receipt_key"] else None


def restored(api, status="COMPLETED", **body):
    restore_id = api.call("POST", "/restores", body)["restore_id"]
    restore = wait_for(f"restore {restore_id}", lambda: ended(api, restore_id))
    assert restore["status"] == status, (restore["failures"], restore["blockers"], restore)
    return restore


@pytest.fixture(scope="module")
def notes(sandbox):
    return Notes(sandbox, "e2e-notes").create(note(number) for number in range(COUNT))


@pytest.fixture(scope="module")
def full_set(notes):
    """The table as it was made."""
    return notes.back_up()["backup_date"]


@pytest.fixture
def whole(api, notes, full_set):
    """The table is as in the full set again; the items."""
    restored(api, backup_date=full_set, tables=[notes.name], clear_existing_data=True, safety_backup=False)
    return notes.now()


def test_modes_spare_what_they_should(api, notes, full_set, whole):
    notes.delete(range(10))
    notes.put(note(number, "newer") for number in range(10, 15))
    [table] = restored(api, backup_date=full_set, mode="missing_only", verify="sample")["tables"]
    assert (table["written"], table["skipped"]) == (10, COUNT - 10)
    assert compare(whole, notes.now()).changed == 5
    [table] = restored(api, backup_date=full_set, mode="changed_only", verify="full")["tables"]
    assert (table["written"], table["unchanged"], table["items_that_differ"]) == (5, COUNT - 5, 0)
    assert not compare(whole, notes.now())


def test_single_items_come_back_by_their_keys(api, notes, full_set, whole):
    notes.delete([1, 2, 3])
    keys = [{name: note(number)[name] for name in KEY_NAMES} for number in (1, 2, 999_999)]
    [table] = restored(api, backup_date=full_set, tables=[notes.name], keys=keys)["tables"]
    assert (table["written"], table["filtered"], table["keys_not_in_backup"]) == (2, COUNT - 2, [2])
    assert compare(whole, notes.now()).missing == 1


def test_a_missing_table_is_made_with_its_indexes(api, notes, full_set, whole, sandbox):
    made = Notes(sandbox, "e2e-made")
    body = {"backup_date": full_set, "target_tables": {notes.name: made.name}}
    assert "does not exist" in str(restored(api, status="FAILED", **body)["blockers"])
    [table] = restored(api, **body, create_missing_tables=True, verify="full")["tables"]
    assert (table["created"], table["items_compared"], table["items_that_differ"]) == (True, COUNT, 0)
    assert "delete-table" in table["undo"][-1]
    assert not compare(whole, made.now())
    assert INDEX in made.indexes()
    assert made.indexes() == notes.indexes()


def test_a_restore_is_held_to_the_plan_of_a_dry_run(api, notes, full_set, whole):
    dry_run = restored(api, backup_date=full_set, dry_run=True)
    [table] = dry_run["tables"]
    assert (table["estimate"]["items"], table["written"]) == (COUNT, 0)
    assert table["estimate"]["usd"] > 0
    digest = dry_run["plan_digest"]
    assert restored(api, backup_date=full_set, plan_digest=digest)["plan_digest"] == digest
    refused = restored(api, status="FAILED", backup_date=full_set, mode="missing_only", plan_digest=digest)
    assert refused["reason"].startswith("plan_changed")
    assert refused["tables"][0]["skipped"] == 0


def test_a_cancelled_restore_goes_on_where_it_was(api, notes, full_set, whole):
    notes.delete(range(COUNT))
    body = {"backup_date": full_set, "max_write_units": 60, "max_workers": 1}
    restore_id = api.call("POST", "/restores", body)["restore_id"]

    def is_loading():
        restore = api.call("GET", f"/restores/{restore_id}")
        assert restore["status"] not in ENDED, "it was over before it could be cancelled"
        return restore["tables"][0]["written"]

    wait_for("loading", is_loading)
    api.call("POST", f"/restores/{restore_id}/cancel")
    cancelled = wait_for("the cancelled restore", lambda: ended(api, restore_id))
    written = cancelled["tables"][0]["written"]
    assert (cancelled["status"], cancelled["cancelled_in"]) == ("CANCELLED", "LOADING")
    assert 0 < written < COUNT
    api.call("POST", f"/restores/{restore_id}/resume")
    restore = wait_for("the resumed restore", lambda: ended(api, restore_id))
    [table] = restore["tables"]
    assert (restore["status"], restore["resumes"], table["written"]) == ("COMPLETED", 1, COUNT)
    assert not compare(whole, notes.now())


def test_a_request_that_is_sent_again_restores_once(api, notes, full_set):
    body = {"backup_date": full_set, "dry_run": True}
    headers = {"Idempotency-Key": f"e2e-{time.monotonic_ns()}"}
    ids = {api.call("POST", "/restores", body, headers)["restore_id"] for _ in range(2)}
    assert len(ids) == 1
    assert wait_for("the restore", lambda: ended(api, ids.copy().pop()))["status"] == "COMPLETED"
