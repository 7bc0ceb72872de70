"""Listings over rows that are large, damaged, or asked for by names that are none."""

import pytest

from chalicelib.backup.catalog import Catalog
from chalicelib.ledger import Key, Ledger, Update
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


def test_what_names_no_set_never_reaches_the_ledger(api, monkeypatch):
    def record(self, name):
        raise AssertionError(f"asked the ledger for {name[:20]!r}")

    monkeypatch.setattr(Catalog, "record", record)
    assert_problem(api.call("GET", "/backups/" + "%F0%9F%92%A9" * 600), 404, "backup_not_found")
