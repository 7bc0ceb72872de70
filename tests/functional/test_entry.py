"""What scheduled functions do that have several things to do: each, whatever becomes of the others."""

from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import entry
from chalicelib.errors import RetentionIncomplete, SelectionFailed
from tests.functional.backup.on_demand.world import World as OnDemandWorld
from tests.functional.backup.world import DATE

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)


class Calls:
    """Of services what the function under test uses; what was called, in order."""

    def __init__(self, **failing: Exception) -> None:
        self.made: list[str] = []
        self.failing = failing
        self.settings = SimpleNamespace(on_demand_daily=True)
        self.retention: dict[str, Any] = {"failures": []}
        self.deleting: dict[str, Any] = {"left": {}}
        self.stops: list[int] = []
        self.backups = SimpleNamespace(
            start_scheduled=lambda: self.call("set", {"statusCode": 200, "backup_date": DATE}),
            reconcile=lambda: self.call("backups", [DATE]),
            name_of_the_day=lambda: DATE,
            choose=None,
        )
        self.on_demand: Any = SimpleNamespace(
            start=lambda name, choose, by_hand, stop_at_ms: self.call("on_demand", {}),
            result_of_run=lambda name: {"statusCode": 200},
        )
        self.ages = SimpleNamespace(run=lambda: self.call("ages", True))
        self.restore_sweep = SimpleNamespace(run=lambda: self.call("restores", []))
        self.set_pruner = SimpleNamespace(run=lambda stop: self.call("sets", self.retention, stop))
        self.backup_pruner = SimpleNamespace(run=lambda stop: self.call("on_demand", self.deleting, stop))

    def clock(self) -> int:
        return 1_000_000

    def call(self, name: str, result: Any, stop_at_ms: int = 0) -> Any:
        self.made.append(name)
        self.stops.append(stop_at_ms)
        if name in self.failing:
            raise self.failing[name]
        return result


def run(function: str, services: Calls) -> Any:
    calls: dict[str, Any] = {
        "start_exports": entry.start_exports,
        "reconcile": entry.reconcile,
        "prune": lambda given: entry.prune(given, CONTEXT),
    }
    return calls[function](services)


PARTS = {
    "start_exports": ["set", "on_demand"],
    "reconcile": ["backups", "ages", "restores"],
    "prune": ["sets", "on_demand"],
}


@pytest.mark.parametrize(("function", "failing"), [(name, part) for name, parts in PARTS.items() for part in parts])
def test_each_has_its_turn_whatever_becomes_of_the_others(function, failing):
    services = Calls(**{failing: SelectionFailed("this one fails")})
    with pytest.raises(SelectionFailed, match="this one fails"):
        run(function, services)
    assert services.made == PARTS[function]


def test_the_days_set_is_what_start_exports_tells_and_its_on_demand_backups_beside_it():
    assert run("start_exports", Calls()) == {"statusCode": 200, "backup_date": DATE, "on_demand": {"statusCode": 200}}
    without = Calls()
    without.settings.on_demand_daily = False
    assert run("start_exports", without) == {"statusCode": 200, "backup_date": DATE}


def test_the_schedule_only_notes_on_demand_backups_which_reconcile_makes(aws):
    world = OnDemandWorld()
    made = world.count()
    services = Calls()
    services.clock = world.clock  # type: ignore[method-assign]  # the world's, on which its backups are made
    services.backups.choose = lambda: SimpleNamespace(tables=world.tables, unmatched=())
    services.on_demand = world.on_demand
    result = run("start_exports", services)
    assert result["on_demand"]["total_tables_processed"] == len(world.tables)
    assert "create_backup" not in made
    tables = world.reconcile(2)
    assert {row["status"] for row in tables.values()} == {"AVAILABLE"}


def test_retention_ends_a_minute_before_lambda_ends_it_and_sets_leave_time_for_on_demand_backups():
    services = Calls()
    assert run("prune", services) == {"sets": {"failures": []}, "on_demand": {"left": {}}}
    assert services.stops == [1_000_000 + 630_000, 1_000_000 + 840_000]


def test_what_could_not_be_removed_is_an_error_that_names_it():
    services = Calls()
    services.retention = {"failures": [{"backup_date": DATE, "code": "AccessDenied", "message": "no right to delete"}]}
    services.deleting = {"left": {"arn:of-a-backup": "grant dynamodb:DeleteBackup"}}
    with pytest.raises(RetentionIncomplete) as raised:
        run("prune", services)
    assert f"{DATE}: no right to delete" in raised.value.message
    assert "arn:of-a-backup: grant dynamodb:DeleteBackup" in raised.value.message
