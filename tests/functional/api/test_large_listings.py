"""Listings over rows that are large, damaged, or asked for by names that are none."""

import pytest

from chalicelib.backup.catalog import Catalog
from chalicelib.ledger import Key, Ledger, Update
from chalicelib.restore.desk import RestoreDesk
from tests.functional.api.gateway import assert_problem
from tests.functional.api.test_restores import a_list_of_restores, walk
from tests.functional.restore.world import LEDGER

pytestmark = pytest.mark.usefixtures("backed_up")


def test_rows_beyond_a_megabyte_do_not_end_the_listing(api):
    expected = a_list_of_restores(api, 6)
    ledger = Ledger(api.world.dynamodb, LEDGER)
    for restore_id in expected:
        ledger.write(Update(Key(f"RESTORE#{restore_id}", "JOB"), set={"padding": "x" * 300_000}))
    assert walk(api, "/restores", "restores", "restore_id", 6) == expected
    assert walk(api, "/restores", "restores", "restore_id", 100) == expected


def test_a_time_out_of_any_calendar_spoils_one_entry_not_the_listing(api):
    expected = a_list_of_restores(api, 2)
    job = Key(f"RESTORE#{expected[0]}", "JOB")
    Ledger(api.world.dynamodb, LEDGER).write(Update(job, set={"created_at_ms": 10**18}))
    answer = api.call("GET", "/restores")
    assert answer.status == 200, answer.text
    assert answer.body["unreadable"] == [expected[0]]


def test_a_restore_with_more_findings_than_an_answer_carries_is_shown_with_the_first(api, monkeypatch):
    """500 tables with 100 blockers, warnings and failures each would be 150 MB; a Lambda function may answer 6."""
    (restore_id,) = a_list_of_restores(api, 1)
    describe = RestoreDesk.describe

    def overfull(desk, restore_id):
        shown = describe(desk, restore_id)
        shown["tables"] = shown["tables"] * 500
        return shown | {name: ["\N{SNOWMAN}" * 1000] * 50_000 for name in ("blockers", "warnings", "failures")}

    monkeypatch.setattr(RestoreDesk, "describe", overfull)
    answer = api.call("GET", f"/restores/{restore_id}")
    assert answer.status == 200
    assert len(answer.text) < 6_000_000
    for name in ("blockers", "warnings", "failures"):
        *shown, last = answer.body[name]
        assert len(shown) > 100
        assert last.startswith(f"and {50_000 - len(shown)} more")


def test_few_findings_are_shown_as_they_are(api, monkeypatch):
    (restore_id,) = a_list_of_restores(api, 1)
    describe = RestoreDesk.describe
    monkeypatch.setattr(RestoreDesk, "describe", lambda *asked: describe(*asked) | {"failures": ["one", "two"]})
    assert api.call("GET", f"/restores/{restore_id}").body["failures"] == ["one", "two"]


def test_what_names_no_set_never_reaches_the_ledger(api, monkeypatch):
    def record(self, name):
        raise AssertionError(f"asked the ledger for {name[:20]!r}")

    monkeypatch.setattr(Catalog, "record", record)
    assert_problem(api.call("GET", "/backups/" + "%F0%9F%92%A9" * 600), 404, "backup_not_found")
