"""Nobody begins anything with a set that is being removed: no increment builds on it, no set of its name is started,
and no export that was given up opens it again."""

import pytest

from chalicelib.backup.pruning.removals import Removals
from chalicelib.errors import Conflict
from tests.functional.backup.world import DATE, HOUR_MS, MINUTE_MS, World

NEXT = "2026-11-22"


@pytest.fixture
def world(aws) -> World:
    """With a full set of yesterday, and increments from now on."""
    world = World(("orders",), EXPORT_STRATEGY="weekly-full", FULL_EXPORT_DAY="SATURDAY")
    assert world.finished_set() == DATE
    world.clock.advance(24 * HOUR_MS)
    return world


def mark(world: World, date: str) -> None:
    Removals(world.ledger, world.clock).mark(date, "a test wants it")


def export_type(world: World) -> str:
    (export,) = world.dynamodb.running()
    return str(export.request.get("ExportType", "FULL_EXPORT"))


def test_a_chain_is_continued(world):
    world.start()
    assert export_type(world) == "INCREMENTAL_EXPORT"


def test_no_chain_is_continued_on_a_set_that_is_being_removed(world):
    mark(world, DATE)
    world.start()
    assert export_type(world) == "FULL_EXPORT"


def test_no_chain_is_continued_of_which_an_earlier_link_is_being_removed(world):
    world.start()
    world.dynamodb.complete_all()
    world.clock.advance(MINUTE_MS)
    world.service.reconcile()
    assert world.manifest(NEXT).tables[0].base
    mark(world, DATE)
    world.clock.advance(24 * HOUR_MS)
    world.start()
    assert export_type(world) == "FULL_EXPORT"


def test_a_mark_that_comes_while_an_increment_is_planned_is_seen(world):
    def before(name, request):
        if name == "transact_write_items" and "base" in repr(request):
            world.mend()
            mark(world, DATE)

    world.before = before
    world.start(world.new_process())
    assert world.dynamodb.running() == []
    assert world.export_row("orders", NEXT).get("parameters") is None
    world.reconcile_a_minute_later()
    assert export_type(world) == "FULL_EXPORT"


def test_a_set_is_not_started_under_a_name_that_is_being_removed(world):
    mark(world, NEXT)
    with pytest.raises(Conflict) as raised:
        world.service.start_scheduled()
    assert raised.value.code == "backup_being_removed"
    assert world.set_row(NEXT) == {}


def test_an_export_that_was_given_up_does_not_open_a_set_again_that_is_being_removed(world):
    world.service.start_scheduled()
    (export,) = world.dynamodb.running()
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    assert world.manifest(NEXT).status == "PARTIAL"
    world.dynamodb.complete(export)
    catalog = world.service._catalog
    row = catalog.export_row(NEXT, "orders")
    assert row is not None
    mark(world, NEXT)
    assert catalog.complete(row, {"export_arn": export.arn}, world.clock()) is False
    assert not world.is_open(NEXT)
