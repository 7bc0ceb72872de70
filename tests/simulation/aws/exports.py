"""Native exports: a snapshot at the call, files that appear one after another, then the summary and its event, and
DescribeExport saying COMPLETED a moment later. Slow, failing and silent ones on request."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any

from sandbox.exports.layout import one_part_etag
from sandbox.exports.writer import write_export
from tests.simulation.aws.dynamodb import Answer, DynamoDB, Request, Table, error
from tests.simulation.aws.expressions import Item
from tests.simulation.aws.s3 import S3

_TOKEN_MS = 8 * 3600 * 1000
_MIN_DELAY_US = 1_000
_LATE_US = 20_000_000
AtLater = Callable[[int, Callable[[], None]], None]


@dataclass
class Export:
    arn: str
    request: Request
    started_at_ms: int
    items: list[Item]
    status: str = "IN_PROGRESS"
    failure: tuple[str, str] | None = None
    ended_at_ms: int | None = None
    summary_key: str | None = None
    item_count: int = 0
    more: dict[str, Any] = field(default_factory=dict)


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

    # --- calls -----------------------------------------------------------------------------------------------

    def describe_continuous_backups(self, request: Request) -> Answer:
        table = self._dynamodb.table(request["TableName"], "DescribeContinuousBackups")
        if not table.has_recovery:
            recovery: dict[str, Any] = {"PointInTimeRecoveryStatus": "DISABLED"}
        else:
            latest = datetime.fromtimestamp(self._clock() / 1000 - 300, UTC)
            earliest = datetime.fromtimestamp(self._clock() / 1000 - 30 * 86400, UTC)
            recovery = {"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": table.recovery_days}
            recovery |= {"EarliestRestorableDateTime": earliest, "LatestRestorableDateTime": latest}
        return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": recovery}}

    def export_table_to_point_in_time(self, request: Request) -> Answer:
        operation = "ExportTableToPointInTime"
        table = self._dynamodb.table(request["TableArn"].rsplit("/", 1)[-1], operation)
        for export in self.by_arn.values():
            is_remembered = self._clock() - export.started_at_ms < _TOKEN_MS
            if is_remembered and export.request["ClientToken"] == request["ClientToken"]:
                if export.request != request:
                    raise error("ExportConflictException", operation)
                return {"ExportDescription": self._described(export)}
        if not table.has_recovery:
            raise error("PointInTimeRecoveryUnavailableException", operation, "point in time recovery is not enabled")
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

    # --- what an export does ---------------------------------------------------------------------------------

    def _begin(self, table: Table, request: Request) -> Export:
        arn = f"{table.arn}/export/{self._clock():014d}-{self._random_bytes(4).hex()}"
        export = Export(arn, dict(request), self._clock(), [dict(item) for item in table.items.values()])
        self.by_arn[arn] = export
        plan = self._plan(table.name)
        self._later(plan.files_after_us, lambda: self._write(table, export, plan))
        return export

    def _write(self, table: Table, export: Export, plan: ExportPlan) -> None:
        if plan.failure is not None:
            export.status, export.failure, export.ended_at_ms = "FAILED", plan.failure, self._clock()
            return
        staging = Staging()
        written = write_export(
            staging,
            bucket=export.request["S3Bucket"],
            prefix=export.request.get("S3Prefix"),
            table_arn=table.arn,
            items=export.items,
            key_names=list(table.keys),
            export_id=export.arn.rsplit("/", 1)[-1],
            now_ms=self._clock,
            partitions=3,
            random_bytes=self._random_bytes,
        )
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
        names = ("TableArn", "S3Bucket", "S3Prefix", "ExportFormat", "ClientToken", "ExportTime")
        described = {name: export.request[name] for name in names if name in export.request}
        described |= {"ExportArn": export.arn, "ExportStatus": export.status}
        if export.ended_at_ms is not None:
            described["EndTime"] = datetime.fromtimestamp(export.ended_at_ms / 1000, UTC)
        if export.failure is not None:
            described["FailureCode"], described["FailureMessage"] = export.failure
        if export.status == "COMPLETED":
            described |= {"ExportManifest": export.summary_key, "ItemCount": export.item_count}
        return described
