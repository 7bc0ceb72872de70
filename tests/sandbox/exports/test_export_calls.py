"""Export calls as DynamoDB answers them: what is refused, what a token means, what is listed."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .emulator import start_export, until_ended

HOUR_S = 3_600


def test_table_without_recovery_is_refused(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    table_arn = make_table(recovery=False)
    with pytest.raises(dynamodb.exceptions.PointInTimeRecoveryUnavailableException):
        start_export(dynamodb, table_arn)
    assert dynamodb.list_exports(TableArn=table_arn)["ExportSummaries"] == []


def test_missing_table_is_refused(dynamodb: Any) -> None:
    with pytest.raises(dynamodb.exceptions.TableNotFoundException):
        start_export(dynamodb, "arn:aws:dynamodb:us-east-1:000000000000:table/nowhere")


def test_table_of_another_region_is_not_found(dynamodb: Any, make_table: Callable[..., str]) -> None:
    with pytest.raises(dynamodb.exceptions.TableNotFoundException):
        start_export(dynamodb, make_table().replace("us-east-1", "eu-west-1"))


@pytest.mark.parametrize("away_s", [-86_400, 3_600])
def test_export_time_outside_of_the_window_is_refused(
    dynamodb: Any, make_table: Callable[..., str], away_s: int
) -> None:
    with pytest.raises(dynamodb.exceptions.InvalidExportTimeException):
        start_export(dynamodb, make_table(), ExportTime=int(time.time()) + away_s)


def test_export_time_inside_the_window_is_kept(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    table_arn = make_table()
    backups = dynamodb.describe_continuous_backups(TableName=table_arn.rpartition("/")[2])
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    for asked in (recovery["EarliestRestorableDateTime"], recovery["LatestRestorableDateTime"]):
        ended = until_ended(dynamodb, start_export(dynamodb, table_arn, ExportTime=asked)["ExportArn"])
        assert ended["ExportTime"] == asked


def test_empty_prefix_is_refused(dynamodb: Any, make_table: Callable[..., str]) -> None:
    with pytest.raises(ClientError) as refused:
        start_export(dynamodb, make_table(), S3Prefix="")
    assert error_code_of(refused) == "ValidationException"


def test_repeated_token_gives_the_same_export(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    table_arn = make_table()
    first = start_export(dynamodb, table_arn, ClientToken="again", S3Prefix="p")
    until_ended(dynamodb, first["ExportArn"])
    second = start_export(dynamodb, table_arn, ClientToken="again", S3Prefix="p")
    assert (second["ExportArn"], second["ExportStatus"]) == (first["ExportArn"], "COMPLETED")
    assert len(dynamodb.list_exports(TableArn=table_arn)["ExportSummaries"]) == 1


def test_calls_at_once_with_one_token_start_one_export(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    table_arn = make_table()
    with ThreadPoolExecutor(4) as callers:
        started = [callers.submit(start_export, dynamodb, table_arn, ClientToken="at-once") for _ in range(4)]
        assert len({each.result()["ExportArn"] for each in started}) == 1


def test_repeated_token_with_other_parameters_conflicts(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    table_arn, other_arn = make_table(), make_table()
    start_export(dynamodb, table_arn, ClientToken="changed", S3Prefix="p")
    for changed in ({"S3Prefix": "q"}, {}, {"S3Prefix": "p", "ExportType": "FULL_EXPORT"}):
        with pytest.raises(dynamodb.exceptions.ExportConflictException, match="Duplicate request detected"):
            start_export(dynamodb, table_arn, ClientToken="changed", **changed)
    with pytest.raises(dynamodb.exceptions.ExportConflictException):
        start_export(dynamodb, other_arn, ClientToken="changed", S3Prefix="p")


def test_token_is_forgotten_after_eight_hours(
    dynamodb: Any, s3: Any, make_table: Callable[..., str], advance: Callable[[float], int]
) -> None:
    table_arn = make_table()
    first = start_export(dynamodb, table_arn, ClientToken="eight-hours")
    advance(8 * HOUR_S - 60)
    assert start_export(dynamodb, table_arn, ClientToken="eight-hours")["ExportArn"] == first["ExportArn"]
    advance(60)
    assert start_export(dynamodb, table_arn, ClientToken="eight-hours")["ExportArn"] != first["ExportArn"]


def test_export_type_is_told_only_if_it_was_sent(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    started = start_export(dynamodb, make_table(), ExportType="FULL_EXPORT")
    assert started["ExportType"] == "FULL_EXPORT"
    assert until_ended(dynamodb, started["ExportArn"])["ExportType"] == "FULL_EXPORT"


def test_no_more_exports_than_the_limit_run_at_once(
    dynamodb: Any, s3: Any, make_table: Callable[..., str], held: threading.Event
) -> None:
    table_arn = make_table()
    started = [start_export(dynamodb, table_arn)["ExportArn"] for _ in range(20)]
    with pytest.raises(dynamodb.exceptions.LimitExceededException, match="20 exports are running"):
        start_export(dynamodb, table_arn)
    held.set()
    for export_arn in started:
        until_ended(dynamodb, export_arn)
    assert start_export(dynamodb, table_arn)["ExportStatus"] == "IN_PROGRESS"


def test_exports_are_listed_newest_first_in_pages(dynamodb: Any, s3: Any, make_table: Callable[..., str]) -> None:
    table_arn, other_arn = make_table(), make_table()
    started = [start_export(dynamodb, table_arn)["ExportArn"] for _ in range(5)]
    until_ended(dynamodb, start_export(dynamodb, other_arn)["ExportArn"])
    until_ended(dynamodb, started[-1])
    one = dynamodb.list_exports(TableArn=table_arn, MaxResults=2)
    later = start_export(dynamodb, table_arn)["ExportArn"]
    two = dynamodb.list_exports(TableArn=table_arn, MaxResults=3, NextToken=one["NextToken"])
    listed = one["ExportSummaries"] + two["ExportSummaries"]
    assert [each["ExportArn"] for each in listed] == started[::-1]
    assert "NextToken" not in two
    assert listed[0] == {
        "ExportArn": started[-1],
        "ExportStatus": "COMPLETED",
        "ExportType": "FULL_EXPORT",
    }
    everywhere = [each["ExportArn"] for each in dynamodb.list_exports()["ExportSummaries"]]
    assert everywhere[0] == later
    assert len(everywhere) > 6


@pytest.mark.parametrize("page", [{"MaxResults": 26}, {"NextToken": "not ours"}])
def test_page_that_makes_no_sense_is_refused(dynamodb: Any, page: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        dynamodb.list_exports(**page)
    assert error_code_of(refused) == "ValidationException"


def test_exports_of_a_deleted_table_are_described_but_not_listed(
    dynamodb: Any, s3: Any, make_table: Callable[..., str]
) -> None:
    table_arn = make_table()
    export_arn = start_export(dynamodb, table_arn)["ExportArn"]
    until_ended(dynamodb, export_arn)
    dynamodb.delete_table(TableName=table_arn.rpartition("/")[2])
    assert dynamodb.list_exports(TableArn=table_arn)["ExportSummaries"] == []
    assert export_arn not in str(dynamodb.list_exports())
    assert until_ended(dynamodb, export_arn)["ExportStatus"] == "COMPLETED"


def test_unknown_export_is_not_found(dynamodb: Any) -> None:
    with pytest.raises(dynamodb.exceptions.ExportNotFoundException):
        dynamodb.describe_export(
            ExportArn="arn:aws:dynamodb:us-east-1:000000000000:table/t/export/01605130432834-8a918b87"
        )


def error_code_of(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return str(refused.value.response["Error"]["Code"])
