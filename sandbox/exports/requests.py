"""What an export call asks for, and when DynamoDB refuses it: pure rules over plain data.

The emulator checks permissions, required fields and the table first; here stand the rules it lacks. Messages
are AWS' where a real one is known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.clock import iso

TOKEN_LIFETIME_MS = 8 * 60 * 60 * 1000
DEFAULT_RECOVERY_DAYS = 35
DAY_MS = 24 * 60 * 60 * 1000
VIEWS = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
_TABLE_ARN = re.compile(r"arn:aws[\w-]*:dynamodb:(?P<region>[\w-]+):\d{12}:table/(?P<table>[\w.-]+)")
_INCREMENTAL = "INCREMENTAL_EXPORT"
_ALLOWED = {
    "ExportFormat": ("DYNAMODB_JSON", "ION"),
    "ExportType": ("FULL_EXPORT", _INCREMENTAL),
    "S3SseAlgorithm": ("AES256", "KMS"),
}


class Refusal(Exception):
    """A call that DynamoDB refuses: `code` is the exception's name on the wire, always with HTTP status 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FailureOnRequest(Exception):
    """An export that was asked to fail, and what DescribeExport is to say of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Limits:
    """What AWS limits: the least of an incremental export's window, and how many exports run at once.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
    """

    least_window_ms: int = 15 * 60 * 1000
    most_running: int = 300


@dataclass(frozen=True)
class TableFacts:
    """What an export needs to know of its table. `earliest_export_ms` is None where PITR is off."""

    table_name: str
    table_id: str
    key_names: tuple[str, ...]
    item_count: int
    size_bytes: int
    created_ms: int
    earliest_export_ms: int | None


@dataclass(frozen=True)
class Increment:
    """An IncrementalExportSpecification: from, inclusive, to, exclusive, in epoch milliseconds. Without `to_ms` it is
    the latest time there is."""

    from_ms: int
    to_ms: int | None
    view: str


@dataclass(frozen=True)
class ExportRequest:
    """A valid call. `parameters` is all of it but the token: what a repeated token is compared by. Only an
    incremental export has an `increment`."""

    region: str
    table_name: str
    client_token: str
    export_time_ms: int | None
    increment: Increment | None
    parameters: Mapping[str, Any]

    @property
    def bucket(self) -> str:
        return str(self.parameters["S3Bucket"])

    @property
    def prefix(self) -> str | None:
        return self.parameters.get("S3Prefix")

    @property
    def table_arn(self) -> str:
        return str(self.parameters["TableArn"])


def read_export_request(body: Mapping[str, Any], *, new_token: str) -> ExportRequest:
    """Raises Refusal. `new_token` serves where the caller sent none: DynamoDB makes one too, and returns it."""
    arn = _TABLE_ARN.fullmatch(body["TableArn"])
    if arn is None:
        raise Refusal("ValidationException", f"Invalid TableArn: {body['TableArn']}")
    _refuse_empty(body, "S3Prefix", "ClientToken")
    _refuse_unknown(body)
    _refuse_unbuilt(body)
    export_time_s = body.get("ExportTime")
    return ExportRequest(
        region=arn["region"],
        table_name=arn["table"],
        client_token=body.get("ClientToken", new_token),
        export_time_ms=None if export_time_s is None else round(export_time_s * 1000),
        increment=_read_increment(body),
        parameters={name: value for name, value in body.items() if name != "ClientToken"},
    )


def check_times(request: ExportRequest, table: TableFacts, now_ms: int, limits: Limits) -> None:
    """Raises Refusal where point-in-time recovery is off, or does not reach the times asked for."""
    if request.increment is not None and request.increment.from_ms < table.created_ms // 1000 * 1000:
        # Before all else, even where recovery is off.
        raise _invalid_increment("from", "less than the table creation time", request.increment.from_ms)
    if table.earliest_export_ms is None:
        raise recovery_is_off(table.table_name)
    asked_ms = request.export_time_ms
    if asked_ms is not None and not table.earliest_export_ms <= asked_ms <= now_ms:
        raise Refusal("InvalidExportTimeException", "Export Time is invalid")
    if request.increment is not None:
        _check_window(request.increment, table.earliest_export_ms, now_ms, limits)


def recovery_is_off(table_name: str) -> Refusal:
    message = f"Point in time recovery is not enabled for table '{table_name}'"
    return Refusal("PointInTimeRecoveryUnavailableException", message)


def window_end_ms(increment: Increment, now_ms: int) -> int:
    """Where none was asked for, it is the second of the call."""
    return now_ms // 1000 * 1000 if increment.to_ms is None else increment.to_ms


def failure_of(error: Exception) -> tuple[str, str]:
    """FailureCode and FailureMessage of an export that broke off.

    `S3NoSuchBucket`, `S3AccessDenied` and the messages' form are AWS' own; no list of the codes is published, so the
    others are made alike.
    """
    if isinstance(error, FailureOnRequest):
        return error.code, error.message
    if not isinstance(error, ClientError):
        return "InternalServerError", f"The export broke off: {type(error).__name__}"
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code, message = details.get("Code", "Unknown"), details.get("Message", "")
    return (
        f"S3{code}",
        f"{message} (Service: Amazon S3; Status Code: {metadata.get('HTTPStatusCode', 0)}; "
        f"Error Code: {code}; Request ID: {metadata.get('RequestId', 'unknown')})",
    )


def _refuse_empty(body: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if body.get(name) == "":
            raise _invalid(name, "", "Member must have length greater than or equal to 1")


def _refuse_unknown(body: Mapping[str, Any]) -> None:
    for name, allowed in _ALLOWED.items():
        value = body.get(name)
        if value is not None and value not in allowed:
            raise _invalid(name, value, f"Member must satisfy enum value set: [{', '.join(allowed)}]")


def _refuse_unbuilt(body: Mapping[str, Any]) -> None:
    """AWS would take these. Refusing them here beats an export that claims to be something else."""
    if body.get("ExportFormat") == "ION" or body.get("FilterSpecification"):
        raise Refusal("ValidationException", "The sandbox exports whole tables, in DYNAMODB_JSON only")


def _read_increment(body: Mapping[str, Any]) -> Increment | None:
    """Raises Refusal where type and specification contradict each other.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_IncrementalExportSpecification.html
    """
    _refuse_contradictions(body)
    asked = body.get("IncrementalExportSpecification")
    if asked is None:
        return None
    view = asked.get("ExportViewType", "NEW_AND_OLD_IMAGES")
    if view not in VIEWS:
        constraint = f"Member must satisfy enum value set: [{', '.join(VIEWS)}]"
        raise _invalid("incrementalExportSpecification.exportViewType", view, constraint)
    if asked.get("ExportFromTime") is None:
        raise _invalid_request("ExportFromTime must be provided in IncrementalExportSpecification")
    to_s = asked.get("ExportToTime")
    return Increment(int(asked["ExportFromTime"]) * 1000, None if to_s is None else int(to_s) * 1000, view)


def _refuse_contradictions(body: Mapping[str, Any]) -> None:
    export_type, asked = body.get("ExportType"), body.get("IncrementalExportSpecification")
    if asked is None:
        if export_type == _INCREMENTAL:
            raise _invalid_request(
                "Incremental Export Specification expected when export type is set as Incremental Export"
            )
        return
    if export_type is None:
        raise _invalid_request(
            "Export Type expected to be Incremental Export when incremental export specification is provided"
        )
    if export_type != _INCREMENTAL:
        raise _invalid_request(
            "When Export Type is Full Export , Incremental Export Specification should not be provided"
        )
    if body.get("ExportTime") is not None:
        # AWS' own answer is not known.
        raise _invalid_request("Export Time should not be provided when Export Type is Incremental Export")


def _check_window(increment: Increment, earliest_ms: int, now_ms: int, limits: Limits) -> None:
    """The message for more than 24 hours is made like AWS' other ones, as is that for a time before recovery began."""
    to_ms = window_end_ms(increment, now_ms)
    if to_ms > now_ms:
        raise _invalid_increment("to", "greater than the current time", to_ms)
    period_ms = to_ms - increment.from_ms
    period = "Difference between export period from time and export period to time is"
    # Not less than nothing, however small the least is: a window has a length.
    if period_ms < max(limits.least_window_ms, 1):
        raise Refusal("InvalidExportTimeException", f"{period} less than {_told(limits.least_window_ms)}")
    if period_ms > DAY_MS:
        raise Refusal("InvalidExportTimeException", f"{period} greater than 24 hours")
    if increment.from_ms < earliest_ms:
        raise _invalid_increment("from", "less than the earliest restorable time", increment.from_ms)


def _told(period_ms: int) -> str:
    return f"{period_ms / 60_000:g} minutes"


def _invalid_increment(end: str, fault: str, asked_ms: int) -> Refusal:
    """As AWS has it, the message shows the time that was asked for."""
    asked = iso(asked_ms).replace(".000Z", "Z")
    message = f"Incremental export period {end} time cannot be {fault} : {asked}"
    return Refusal("InvalidExportTimeException", message)


def _invalid_request(fault: str) -> Refusal:
    return Refusal("ValidationException", f"Invalid Request: {fault}")


def _invalid(name: str, value: object, constraint: str) -> Refusal:
    field = name[0].lower() + name[1:]
    return Refusal(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {constraint}",
    )
