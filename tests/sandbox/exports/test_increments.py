"""What incremental exports are asked for, say of themselves and write; and full ones as of a past time."""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.backup.verification import verify_export

from .emulator import Emulator, exported_changes, exported_items, read_object, start_export, until_ended
from .writes import Item, MakeTable, Mark, Writes, images, incremental, item, name_of


def test_records_have_the_form_that_aws_writes(dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark) -> None:
    table_arn = make_table(key_type="B")
    table = name_of(table_arn)
    old = {"value": {"BS": [b"\xfe\x00"]}, "id": {"B": b"\xff\x01"}, "a": {"M": {"n": {"NULL": True}}}}
    dynamodb.put_item(TableName=table, Item=old)
    from_s = mark()
    dynamodb.put_item(TableName=table, Item={"id": old["id"], "value": {"B": b"\xfe"}})
    to_s = mark()
    [record] = exported_changes(s3, incremental(dynamodb, table_arn, from_s, to_s))
    assert re.fullmatch(r"\d{16}", record.pop("Metadata")["WriteTimestampMicros"]["N"])
    assert record == {
        "Keys": {"id": {"B": "/wE="}},
        "OldImage": {"a": {"M": {"n": {"NULL": True}}}, "id": {"B": "/wE="}, "value": {"BS": ["/gA="]}},
        "NewImage": {"id": {"B": "/wE="}, "value": {"B": "/g=="}},
    }
    assert list(record["OldImage"]) == ["a", "id", "value"]


def test_new_images_alone_are_told_when_asked_for(dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark) -> None:
    table_arn = make_table(items=2)
    from_s = mark()
    Writes(dynamodb, table_arn).put("k0", "replaced")
    Writes(dynamodb, table_arn).delete("k1")
    to_s = mark()
    ended = incremental(dynamodb, table_arn, from_s, to_s, ExportViewType="NEW_IMAGE")
    by_key = {record["Keys"]["id"]["S"]: set(record) for record in exported_changes(s3, ended)}
    assert by_key == {"k0": {"Metadata", "Keys", "NewImage"}, "k1": {"Metadata", "Keys"}}


def test_windows_that_follow_each_other_have_every_change_once(
    dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark
) -> None:
    table_arn = make_table()
    marks = [mark()]
    for n in range(3):
        Writes(dynamodb, table_arn).put("one", str(n))
        marks.append(mark())
    windows = itertools.pairwise(marks)
    told = [images(exported_changes(s3, incremental(dynamodb, table_arn, *window))) for window in windows]
    assert told == [{"one": (None, "0")}, {"one": ("0", "1")}, {"one": ("1", "2")}]


def test_incremental_export_is_described_with_what_was_left_to_dynamodb(
    dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark
) -> None:
    table_arn = make_table(items=1)
    from_s = mark()
    mark()
    ended = incremental(dynamodb, table_arn, from_s)
    assert "ExportTime" not in ended
    assert (ended["ExportType"], ended["ItemCount"], ended["BilledSizeBytes"]) == ("INCREMENTAL_EXPORT", 0, 10_000_000)
    specification = ended["IncrementalExportSpecification"]
    assert specification["ExportFromTime"] == datetime.fromtimestamp(from_s, UTC)
    assert specification["ExportViewType"] == "NEW_AND_OLD_IMAGES"
    # To the second of the call, which is the export's own: AWS starts an incremental one at a whole second.
    assert specification["ExportToTime"] == ended["StartTime"]
    assert ended["StartTime"].microsecond == 0
    assert ended["ExportArn"].rpartition("/")[2].startswith(f"{int(ended['StartTime'].timestamp()) * 1000:014d}-")
    assert exported_changes(s3, ended) == []
    [listed] = dynamodb.list_exports(TableArn=table_arn)["ExportSummaries"]
    assert listed["ExportType"] == "INCREMENTAL_EXPORT"


def test_increment_of_a_table_without_recovery_is_refused(dynamodb: Any, make_table: MakeTable, mark: Mark) -> None:
    table_arn = make_table(recovery=False)
    from_s = mark()
    mark()
    with pytest.raises(dynamodb.exceptions.PointInTimeRecoveryUnavailableException):
        incremental(dynamodb, table_arn, from_s)


def test_window_of_less_than_a_quarter_of_an_hour_is_refused(dynamodb: Any, make_table: MakeTable, mark: Mark) -> None:
    table_arn = make_table()
    from_s = mark()
    with pytest.raises(dynamodb.exceptions.InvalidExportTimeException, match="Difference between export period"):
        incremental(dynamodb, table_arn, from_s, from_s + 1)


def test_history_begins_when_recovery_is_switched_on_again(dynamodb: Any, make_table: MakeTable, mark: Mark) -> None:
    table_arn = make_table()
    from_s = mark()
    for is_on in (False, True):
        dynamodb.update_continuous_backups(
            TableName=name_of(table_arn), PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": is_on}
        )
    to_s = mark()
    with pytest.raises(dynamodb.exceptions.InvalidExportTimeException, match="earliest restorable time"):
        incremental(dynamodb, table_arn, from_s, to_s)


def test_recovery_window_is_told_in_the_time_of_exports(
    dynamodb: Any, make_table: MakeTable, advance: Callable[[float], int]
) -> None:
    table = name_of(make_table())
    specification = {"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": 2}
    switched = dynamodb.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=specification)

    def window(answer: Item) -> tuple[int, float, float]:
        recovery = answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        earliest, latest = (recovery[f"{end}RestorableDateTime"].timestamp() for end in ("Earliest", "Latest"))
        return recovery["RecoveryPeriodInDays"], earliest, latest

    days, began_s, _ = window(switched)
    assert days == 2
    for advanced_s, is_within in ((86_400, True), (3 * 86_400, False)):
        now_s = advance(advanced_s) // 1000
        _, earliest_s, latest_s = window(dynamodb.describe_continuous_backups(TableName=table))
        assert 0 <= latest_s - now_s <= 5
        assert earliest_s == (began_s if is_within else latest_s - 2 * 86_400)


def test_full_export_shows_the_table_as_of_its_time_and_passes_verification(
    dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark
) -> None:
    table_arn = make_table(items=3)
    moment_s = mark()
    Writes(dynamodb, table_arn).put("k0", "later")
    Writes(dynamodb, table_arn).delete("k1")
    Writes(dynamodb, table_arn).put("later", "1")
    ended = until_ended(dynamodb, start_export(dynamodb, table_arn, ExportTime=moment_s, S3Prefix="past")["ExportArn"])
    assert sorted((each["id"]["S"], each["n"]["N"]) for each in exported_items(s3, ended)) == [
        ("k0", "0"),
        ("k1", "1"),
        ("k2", "2"),
    ]
    s3.put_object(Bucket="backups", Key="past/table.json", Body=b"{}")
    verified = verify_export(
        s3,
        "backups",
        summary_key=ended["ExportManifest"],
        definition_key="past/table.json",
        export_arn=ended["ExportArn"],
        table_arn=table_arn,
    )
    assert (verified.item_count, verified.export_time) == (3, f"{datetime.fromtimestamp(moment_s, UTC):%FT%T}.000Z")


def test_data_of_incremental_exports_lie_in_the_folder_they_share(
    dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark
) -> None:
    table_arn = make_table()
    from_s = mark()
    to_s = mark()
    specification = {"ExportFromTime": from_s, "ExportToTime": to_s}
    for _ in range(2):
        started = start_export(
            dynamodb,
            table_arn,
            S3Prefix="shared",
            ExportType="INCREMENTAL_EXPORT",
            IncrementalExportSpecification=specification,
        )
        until_ended(dynamodb, started["ExportArn"])
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="backups", Prefix="shared/")["Contents"]]
    data = [key for key in keys if key.startswith("shared/AWSDynamoDB/data/")]
    assert (len(data), len(keys)) == (8, 18)
    summary_key = f"shared/AWSDynamoDB/{started['ExportArn'].rpartition('/')[2]}/manifest-summary.json"
    assert b'"exportType":"INCREMENTAL_EXPORT"' in read_object(s3, summary_key)


def test_replica_has_a_history_of_its_own(emulator: Emulator, s3: Any, dynamodb: Any, mark: Mark) -> None:
    dynamodb.create_table(
        TableName="replicated",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    dynamodb.update_table(TableName="replicated", ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])
    elsewhere = emulator.client("dynamodb", region_name="eu-west-1")
    elsewhere.update_continuous_backups(
        TableName="replicated", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    from_s = mark()
    dynamodb.put_item(TableName="replicated", Item=item("one", "1"))
    to_s = mark()
    table_arn = elsewhere.describe_table(TableName="replicated")["Table"]["TableArn"]
    assert images(exported_changes(s3, incremental(elsewhere, table_arn, from_s, to_s))) == {"one": (None, "1")}
