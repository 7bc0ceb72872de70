"""From the call to the objects: an export through the emulator, over HTTP, and what then stands in S3."""

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from .emulator import DEADLINE_S, Emulator, as_base64, exported_items, start_export, until_ended


def test_export_is_in_progress_first_and_tells_its_end_when_it_has_come(
    dynamodb: Any, s3: Any, make_table: Callable[..., str], held: threading.Event
) -> None:
    started = start_export(dynamodb, make_table(items=3), S3Prefix="first", ClientToken="t1")
    assert started["ExportStatus"] == "IN_PROGRESS"
    assert re.fullmatch(r"\d{14}-[0-9a-f]{8}", started["ExportArn"].rpartition("/")[2])
    described = dynamodb.describe_export(ExportArn=started["ExportArn"])["ExportDescription"]
    assert described == started
    ends = {"EndTime", "ExportManifest", "ItemCount", "BilledSizeBytes", "FailureCode", "FailureMessage"}
    assert not ends & set(described)
    assert "ExportType" not in described
    assert (described["S3SseAlgorithm"], described["S3Prefix"]) == ("AES256", "first")
    assert (described["ClientToken"], described["ExportTime"]) == ("t1", described["StartTime"])
    assert "Contents" not in s3.list_objects_v2(Bucket="backups", Prefix="first/")

    held.set()
    completed = until_ended(dynamodb, started["ExportArn"])
    assert completed["ExportStatus"] == "COMPLETED"
    export_id = started["ExportArn"].rpartition("/")[2]
    assert completed["ExportManifest"] == f"first/AWSDynamoDB/{export_id}/manifest-summary.json"
    assert completed["ItemCount"] == 3
    assert completed["EndTime"] >= completed["StartTime"]
    assert {key: completed[key] for key in started if key != "ExportStatus"} == {
        key: started[key] for key in started if key != "ExportStatus"
    }


def test_summary_agrees_with_the_table_and_with_describe_export(
    dynamodb: Any, s3: Any, make_table: Callable[..., str]
) -> None:
    table_arn = make_table(items=2)
    ended = until_ended(dynamodb, start_export(dynamodb, table_arn)["ExportArn"])
    summary = json.loads(s3.get_object(Bucket="backups", Key=ended["ExportManifest"])["Body"].read())
    table = dynamodb.describe_table(TableName=table_arn.rpartition("/")[2])["Table"]
    assert summary["tableId"] == table["TableId"] == ended["TableId"]
    assert (summary["tableArn"], summary["exportArn"]) == (table_arn, ended["ExportArn"])
    assert (summary["itemCount"], summary["billedSizeBytes"]) == (2, ended["BilledSizeBytes"])
    assert summary["s3Prefix"] is None
    assert "exportType" not in summary


def test_all_types_and_binary_keys_over_several_pages_come_out_as_they_were(
    dynamodb: Any, s3: Any, make_table: Callable[..., str]
) -> None:
    table_arn = make_table(key_type="B")
    items = [
        {
            "id": {"B": bytes([n, 255])},
            "text": {"S": "é\u2028" + "x" * 300_000},
            "number": {"N": "12345678901234567890123456789012345678"},
            "set": {"BS": [b"\x00", bytes([n])]} if n else {"NS": ["1.5"]},
            "deep": {"L": [{"M": {"b": {"B": b"\xfe"}, "no": {"BOOL": False}, "nil": {"NULL": True}}}]},
            "empty": {"S": ""},
            "names": {"SS": ["a"]},
        }
        for n in range(8)  # 2.4 MB: the scan's page ends at 1 MB
    ]
    for item in items:
        dynamodb.put_item(TableName=table_arn.rpartition("/")[2], Item=item)
    exported = exported_items(s3, until_ended(dynamodb, start_export(dynamodb, table_arn)["ExportArn"]))
    as_in_json = json.loads(json.dumps(items, default=as_base64))
    assert sorted(exported, key=lambda item: item["id"]["B"]) == sorted(as_in_json, key=lambda item: item["id"]["B"])


def test_what_is_written_after_the_call_is_not_in_the_export(
    dynamodb: Any, s3: Any, make_table: Callable[..., str], held: threading.Event
) -> None:
    table_arn = make_table(items=3)
    table = table_arn.rpartition("/")[2]
    started = start_export(dynamodb, table_arn)
    dynamodb.put_item(TableName=table, Item={"id": {"S": "late"}})
    dynamodb.put_item(TableName=table, Item={"id": {"S": "k0"}, "n": {"N": "999"}})
    dynamodb.delete_item(TableName=table, Key={"id": {"S": "k1"}})
    held.set()
    exported = exported_items(s3, until_ended(dynamodb, started["ExportArn"]))
    assert sorted((item["id"]["S"], item["n"]["N"]) for item in exported) == [
        ("k0", "0"),
        ("k1", "1"),
        ("k2", "2"),
    ]


def test_missing_bucket_fails_the_export_and_not_the_call(dynamodb: Any, make_table: Callable[..., str]) -> None:
    started = start_export(dynamodb, make_table(items=1), S3Bucket="no-such-bucket")
    assert started["ExportStatus"] == "IN_PROGRESS"
    failed = until_ended(dynamodb, started["ExportArn"])
    assert (failed["ExportStatus"], failed["FailureCode"]) == ("FAILED", "S3NoSuchBucket")
    assert "bucket does not exist" in failed["FailureMessage"]
    assert "EndTime" in failed
    assert not {"ExportManifest", "ItemCount"} & set(failed)


def test_summary_raises_one_event_when_the_whole_export_is_there(
    emulator: Emulator, dynamodb: Any, s3: Any, make_table: Callable[..., str]
) -> None:
    sqs = emulator.client("sqs")
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    s3.create_bucket(Bucket="watched")
    suffix = {"Key": {"FilterRules": [{"Name": "suffix", "Value": "manifest-summary.json"}]}}
    queue = {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:events", "Filter": suffix}
    s3.put_bucket_notification_configuration(
        Bucket="watched",
        NotificationConfiguration={
            "QueueConfigurations": [{**queue, "Events": ["s3:ObjectCreated:*"]}],
        },
    )
    sqs.purge_queue(QueueUrl=url)  # S3's own test event
    ended = until_ended(dynamodb, start_export(dynamodb, make_table(), S3Bucket="watched")["ExportArn"])
    message = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"][0]
    assert ended["ExportManifest"] in message["Body"]


def test_reset_forgets_exports_and_ends_those_that_run(
    emulator: Emulator,
    dynamodb: Any,
    s3: Any,
    make_table: Callable[..., str],
    held: threading.Event,
) -> None:
    running = start_export(dynamodb, make_table(), S3Prefix="reset")
    thread = next(each for each in threading.enumerate() if each.name == "export")
    emulator.overlay.reset()
    held.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert "Contents" not in s3.list_objects_v2(Bucket="backups", Prefix="reset/")
    with pytest.raises(dynamodb.exceptions.ExportNotFoundException):
        dynamodb.describe_export(ExportArn=running["ExportArn"])
