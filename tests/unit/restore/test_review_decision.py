"""Decisions an adversarial review asked for: what the status code of some is, and strays that must not hide work."""

import msgspec

from chalicelib.restore.decision import Work, decide, status_code
from chalicelib.restore.model import Status
from tests.unit.restore.test_decision import NOW_MS, a_job, a_table


def test_a_partial_restore_of_which_only_empty_tables_are_whole_is_207_like_its_status():
    assert status_code(Status.PARTIAL, restored_anything=False) == 207


def test_shards_that_ended_beyond_the_planned_ones_do_not_hide_those_of_another_table():
    strays = a_table(checking_total=1, checking_ended=4)
    open_one = msgspec.structs.replace(a_table(checking_total=3, checking_ended=1), number=1)
    assert decide(a_job(Status.CHECKING), [strays, open_one], NOW_MS) == Work(2)
