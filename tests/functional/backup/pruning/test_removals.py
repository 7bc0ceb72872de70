"""The marks of sets that are being removed: of two who act on one, only the one goes on who knows how it stands."""

import pytest

from chalicelib.backup.pruning.removals import Removals, Stage
from chalicelib.errors import LedgerEntryCorrupt
from chalicelib.ledger import Key, Update
from tests.functional.backup.pruning.world import PruningWorld

DATE = "2026-11-10"


@pytest.fixture
def world(aws) -> PruningWorld:
    return PruningWorld()


@pytest.fixture
def removals(world: PruningWorld) -> Removals:
    return world.removals


def test_a_mark_stands_once_and_is_found(world, removals):
    mark = removals.mark(DATE, "it is old")
    assert removals.mark(DATE, "another reason") == mark
    assert removals.all() == removals.of([DATE, DATE, "2026-11-11"]) == [mark]
    assert (mark.stage, mark.why, mark.opened_at_ms) == (Stage.MARKED, "it is old", world.clock())
    assert (removals.is_marked(DATE), removals.is_marked("2026-11-11")) == (True, False)


def test_only_one_of_two_begins(removals):
    mark = removals.mark(DATE, "")
    begun = removals.begin(mark)
    assert begun.stage is Stage.REMOVING
    assert removals.begin(mark) is None
    assert removals.of([DATE]) == [begun]


def test_a_mark_that_another_has_taken_on_is_not_taken_away(removals):
    mark = removals.mark(DATE, "")
    begun = removals.begin(mark)
    assert removals.take_away(mark) is False
    taken_on = removals.begin(begun)
    assert removals.take_away(begun) is False
    assert removals.take_away(taken_on) is True
    assert removals.all() == []
    assert removals.take_away(taken_on) is True  # the first answer was lost


def test_a_mark_that_was_taken_away_and_made_again_is_another_one(removals):
    mark = removals.mark(DATE, "")
    removals.take_away(mark)
    again = removals.mark(DATE, "")
    assert removals.begin(mark) is None
    assert removals.take_away(mark) is False
    assert removals.of([DATE]) == [again]


def test_an_open_set_is_not_begun_but_what_was_begun_goes_on(world, removals):
    world.put_set(DATE, is_open=True)
    mark = removals.mark(DATE, "")
    assert removals.begin(mark) is None
    world.put_set(DATE)
    begun = removals.begin(mark)
    world.put_set(DATE, is_open=True)
    assert removals.begin(begun) is not None


def test_a_mark_is_no_open_work_of_backups(world, removals):
    world.put_set(DATE)
    removals.mark(DATE, "")
    assert world.service.reconcile() == []
    assert world.service.list_page(10, None)["unreadable"] == []


def test_a_mark_that_cannot_be_read_stops_the_run(world, removals):
    world.put_set(DATE)
    world.put_set("2026-11-20")
    removals.mark(DATE, "")
    world.ledger.write(Update(Key(f"BACKUP#{DATE}", "REMOVAL"), set={"stage": "?"}))
    with pytest.raises(LedgerEntryCorrupt, match=f"BACKUP#{DATE}/REMOVAL"):
        world.prune()
    assert DATE in world.sets()
