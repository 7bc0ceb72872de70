"""Exports that DynamoDB already runs: which of them are a set's own, and finding one that was never written down."""

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.aws import Client
from chalicelib.backup.rows import ExportParameters, SetRow
from chalicelib.backup.windows import Window
from chalicelib.clock import epoch_ms

# An export's id has DynamoDB's time, a set ours. Looking further back costs a call for each older export.
_CLOCKS_DIFFER_MS = 2 * 3600 * 1000


def find_running(dynamodb: Client, set_row: SetRow, parameters: ExportParameters) -> str | None:
    """The ARN of an export of this table into this set's place that was started and not written down. Raises
    botocore's errors."""
    for export_arn in _recent_exports(dynamodb, parameters.table_arn, set_row.started_at_ms - _CLOCKS_DIFFER_MS):
        export = dynamodb.describe_export(ExportArn=export_arn)["ExportDescription"]
        if is_of(export, parameters) and export.get("ExportStatus") != "FAILED":
            return export_arn
    return None


def _recent_exports(dynamodb: Client, table_arn: str, since_ms: int) -> Iterator[str]:
    request: dict[str, Any] = {"TableArn": table_arn, "MaxResults": 25}
    while True:
        answer = dynamodb.list_exports(**request)
        for export in answer.get("ExportSummaries", []):
            if started_at_ms(export["ExportArn"]) < since_ms:
                return  # exports are listed newest first
            yield str(export["ExportArn"])
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]


def is_of(export: Mapping[str, Any], parameters: ExportParameters) -> bool:
    """Whether DynamoDB describes an export as one that was started with these parameters."""
    place = (export.get("S3Bucket"), str(export.get("S3Prefix", "")).strip("/"))
    asked = (parameters.table_arn, (parameters.s3_bucket, parameters.s3_prefix), parameters.window)
    return (export.get("TableArn"), place, window_of(export)) == asked


def window_of(export: Mapping[str, Any]) -> Window | None:
    if export.get("ExportType") != "INCREMENTAL_EXPORT":
        return None
    said = export["IncrementalExportSpecification"]
    return Window(epoch_ms(said["ExportFromTime"]), epoch_ms(said["ExportToTime"]))


def started_at_ms(export_arn: str) -> int:
    """An export's id begins with its start in epoch milliseconds; 0 for an id of another form."""
    digits = export_arn.rsplit("/", 1)[-1].split("-", 1)[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
