"""The process ends after any one of its calls, or two run at once: one backup of each table, and one end."""

import itertools
import threading

import pytest
from botocore.exceptions import ReadTimeoutError

from tests.functional.backup.on_demand.world import World
from tests.functional.backup.world import DATE, HOUR_MS, Stopped

_MOST_CALLS = 40
_MINUTES = 6  # a claim ends within


def stopped_after(world: World, calls: int, run) -> bool:
    """Whether the run was stopped; afterwards everything works again, in a new process."""
    stop = world.stop_after(calls)
    try:
        run()
    except Stopped:
        pass
    finally:
        world.mend()
        world.new_process()
    return stop.was_reached


def each_stop(run_once) -> int:
    """Calls `run_once(calls)` with 1, 2, 3 ... until it was not stopped; how many stops there were."""
    for calls in itertools.count(1):
        assert calls < _MOST_CALLS
        if not run_once(calls):
            return calls - 1
    raise AssertionError


def assert_one_backup_and_complete(world: World, name: str) -> None:
    assert world.status(name) == "COMPLETE"
    assert not world.is_open(name)
    for table_name in world.tables:
        made = [each for each in world.dynamodb.backups(table_name) if str(each["BackupName"]).endswith(name)]
        assert [each["BackupArn"] for each in made] == [world.shown(name)[table_name]["backup_arn"]]


@pytest.mark.parametrize("takes_ms", [0, 90_000])
def test_a_start_stopped_after_any_call_is_carried_on(aws, takes_ms):
    world = World(("orders",))
    world.dynamodb.takes_ms = takes_ms

    def run_once(calls: int) -> bool:
        world.clock.advance(24 * HOUR_MS)
        name = f"2026-12-{calls:02d}"
        was_stopped = stopped_after(world, calls, lambda: world.start(name))
        world.start(name)  # Lambda tries an event again whose invocation ended badly
        world.reconcile(_MINUTES)
        assert_one_backup_and_complete(world, name)
        return was_stopped

    # The RUN row, the claim, the backup, the TABLE row; where it is available at once the RUN row again.
    assert each_stop(run_once) == (4 if takes_ms else 5)


def test_a_start_stopped_after_any_call_is_carried_on_by_reconcile_alone(aws):
    world = World(("orders", "catalog", "users"))

    def run_once(calls: int) -> bool:
        world.clock.advance(24 * HOUR_MS)
        name = f"2026-12-{calls:02d}"
        was_stopped = stopped_after(world, calls, lambda: world.start(name))
        world.reconcile(_MINUTES)
        assert_one_backup_and_complete(world, name)
        return was_stopped

    assert each_stop(run_once) == 1 + 3 * 3


def test_reconcile_stopped_after_any_call_is_carried_on_by_the_next_one(aws):
    """Of three tables one was never begun, one is being made, and of one it is not known."""
    world = World(("orders", "catalog", "users"))

    def run_once(calls: int) -> bool:
        world.clock.advance(24 * HOUR_MS)
        name = f"2026-12-{calls:02d}"
        world.start(name, budget_ms=0)
        stopped_after(world, 2, lambda: world.start(name))
        world.clock.advance(5 * 60_000)
        was_stopped = stopped_after(world, calls, lambda: world.reconcile(3))
        world.reconcile(_MINUTES)
        assert_one_backup_and_complete(world, name)
        return was_stopped

    assert each_stop(run_once) > 5


def test_a_claim_whose_process_died_before_it_called_is_taken_over_when_it_has_ended(world):
    """Stopped right after the claims, which come first."""

    def before(name, request):
        if name == "create_backup":
            raise Stopped

    world.before = before
    with pytest.raises(Stopped):
        world.start()
    world.mend()
    world.reconcile(2)
    assert set(world.statuses().values()) <= {"PENDING", "CREATING", "AVAILABLE"}
    world.reconcile(_MINUTES)
    assert_one_backup_and_complete(world, DATE)


def test_twice_is_once(world):
    for _ in range(2):
        world.start()
        world.start()
        world.reconcile()
    assert_one_backup_and_complete(world, DATE)


@pytest.mark.parametrize("seed", range(4))
def test_two_at_once_make_one_backup_of_each(aws, seed):
    world = World(tuple(f"table-{number:02d}" for number in range(12)))
    gate = threading.Barrier(2)

    def run() -> None:
        gate.wait()
        if seed % 2:
            world.on_demand.carry_on(DATE, world.clock() + 40_000)
        else:
            world.start()

    if seed % 2:
        world.start(budget_ms=0)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(world.names(name)) for name in world.tables] == [1] * 12
    world.reconcile(_MINUTES)
    assert_one_backup_and_complete(world, DATE)


def test_one_that_overtakes_another_in_every_gap_makes_no_second_backup(world):
    """Before each call of the one, the other one runs as a whole."""
    is_inside = [False]

    def before(name, request):
        if not is_inside[0]:
            is_inside[0] = True
            try:
                world.start()
            finally:
                is_inside[0] = False

    world.before = before
    world.start()
    world.mend()
    world.reconcile(_MINUTES)
    assert_one_backup_and_complete(world, DATE)


def test_of_two_that_take_over_one_claim_only_one_calls(aws):
    """The other one has read the row and the list when the first one claims, calls, and gets no answer."""
    world = World(("orders",))
    world.dynamodb.takes_ms = 0
    no_answer = ReadTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com")
    world.refuse("create_backup", no_answer)
    world.start()
    world.mend()
    world.clock.advance(HOUR_MS)
    has_run: list[str] = []

    def after(name, request):
        if name == "create_backup":
            world.dynamodb.unlisted = {each["BackupArn"] for each in world.dynamodb.backups()}
            raise no_answer

    def before(name, request):
        if name == "put_item" and not has_run:
            has_run.append(name)
            world.on_demand.carry_on(DATE, world.clock() + 40_000)

    world.before, world.after = before, after
    world.on_demand.carry_on(DATE, world.clock() + 40_000)
    world.mend()
    assert has_run
    assert len(world.dynamodb.backups()) == 1
    world.dynamodb.unlisted.clear()
    world.reconcile(_MINUTES)
    assert_one_backup_and_complete(world, DATE)
