"""The process ends after any one of its calls to AWS: reconcile brings the set to the same end, with one export each.

Every test goes through all calls of its run that change something: a set stopped after the first, one stopped after
the second, and so on until the run comes to its end by itself.
"""

import itertools

from tests.functional.backup.world import DATE, HOUR_MS, MINUTE_MS, Stopped, World

_MOST_CALLS = 40


def stopped_after(world: World, calls: int, run) -> bool:
    """Whether the run was stopped; afterwards everything works again, in a new process."""
    stop = world.stop_after(calls)
    try:
        run()
    except Stopped:
        pass
    finally:
        world.mend()
        world.service = world.new_process()
    return stop.was_reached


def each_stop(run_once) -> int:
    """Calls `run_once(calls)` with 1, 2, 3 ... until it was not stopped; how many stops there were."""
    for calls in itertools.count(1):
        assert calls < _MOST_CALLS
        if not run_once(calls):
            return calls - 1
    raise AssertionError


def assert_complete_with_one_export(world: World, backup_date: str) -> None:
    manifest = world.manifest(backup_date)
    assert manifest.status == "COMPLETE"
    assert manifest.total_items_exported == 2
    assert not world.is_open(backup_date)
    exports = [each for each in world.dynamodb.exports.values() if f"/{backup_date}/" in each.request["S3Prefix"]]
    assert [each.arn for each in exports] == [manifest.tables[0].export_arn]


def test_starting_stopped_after_any_call_is_carried_on_by_reconcile(aws):
    world = World(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(24 * HOUR_MS)
        backup_date = DATE[:-2] + str(21 + calls) if calls < 10 else f"2026-12-{calls - 9:02d}"
        was_stopped = stopped_after(world, calls, world.service.start_scheduled)
        if not world.set_row(backup_date):
            world.service.start_scheduled()  # Lambda tries an event again whose invocation ended badly
        world.reconcile_a_minute_later()
        world.dynamodb.complete(*world.dynamodb.running(), partitions=1)
        world.reconcile_a_minute_later()
        assert_complete_with_one_export(world, backup_date)
        world.clock.advance(-2 * MINUTE_MS)
        return was_stopped

    # The SET row, the lease on it, the EXPORT row, table.json, its parameters, the export, the EXPORT row again, and
    # the lease given back.
    assert each_stop(run_once) == 8


def test_recording_an_event_stopped_after_any_call_is_carried_on_by_reconcile(aws):
    world = World(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(24 * HOUR_MS)
        backup_date = world.service.start_scheduled()["backup_date"]
        key = world.dynamodb.complete(*world.dynamodb.running(), partitions=1)
        was_stopped = stopped_after(world, calls, lambda: world.send(key))
        world.reconcile_a_minute_later()
        assert_complete_with_one_export(world, backup_date)
        world.clock.advance(-MINUTE_MS)
        return was_stopped

    # The EXPORT row, the manifest, the SET row.
    assert each_stop(run_once) == 3


def test_reconcile_stopped_after_any_call_is_carried_on_by_the_next_one(aws):
    world = World(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(24 * HOUR_MS)
        backup_date = world.service.start_scheduled()["backup_date"]
        world.dynamodb.complete(*world.dynamodb.running(), partitions=1)
        world.clock.advance(MINUTE_MS)
        was_stopped = stopped_after(world, calls, world.service.reconcile)
        world.reconcile_a_minute_later()
        assert_complete_with_one_export(world, backup_date)
        world.clock.advance(-2 * MINUTE_MS)
        return was_stopped

    # The check noted, then as an event.
    assert each_stop(run_once) == 4


def test_recording_an_event_of_a_late_export_stopped_after_any_call_is_carried_on(aws):
    world = World(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(48 * HOUR_MS)
        backup_date = world.service.start_scheduled()["backup_date"]
        (export,) = world.dynamodb.running()
        world.clock.advance(25 * HOUR_MS)
        world.service.reconcile()
        assert world.manifest(backup_date).status == "PARTIAL"
        key = world.dynamodb.complete(export, partitions=1)
        was_stopped = stopped_after(world, calls, lambda: world.send(key))
        world.reconcile_a_minute_later()
        if world.export_row("orders", backup_date)["status"] == "FAILED":
            world.send(key)  # stopped before the row moved: the event comes again
        world.reconcile_a_minute_later()
        assert_complete_with_one_export(world, backup_date)
        assert world.manifest(backup_date).revision == 2
        world.clock.advance(-25 * HOUR_MS - 2 * MINUTE_MS)
        return was_stopped

    # The EXPORT row and the SET row at once, the manifest, the SET row.
    assert each_stop(run_once) == 3
