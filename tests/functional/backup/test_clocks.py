"""Clocks that differ: ours ahead of DynamoDB's, behind it, or set back in between."""

import pytest

from tests.functional.backup.test_bad_days import DAY_MS, complete_set
from tests.functional.backup.world import (
    BUCKET,
    HOUR_MS,
    MINUTE_MS,
    START_MS,
    TABLES,
    Stopped,
    World,
)

AHEAD, BEHIND = HOUR_MS, -HOUR_MS


def skewed(ahead_ms: int, **environ: str) -> World:
    """Our clock is ahead of DynamoDB's; the tables' recovery has been on for a day."""
    world = World(("orders",), **environ)
    world.dynamodb._clock = lambda: world.clock() - ahead_ms
    world.enable_recovery("orders")
    world.clock.advance(DAY_MS)
    return world


@pytest.mark.parametrize("ahead_ms", [AHEAD, BEHIND])
@pytest.mark.parametrize("hour", ["0", "1", None])
def test_what_dynamodb_is_asked_for_lies_in_its_own_recovery_window_whatever_our_clock_says(aws, ahead_ms, hour):
    """It is 01:00:20 by our clock: what is asked for is after the window's end by DynamoDB's, or long in it."""
    world = skewed(ahead_ms, **({"BACKUP_HOUR": hour} if hour else {}))
    world.service.start_scheduled()
    (export,) = world.dynamodb.running()
    parameters = world.export_row("orders", "2026-11-22")["parameters"]
    latest_ms = world.clock() - ahead_ms - 5 * MINUTE_MS
    asked_ms = parameters.get("requested_time_ms")
    assert (asked_ms is None) == (hour is None)
    if asked_ms is None:
        assert "ExportTime" not in export.request
    else:
        assert parameters["export_time_ms"] == min(asked_ms, latest_ms // 1000 * 1000)
    assert complete_set(world, "2026-11-22").status == "COMPLETE"


@pytest.mark.parametrize("ahead_ms", [AHEAD, BEHIND])
def test_an_export_not_written_down_is_found_again_although_the_clocks_differ(aws, ahead_ms):
    world = skewed(ahead_ms)
    world.stop_after(6)  # the export is started, and its row is not IN_PROGRESS yet
    with pytest.raises(Stopped):
        world.service.start_scheduled()
    world.mend()
    (export,) = world.dynamodb.running()
    assert world.export_row("orders", "2026-11-22")["status"] == "PENDING"
    world.clock.advance(9 * HOUR_MS)  # its token is forgotten
    world.new_process().reconcile()
    assert world.dynamodb.running() == [export]
    assert world.export_row("orders", "2026-11-22")["export_arn"] == export.arn


@pytest.mark.parametrize("ahead_ms", [AHEAD, BEHIND])
def test_an_export_has_a_day_by_our_clock_and_its_files_an_hour_whatever_dynamodbs_says(aws, ahead_ms):
    world = skewed(ahead_ms)
    world.service.start_scheduled()
    (export,) = world.dynamodb.running()
    world.clock.advance(23 * HOUR_MS)
    world.service.reconcile()
    assert world.export_row("orders", "2026-11-22")["status"] == "IN_PROGRESS"
    key = world.dynamodb.complete(export)
    content = world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    world.s3.delete_object(Bucket=BUCKET, Key=key)
    for _ in range(50):
        world.reconcile_a_minute_later()
    assert world.export_row("orders", "2026-11-22")["status"] == "IN_PROGRESS"
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    world.reconcile_a_minute_later()
    assert world.manifest("2026-11-22").status == "COMPLETE"


def test_files_that_stay_missing_fail_the_export_although_the_clocks_differ(aws):
    world = skewed(BEHIND)
    world.service.start_scheduled()
    (export,) = world.dynamodb.running()
    world.s3.delete_object(Bucket=BUCKET, Key=world.dynamodb.complete(export))
    for _ in range(59):
        world.reconcile_a_minute_later()
    assert world.export_row("orders", "2026-11-22")["status"] == "IN_PROGRESS"
    world.reconcile_a_minute_later()
    assert world.export_row("orders", "2026-11-22")["failure_code"] == "ExportNotReadable"


def test_a_clock_that_is_set_back_delays_no_check(world):
    world.service.start_scheduled()
    world.reconcile_a_minute_later()
    world.clock.advance(-HOUR_MS)
    world.dynamodb.complete_all()
    world.service.reconcile()
    assert world.manifest().status == "COMPLETE"


def test_a_lease_of_a_clock_far_ahead_does_not_last_until_then(world):
    """The process whose clock is an hour ahead stops while it starts the set; one whose clock is right goes on."""
    world.clock.advance(HOUR_MS)
    world.stop_after(2)  # the SET row, and the lease
    with pytest.raises(Stopped):
        world.service.start_scheduled()
    world.mend()
    assert world.dynamodb.exports == {}
    world.clock.advance(-HOUR_MS)
    world.new_process().reconcile()
    assert len(world.dynamodb.exports) == len(TABLES)


@pytest.mark.parametrize(
    ("ahead_ms", "named"),
    [
        (AHEAD, ["2026-11-22", "2026-11-21", "2026-11-22"]),
        (0, ["2026-11-21", "2026-11-21", "2026-11-22"]),
        (BEHIND, ["2026-11-21", "2026-11-21", "2026-11-22"]),
    ],
)
def test_sets_near_midnight_are_named_by_our_clock_and_no_name_has_two(world, ahead_ms, named):
    """At 23:30 by a clock that is wrong, ten minutes later by the right one, and a day after that."""
    world.clock.now_ms = START_MS - START_MS % DAY_MS + DAY_MS - 30 * MINUTE_MS + ahead_ms
    seen = []
    for ms in (-ahead_ms + 10 * MINUTE_MS, DAY_MS, 0):
        seen.append(world.service.start_scheduled()["backup_date"])
        world.clock.advance(ms)
    assert seen == named
    assert len(world.dynamodb.exports) == len(set(named)) * len(TABLES)
    for backup_date in sorted(set(named)):
        assert complete_set(world, backup_date).status == "COMPLETE"
