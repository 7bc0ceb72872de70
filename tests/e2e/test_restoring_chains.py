"""A table over three dates, by the deployed app: a full set, an increment after one whose export failed, and an
increment of whose end no event told. Each date is restored."""

import pytest

from sandbox.api import wait_for_restore
from sandbox.compare import compare
from sandbox.exports.course import Course, Outcome
from tests.e2e.sets import KEY_NAMES, Notes, note

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]  # `make demo` restores chains in the deployed app as well
COUNT = 300
DENIED = Course(Outcome.FAILED, failure_code="S3AccessDenied", failure_message="Access Denied")


@pytest.fixture(scope="module")
def notes(sandbox):
    return Notes(sandbox, "e2e-chain").create(note(number) for number in range(COUNT))


@pytest.fixture(scope="module")
def dates(notes):
    """The table of each of the sets' manifests, with its set's name, and a copy of what stood in the table then."""
    made = []

    def add(manifest):
        [table] = manifest["tables"]
        made.append(({**table, "backup_date": manifest["backup_date"]}, notes.now()))

    add(notes.back_up_changes())
    notes.put(note(number, "changed once") for number in range(20))
    notes.delete(range(20, 30))
    add(notes.back_up_changes_unseen(DENIED))
    notes.put(note(number, "new") for number in range(1000, 1010))
    notes.delete([30])
    add(notes.back_up_changes())
    notes.put(note(number, "changed twice") for number in range(10))
    notes.delete(range(1000, 1005))
    notes.put([note(20, "back again")])
    add(notes.back_up_changes_unseen(Course(Outcome.NO_EVENT)))
    return made


@pytest.fixture
def complete(dates):
    return [each for each in dates if each[0]["status"] == "COMPLETED"]


def restored(api, **body):
    restore = wait_for_restore(api, api.call("POST", "/restores", body)["restore_id"])
    assert restore["status"] == "COMPLETED", (restore["failures"], restore["blockers"], restore)
    return restore["tables"][0]


def test_increments_continue_what_completed_and_have_all_changes_since(dates):
    (full, _), (failed, _), (increment, _), (silent, _) = dates
    assert "a full export was made instead of an increment" in full["notes"][0]
    assert (failed["status"], failed["failure_code"]) == ("FAILED", "S3AccessDenied")
    assert [each["export_type"] for each in (full, increment, silent)] == ["FULL_EXPORT", *["INCREMENTAL_EXPORT"] * 2]
    assert [link["backup_date"] for link in silent["base"]] == [full["backup_date"], increment["backup_date"]]
    assert increment["from"] <= full["export_time"]
    assert silent["from"] == increment["to"]
    assert (increment["item_count"], silent["item_count"]) == (20 + 10 + 10 + 1, 10 + 5 + 1)


def test_the_last_set_is_there_although_no_event_came(sandbox, complete):
    events = "\n".join(sandbox.logs("record_export"))
    assert [table["manifest_summary_key"] in events for table, _ in complete] == [True, True, False]


def test_each_date_is_restored_beside_the_table(api, sandbox, notes, complete):
    bodies = [
        {
            "backup_date": table["backup_date"],
            "target_tables": {notes.name: f"{notes.name}-{place}"},
            "create_missing_tables": True,
            "max_workers": 2,
        }
        for place, (table, _) in enumerate(complete)
    ]
    ids = [api.call("POST", "/restores", body)["restore_id"] for body in bodies]
    for place, (restore_id, (_, copy)) in enumerate(zip(ids, complete, strict=True)):
        restore = wait_for_restore(api, restore_id)
        assert restore["status"] == "COMPLETED", restore
        difference = compare(copy, Notes(sandbox, f"{notes.name}-{place}").now())
        assert not difference, (place, difference)
    assert len({frozenset(copy.items()) for _, copy in complete}) == 3


def test_a_chain_is_restored_over_what_stands_in_the_table_now(api, notes, complete):
    newest, wanted = complete[-1]
    of_newest = {"backup_date": newest["backup_date"], "tables": [notes.name]}
    lines = COUNT + 41 + 16

    def damage():
        notes.delete(range(0, COUNT, 2))
        notes.put(note(number, "wrong") for number in (1, 21, 1001, 1002))

    damage()
    table = restored(api, **of_newest, verify="full")
    assert (table["item_count"], table["written"] + table["deleted"]) == (lines, lines)
    assert not compare(wanted, notes.now())
    damage()
    table = restored(api, **of_newest, mode="changed_only", verify="full")
    assert table["item_count"] == lines
    assert table["filtered"] > 0
    assert table["items_that_differ"] == 0
    assert not compare(wanted, notes.now())
    damage()
    keys = [{name: note(number)[name] for name in KEY_NAMES} for number in (0, 1, 21, 1001)]
    restored(api, **of_newest, keys=keys, mode="changed_only")
    assert compare(wanted, notes.now()).unexpected == 1  # of what was not asked for: 1002
