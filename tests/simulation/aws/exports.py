"""Native exports: what they hold is decided at the call; files appear one after another, then the summary and
its event, and DescribeExport says COMPLETED a moment later. Slow, failing and silent ones on request."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any

from chalicelib.clock import epoch_ms
from sandbox.exports.incremental import Change, write_incremental_export
from sandbox.exports.layout import one_part_etag
from sandbox.exports.writer import WrittenExport, write_export
from tests.simulation.aws.dynamodb import Answer, DynamoDB, Request, Table, error
from tests.simulation.aws.expressions import Item
from tests.simulation.aws.s3 import S3

_TOKEN_MS = 8 * 3600 * 1000
_MIN_DELAY_US = 1_000
_LATE_US = 20_000_000
_LAGS_MS = 5 * 60_000  # what can be restored, behind now
_LEAST_WINDOW_MS = 15 * 60_000
_DAY_MS = 24 * 3600 * 1000
_DESCRIBED = (
    *("TableArn", "S3Bucket", "S3Prefix", "ExportFormat", "ClientToken", "ExportTime", "ExportType"),
    "IncrementalExportSpecification",
)
_DENIED = ("S3AccessDenied", "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)")
AtLater = Callable[[int, Callable[[], None]], None]


@dataclass
class Export:
    arn: str
    request: Request
    started_at_ms: int
    content: Sequence[Item] | Sequence[Change]
    plan: "ExportPlan"
    attempt: int = 1  # of the exports of one table, place and window
    status: str = "IN_PROGRESS"
    failure: tuple[str, str] | None = None
    ended_at_ms: int | None = None
    summary_key: str | None = None
    item_count: int = 0

    @property
    def table_name(self) -> str:
        return str(self.request["TableArn"]).rsplit("/", 1)[-1]

    @property
    def window_ms(self) -> tuple[int, int] | None:
        """Of an incremental export: from, inclusive, to, exclusive."""
        return _window_ms(self.request)

    @property
    def what(self) -> tuple[Any, ...]:
        """Of what it is, and where: two that are alike in this are one too many."""
        return (self.request["TableArn"], self.request.get("S3Prefix"), self.window_ms)


@dataclass(frozen=True)
class ExportPlan:
    """How an export goes. Times in microseconds from one step to the next."""

    files_after_us: int = 5_000_000
    summary_after_us: int = 1_000_000
    completed_after_us: int = 200_000
    is_md5_late: bool = False
    is_event_lost: bool = False
    is_damaged: bool = False  # its file list is not the one its checksum is of
    failure: tuple[str, str] | None = None
    failing_attempts: int | None = None  # the first so many fail; None is all

    def failure_of(self, attempt: int) -> tuple[str, str] | None:
        return self.failure if self.failing_attempts is None or attempt <= self.failing_attempts else None


class Staging:
    """Takes what `write_export` writes, so that it can appear in the bucket step by step."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str | None]] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        self.objects[Key] = (Body, None)

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, *, Key: str, Body: IO[bytes], **_: Any) -> dict[str, str]:
        content = Body.read()
        self.objects[Key] = (content, one_part_etag(hashlib.md5(content, usedforsecurity=False).digest()))
        return {"ETag": "1"}

    def complete_multipart_upload(self, **_: Any) -> None:
        return


class Exports:
    def __init__(
        self,
        dynamodb: DynamoDB,
        s3: S3,
        clock: Callable[[], int],
        later: AtLater,
        plan: Callable[[str], ExportPlan],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock
        self._later = later
        self._plan = plan
        self._random_bytes = random_bytes
        self.by_arn: dict[str, Export] = {}
        self._by_token: dict[str, Export] = {}
        self._attempts: Counter[tuple[Any, ...]] = Counter()
        self._last: list[Export] = []  # with all that run
        self.most_running = 300
        self.partitions = 3

    # --- calls -----------------------------------------------------------------------------------------------

    def describe_continuous_backups(self, request: Request) -> Answer:
        table = self._dynamodb.table(request["TableName"], "DescribeContinuousBackups")
        if not table.has_recovery:
            recovery: dict[str, Any] = {"PointInTimeRecoveryStatus": "DISABLED"}
        else:
            earliest_ms, latest_ms = self._recovery_ms(table)
            recovery = {"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": table.recovery_days}
            recovery |= {
                "EarliestRestorableDateTime": datetime.fromtimestamp(earliest_ms / 1000, UTC),
                "LatestRestorableDateTime": datetime.fromtimestamp(latest_ms / 1000, UTC),
            }
        return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": recovery}}

    def export_table_to_point_in_time(self, request: Request) -> Answer:
        operation = "ExportTableToPointInTime"
        table = self._dynamodb.table(request["TableArn"].rsplit("/", 1)[-1], operation)
        export = self._by_token.get(request["ClientToken"])
        if export is not None and self._clock() - export.started_at_ms < _TOKEN_MS:
            if export.request != request:
                raise error("ExportConflictException", operation)
            return {"ExportDescription": self._described(export)}
        if not table.has_recovery:
            raise error("PointInTimeRecoveryUnavailableException", operation, "point in time recovery is not enabled")
        if len(self.running()) >= self.most_running:
            raise error("LimitExceededException", operation, "too many exports run at once")
        self._check_times(table, request)
        export = self._begin(table, request)
        return {"ExportDescription": self._described(export)}

    def describe_export(self, request: Request) -> Answer:
        export = self.by_arn.get(request["ExportArn"])
        if export is None:
            raise error("ExportNotFoundException", "DescribeExport")
        return {"ExportDescription": self._described(export)}

    def list_exports(self, request: Request) -> Answer:
        found = [each for each in self.by_arn.values() if each.request["TableArn"] == request["TableArn"]]
        found.sort(key=lambda export: export.arn, reverse=True)
        return {"ExportSummaries": [{"ExportArn": each.arn, "ExportStatus": each.status} for each in found]}

    def running(self) -> list[Export]:
        self._last = [export for export in self._last if export.status == "IN_PROGRESS"]
        return self._last

    # --- times -----------------------------------------------------------------------------------------------

    def _recovery_ms(self, table: Table) -> tuple[int, int]:
        """From when to when the table is known."""
        now_ms = self._clock()
        earliest_ms = max(table.recovery_since_ms, now_ms - table.recovery_days * _DAY_MS)
        return earliest_ms, max(earliest_ms, now_ms - _LAGS_MS)

    def _check_times(self, table: Table, request: Request) -> None:
        """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html"""
        operation = "ExportTableToPointInTime"
        earliest_ms, latest_ms = self._recovery_ms(table)
        window_ms = _window_ms(request)
        if (window_ms is not None) != (request.get("ExportType") == "INCREMENTAL_EXPORT"):
            raise error("ValidationException", operation, "ExportType and specification contradict each other")
        if window_ms is None:
            asked = request.get("ExportTime")
            if asked is not None and not earliest_ms <= epoch_ms(asked) <= latest_ms:
                raise error("InvalidExportTimeException", operation, "Export Time is invalid")
            return
        from_ms, to_ms = window_ms
        if from_ms % 1000 or to_ms % 1000:
            raise error("ValidationException", operation, "times are whole seconds")
        if not (earliest_ms <= from_ms and to_ms <= latest_ms and _LEAST_WINDOW_MS <= to_ms - from_ms <= _DAY_MS):
            raise error("InvalidExportTimeException", operation, f"from {from_ms} to {to_ms} cannot be exported")

    def _content(self, table: Table, request: Request) -> Sequence[Item] | Sequence[Change]:
        window_ms = _window_ms(request)
        if window_ms is not None:
            assert table.history is not None
            return table.history.changes(*window_ms, table.items)
        items = table.items
        if "ExportTime" in request:
            assert table.history is not None
            items = table.history.items_before(epoch_ms(request["ExportTime"]), items)
        return [dict(item) for item in items.values()]

    # --- what an export does ---------------------------------------------------------------------------------

    def _begin(self, table: Table, request: Request) -> Export:
        arn = f"{table.arn}/export/{self._clock():014d}-{self._random_bytes(4).hex()}"
        plan = self._plan(table.name)
        export = Export(arn, dict(request), self._clock(), self._content(table, request), plan)
        export.attempt = self._attempts[export.what] = self._attempts[export.what] + 1
        self.by_arn[arn] = self._by_token[request["ClientToken"]] = export
        self._last.append(export)
        self._later(plan.files_after_us, lambda: self._write(table, export, plan))
        return export

    def _write(self, table: Table, export: Export, plan: ExportPlan) -> None:
        failure = _DENIED if self._s3.is_denied else plan.failure_of(export.attempt)
        if failure is not None:
            export.status, export.failure, export.ended_at_ms = "FAILED", failure, self._clock()
            return
        staging = Staging()
        written = self._written(staging, table, export)
        summary = written.summary_key
        late = [key for key in staging.objects if key.endswith(".md5") and plan.is_md5_late]
        if plan.is_damaged:
            body, etag = staging.objects[written.files_key]
            staging.objects[written.files_key] = (body.replace(b'"itemCount":', b'"itemCount" :', 1), etag)
        for key, (body, etag) in staging.objects.items():
            if key != summary and key not in late:
                self._s3.put(key, body, etag)

        def end() -> None:
            export.status, export.ended_at_ms = "COMPLETED", self._clock()
            export.summary_key, export.item_count = summary, written.item_count

        def summarise() -> None:
            self._publish(summary, staging.objects[summary][0], plan)
            self._later(max(_MIN_DELAY_US, plan.completed_after_us), end)
            for key in late:
                body = staging.objects[key][0]
                self._later(plan.completed_after_us + _LATE_US, partial(self._store, key, body))

        self._later(plan.summary_after_us, summarise)

    def _written(self, staging: Staging, table: Table, export: Export) -> WrittenExport:
        common: dict[str, Any] = {
            "bucket": export.request["S3Bucket"],
            "prefix": export.request.get("S3Prefix"),
            "table_arn": table.arn,
            "key_names": list(table.keys),
            "export_id": export.arn.rsplit("/", 1)[-1],
            "now_ms": self._clock,
            "partitions": self.partitions,
            "random_bytes": self._random_bytes,
        }
        content: Any = export.content
        if export.window_ms is None:
            asked = export.request.get("ExportTime")
            moment_ms = export.started_at_ms if asked is None else epoch_ms(asked)
            return write_export(staging, items=content, export_time_ms=moment_ms, **common)
        from_ms, to_ms = export.window_ms
        view = export.request["IncrementalExportSpecification"]["ExportViewType"]
        return write_incremental_export(staging, records=content, from_ms=from_ms, to_ms=to_ms, view=view, **common)

    def _store(self, key: str, body: bytes) -> None:
        self._s3.put(key, body)

    def _publish(self, key: str, body: bytes, plan: ExportPlan) -> None:
        """The summary, and with it the event, unless AWS loses it."""
        on_create = self._s3.on_create
        if plan.is_event_lost:
            self._s3.on_create = lambda key: None
        self._s3.put(key, body)
        self._s3.on_create = on_create

    def _described(self, export: Export) -> dict[str, Any]:
        described = {name: export.request[name] for name in _DESCRIBED if name in export.request}
        described |= {"ExportArn": export.arn, "ExportStatus": export.status}
        if export.ended_at_ms is not None:
            described["EndTime"] = datetime.fromtimestamp(export.ended_at_ms / 1000, UTC)
        if export.failure is not None:
            described["FailureCode"], described["FailureMessage"] = export.failure
        if export.status == "COMPLETED":
            described |= {"ExportManifest": export.summary_key, "ItemCount": export.item_count}
        return described


def _window_ms(request: Request) -> tuple[int, int] | None:
    said = request.get("IncrementalExportSpecification")
    return None if said is None else (epoch_ms(said["ExportFromTime"]), epoch_ms(said["ExportToTime"]))
