"""The queue fails while restores are asked for or cancelled: what was accepted goes on, what cannot be is refused."""

import logging

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.errors import Unavailable
from chalicelib.restore.model import SlotState
from tests.functional.restore.faults import client_error, prepared, quiet, status_of
from tests.functional.restore.world import LEDGER, QUEUE, numbered

AWAY = EndpointConnectionError(endpoint_url="https://sqs")
DENIED = client_error("AccessDenied", "SendMessage", 403)


def failing(call: str, error: Exception):
    def hook(name, request):
        if name == call:
            raise error

    return hook


def ledger_rows(world):
    return world.dynamodb.scan(TableName=LEDGER)["Items"]


@pytest.mark.parametrize(
    "error", [client_error("AWS.SimpleQueueService.NonExistentQueue", "GetQueueUrl"), DENIED, AWAY], ids=str
)
def test_a_queue_that_cannot_be_reached_refuses_the_restore_and_leaves_nothing_behind(world, error):
    prepared(world)
    world.hook = failing("get_queue_url", error)
    with pytest.raises(Unavailable, match="RESTORE_QUEUE"):
        world.ask()
    assert ledger_rows(world) == []
    world.hook = quiet
    assert world.restore()["status"] == "COMPLETED"


def test_a_queue_that_does_not_exist_is_named_as_the_reason(world):
    prepared(world)
    world.sqs.delete_queue(QueueUrl=world.queue_url)
    with pytest.raises(Unavailable, match="NonExistentQueue"):
        world.ask()
    assert ledger_rows(world) == []
    world.queue_url = world.sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    assert world.restore()["status"] == "COMPLETED"


@pytest.mark.parametrize("error", [client_error("InternalError", "SendMessage", 500), DENIED, AWAY], ids=str)
def test_a_restore_whose_wake_fails_is_accepted_and_reconcile_wakes_it(world, caplog, error):
    prepared(world)
    world.hook = failing("send_message", error)
    with caplog.at_level(logging.WARNING, "tablevault"):
        restore_id = world.ask()
    assert status_of(world, restore_id) == "PLANNING"
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.restore_id == restore_id
    # The slot's row says WOKEN, although no message was ever sent.
    assert world.messages() == []
    assert [slot.state for slot in world.services.slots.all(restore_id).values()] == [SlotState.WOKEN]
    world.hook = quiet
    world.tick(minutes=0.5)
    assert world.messages() == []  # it may still be on its way
    world.tick(minutes=0.6)
    assert len(world.messages()) == 1
    assert world.settle(restore_id)["status"] == "COMPLETED"
    assert world.items("orders") == numbered(60)


def test_a_restore_is_accepted_also_when_the_ledger_fails_at_the_wake(world):
    prepared(world)
    throttled = client_error("ProvisionedThroughputExceededException", "UpdateItem")

    def hook(name, request):
        if name == "update_item" and "SLOT#" in repr(request):
            raise throttled

    world.hook = hook
    restore_id = world.ask()
    world.hook = quiet
    assert world.settle(restore_id)["status"] == "COMPLETED"


@pytest.mark.parametrize("error", [DENIED, AWAY], ids=str)
def test_a_cancel_whose_wake_fails_is_done_all_the_same(world, error):
    prepared(world)
    restore_id = world.ask()
    world.messages()  # lost
    world.tick(minutes=2)
    world.messages()
    world.tick(minutes=2)
    world.hook = failing("send_message", error)
    world.clock.now_ms += 61_000  # the slot is free to be woken again, so the cancel tries to
    assert world.services.desk.cancel(restore_id).status == "CANCELLING"
    world.tick()
    assert status_of(world, restore_id) == "CANCELLED"
    assert world.locks() == world.open_work() == []


def test_a_cancel_works_while_the_queue_cannot_even_be_found(world):
    prepared(world)
    restore_id = world.ask()
    world.services = world.new_process()  # which has not looked the queue up yet
    world.clock.now_ms += 61_000
    world.hook = failing("get_queue_url", DENIED)
    assert world.services.desk.cancel(restore_id).status == "CANCELLING"
