"""Exports that fail on DynamoDB's side are tried again, up to a limit; those that would fail again are not. More
exports than DynamoDB takes at once wait in the ledger."""

from typing import Any

import pytest

from chalicelib.backup.recorder import MOST_ATTEMPTS
from tests.functional.backup.world import DATE, World


@pytest.fixture
def one(aws) -> World:
    return World(("orders",))


def fail(world: World, code: str = "InternalServerError", message: str = "it broke off") -> None:
    (running,) = world.dynamodb.running()
    world.dynamodb.fail(running, code, message)


def test_a_failed_export_is_tried_again_with_another_token_and_completes(one):
    one.service.start_scheduled()
    fail(one)
    one.reconcile_a_minute_later()
    row = one.export_row("orders")
    assert (row["status"], row["attempt"]) == ("PENDING", 2)
    assert "attempt 1 of 3 failed: it broke off" in row["failure_message"]
    one.reconcile_a_minute_later()
    first, second = one.dynamodb.of_table("orders")
    assert first.request["ClientToken"] != second.request["ClientToken"]
    assert {**first.request, "ClientToken": ""} == {**second.request, "ClientToken": ""}
    assert one.send(one.dynamodb.complete(second)) == "recorded"
    manifest = one.manifest()
    assert (manifest.status, manifest.tables[0].export_arn) == ("COMPLETE", second.arn)
    assert manifest.tables[0].failure_message is None


def test_attempts_have_an_end_and_the_last_failure_is_told(one):
    one.service.start_scheduled()
    for number in range(MOST_ATTEMPTS):
        fail(one, message=f"failure {number}")
        one.reconcile_a_minute_later()
        one.reconcile_a_minute_later()
    assert len(one.dynamodb.exports) == MOST_ATTEMPTS
    table = one.manifest().tables[0]
    assert (table.status, table.failure_code, table.failure_message) == ("FAILED", "InternalServerError", "failure 2")
    assert not one.is_open()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("S3NoSuchBucket", "The specified bucket does not exist"),
        ("S3AccessDenied", "Access Denied"),
        ("Unknown", "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied; Request ID: X)"),
        ("KMS.DisabledException", "the key is disabled"),
        ("PointInTimeRecoveryUnavailableException", "it was switched off"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(one, code, message):
    one.service.start_scheduled()
    fail(one, code, message)
    one.reconcile_a_minute_later()
    assert len(one.dynamodb.exports) == 1
    assert one.manifest().tables[0].failure_code == code


def test_a_late_event_of_the_failed_attempt_changes_nothing(one):
    one.service.start_scheduled()
    (first,) = one.dynamodb.running()
    key = one.dynamodb.write(first)
    fail(one)
    assert one.send(key) == "tried_again"
    one.reconcile_a_minute_later()
    assert one.send(key) == "another_export"
    assert one.export_row("orders")["status"] == "IN_PROGRESS"


def test_more_tables_than_dynamodb_exports_at_once_wait_their_turn(aws):
    names = tuple(f"table-{number:02}" for number in range(25))
    world = World(names)
    world.dynamodb.most_running = 4
    world.watch()
    world.service.start_scheduled()
    assert len(world.dynamodb.running()) == 4
    refused = world.calls.count("export_table_to_point_in_time") - 4
    assert refused <= 10  # those that were asked for while the first refusal was under way
    for _ in range(10):
        for key in world.dynamodb.complete_all():
            world.send(key)
        world.reconcile_a_minute_later()
    manifest = world.manifest(DATE)
    assert (manifest.status, manifest.successful_exports) == ("COMPLETE", 25)
    assert len(world.dynamodb.exports) == 25


def test_tables_that_wait_are_shown_as_pending(aws):
    world = World(tuple(f"table-{number:02}" for number in range(25)))
    world.dynamodb.most_running = 1
    tables = world.start()["tables"]
    assert len(tables) == 25
    assert [table["status"] for table in tables].count("PENDING") == 24


def test_a_slow_start_does_not_write_its_export_over_a_later_attempt(one):
    """A run stalls between its call and its row; meanwhile another one writes it down, it fails, and is tried again."""
    overtaken: list[bool] = []

    def before(name: str, request: dict[str, Any]) -> None:
        if name == "update_item" and "IN_PROGRESS" in str(request) and not overtaken:
            overtaken.append(True)
            one.reconcile_a_minute_later()  # the same token: the same export
            fail(one)
            one.reconcile_a_minute_later()
            one.reconcile_a_minute_later()

    one.before = before
    one.service.start_scheduled()
    one.mend()
    second = one.dynamodb.of_table("orders")[-1]
    assert one.export_row("orders")["export_arn"] == second.arn
    assert one.send(one.dynamodb.complete(second)) == "recorded"
    assert len(one.dynamodb.exports) == 2
