"""Shields stand in the bucket: put, found, taken away, and refused where a set is none, or is going."""

import pytest

from chalicelib.backup.pruning.shields import Shield
from chalicelib.errors import Conflict, NotFound
from tests.functional.backup.pruning.world import Meanwhile
from tests.functional.backup.world import BUCKET, PREFIX

OLD, NEWEST = "2026-11-10", "2026-11-20"
KEY = f"{PREFIX}/{OLD}/keep.json"


@pytest.fixture(autouse=True)
def _sets(world):
    world.put_set(OLD)
    world.put_set(NEWEST)


def test_a_shield_says_since_when_and_by_whom_and_the_first_one_counts(world):
    first = world.shields.keep(OLD, "ann")
    assert first == Shield("2026-11-21T01:00:20.000Z", "ann")
    world.clock.advance(1000)
    assert world.shields.keep(OLD, "bob") == first
    assert world.shields.find(OLD) == first
    assert world.shields.find(NEWEST) is None


def test_a_shield_is_taken_away_and_that_may_be_repeated(world):
    world.shields.release(OLD)
    world.shields.keep(OLD, "ann")
    for _ in range(2):
        world.shields.release(OLD)
        assert world.shields.find(OLD) is None
    assert world.prune()["removed"] == [OLD]
    world.assert_gone(OLD)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"kept_by": 1}', b"x" * 20_000], ids=len)
def test_an_object_that_somebody_put_there_is_a_shield_whatever_it_says(world, body):
    world.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
    assert world.shields.find(OLD) == Shield()
    assert world.prune()["removed"] == []


@pytest.mark.parametrize("date", ["2026-11-11", "nonsense", "../2026-11-10", "2026-11-1", ""])
def test_a_set_that_does_not_exist_is_refused_with_those_that_do(world, date):
    for change in (lambda: world.shields.keep(date, "ann"), lambda: world.shields.release(date)):
        with pytest.raises(NotFound, match=f"there are: {NEWEST}, {OLD}"):
            change()
    assert not [key for key in world.all_keys() if key.endswith("keep.json")]


def test_sets_without_a_manifest_and_of_the_ledger_alone_can_be_shielded(world):
    world.put_set("2026-11-21", manifest=False, rows=False)
    world.put_rows("2026-11-21T010000Z", {"orders": ()}, is_open=True)
    world.put_rows("2026-11-12", {"orders": ()}, prefix="another")
    for date in ("2026-11-21", "2026-11-21T010000Z"):
        assert world.shields.keep(date, "ann").kept_by == "ann"
    with pytest.raises(NotFound):
        world.shields.keep("2026-11-12", "ann")


@pytest.mark.parametrize("begun", [False, True])
def test_a_set_that_is_being_removed_is_refused(world, begun):
    mark = world.take_mark(OLD)
    if begun:
        world.removals.begin(mark)
    for change in (lambda: world.shields.keep(OLD, "ann"), lambda: world.shields.release(OLD)):
        with pytest.raises(Conflict) as raised:
            change()
        assert raised.value.code == "backup_being_removed"
    assert KEY not in world.all_keys()


def test_a_mark_that_comes_while_a_shield_is_put_is_told_of(world):
    shields = world.watched_shields()
    Meanwhile(world, "put_object", lambda: world.take_mark(OLD))
    with pytest.raises(Conflict, match="ask again in a minute"):
        shields.keep(OLD, "ann")
    assert world.prune()["removed"] == []  # it came in time
    assert shields.keep(OLD, "bob").kept_by == "ann"


def test_of_two_who_shield_at_once_the_first_one_counts(world):
    shields = world.watched_shields()
    done: list[Shield] = []

    def before(name, request):
        if name == "put_object" and not done:
            done.append(world.shields.keep(OLD, "bob"))

    world.before = before
    assert shields.keep(OLD, "ann").kept_by == "bob"
