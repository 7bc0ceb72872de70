"""Exports that are asked not to go well: what stands in the bucket, and what DescribeExport says, of each."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.errors import SandboxError
from sandbox.exports.administration import CLOCK_PATH, COURSES_PATH, advance_clock, steer_exports
from sandbox.exports.course import Course, Courses, Outcome, Steering
from sandbox.exports.requests import FailureOnRequest
from sandbox.exports.snapshot import ConnectionClosed

from .emulator import DEADLINE_S, Emulator, exported_items, start_export, until_ended

MakeTable = Callable[..., str]
DENIED = Course(
    Outcome.FAILED,
    failure_code="S3AccessDenied",
    failure_message="Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)",
)


@pytest.fixture
def steered(emulator: Emulator, make_table: MakeTable) -> Callable[..., str]:
    def make(*courses: Course) -> str:
        table_arn = make_table(items=3)
        steer_exports(emulator.endpoint_url, table_arn.rpartition("/")[2], *courses)
        return table_arn

    return make


@pytest.fixture
def forgotten(emulator: Emulator) -> Iterator[None]:
    """Ends what would never end."""
    yield
    emulator.overlay.reset()


def keys_below(s3: Any, prefix: str) -> list[str]:
    """Below the export's own folder; data files as `data`."""
    listed = s3.list_objects_v2(Bucket="backups", Prefix=f"{prefix}/").get("Contents", [])
    names = [each["Key"].split("/", 3)[3] for each in listed]
    return sorted("data" if name.startswith("data/") else name for name in names)


def test_export_that_fails_leaves_half_of_its_data_and_no_manifest(dynamodb: Any, s3: Any, steered: Any) -> None:
    table_arn = steered(DENIED)
    failed = until_ended(dynamodb, start_export(dynamodb, table_arn, S3Prefix="denied")["ExportArn"])
    assert (failed["ExportStatus"], failed["FailureCode"]) == ("FAILED", "S3AccessDenied")
    assert failed["FailureMessage"] == DENIED.failure_message
    assert not {"ExportManifest", "ItemCount"} & set(failed)
    assert keys_below(s3, "denied") == ["_started", "data", "data"]


def test_courses_are_taken_one_after_the_other_and_the_next_export_goes_well(
    dynamodb: Any, s3: Any, steered: Any, make_table: MakeTable
) -> None:
    table_arn = steered(DENIED, Course(Outcome.FAILED))
    assert until_ended(dynamodb, start_export(dynamodb, make_table())["ExportArn"])["ExportStatus"] == "COMPLETED"
    ended = [until_ended(dynamodb, start_export(dynamodb, table_arn)["ExportArn"]) for _ in range(3)]
    assert [each.get("FailureCode") for each in ended] == ["S3AccessDenied", "InternalServerError", None]
    assert len(exported_items(s3, ended[2])) == 3


def test_repeated_token_takes_no_course(dynamodb: Any, s3: Any, steered: Any) -> None:
    table_arn = steered(Course(), DENIED)
    for _ in range(2):
        ended = until_ended(dynamodb, start_export(dynamodb, table_arn, ClientToken="steered")["ExportArn"])
        assert ended["ExportStatus"] == "COMPLETED"
    assert until_ended(dynamodb, start_export(dynamodb, table_arn)["ExportArn"])["ExportStatus"] == "FAILED"


def test_slow_export_takes_its_time_with_its_data_in_the_bucket(dynamodb: Any, s3: Any, steered: Any) -> None:
    began_s = time.monotonic()
    started = start_export(dynamodb, steered(Course(seconds=0.4)), S3Prefix="slow")
    assert time.monotonic() - began_s < 0.4  # the call does not wait for it
    ended = until_ended(dynamodb, started["ExportArn"])
    assert ended["ExportStatus"] == "COMPLETED"
    assert (ended["EndTime"] - ended["StartTime"]).total_seconds() >= 0.4


@pytest.mark.usefixtures("forgotten")
def test_export_that_never_ends_has_its_data_and_stays_in_progress(dynamodb: Any, s3: Any, steered: Any) -> None:
    started = start_export(dynamodb, steered(Course(Outcome.NEVER_ENDS)), S3Prefix="endless")
    deadline = time.monotonic() + DEADLINE_S
    while len(keys_below(s3, "endless")) < 4 and time.monotonic() < deadline:
        pass
    assert keys_below(s3, "endless") == ["_started", "data", "data", "data"]
    described = dynamodb.describe_export(ExportArn=started["ExportArn"])["ExportDescription"]
    assert described["ExportStatus"] == "IN_PROGRESS"


def test_reset_ends_what_would_never_end(emulator: Emulator, dynamodb: Any, s3: Any, steered: Any) -> None:
    before = {each for each in threading.enumerate() if each.name == "export"}
    start_export(dynamodb, steered(Course(Outcome.NEVER_ENDS)), S3Prefix="reset-endless")
    [thread] = {each for each in threading.enumerate() if each.name == "export"} - before
    emulator.overlay.reset()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_summary_without_an_event_is_there_and_nobody_is_told(
    emulator: Emulator, dynamodb: Any, s3: Any, steered: Any
) -> None:
    sqs = emulator.client("sqs")
    url = sqs.create_queue(QueueName="silent")["QueueUrl"]
    s3.create_bucket(Bucket="silent")
    suffix = {"Key": {"FilterRules": [{"Name": "suffix", "Value": "manifest-summary.json"}]}}
    queue = {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:silent", "Filter": suffix}
    s3.put_bucket_notification_configuration(
        Bucket="silent",
        NotificationConfiguration={"QueueConfigurations": [{**queue, "Events": ["s3:ObjectCreated:*"]}]},
    )
    sqs.purge_queue(QueueUrl=url)  # S3's own test event
    table_arn = steered(Course(Outcome.NO_EVENT))
    silent, loud = (
        until_ended(dynamodb, start_export(dynamodb, table_arn, S3Bucket="silent")["ExportArn"]) for _ in range(2)
    )
    assert s3.head_object(Bucket="silent", Key=silent["ExportManifest"])["ContentLength"] > 0
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(message["Body"])["Records"][0]["s3"]["object"]["key"] == loud["ExportManifest"]
    # Only this one summary is silent: written again, it is told of.
    s3.put_object(Bucket="silent", Key=silent["ExportManifest"], Body=b"{}")
    assert len(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (COURSES_PATH, b'{"table_name": "t", "courses": [{"outcome": "LOST"}]}', "Invalid enum value 'LOST'"),
        (COURSES_PATH, b'{"courses": []}', "missing required field `table_name`"),
        (COURSES_PATH, b'{"table_name": "t", "courses": [{"second": 1}]}', "unknown field `second`"),
        (CLOCK_PATH, b'{"advance_seconds": -1}', "time cannot go back"),
        (CLOCK_PATH, b"no json", "malformed"),
    ],
)
def test_order_that_makes_no_sense_is_refused_with_what_is_wrong(
    emulator: Emulator, path: str, body: bytes, message: str
) -> None:
    status, _, answer = emulator.overlay.administer(path, body)
    assert status == 400
    assert message in json.loads(answer)["message"]


def test_refused_order_is_an_error_of_its_sender(emulator: Emulator) -> None:
    with pytest.raises(SandboxError, match="/_sandbox/export-clock: time cannot go back"):
        advance_clock(emulator.endpoint_url, -5)


def test_course_that_is_not_asked_for_goes_well() -> None:
    courses = Courses()
    courses.add("one", [DENIED])
    assert [courses.take(name) for name in ("another", "one", "one")] == [Course(), DENIED, Course()]


@pytest.mark.parametrize(
    ("course", "data_files", "expected"),
    [
        (Course(), 4, ["_started", "a.json.gz", "b.json.gz", "c.json.gz", "d.json.gz", "files", "summary"]),
        (Course(Outcome.FAILED), 4, ["_started", "a.json.gz", "b.json.gz", "failed"]),
        (Course(Outcome.FAILED, seconds=3), 1, ["_started", "pause 3", "failed"]),
        (Course(seconds=2), 2, ["_started", "a.json.gz", "pause 2", "b.json.gz", "files", "summary"]),
        (Course(Outcome.NO_EVENT), 1, ["_started", "a.json.gz", "files", "mute", "summary"]),
        (Course(Outcome.NEVER_ENDS, seconds=1), 2, ["_started", "a.json.gz", "pause 1", "never"]),
    ],
)
def test_steering_comes_to_the_outcome_before_the_right_object(
    course: Course, data_files: int, expected: list[str]
) -> None:
    told: list[str] = []

    def pause(seconds: float | None) -> None:
        if seconds is None:
            raise ConnectionClosed  # a wait for ever ends with a reset only
        told.append(f"pause {seconds:g}")

    steering = Steering(
        course,
        data_files=data_files,
        pause=pause,
        mute=lambda _: told.append("mute"),
    )
    names = {"files": "manifest-files.json", "summary": "manifest-summary.json"}
    try:
        for name in ["_started", *[f"{letter}.json.gz" for letter in "abcd"[:data_files]], "files", "summary"]:
            steering(f"p/AWSDynamoDB/1/{names.get(name, name)}")
            told.append(name)
    except FailureOnRequest:
        told.append("failed")
    except ConnectionClosed:
        told.append("never")
    assert told == expected
