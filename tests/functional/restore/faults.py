"""Faults for restores in the small world: what a test raises at a call, and what it asks about the restore then."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.functional.restore.world import numbered

COUNT_NAMES = ("written", "unchanged", "skipped", "deleted", "rejected", "filtered")


class Killed(BaseException):
    """Nothing in the code under test may catch it, as nothing catches a killed process."""


def quiet(name, request):
    """No fault."""


def prepared(world, count: int = 60, **backup):
    world.create_table("orders")
    return world.back_up({"orders": numbered(count)}, **backup)["orders"]


def client_error(code: str, operation: str, status: int = 400) -> ClientError:
    error = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(error, operation)


def is_to_target(name, request) -> bool:
    return name == "batch_write_item" and "orders" in request["RequestItems"]


def status_of(world, restore_id):
    return world.services.records.job(restore_id).status


def settled_after_death(world, kill, restore_id):
    """The restore at its end: its worker dies where the hook `kill` says, and another goes on once the claim lapsed."""
    world.hook = kill
    with pytest.raises(Killed):
        world.run_until_quiet()
    world.services = world.new_process()
    world.clock.now_ms += 400_000
    return world.settle(restore_id)


def counts(restore: dict[str, Any]) -> dict[str, int]:
    """Of a restore of one table, those that are not 0; their sum is the number of lines, or nothing is right."""
    (table,) = restore["tables"]
    assert sum(table[name] for name in COUNT_NAMES) == table["item_count"]
    return {name: table[name] for name in COUNT_NAMES if table[name]}
