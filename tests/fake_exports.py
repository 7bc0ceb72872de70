"""DynamoDB's export calls over moto's DynamoDB, which has none that can be used.

`ExportingDynamoDB` passes every other call on to the client it wraps. An export takes its snapshot at the call, as
AWS does; it completes, and writes real export files, when a test says so with `complete`.
"""

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.clock import Clock
from sandbox.exports.writer import WrittenExport, write_export

_TOKEN_LIFETIME_MS = 8 * 3600 * 1000


def refusal(code: str, operation: str, message: str = "refused by the test") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(response, operation)


@dataclass
class FakeExport:
    """One export, as DescribeExport knows it; `written` once its files stand in the bucket."""

    arn: str
    request: dict[str, Any]
    started_at_ms: int
    items: list[dict[str, Any]]
    key_names: list[str]
    status: str = "IN_PROGRESS"
    failure: tuple[str, str] | None = None
    ended_at_ms: int | None = None
    written: WrittenExport | None = None
    description: dict[str, Any] = field(default_factory=dict)  # overrides what DescribeExport says

    @property
    def export_id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]


class ExportingDynamoDB:
    def __init__(self, dynamodb: Any, s3: Any, clock: Clock) -> None:
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock
        self._lock = threading.Lock()
        self.exports: dict[str, FakeExport] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dynamodb, name)

    # --- AWS' calls ------------------------------------------------------------------------------------------

    def export_table_to_point_in_time(self, **request: Any) -> dict[str, Any]:
        operation = "ExportTableToPointInTime"
        table_name = request["TableArn"].rsplit("/", 1)[-1]
        with self._lock:
            repeated = self._same_token(request)
            if repeated is not None:
                return {"ExportDescription": self._described(repeated)}
            recovery = self._dynamodb.describe_continuous_backups(TableName=table_name)["ContinuousBackupsDescription"]
            if recovery["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] != "ENABLED":
                raise refusal("PointInTimeRecoveryUnavailableException", operation)
            if "ExportTime" in request and request["ExportTime"].timestamp() * 1000 > self._clock():
                raise refusal("InvalidExportTimeException", operation)
            export = self._begin(table_name, request)
            self.exports[export.arn] = export
        return {"ExportDescription": self._described(export)}

    def describe_export(self, *, ExportArn: str) -> dict[str, Any]:
        export = self.exports.get(ExportArn)
        if export is None:
            raise refusal("ExportNotFoundException", "DescribeExport")
        return {"ExportDescription": self._described(export)}

    def list_exports(self, *, TableArn: str, MaxResults: int = 25, NextToken: str = "") -> dict[str, Any]:
        found = [export for export in self.exports.values() if export.request["TableArn"] == TableArn]
        found.sort(key=lambda export: export.export_id, reverse=True)
        begin = int(NextToken or 0)
        page = found[begin : begin + MaxResults]
        answer: dict[str, Any] = {
            "ExportSummaries": [
                {"ExportArn": each.arn, "ExportStatus": each.status, "ExportType": "FULL_EXPORT"} for each in page
            ]
        }
        if begin + MaxResults < len(found):
            answer["NextToken"] = str(begin + MaxResults)
        return answer

    # --- what a test does ------------------------------------------------------------------------------------

    def running(self) -> list[FakeExport]:
        return [export for export in self.exports.values() if export.status == "IN_PROGRESS"]

    def of_table(self, table_name: str) -> list[FakeExport]:
        return [each for each in self.exports.values() if each.request["TableArn"].endswith(f"/{table_name}")]

    def write(self, export: FakeExport, **how: Any) -> str:
        """The export's files, all of them; DescribeExport still says IN_PROGRESS. Returns the summary's key."""
        export.written = write_export(
            self._s3,
            bucket=export.request["S3Bucket"],
            prefix=export.request.get("S3Prefix"),
            table_arn=export.request["TableArn"],
            items=export.items,
            key_names=export.key_names,
            export_id=export.export_id,
            now_ms=self._clock,
            export_time_ms=_export_time_ms(export),
            **{"partitions": 2, **how},
        )
        return export.written.summary_key

    def complete(self, export: FakeExport, **how: Any) -> str:
        key = self.write(export, **how)
        export.status = "COMPLETED"
        export.ended_at_ms = self._clock()
        return key

    def complete_all(self, exports: Iterable[FakeExport] | None = None) -> list[str]:
        return [self.complete(export) for export in (self.running() if exports is None else exports)]

    def fail(self, export: FakeExport, code: str, message: str) -> None:
        export.status, export.failure, export.ended_at_ms = "FAILED", (code, message), self._clock()

    # --- inside ----------------------------------------------------------------------------------------------

    def _same_token(self, request: dict[str, Any]) -> FakeExport | None:
        for export in self.exports.values():
            is_remembered = self._clock() - export.started_at_ms < _TOKEN_LIFETIME_MS
            if is_remembered and export.request["ClientToken"] == request["ClientToken"]:
                if export.request != request:
                    raise refusal("ExportConflictException", "ExportTableToPointInTime", "Duplicate request detected")
                return export
        return None

    def _begin(self, table_name: str, request: dict[str, Any]) -> FakeExport:
        table = self._dynamodb.describe_table(TableName=table_name)["Table"]
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table_name)
        return FakeExport(
            arn=f"{request['TableArn']}/export/{self._clock():014d}-{secrets.token_hex(4)}",
            request=request,
            started_at_ms=self._clock(),
            items=[item for page in pages for item in page["Items"]],
            key_names=[key["AttributeName"] for key in table["KeySchema"]],
        )

    def _described(self, export: FakeExport) -> dict[str, Any]:
        names = ("TableArn", "S3Bucket", "S3Prefix", "ExportFormat", "ClientToken", "ExportTime")
        described = {name: export.request[name] for name in names if name in export.request}
        described |= {
            "ExportArn": export.arn,
            "ExportStatus": export.status,
            "StartTime": datetime.fromtimestamp(export.started_at_ms / 1000, UTC),
        }
        if export.ended_at_ms is not None:
            described["EndTime"] = datetime.fromtimestamp(export.ended_at_ms / 1000, UTC)
        if export.failure is not None:
            described["FailureCode"], described["FailureMessage"] = export.failure
        if export.status == "COMPLETED" and export.written is not None:
            described["ExportManifest"] = export.written.summary_key
            described["ItemCount"] = export.written.item_count
            described["BilledSizeBytes"] = export.written.billed_size_bytes
        return described | export.description


def _export_time_ms(export: FakeExport) -> int:
    asked = export.request.get("ExportTime")
    return export.started_at_ms if asked is None else round(asked.timestamp() * 1000)
