"""The way back: the safety backup, and the steps from a restore's end to what stood there before."""

import pytest

from chalicelib.restore.model import Status
from tests.functional.restore.faults import (
    Killed,
    client_error,
    is_to_target,
    prepared,
    quiet,
    settled_after_death,
    status_of,
)
from tests.functional.restore.world import numbered

STRANGER = {"id": {"S": "stranger"}}


def undo_of(world, restore) -> list[str]:
    (table,) = world.receipt(restore["restore_id"])["tables"]
    assert table["undo"] == restore["tables"][0]["undo"]
    return list(table["undo"])


@pytest.mark.parametrize("clears", [True, False])
def test_the_receipt_says_how_to_get_back_what_the_safety_backup_holds(world, clears):
    prepared(world, count=10)
    world.put("orders", [STRANGER])
    restore = world.restore(clear_existing_data=clears, safety_backup=True)
    assert restore["status"] == "COMPLETED"
    arn = restore["tables"][0]["safety_backup_arn"]
    first = undo_of(world, restore)[0]
    command = first[first.index("aws dynamodb") :].split()
    assert command[:3] == ["aws", "dynamodb", "restore-table-from-backup"]
    arguments = dict(zip(command[3::2], command[4::2], strict=True))
    assert arguments["--backup-arn"] == arn
    copy = arguments["--target-table-name"]
    world.dynamodb.restore_table_from_backup(TargetTableName=copy, BackupArn=arn)
    assert world.items(copy) == [STRANGER]
    steps = " ".join(undo_of(world, restore)[1:])
    for word in (copy, "POST /backups", "POST /restores", '"clear_existing_data": true', f'"{copy}": "orders"'):
        assert word in steps
    # As the steps say: the copy is backed up, and restored into the old table.
    world.back_up({copy: world.items(copy)}, date="2026-11-25")
    body = {"tables": [copy], "target_tables": {copy: "orders"}, "clear_existing_data": True}
    assert world.restore(backup_date="2026-11-25", **body)["status"] == "COMPLETED"
    assert world.items("orders") == [STRANGER]


def test_without_a_safety_backup_the_steps_say_so_and_name_the_moment_before(world):
    prepared(world, count=10)
    restore = world.restore()
    first = undo_of(world, restore)[0]
    assert first.startswith("no safety backup was taken")
    assert f"--restore-date-time {restore['created_at']}" in first


def test_nothing_is_to_be_undone_where_nothing_was_done(world):
    prepared(world, count=10)
    assert undo_of(world, world.restore(dry_run=True)) == []
    world.dynamodb.delete_table(TableName="orders")
    assert undo_of(world, world.restore()) == []


def test_nothing_is_to_be_undone_where_every_item_was_there_already(world):
    prepared(world, count=10)
    world.put("orders", numbered(10))
    for mode in ("missing_only", "changed_only"):
        restore = world.restore(mode=mode)
        assert (restore["status"], restore["tables"][0]["written"]) == ("COMPLETED", 0)
        assert undo_of(world, restore) == []


def test_what_a_cancelled_load_may_have_written_is_to_be_undone(world):
    prepared(world, count=10)
    restore_id = world.ask(safety_backup=True)

    def cancel(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            world.services.desk.cancel(restore_id)

    world.hook = cancel
    restore = world.settle(restore_id)
    assert restore["cancelled_in"] == "LOADING"
    assert "restore-table-from-backup" in undo_of(world, restore)[0]
    assert len(restore["failures"]) <= 1


def test_what_is_resumed_may_have_changed_items_that_no_counter_has(world):
    prepared(world, count=10)
    world.put("orders", numbered(10))
    restore_id = world.ask(mode="missing_only")

    def cancel(name, request):
        if name == "describe_table" and status_of(world, restore_id) is Status.CHECKING:
            world.services.desk.cancel(restore_id)

    world.hook = cancel
    assert undo_of(world, world.settle(restore_id)) == []
    world.hook = quiet
    world.services.desk.resume(restore_id)
    restore = world.settle(restore_id)
    assert (restore["status"], restore["tables"][0]["written"]) == ("COMPLETED", 0)
    assert world.services.desk.describe(restore_id)["tables"][0]["undo"] != []


def test_a_clear_that_counted_nothing_may_be_of_a_worker_whose_count_was_lost(world):
    prepared(world, count=0)
    world.put("orders", [STRANGER])
    restore_id = world.ask(clear_existing_data=True)

    def kill_once_cleared(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.CLEARING:
            world.hook = lambda later, _: kill_after(later)

    def kill_after(name):
        if name == "transact_write_items" and not world.items("orders"):
            world.hook = quiet
            raise Killed

    restore = settled_after_death(world, kill_once_cleared, restore_id)
    assert (restore["status"], restore["tables"][0]["cleared"]) == ("COMPLETED", 0)
    assert restore["tables"][0]["safety_backup_arn"] in undo_of(world, restore)[0]


def test_a_safety_backup_that_cannot_be_taken_ends_it_before_anything_is_touched(world):
    prepared(world, count=10)
    world.put("orders", [STRANGER])

    def deny(name, request):
        if name == "create_backup":
            raise client_error("AccessDeniedException", "CreateBackup")

    world.hook = deny
    restore = world.restore(clear_existing_data=True)
    assert restore["status"] == "FAILED"
    assert "orders: no safety backup could be taken: AccessDenied" in " ".join(restore["failures"])
    assert world.items("orders") == [STRANGER]
    assert undo_of(world, restore) == []


def test_one_that_is_resumed_before_it_loads_backs_up_what_was_written_meanwhile(world):
    prepared(world, count=10)
    world.put("orders", [STRANGER])
    restore_id = world.ask(clear_existing_data=True)

    def cancel(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.CLEARING:
            world.services.desk.cancel(restore_id)

    world.hook = cancel
    assert world.settle(restore_id)["cancelled_in"] == "CLEARING"
    world.hook = quiet
    world.put("orders", [{"id": {"S": "written since"}}])
    world.services.desk.resume(restore_id)
    restore = world.settle(restore_id)
    assert (restore["status"], world.items("orders")) == ("COMPLETED", numbered(10))
    backups = world.dynamodb.list_backups(TableName="orders")["BackupSummaries"]
    held = []
    for number, backup in enumerate(backups):
        world.dynamodb.restore_table_from_backup(TargetTableName=f"copy-{number}", BackupArn=backup["BackupArn"])
        held += world.items(f"copy-{number}")
    assert STRANGER in held
    assert {"id": {"S": "written since"}} in held
    steps = " ".join(undo_of(world, restore))
    assert all(backup["BackupArn"] in steps for backup in backups)
