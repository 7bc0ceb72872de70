"""The rules for export calls, over plain data."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.exports.requests import (
    ExportRequest,
    Refusal,
    TableFacts,
    check_recovery_window,
    earliest_export_ms,
    failure_of,
    read_export_request,
)

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders"
DAY_MS = 86_400_000


def _request(**more: Any) -> ExportRequest:
    body = {"TableArn": TABLE_ARN, "S3Bucket": "b", **more}
    return read_export_request(body, new_token="made")


def _table(earliest_ms: int | None) -> TableFacts:
    return TableFacts("orders", "id", ("pk",), 1, 1, earliest_ms)


def test_request_knows_its_table_region_and_token() -> None:
    request = _request(S3Prefix="p", ExportTime=12)
    assert (request.region, request.table_name, request.prefix) == ("eu-west-1", "orders", "p")
    assert (request.client_token, request.export_time_ms) == ("made", 12_000)
    assert _request(ClientToken="mine").client_token == "mine"


def test_token_is_no_parameter() -> None:
    assert _request(ClientToken="one").parameters == _request(ClientToken="two").parameters


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"TableArn": "orders"}, "Invalid TableArn: orders"),
        ({"S3Prefix": ""}, "at 's3Prefix' failed to satisfy constraint: Member must have length"),
        ({"ClientToken": ""}, "at 'clientToken' failed"),
        ({"ExportType": "SOME"}, "enum value set: .FULL_EXPORT, INCREMENTAL_EXPORT."),
        ({"ExportFormat": "CSV"}, "at 'exportFormat' failed"),
        ({"S3SseAlgorithm": "ROT13"}, "at 's3SseAlgorithm' failed"),
        ({"ExportFormat": "ION"}, "sandbox exports whole tables"),
        ({"ExportType": "INCREMENTAL_EXPORT"}, "sandbox exports whole tables"),
        ({"IncrementalExportSpecification": {"ExportViewType": "NEW_IMAGE"}}, "sandbox exports whole tables"),
    ],
)
def test_invalid_request_is_refused_with_what_is_wrong(more: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        _request(**more)
    assert refused.value.code == "ValidationException"


def test_export_needs_point_in_time_recovery() -> None:
    with pytest.raises(Refusal, match="not enabled for table 'orders'") as refused:
        check_recovery_window(_request(), _table(None), 10 * DAY_MS)
    assert refused.value.code == "PointInTimeRecoveryUnavailableException"


@pytest.mark.parametrize("asked_s", [None, 5, 10])
def test_export_time_inside_the_window_is_taken(asked_s: int | None) -> None:
    check_recovery_window(_request(ExportTime=asked_s), _table(5_000), 10_000)


@pytest.mark.parametrize("asked_s", [4, 11])
def test_export_time_outside_of_the_window_is_refused(asked_s: int) -> None:
    with pytest.raises(Refusal) as refused:
        check_recovery_window(_request(ExportTime=asked_s), _table(5_000), 10_000)
    assert refused.value.code == "InvalidExportTimeException"


@pytest.mark.parametrize(
    ("recovery", "created_ms", "earliest_ms"),
    [
        ({"PointInTimeRecoveryStatus": "DISABLED"}, 0, None),
        ({"PointInTimeRecoveryStatus": "ENABLED"}, 0, 5 * DAY_MS),
        ({"PointInTimeRecoveryStatus": "ENABLED"}, 20 * DAY_MS + 999, 20 * DAY_MS),
        ({"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 1}, 0, 39 * DAY_MS),
    ],
)
def test_window_reaches_back_to_creation_or_the_recovery_period(
    recovery: dict[str, Any], created_ms: int, earliest_ms: int | None
) -> None:
    assert earliest_export_ms(recovery, created_ms=created_ms, now_ms=40 * DAY_MS) == earliest_ms


def test_denied_write_gives_the_failure_aws_gives() -> None:
    denied = ClientError(
        {
            "Error": {"Code": "AccessDenied", "Message": "Access Denied"},
            "ResponseMetadata": {
                "HTTPStatusCode": 403,
                "RequestId": "R1",
                "HostId": "",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
            },
        },
        "PutObject",
    )
    assert failure_of(denied) == (
        "S3AccessDenied",
        "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied; Request ID: R1)",
    )


def test_failure_that_is_not_from_aws_tells_no_content() -> None:
    assert failure_of(ValueError("item content")) == (
        "InternalServerError",
        "The export broke off: ValueError",
    )
