"""From a set that is finished to those who are told: once each, whatever fails in between."""

import itertools

import msgspec
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.backup.catalog import export_key, set_key
from chalicelib.backup.notices import NoticeRow, notice_key
from chalicelib.errors import SelectionFailed
from chalicelib.ledger import Delete, Key, Row, Update
from chalicelib.telling.deliveries import Deliveries
from tests.fake_exports import refusal
from tests.functional.backup.adoption.lost_ledger import by_hand
from tests.functional.backup.test_stopping import each_stop, stopped_after
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, MINUTE_MS, PREFIX, client
from tests.functional.telling.world import BUS, TOPIC, TellingWorld

FINISHED = f"FINISHED#{DATE}#1"
OVERDUE = f"OVERDUE#{DATE}#1"
NOT_STARTED = f"NOT_STARTED#{DATE}#1"
DAY_MS = 24 * HOUR_MS
NEXT_DATE = "2026-11-22"


def test_a_complete_set_is_told_once_to_everybody(world):
    world.finished_set()
    assert world.reconcile_a_minute_later() == [FINISHED]
    (mail,), (event,) = world.mails(), world.events()
    assert mail["Subject"] == f"[tablevault tests] backup {DATE} COMPLETE: 2 tables"
    assert f"s3://{BUCKET}/{PREFIX}/{DATE}/manifest.json" in mail["Message"]
    assert {name: each["Value"] for name, each in mail["MessageAttributes"].items()} == {
        "environment": "tests",
        "what": "FINISHED",
        "status": "COMPLETE",
    }
    assert (event["Source"], event["DetailType"]) == ("tablevault", "Backup Set Finished")
    detail = event["detail"]
    assert detail["notification_id"] in mail["Message"]
    manifest = world.manifest()
    for name in ("total_tables_processed", "successful_exports", "failed_exports", "total_items_exported"):
        assert detail[name] == getattr(manifest, name)
    assert detail["total_size_mb"] == pytest.approx(manifest.total_size_mb)
    assert (detail["status"], detail["revision"], detail["failures"]) == ("COMPLETE", 1, [])
    assert (detail["s3_bucket"], detail["manifest_s3_key"]) == (BUCKET, f"{PREFIX}/{DATE}/manifest.json")
    assert world.reconcile_a_minute_later() == []
    assert world.mails() == world.events() == []
    assert world.outcomes() == {FINISHED: "TOLD"}
    assert world.notices()[FINISHED]["expires_at_s"] > world.clock() // 1000


def test_the_sets_and_its_tables_metrics_are_written_once(world):
    world.finished_set()
    world.reconcile_a_minute_later()
    of_set, *of_tables = world.metrics()
    assert (of_set["TablesExported"], of_set["TablesFailed"], of_set["ItemsExported"]) == (2, 0, 4)
    assert {each["TableName"]: each["ItemsExported"] for each in of_tables} == {"orders": 2, "catalog": 2}
    assert of_set["BytesExported"] == sum(each["BytesExported"] for each in of_tables)
    world.reconcile_a_minute_later()
    assert world.metrics() == []


def test_a_partial_set_names_each_failed_table_with_its_reason(world):
    world.enable_recovery("orders", enabled=False)
    world.finished_set()
    world.reconcile_a_minute_later()
    (mail,), (event,) = world.mails(), world.events()
    assert mail["Subject"] == f"[tablevault tests] backup {DATE} PARTIAL: 1 of 2 tables failed"
    assert "point-in-time recovery is off for table orders" in mail["Message"]
    assert "update-continuous-backups" in mail["Message"]
    (failure,) = event["detail"]["failures"]
    assert (failure["table"], failure["code"]) == ("orders", "PointInTimeRecoveryUnavailableException")
    assert (event["detail"]["failed_exports"], event["detail"]["failures_omitted"]) == (1, 0)
    assert world.metrics()[0]["TablesFailed"] == 1


def test_three_of_five_hundred_tables_that_fail_are_named(world):
    """The rows of a set whose 500 exports have ended, made from one that did; reconcile finishes it."""
    world.finished_set()
    world.reconcile_a_minute_later()
    assert (len(world.mails()), len(world.events()), len(world.metrics())) == (1, 1, 3)
    names = [f"table-{number:03d}" for number in range(500)]
    failing = ("table-007", "table-077", "table-477")
    row = {name: value for name, value in world.export_row("orders").items() if name != "parameters"}
    for name in names:
        why = {"status": "FAILED", "failure_code": "AccessDenied", "failure_message": f"no way to {name}"}
        world.ledger.put_all([(export_key(NEXT_DATE, name), moved(row, name) | (why if name in failing else {}))])
    set_row = moved(world.set_row(), "none") | {"tables": names, "status": "OPEN", "open_kind": "BACKUP"}
    world.ledger.put_all([(set_key(NEXT_DATE), set_row)])
    world.reconcile_a_minute_later()
    world.reconcile_a_minute_later()
    (mail,), (event,) = world.mails(), world.events()
    assert mail["Subject"] == f"[tablevault tests] backup {NEXT_DATE} PARTIAL: 3 of 500 tables failed"
    assert [each["table"] for each in event["detail"]["failures"]] == list(failing)
    assert all(f"no way to {name}" in mail["Message"] for name in failing)
    assert len(world.metrics()) == 1 + 497


def moved(row: Row, table_name: str) -> Row:
    """A row of `orders`, as one of another table and of the next day."""
    text = msgspec.json.encode(row).decode().replace(DATE, NEXT_DATE).replace("/orders/", f"/{table_name}/")
    moved_row: Row = msgspec.json.decode(text)
    return {**{name: value for name, value in moved_row.items() if name not in ("pk", "sk")}, "table_name": table_name}


def test_a_late_export_is_told_with_a_second_notice(world):
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    world.reconcile_a_minute_later()
    (partial,) = world.mails()
    assert partial["Subject"].endswith("PARTIAL: 1 of 2 tables failed")
    world.send(world.dynamodb.complete(late))
    world.reconcile_a_minute_later()
    (complete,) = world.mails()
    assert complete["Subject"].endswith("COMPLETE: 2 tables")
    assert [event["detail"]["revision"] for event in world.events()] == [1, 2]
    assert world.outcomes() == {FINISHED: "TOLD", f"FINISHED#{DATE}#2": "TOLD"}


def test_a_notice_that_a_later_one_has_overtaken_is_not_sent(world):
    world.service.start_scheduled()
    (late,) = world.dynamodb.of_table("orders")
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    world.send(world.dynamodb.complete(late))
    world.reconcile_a_minute_later()
    (mail,) = world.mails()
    assert mail["Subject"].endswith("COMPLETE: 2 tables")
    assert world.outcomes() == {FINISHED: "SUPERSEDED", f"FINISHED#{DATE}#2": "TOLD"}


def test_entries_that_fit_no_table_are_told(aws):
    world = TellingWorld(DYNAMODB_TABLES='["orders", "catalog", "gone_*"]')
    world.finished_set()
    world.reconcile_a_minute_later()
    (mail,), (event,) = world.mails(), world.events()
    assert mail["Subject"].endswith("COMPLETE: 2 tables, 1 entries fit no table")
    assert "gone_*" in mail["Message"]
    assert event["detail"]["unmatched"] == ["gone_*"]


def test_a_set_that_takes_long_is_told_once_as_overdue_and_then_as_finished(world):
    world.service.start_scheduled()
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(6 * HOUR_MS)
    world.service.reconcile()
    assert world.notices() == {}
    for _ in range(3):
        world.reconcile_a_minute_later()
        world.service = world.new_process()
    (mail,), (event,) = world.mails(), world.events()
    assert mail["Subject"] == f"[tablevault tests] backup {DATE} OVERDUE: 1 of 2 tables not ended after 6 h"
    assert "- orders (IN_PROGRESS)" in mail["Message"]
    assert "catalog" not in mail["Message"]
    assert event["DetailType"] == "Backup Set Overdue"
    assert [each["table"] for each in event["detail"]["failures"]] == ["orders"]
    world.dynamodb.complete_all()
    world.reconcile_a_minute_later()
    world.reconcile_a_minute_later()
    assert [each["Subject"][-18:] for each in world.mails()] == ["COMPLETE: 2 tables"]
    assert world.outcomes() == {OVERDUE: "TOLD", FINISHED: "TOLD"}


def test_an_overdue_set_that_cannot_be_finished_says_why(world):
    world.service.start_scheduled()
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/manifest.json", Body=b"{}")
    world.dynamodb.complete_all()
    world.clock.advance(7 * HOUR_MS)
    world.service.reconcile()
    world.reconcile_a_minute_later()
    (mail,) = world.mails()
    assert "all 2 tables ended, but it cannot be finished" in mail["Subject"]
    assert "is not a manifest of ours" in mail["Message"]


def test_a_set_that_was_finished_meanwhile_is_not_told_as_overdue(world):
    world.service.start_scheduled()
    world.clock.advance(7 * HOUR_MS)
    world.service.reconcile()
    for key in world.dynamodb.complete_all():
        world.send(key)
    world.reconcile_a_minute_later()
    assert world.outcomes() == {OVERDUE: "SUPERSEDED", FINISHED: "TOLD"}
    assert len(world.mails()) == 1


def test_a_selection_that_fails_is_told_once_although_lambda_tries_again(aws):
    world = TellingWorld(DYNAMODB_TABLES='["none_*"]')
    for _ in range(3):
        with pytest.raises(SelectionFailed):
            world.service.start_scheduled()
    world.reconcile_a_minute_later()
    world.reconcile_a_minute_later()
    (mail,), (event,) = world.mails(), world.events()
    assert mail["Subject"] == f"[tablevault tests] backup {DATE} NOT STARTED"
    assert "fits no table" in mail["Message"]
    assert event["DetailType"] == "Backup Set Not Started"
    assert "fits no table" in event["detail"]["reason"]


def test_a_start_that_went_well_when_it_was_tried_again_is_not_told(world):
    world.refuse(
        "put_item", refusal("AccessDeniedException", "PutItem", "no"), when=lambda request: "'SET'" in str(request)
    )
    with pytest.raises(Exception, match="AccessDenied"):
        world.service.start_scheduled()
    world.mend()
    world.service.start_scheduled()
    world.reconcile_a_minute_later()
    assert world.outcomes() == {NOT_STARTED: "SUPERSEDED"}
    assert world.mails() == []


def test_a_set_adopted_in_the_days_place_does_not_hide_that_the_schedules_was_not_started(aws):
    """One table exported by hand, and then nothing is found of what DYNAMODB_TABLES names."""
    world = TellingWorld(DYNAMODB_TABLES='["none_*"]')
    world.send(world.dynamodb.complete(by_hand(world, "orders")))
    with pytest.raises(SelectionFailed):
        world.service.start_scheduled()
    world.reconcile_a_minute_later()
    assert world.outcomes() == {FINISHED: "TOLD", NOT_STARTED: "TOLD"}
    assert "NOT STARTED" in world.mails()[-1]["Subject"]


def test_an_error_of_starting_is_raised_although_nobody_can_be_told(aws):
    world = TellingWorld(DYNAMODB_TABLES='["none_*"]')
    world.refuse("put_item", refusal("AccessDeniedException", "PutItem", "no"), when=lambda request: True)
    with pytest.raises(SelectionFailed):
        world.service.start_scheduled()


def test_without_a_topic_only_the_bus_is_told(aws):
    world = TellingWorld(NOTIFICATION_TOPIC="", EVENT_BUS="default")
    world.finished_set()
    world.reconcile_a_minute_later()
    assert len(world.events()) == 1
    assert world.outcomes() == {FINISHED: "TOLD"}


def test_a_fifo_topic_gets_its_group_and_the_notification_id(aws):
    world = TellingWorld(NOTIFICATION_TOPIC=f"{TOPIC}.fifo")
    sent = []
    world.before = lambda name, request: sent.append(request) if name == "publish" else None
    world.finished_set()
    world.reconcile_a_minute_later()
    (mail,), (request,) = world.mails(), sent
    assert request["MessageGroupId"] == "tablevault-tests"
    assert request["MessageDeduplicationId"] in mail["Message"]


def test_a_manifest_that_is_gone_is_said_and_what_it_said_is_told_from_the_ledger(world):
    world.dynamodb.delete_table(TableName="catalog")
    world.finished_set()
    world.s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/manifest.json")
    world.reconcile_a_minute_later()
    (mail,) = world.mails()
    assert mail["Subject"].endswith("PARTIAL: 1 of 2 tables failed, its manifest cannot be read")
    assert "- catalog (TableNotFoundException): " in mail["Message"]
    assert "It cannot be read now, and without it nothing can be restored: it is not in the bucket" in mail["Message"]
    (event,) = world.events()
    assert event["detail"]["manifest_unread"] == "it is not in the bucket"
    assert [each["table"] for each in event["detail"]["failures"]] == ["catalog"]
    assert world.outcomes() == {FINISHED: "TOLD"}


def test_a_set_that_neither_bucket_nor_ledger_knows_any_more_is_told_all_the_same(world):
    world.finished_set()
    world.s3.delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/manifest.json")
    world.ledger.write(Delete(set_key(DATE)))
    world.reconcile_a_minute_later()
    (mail,) = world.mails()
    assert mail["Subject"].endswith("COMPLETE, its manifest cannot be read")
    assert world.outcomes() == {FINISHED: "TOLD"}


def test_a_bucket_that_does_not_answer_is_asked_again(world):
    world.finished_set()
    world.refuse("get_object", refusal("SlowDown", "GetObject"), when=lambda request: True)
    world.reconcile_a_minute_later()
    assert world.mails() == []
    world.mend()
    world.reconcile_a_minute_later()
    assert len(world.mails()) == 1


def test_metrics_that_cannot_be_made_do_not_keep_people_from_being_told(world):
    world.finished_set()
    world.ledger.write(Update(export_key(DATE, "orders"), set={"item_count": "many"}))
    world.reconcile_a_minute_later()
    assert (len(world.mails()), len(world.events()), world.metrics()) == (1, 1, [])


# --- faults of the channels -------------------------------------------------------------------------------------

REFUSED = {
    "publish": refusal("AuthorizationError", "Publish", "not allowed"),
    "put_events": refusal("AccessDeniedException", "PutEvents", "not allowed"),
}


@pytest.mark.parametrize("broken", REFUSED)
def test_one_channel_that_fails_does_not_stop_the_other_nor_tells_it_twice(world, broken, caplog):
    world.finished_set()
    world.refuse(broken, REFUSED[broken], when=lambda request: True)
    for _ in range(5):
        world.reconcile_a_minute_later()
    mails, events = len(world.mails()), len(world.events())
    assert (mails, events) == ((0, 1) if broken == "publish" else (1, 0))
    assert any(
        "NOTIFICATION_TOPIC" in str(each.__dict__) or "EVENT_BUS" in str(each.__dict__) for each in caplog.records
    )
    assert len(world.metrics()) == 3
    world.mend()
    world.clock.advance(HOUR_MS)
    world.service.reconcile()
    assert (mails + len(world.mails()), events + len(world.events())) == (1, 1)
    assert world.outcomes() == {FINISHED: "TOLD"}


@pytest.mark.parametrize(
    "error",
    [
        refusal("Throttling", "Publish"),
        refusal("KMSThrottling", "Publish"),
        refusal("InternalError", "Publish"),
        EndpointConnectionError(endpoint_url="https://sns"),
    ],
    ids=str,
)
def test_what_passes_is_tried_again_the_next_minute(world, error):
    world.finished_set()
    world.refuse("publish", error, when=lambda request: True)
    world.reconcile_a_minute_later()
    assert world.mails() == []
    world.mend()
    world.reconcile_a_minute_later()
    assert len(world.mails()) == 1


@pytest.mark.thorough
def test_a_missing_topic_is_tried_with_growing_pauses_and_given_up_after_three_days(world, caplog):
    tries = []
    world.before = lambda name, request: tries.append(world.clock()) if name == "publish" else None
    client("sns").delete_topic(TopicArn=TOPIC)
    world.finished_set()
    for _ in range(4 * 24 * 60 // 10):
        world.clock.advance(10 * MINUTE_MS)
        world.service.reconcile()
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert 4 * HOUR_MS <= pauses[-1] <= 4 * HOUR_MS + 10 * MINUTE_MS
    assert tries[-1] - tries[0] <= 3 * DAY_MS + 4 * HOUR_MS
    assert len(world.events()) == 1
    assert world.outcomes() == {FINISHED: "GIVEN_UP"}
    assert any("given up" in record.message for record in caplog.records)


def test_a_bus_that_does_not_exist_is_found_out(world):
    """EventBridge itself would take the event and drop it."""
    client("events").delete_event_bus(Name=BUS)
    world.finished_set()
    world.watch()
    world.reconcile_a_minute_later()
    assert "put_events" not in world.calls
    assert len(world.mails()) == 1
    assert world.outcomes() == {FINISHED: None}


def test_who_may_not_look_for_the_bus_sends_all_the_same(world):
    world.finished_set()
    denied = refusal("AccessDeniedException", "DescribeEventBus", "no")
    world.refuse("describe_event_bus", denied, when=lambda request: True)
    world.reconcile_a_minute_later()
    assert len(world.events()) == 1


@pytest.mark.parametrize(("code", "minutes"), [("ThrottlingException", 1), ("NotAuthorizedForSourceException", 2)])
def test_an_entry_that_the_bus_refuses_is_not_taken_for_sent(world, monkeypatch, code, minutes):
    world.finished_set()
    answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "no"}]}
    with monkeypatch.context() as patched:
        patched.setattr(world.bus, "put_events", lambda **request: answer)
        world.reconcile_a_minute_later()
        assert world.outcomes() == {FINISHED: None}
    for _ in range(minutes):
        assert world.events() == []
        world.reconcile_a_minute_later()
    assert len(world.events()) == 1
    assert len(world.mails()) == 1


# --- at any time, and stopped anywhere ---------------------------------------------------------------------------


@pytest.mark.thorough
def test_two_runs_at_once_tell_once(aws):
    """The second run begins, and ends, before the first one's first call, before its second call, and so on."""
    world = TellingWorld(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(DAY_MS)
        world.finished_set()
        world.clock.advance(MINUTE_MS)
        done: list[str] = []

        def before(name, request):
            done.append(name)
            if len(done) == calls:
                world.new_process().reconcile()

        world.before = before
        world.service.reconcile()
        world.mend()
        world.reconcile_a_minute_later()
        assert (len(world.mails()), len(world.events()), len(world.metrics())) == (1, 1, 2)
        assert set(world.outcomes().values()) == {"TOLD"}
        world.clock.advance(-2 * MINUTE_MS)
        return len(done) >= calls

    assert each_stop(run_once) >= 10


def test_of_two_runs_that_read_a_notice_one_claims_it(world):
    world.finished_set()
    claimed: list[NoticeRow | None] = []

    def before(name, request):
        if name == "update_item" and not claimed:
            claimed.append(Deliveries(world.ledger, world.clock).claim(FINISHED))

    world.before = before
    world.reconcile_a_minute_later()
    assert claimed[0] is not None
    assert world.mails() == world.events() == []


def test_a_run_that_was_overtaken_notes_nothing(world):
    """Its claim has passed while it waited for an answer."""
    world.finished_set()
    others: list[NoticeRow | None] = []

    def after(name, request):
        if name == "publish":
            world.clock.advance(2 * MINUTE_MS)
            others.append(Deliveries(world.ledger, world.clock).claim(FINISHED))

    world.after = after
    world.reconcile_a_minute_later()
    assert others[0] is not None
    assert "topic_told_at_ms" not in world.notices()[FINISHED]
    assert world.events() == []


def test_a_run_stopped_after_any_call_tells_at_most_once_more_with_the_same_id(aws):
    world = TellingWorld(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(DAY_MS)
        world.finished_set()
        world.clock.advance(MINUTE_MS)
        was_stopped = stopped_after(world, calls, world.service.reconcile)
        for _ in range(4):
            world.reconcile_a_minute_later()
        mails, events = world.mails(), world.events()
        assert 1 <= len(mails) <= 2
        assert 1 <= len(events) <= 2
        assert len(mails) + len(events) <= (3 if was_stopped else 2)
        assert len({event["detail"]["notification_id"] for event in events}) == 1
        assert all(events[0]["detail"]["notification_id"] in mail["Message"] for mail in mails)
        assert len(world.metrics()) <= 4
        assert set(world.outcomes().values()) == {"TOLD"}
        world.clock.advance(-5 * MINUTE_MS)
        return was_stopped

    # The claim, the topic and that it was told, the bus and that, two lines of metrics and that, the end.
    assert each_stop(run_once) == 9


def test_a_set_that_is_finished_by_a_run_that_stops_then_is_told(aws):
    world = TellingWorld(("orders",))

    def run_once(calls: int) -> bool:
        world.clock.advance(DAY_MS)
        world.service.start_scheduled()
        key = world.dynamodb.complete(*world.dynamodb.running(), partitions=1)
        was_stopped = stopped_after(world, calls, lambda: world.send(key))
        for _ in range(3):
            world.reconcile_a_minute_later()
        assert (len(world.mails()), len(world.events())) == (1, 1)
        world.clock.advance(-3 * MINUTE_MS)
        return was_stopped

    # The EXPORT row, the manifest, the SET row together with the notice.
    assert each_stop(run_once) == 3


def test_two_runs_that_finish_a_partial_set_leave_one_notice(world):
    """PARTIAL to PARTIAL is an allowed move: that the set is still open decides."""
    world.service.start_scheduled()
    world.send(world.dynamodb.complete(*world.dynamodb.of_table("catalog")))
    world.clock.advance(25 * HOUR_MS)
    inside: list[str] = []

    def before(name, request):
        if name == "transact_write_items" and not inside:
            inside.append(name)
            world.service.reconcile()

    world.before = before
    world.service.reconcile()
    world.mend()
    assert inside
    assert sorted(world.notices()) == [FINISHED, OVERDUE]
    assert world.notices()[FINISHED]["attempts"] == 0
    world.reconcile_a_minute_later()
    assert len(world.mails()) == 1


def test_a_set_made_again_after_its_rows_were_lost_is_finished_and_told_again(world):
    world.finished_set()
    world.reconcile_a_minute_later()
    for row in list(world.ledger.query(f"BACKUP#{DATE}")):
        world.lose(Key(row["pk"], row["sk"]))
    world.clock.advance(HOUR_MS)
    world.finished_set()
    world.reconcile_a_minute_later()
    world.reconcile_a_minute_later()
    first, second = world.events()
    assert first["detail"]["notification_id"] != second["detail"]["notification_id"]


def test_people_are_told_even_while_a_set_takes_all_the_time_there_is(world):
    world.service.start_scheduled()
    world.clock.advance(7 * HOUR_MS)
    world.service.reconcile()

    def before(name, request):
        if name == "describe_export":
            world.clock.advance(MINUTE_MS)

    world.before = before
    world.reconcile_a_minute_later()
    assert len(world.mails()) == 1


def test_a_notice_that_cannot_be_read_does_not_stop_the_others(world, caplog):
    world.finished_set()
    world.ledger.write(Update(notice_key(FINISHED), set={"attempts": "many"}))
    world.clock.advance(DAY_MS)
    world.finished_set()
    world.reconcile_a_minute_later()
    assert len(world.mails()) == 1
    assert any("cannot be carried on" in record.message for record in caplog.records)


def test_nothing_to_tell_costs_nothing(world):
    world.finished_set()
    world.reconcile_a_minute_later()
    world.watch()
    world.reconcile_a_minute_later()
    assert world.calls == ["query"]
