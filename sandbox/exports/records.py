"""The exports an emulator knows of: what DescribeExport and ListExports say, and which token belongs to which.

An export's description is replaced as a whole, never changed, so that the event loop may read it while the
export's thread ends.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.exports.layout import ExportFacts
from sandbox.exports.requests import TOKEN_LIFETIME_MS, ExportRequest, Refusal, failure_of
from sandbox.exports.writer import WrittenExport

_LARGEST_PAGE = 25


class ExportRecord:
    """One export: what was asked for, and what DescribeExport says of it."""

    def __init__(self, request: ExportRequest, facts: ExportFacts) -> None:
        self.request = request
        self.facts = facts
        self.description: Mapping[str, Any] = _describe_started(request, facts)

    @property
    def is_running(self) -> bool:
        return bool(self.description["ExportStatus"] == "IN_PROGRESS")

    def complete(self, written: WrittenExport) -> None:
        self.description = {
            **self.description,
            "ExportStatus": "COMPLETED",
            "EndTime": written.end_ms / 1000,
            "ExportManifest": written.summary_key,
            "BilledSizeBytes": written.billed_size_bytes,
            "ItemCount": written.item_count,
        }

    def fail(self, error: Exception, end_ms: int) -> None:
        code, message = failure_of(error)
        self.description = {
            **self.description,
            "ExportStatus": "FAILED",
            "EndTime": end_ms / 1000,
            "FailureCode": code,
            "FailureMessage": message,
        }


class ExportRecords:
    """Exports by ARN, in the order they were started."""

    def __init__(self) -> None:
        self._by_arn: dict[str, ExportRecord] = {}

    def add(self, record: ExportRecord) -> None:
        self._by_arn[record.facts.export_arn] = record

    def get(self, export_arn: str) -> ExportRecord:
        """Raises Refusal (ExportNotFoundException)."""
        try:
            return self._by_arn[export_arn]
        except KeyError:
            raise Refusal("ExportNotFoundException", f"Export not found: {export_arn}") from None

    def repeated(self, request: ExportRequest, now_ms: int) -> ExportRecord | None:
        """The export that this token started less than eight hours ago, if any.

        Raises Refusal (ExportConflictException) when it was started with other parameters.
        """
        for record in self.newest_first():
            if now_ms - record.facts.start_ms >= TOKEN_LIFETIME_MS:
                return None
            if record.request.client_token != request.client_token:
                continue
            if record.request.parameters != request.parameters:
                raise Refusal("ExportConflictException", "Duplicate request detected")
            return record
        return None

    @property
    def running(self) -> int:
        return sum(record.is_running for record in self._by_arn.values())

    def newest_first(self, table_arn: str | None = None) -> list[ExportRecord]:
        newest_first = reversed(self._by_arn.values())
        return [each for each in newest_first if table_arn in (None, each.facts.table_arn)]


def page_of(records: Sequence[ExportRecord], body: Mapping[str, Any]) -> dict[str, Any]:
    """A ListExports answer. A token names the last export listed, so exports started in between shift nothing.

    Raises Refusal for a page size that DynamoDB does not take, or a token that is not ours.
    """
    size = body.get("MaxResults", _LARGEST_PAGE)
    if not 1 <= size <= _LARGEST_PAGE:
        raise Refusal("ValidationException", f"MaxResults must be between 1 and {_LARGEST_PAGE}, not {size}")
    first = _position_after(records, body.get("NextToken"))
    page = records[first : first + size]
    answer: dict[str, Any] = {"ExportSummaries": [_summarise(record) for record in page]}
    if first + size < len(records):
        answer["NextToken"] = page[-1].facts.export_arn
    return answer


def _position_after(records: Sequence[ExportRecord], token: str | None) -> int:
    if token is None:
        return 0
    for position, record in enumerate(records):
        if record.facts.export_arn == token:
            return position + 1
    raise Refusal("ValidationException", "Invalid NextToken")


def _summarise(record: ExportRecord) -> dict[str, Any]:
    """Unlike a description, a summary always says its type."""
    return {
        "ExportArn": record.facts.export_arn,
        "ExportStatus": record.description["ExportStatus"],
        "ExportType": "FULL_EXPORT" if record.facts.window is None else "INCREMENTAL_EXPORT",
    }


def _describe_started(request: ExportRequest, facts: ExportFacts) -> dict[str, Any]:
    """Without EndTime, ExportManifest and counts: those appear with the end. ExportType only if it was sent."""
    as_sent = ("S3Bucket", "S3BucketOwner", "S3Prefix", "S3SseKmsKeyId", "ExportType")
    return {
        "ExportArn": facts.export_arn,
        "ExportStatus": "IN_PROGRESS",
        "StartTime": facts.start_ms / 1000,
        "TableArn": facts.table_arn,
        "TableId": facts.table_id,
        **_describe_times(facts),
        "ClientToken": request.client_token,
        **{name: request.parameters[name] for name in as_sent if name in request.parameters},
        "S3SseAlgorithm": facts.sse_algorithm,
        "ExportFormat": "DYNAMODB_JSON",
    }


def _describe_times(facts: ExportFacts) -> dict[str, Any]:
    """The window with what the caller left to DynamoDB, or a full export's time: no export has both."""
    window = facts.window
    if window is None:
        return {"ExportTime": facts.export_time_ms / 1000}
    specification = {
        "ExportFromTime": window.from_ms // 1000,
        "ExportToTime": window.to_ms // 1000,
        "ExportViewType": window.view,
    }
    return {"IncrementalExportSpecification": specification}
