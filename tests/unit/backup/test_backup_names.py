"""Names of on-demand backups: what is made is recognised, and nothing else is, nor anything of another stage."""

import re

import pytest
from hypothesis import assume, example, given
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


# What the settings allow.
ENVIRONMENTS = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
DATES = st.from_regex(BACKUP_DATE, fullmatch=True)
RESTORE_IDS = st.from_regex(RESTORE_ID, fullmatch=True)
RESUMES = st.integers(0, 10**9 - 1)
NAMES_WITHOUT = st.builds("-scheduled-{}".format, DATES) | st.builds(
    lambda restore_id, resumes: safety_name("", restore_id, resumes).removeprefix("tablevault-"), RESTORE_IDS, RESUMES
)


def test_names_are_as_they_stand_in_accounts():
    assert scheduled_name("prod", "2026-11-21") == "tablevault-prod-scheduled-2026-11-21"
    assert scheduled_name("prod", "2026-11-21T093000Z") == "tablevault-prod-scheduled-2026-11-21T093000Z"
    assert safety_name("prod", ID) == f"tablevault-prod-{ID}"
    assert safety_name("prod", ID, 2) == f"tablevault-prod-{ID}-2"


@given(ENVIRONMENTS, DATES)
def test_a_scheduled_backups_name_is_allowed_and_recognised(environment, backup_date):
    name = scheduled_name(environment, backup_date)
    assert ALLOWED.fullmatch(name)
    assert parse_backup_name(environment, name) == ScheduledName(backup_date)


@given(ENVIRONMENTS, RESTORE_IDS, RESUMES)
def test_a_safety_backups_name_is_allowed_and_recognised(environment, restore_id, resumes):
    """Of every id that a restore can have."""
    name = safety_name(environment, restore_id, resumes)
    assert ALLOWED.fullmatch(name)
    assert parse_backup_name(environment, name) == SafetyName(restore_id, resumes)


@given(ENVIRONMENTS, ENVIRONMENTS, DATES, RESTORE_IDS, RESUMES)
def test_no_name_of_one_environment_is_recognised_in_another(one, other, backup_date, restore_id, resumes):
    assume(one != other)
    for name in (scheduled_name(one, backup_date), safety_name(one, restore_id, resumes)):
        assert parse_backup_name(other, name) is None


@given(ENVIRONMENTS, NAMES_WITHOUT, NAMES_WITHOUT)
@example("prod", "-scheduled-2026-11-21", "-scheduled-2026-11-21")
@example("a", f"-{ID}", f"-{ID}-20261121")
@example("a", f"-{ID}", "-scheduled-2026-11-21")
def test_nor_in_one_that_is_called_like_the_names_themselves(environment, first, second):
    """The longer one is the shorter one with what stands behind it in a name, so each name begins like the other's."""
    longer = f"{environment}{first}"
    for name in (f"tablevault-{environment}{first}", f"tablevault-{environment}{second}"):
        assert parse_backup_name(environment, name) is not None
        assert parse_backup_name(longer, name) is None
    name = f"tablevault-{longer}{second}"
    assert parse_backup_name(longer, name) is not None
    assert parse_backup_name(environment, name) is None


@pytest.mark.parametrize(
    "other", ["prod-eu", "pro", "Prod", "prod-", "prod-scheduled", "prod-scheduled-2026-11-21", ""]
)
@pytest.mark.parametrize("name", [scheduled_name("prod", "2026-11-21"), safety_name("prod", ID, 1)])
def test_stages_with_names_alike_do_not_see_each_other(other, name):
    assert parse_backup_name(other, name) is None


@given(st.lists(ENVIRONMENTS | st.sampled_from(["a", "a-scheduled-2026-11-21", f"a-{ID}", f"a-{ID}-1"]), unique=True))
def test_a_name_is_of_one_environment_at_most(environments):
    for of in environments:
        for name in (scheduled_name(of, "2026-11-21"), safety_name(of, ID), safety_name(of, ID, 1)):
            assert [each for each in environments if parse_backup_name(each, name)] == [of]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tablevault-",
        "tablevault-prod-",
        # Of before there were environments in them.
        "tablevault-scheduled-2026-11-21",
        f"tablevault-{ID}",
        "tablevault-prod-scheduled-",
        "tablevault-prod-scheduled-2026-11-21x",
        "tablevault-prod-scheduled-2026-11-21\n",
        "tablevault-prod-scheduled-2026-11-21-1",
        "tablevault-prod-scheduled-٢٠٢٦-11-21",
        "my-tablevault-prod-scheduled-2026-11-21",
        "Tablevault-scheduled-2026-11-21",
        f"tablevault-prod-scheduled-{ID}",
        "tablevault-prod-2026-11-21",
        f"tablevault-prod-{ID}-",
        f"tablevault-prod-{ID}-0",
        f"tablevault-prod-{ID}-01",
        f"tablevault-prod-{ID}-1-1",
        f"tablevault-prod-{ID}-1234567890",
        f"tablevault-prod-{ID}\n",
        f"tablevault-prod-{ID}-x",
        f"tablevault-prod-{ID[:-1]}",
        f"tablevault-prod-{ID.upper()}",
        f"x-tablevault-prod-{ID}",
        ID,
        "before-the-migration",
    ],
)
def test_any_other_name_is_not_ours(name):
    assert parse_backup_name("prod", name) is None


@given(
    st.text(st.sampled_from("tablevuschdrpo-0123456789TZ\n"), max_size=60)
    | st.from_regex(r"\Atablevault-prod-.{0,50}\Z")
    | st.from_regex(r"\Atablevault-prod-(scheduled-)?[-0-9TZrabcdef]{0,40}\Z")
)
def test_what_is_recognised_is_what_would_be_made(name):
    found = parse_backup_name("prod", name)
    if isinstance(found, ScheduledName):
        assert scheduled_name("prod", *found) == name
    elif found is not None:
        assert safety_name("prod", *found) == name


@pytest.mark.parametrize("text", ["", "latest", "2026-11-21\n", "2026-11-21/x", "2026-1-1"])
def test_a_scheduled_backup_is_named_by_a_set_only(text):
    with pytest.raises(ValueError, match="is no set's name"):
        scheduled_name("prod", text)
