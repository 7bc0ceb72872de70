"""The rules for export calls, over plain data."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.emulator.exports import SettingInvalid, limits_of
from sandbox.exports.requests import (
    ExportRequest,
    Increment,
    Limits,
    Refusal,
    TableFacts,
    check_times,
    failure_of,
    read_export_request,
)

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders"
MINUTE_S = 60
DAY_S = 86_400
CREATED_S = 100 * DAY_S
EARLIEST_S = CREATED_S + 10 * MINUTE_S
NOW_S = CREATED_S + 3 * DAY_S
LIMITS = Limits()


def _request(**more: Any) -> ExportRequest:
    body = {"TableArn": TABLE_ARN, "S3Bucket": "b", **more}
    return read_export_request(body, new_token="made")


def _incremental(**specification: Any) -> ExportRequest:
    return _request(ExportType="INCREMENTAL_EXPORT", IncrementalExportSpecification=specification)


def _table(earliest_s: int | None = EARLIEST_S) -> TableFacts:
    return TableFacts("orders", "id", ("pk",), 1, 1, CREATED_S * 1000, earliest_s and earliest_s * 1000)


def _refusal(request: ExportRequest, table: TableFacts, limits: Limits = LIMITS) -> tuple[str, str] | None:
    try:
        check_times(request, table, NOW_S * 1000 + 400, limits)
    except Refusal as refusal:
        return refusal.code, refusal.message
    return None


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
        ({"FilterSpecification": {"FilterExpression": "a = :a"}}, "sandbox exports whole tables"),
        (
            {"ExportType": "INCREMENTAL_EXPORT"},
            "Invalid Request: Incremental Export Specification expected when export type is set as Incremental Export",
        ),
        (
            {"IncrementalExportSpecification": {"ExportFromTime": 1}},
            "Invalid Request: Export Type expected to be Incremental Export when",
        ),
        (
            {"ExportType": "FULL_EXPORT", "IncrementalExportSpecification": {"ExportFromTime": 1}},
            "Invalid Request: When Export Type is Full Export , Incremental Export Specification should not be",
        ),
        (
            {"ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": {"ExportToTime": 1}},
            "Invalid Request: ExportFromTime must be provided in IncrementalExportSpecification",
        ),
        (
            {"ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": {"ExportViewType": "NEW_IMAGES"}},
            "Value 'NEW_IMAGES' at 'incrementalExportSpecification.exportViewType' failed to satisfy constraint: "
            "Member must satisfy enum value set: .NEW_IMAGE, NEW_AND_OLD_IMAGES.",
        ),
        (
            {
                "ExportType": "INCREMENTAL_EXPORT",
                "IncrementalExportSpecification": {"ExportFromTime": 1},
                "ExportTime": 1,
            },
            "Invalid Request: Export Time should not be provided",
        ),
    ],
)
def test_invalid_request_is_refused_with_what_is_wrong(more: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        _request(**more)
    assert refused.value.code == "ValidationException"


def test_increment_is_of_both_images_unless_asked_otherwise() -> None:
    assert _incremental(ExportFromTime=1, ExportToTime=2).increment == Increment(1000, 2000, "NEW_AND_OLD_IMAGES")
    assert _incremental(ExportFromTime=1, ExportViewType="NEW_IMAGE").increment == Increment(1000, None, "NEW_IMAGE")
    assert _request().increment is None


def test_export_needs_point_in_time_recovery() -> None:
    unavailable = (
        "PointInTimeRecoveryUnavailableException",
        "Point in time recovery is not enabled for table 'orders'",
    )
    assert _refusal(_request(), _table(None)) == unavailable
    assert _refusal(_incremental(ExportFromTime=CREATED_S), _table(None)) == unavailable


@pytest.mark.parametrize("asked_s", [None, EARLIEST_S, NOW_S])
def test_export_time_inside_the_window_is_taken(asked_s: int | None) -> None:
    assert _refusal(_request(ExportTime=asked_s), _table()) is None


@pytest.mark.parametrize("asked_s", [EARLIEST_S - 1, NOW_S + 1])
def test_export_time_outside_of_the_window_is_refused(asked_s: int) -> None:
    refused = ("InvalidExportTimeException", "Export Time is invalid")
    assert _refusal(_request(ExportTime=asked_s), _table()) == refused


@pytest.mark.parametrize(
    ("from_s", "to_s"),
    [
        (EARLIEST_S, EARLIEST_S + 15 * MINUTE_S),
        (EARLIEST_S, EARLIEST_S + DAY_S),
        (NOW_S - 15 * MINUTE_S, None),
        (NOW_S - DAY_S, NOW_S),
    ],
)
def test_window_of_an_incremental_export_is_taken(from_s: int, to_s: int | None) -> None:
    to = {} if to_s is None else {"ExportToTime": to_s}
    assert _refusal(_incremental(ExportFromTime=from_s, **to), _table()) is None


@pytest.mark.parametrize(
    ("from_s", "to_s", "message"),
    [
        (
            CREATED_S - 1,
            NOW_S,
            "Incremental export period from time cannot be less than the table creation time : 1970-04-10T23:59:59Z",
        ),
        (
            NOW_S - DAY_S,
            NOW_S + 1,
            "Incremental export period to time cannot be greater than the current time : 1970-04-14T00:00:01Z",
        ),
        (
            EARLIEST_S - 1,
            EARLIEST_S + DAY_S - 1,
            "Incremental export period from time cannot be less than the earliest restorable time : "
            "1970-04-11T00:09:59Z",
        ),
        (
            EARLIEST_S,
            EARLIEST_S + 15 * MINUTE_S - 1,
            "Difference between export period from time and export period to time is less than 15 minutes",
        ),
        (
            NOW_S,
            EARLIEST_S,
            "Difference between export period from time and export period to time is less than 15 minutes",
        ),
        (
            NOW_S - 15 * MINUTE_S + 1,
            None,
            "Difference between export period from time and export period to time is less than 15 minutes",
        ),
        (
            EARLIEST_S,
            EARLIEST_S + DAY_S + 1,
            "Difference between export period from time and export period to time is greater than 24 hours",
        ),
    ],
)
def test_window_outside_of_the_bounds_is_refused(from_s: int, to_s: int | None, message: str) -> None:
    to = {} if to_s is None else {"ExportToTime": to_s}
    refused = ("InvalidExportTimeException", message)
    assert _refusal(_incremental(ExportFromTime=from_s, **to), _table()) == refused


def test_least_window_is_a_setting_and_never_nothing() -> None:
    limits = limits_of({"SANDBOX_EXPORT_LEAST_WINDOW_S": "0"})
    second = _incremental(ExportFromTime=NOW_S - 1, ExportToTime=NOW_S)
    assert _refusal(second, _table(), limits) is None
    for to_s in (NOW_S, NOW_S - 1):
        refusal = _refusal(_incremental(ExportFromTime=NOW_S, ExportToTime=to_s), _table(), limits)
        assert refusal is not None
        assert refusal[0] == "InvalidExportTimeException"


def test_limits_are_those_of_aws_unless_the_environment_says_otherwise() -> None:
    assert limits_of({}) == Limits(least_window_ms=900_000, most_running=300)
    environ = {"SANDBOX_EXPORT_LEAST_WINDOW_S": "2", "SANDBOX_EXPORTS_AT_ONCE": "5"}
    assert limits_of(environ) == Limits(least_window_ms=2_000, most_running=5)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "9" * 10])
def test_limit_that_is_no_number_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(SettingInvalid, match=f"SANDBOX_EXPORTS_AT_ONCE is '{text}', and must be a whole number"):
        limits_of({"SANDBOX_EXPORTS_AT_ONCE": text})


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
