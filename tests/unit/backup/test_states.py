"""Every pair of statuses: what may follow what."""

import itertools

import pytest

from chalicelib.backup.states import ENDED, EXPORT_MOVES, SET_MOVES, ExportState, SetState, states_before

EXPORT_PAIRS = {
    ("PENDING", "IN_PROGRESS"),
    ("PENDING", "COMPLETED"),
    ("PENDING", "FAILED"),
    ("IN_PROGRESS", "COMPLETED"),
    ("IN_PROGRESS", "FAILED"),
    ("IN_PROGRESS", "PENDING"),
    ("FAILED", "COMPLETED"),
}
SET_PAIRS = {
    ("OPEN", "COMPLETE"),
    ("OPEN", "PARTIAL"),
    ("PARTIAL", "COMPLETE"),
    ("PARTIAL", "PARTIAL"),
    ("PARTIAL", "OPEN"),
    ("COMPLETE", "OPEN"),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ExportState, ExportState)))
def test_every_pair_of_export_states(before, after):
    assert (after in EXPORT_MOVES[before]) == ((before.value, after.value) in EXPORT_PAIRS)
    assert (before in states_before(EXPORT_MOVES, after)) == (after in EXPORT_MOVES[before])


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SetState, SetState)))
def test_every_pair_of_set_states(before, after):
    assert (after in SET_MOVES[before]) == ((before.value, after.value) in SET_PAIRS)


def test_nothing_that_ended_is_ever_pending_or_running_again():
    assert not any(EXPORT_MOVES[state] & {ExportState.PENDING, ExportState.IN_PROGRESS} for state in ENDED)
