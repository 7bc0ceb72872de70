"""DynamoDB's export calls over moto's DynamoDB, which has none that can be used.

`ExportingDynamoDB` passes every other call on to the client it wraps. A full export takes its snapshot at the call, as
AWS does; it completes, and writes real export files, when a test says so with `complete`. What an incremental one holds
comes from what was written through here, at the times of the test's clock.
"""

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.clock import Clock, epoch_ms
from sandbox.exports.incremental import Change, Delete, Insert, Update, write_incremental_export
from sandbox.exports.writer import WrittenExport, write_export

_TOKEN_LIFETIME_MS = 8 * 3600 * 1000
_RECOVERY_LAGS_MS = 5 * 60 * 1000
_RECOVERY_MS = 35 * 24 * 3600 * 1000
_WRITES = ("put_item", "update_item", "delete_item", "batch_write_item")
_DESCRIBED = frozenset(
    {"TableArn", "S3Bucket", "S3Prefix", "ExportFormat", "ClientToken", "ExportTime", "ExportType"}
    | {"IncrementalExportSpecification"}
)
Items = dict[str, dict[str, Any]]


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
    def window_ms(self) -> tuple[int, int] | None:
        """Of an incremental export."""
        said = self.request.get("IncrementalExportSpecification")
        return None if said is None else (epoch_ms(said["ExportFromTime"]), epoch_ms(said["ExportToTime"]))

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
        self.most_running = 300
        self._history: dict[str, list[tuple[int, Items]]] = {}
        self._recovery_since_ms: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._dynamodb, name)
        if name not in _WRITES:
            return attribute

        def write(**request: Any) -> Any:
            answer = attribute(**request)
            for table_name in [request["TableName"]] if "TableName" in request else request["RequestItems"]:
                if not table_name.endswith("ledger"):
                    self._history.setdefault(table_name, []).append((self._clock(), self._items(table_name)))
            return answer

        return write

    # --- AWS' calls ------------------------------------------------------------------------------------------

    def update_continuous_backups(self, **request: Any) -> Any:
        answer = self._dynamodb.update_continuous_backups(**request)
        self._recovery_since_ms.pop(request["TableName"], None)
        if request["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]:
            self._recovery_since_ms[request["TableName"]] = self._clock()
        return answer

    def describe_continuous_backups(self, *, TableName: str) -> Any:
        """moto's, with a window by the test's clock: up to five minutes ago, as on AWS."""
        answer = self._dynamodb.describe_continuous_backups(TableName=TableName)
        since_ms = self._recovery_since_ms.get(TableName)
        if since_ms is not None:
            latest_ms = max(since_ms, self._clock() - _RECOVERY_LAGS_MS)
            answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"] |= {
                "EarliestRestorableDateTime": _moment(max(since_ms, self._clock() - _RECOVERY_MS)),
                "LatestRestorableDateTime": _moment(latest_ms),
            }
        return answer

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
            if len(self.running()) >= self.most_running:
                raise refusal("LimitExceededException", operation, "too many exports")
            _check_window(request.get("IncrementalExportSpecification"), self._clock())
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
        if export.window_ms is not None:
            export.written = self._write_increment(export, *export.window_ms, **how)
            return export.written.summary_key
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

    def _write_increment(self, export: FakeExport, from_ms: int, to_ms: int, **how: Any) -> WrittenExport:
        table_name = export.request["TableArn"].rsplit("/", 1)[-1]
        before, after = self._items_at(table_name, from_ms), self._items_at(table_name, to_ms)
        changes: list[Change] = [Delete(before[key]) for key in before.keys() - after.keys()]
        changes += [Insert(after[key]) for key in after.keys() - before.keys()]
        changes += [Update(before[key], item) for key, item in after.items() if before.get(key, item) != item]
        return write_incremental_export(
            self._s3,
            bucket=export.request["S3Bucket"],
            prefix=export.request.get("S3Prefix"),
            table_arn=export.request["TableArn"],
            records=changes,
            key_names=export.key_names,
            from_ms=from_ms,
            to_ms=to_ms,
            export_id=export.export_id,
            now_ms=self._clock,
            **{"partitions": 2, **how},
        )

    def _items_at(self, table_name: str, at_ms: int) -> Items:
        """As they were just before this moment."""
        states = [items for written_ms, items in self._history.get(table_name, []) if written_ms < at_ms]
        return states[-1] if states else {}

    def _items(self, table_name: str) -> Items:
        keys = [
            each["AttributeName"] for each in self._dynamodb.describe_table(TableName=table_name)["Table"]["KeySchema"]
        ]
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table_name)
        return {str([item[key] for key in keys]): item for page in pages for item in page["Items"]}

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
        described = {name: export.request[name] for name in _DESCRIBED if name in export.request}
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


def _check_window(said: dict[str, Any] | None, now_ms: int) -> None:
    if said is None:
        return
    length_ms = epoch_ms(said["ExportToTime"]) - epoch_ms(said["ExportFromTime"])
    if not 15 * 60_000 <= length_ms <= 24 * 3600_000 or epoch_ms(said["ExportToTime"]) > now_ms:
        raise refusal("InvalidExportTimeException", "ExportTableToPointInTime")


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _export_time_ms(export: FakeExport) -> int:
    asked = export.request.get("ExportTime")
    return export.started_at_ms if asked is None else round(asked.timestamp() * 1000)
