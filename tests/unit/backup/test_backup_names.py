"""Names of on-demand backups: what is made is recognised, and nothing else is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.backup_names import (
    SafetyName,
    ScheduledName,
    parse_backup_name,
    safety_name,
    scheduled_name,
)
from chalicelib.backup.layout import BACKUP_DATE
from chalicelib.restore.requests import RESTORE_ID

ID = "r-20261121T010000Z-0123abcd"
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateBackup.html
ALLOWED = re.compile(r"[a-zA-Z0-9_.-]{3,255}")


def test_names_are_as_they_stand_in_accounts_already():
    assert scheduled_name("2026-11-21") == "tablevault-scheduled-2026-11-21"
    assert scheduled_name("2026-11-21T093000Z") == "tablevault-scheduled-2026-11-21T093000Z"
    assert safety_name(ID) == f"tablevault-{ID}"
    assert safety_name(ID, 2) == f"tablevault-{ID}-2"


@given(st.from_regex(BACKUP_DATE, fullmatch=True))
def test_a_scheduled_backups_name_is_allowed_and_recognised(backup_date):
    name = scheduled_name(backup_date)
    assert ALLOWED.fullmatch(name)
    assert parse_backup_name(name) == ScheduledName(backup_date)


@given(st.from_regex(RESTORE_ID, fullmatch=True), st.integers(0, 10**9 - 1))
def test_a_safety_backups_name_is_allowed_and_recognised(restore_id, resumes):
    """Of every id that a restore can have."""
    name = safety_name(restore_id, resumes)
    assert ALLOWED.fullmatch(name)
    assert parse_backup_name(name) == SafetyName(restore_id, resumes)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tablevault-",
        "tablevault-scheduled-",
        "tablevault-scheduled-2026-11-21x",
        "tablevault-scheduled-2026-11-21\n",
        "tablevault-scheduled-2026-11-21-1",
        "tablevault-scheduled-٢٠٢٦-11-21",
        "my-tablevault-scheduled-2026-11-21",
        "Tablevault-scheduled-2026-11-21",
        f"tablevault-scheduled-{ID}",
        "tablevault-2026-11-21",
        f"tablevault-{ID}-",
        f"tablevault-{ID}-0",
        f"tablevault-{ID}-01",
        f"tablevault-{ID}-1-1",
        f"tablevault-{ID}-1234567890",
        f"tablevault-{ID}\n",
        f"tablevault-{ID}-x",
        f"tablevault-{ID[:-1]}",
        f"tablevault-{ID.upper()}",
        f"x-tablevault-{ID}",
        ID,
        "before-the-migration",
    ],
)
def test_any_other_name_is_not_ours(name):
    assert parse_backup_name(name) is None


@given(st.text(st.sampled_from("tablevuschdr-0123456789TZ\n"), max_size=60) | st.from_regex(r"\Atablevault-.{0,50}\Z"))
def test_what_is_recognised_is_what_would_be_made(name):
    found = parse_backup_name(name)
    if isinstance(found, ScheduledName):
        assert scheduled_name(*found) == name
    elif found is not None:
        assert safety_name(*found) == name


@pytest.mark.parametrize("text", ["", "latest", "2026-11-21\n", "2026-11-21/x", "2026-1-1"])
def test_a_scheduled_backup_is_named_by_a_set_only(text):
    with pytest.raises(ValueError, match="is no set's name"):
        scheduled_name(text)
