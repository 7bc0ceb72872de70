"""What an export call asks for, and when DynamoDB refuses it: pure rules over plain data.

The emulator checks permissions, required fields and the table first; here stand the rules it lacks. Messages
are AWS' where a real one is known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

TOKEN_LIFETIME_MS = 8 * 60 * 60 * 1000
_DEFAULT_RECOVERY_DAYS = 35
_DAY_MS = 24 * 60 * 60 * 1000
_TABLE_ARN = re.compile(r"arn:aws[\w-]*:dynamodb:(?P<region>[\w-]+):\d{12}:table/(?P<table>[\w.-]+)")
_ALLOWED = {
    "ExportFormat": ("DYNAMODB_JSON", "ION"),
    "ExportType": ("FULL_EXPORT", "INCREMENTAL_EXPORT"),
    "S3SseAlgorithm": ("AES256", "KMS"),
}


class Refusal(Exception):
    """A call that DynamoDB refuses: `code` is the exception's name on the wire, always with HTTP status 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class TableFacts:
    """What an export needs to know of its table. `earliest_export_ms` is None where PITR is off."""

    table_name: str
    table_id: str
    key_names: tuple[str, ...]
    item_count: int
    size_bytes: int
    earliest_export_ms: int | None


@dataclass(frozen=True)
class ExportRequest:
    """A valid call. `parameters` is all of it but the token: what a repeated token is compared by."""

    region: str
    table_name: str
    client_token: str
    export_time_ms: int | None
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
    parameters = {name: value for name, value in body.items() if name != "ClientToken"}
    export_time_s = body.get("ExportTime")
    return ExportRequest(
        region=arn["region"],
        table_name=arn["table"],
        client_token=body.get("ClientToken", new_token),
        export_time_ms=None if export_time_s is None else round(export_time_s * 1000),
        parameters=parameters,
    )


def check_recovery_window(request: ExportRequest, table: TableFacts, now_ms: int) -> None:
    """Raises Refusal where point-in-time recovery is off, or does not reach the time asked for."""
    if table.earliest_export_ms is None:
        raise Refusal(
            "PointInTimeRecoveryUnavailableException",
            f"Point in time recovery is not enabled for table '{table.table_name}'",
        )
    asked_ms = request.export_time_ms
    if asked_ms is not None and not table.earliest_export_ms <= asked_ms <= now_ms:
        raise Refusal(
            "InvalidExportTimeException",
            "The specified ExportTime is outside of the point in time recovery window",
        )


def earliest_export_ms(recovery: Mapping[str, Any], *, created_ms: int, now_ms: int) -> int | None:
    """The recovery window's start, from a PointInTimeRecoveryDescription; None where recovery is off.

    The emulator says "now" for both ends of the window, so it is computed: it reaches back as many days as
    asked for, but not beyond the table's creation. On AWS it does not reach beyond the moment recovery was
    switched on either, which the emulator does not record.
    """
    if recovery["PointInTimeRecoveryStatus"] != "ENABLED":
        return None
    days: int = recovery.get("RecoveryPeriodInDays", _DEFAULT_RECOVERY_DAYS)
    whole_second_ms = created_ms // 1000 * 1000  # ExportTime crosses the wire in whole seconds
    return max(whole_second_ms, now_ms - days * _DAY_MS)


def failure_of(error: Exception) -> tuple[str, str]:
    """FailureCode and FailureMessage of an export that broke off.

    `S3NoSuchBucket` and the messages' form are AWS' own; no list of the codes is published, so the others are
    made alike.
    """
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
    """AWS would take these. Refusing them here beats a full export that claims to be something else."""
    unbuilt = (
        body.get("ExportFormat") == "ION"
        or body.get("ExportType") == "INCREMENTAL_EXPORT"
        or body.get("IncrementalExportSpecification")
        or body.get("FilterSpecification")
    )
    if unbuilt:
        raise Refusal("ValidationException", "The sandbox exports whole tables, as FULL_EXPORT in DYNAMODB_JSON only")


def _invalid(name: str, value: object, constraint: str) -> Refusal:
    field = name[0].lower() + name[1:]
    return Refusal(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {constraint}",
    )
