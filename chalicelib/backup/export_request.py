"""A planned export as ExportTableToPointInTime takes it
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html). Pure."""

from datetime import UTC, datetime
from typing import Any

from chalicelib.backup.rows import ExportParameters
from chalicelib.backup.windows import Window


def export_request(parameters: ExportParameters) -> dict[str, Any]:
    """Exactly the planned parameters, on every attempt. A full export has no ExportType: it is AWS' default."""
    request: dict[str, Any] = {
        "TableArn": parameters.table_arn,
        "S3Bucket": parameters.s3_bucket,
        "S3Prefix": parameters.s3_prefix,
        "ExportFormat": parameters.export_format,
        "ClientToken": parameters.client_token,
    }
    if parameters.window is not None:
        request |= {"ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": _times(parameters.window)}
    elif parameters.export_time_ms is not None:
        request["ExportTime"] = _moment(parameters.export_time_ms)
    if parameters.s3_bucket_owner:
        request["S3BucketOwner"] = parameters.s3_bucket_owner
    if parameters.s3_sse_kms_key_id:
        request |= {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": parameters.s3_sse_kms_key_id}
    return request


def _times(window: Window) -> dict[str, Any]:
    """Old images too: a restore needs none, but whoever asks what changed in a day finds it in the export."""
    times = {"ExportFromTime": _moment(window.from_ms), "ExportToTime": _moment(window.to_ms)}
    return {**times, "ExportViewType": "NEW_AND_OLD_IMAGES"}


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
