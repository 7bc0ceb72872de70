"""An account with very many tables to back up, in this process and in virtual time: each call to AWS takes ten
milliseconds, an export five minutes, and who calls an operation more often than it allows is throttled.

Virtual is every time that is told here. Each thread has its own, from when its pool began, so ten threads that wait at
the same time wait once.
"""

import logging
import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace
from typing import Any

from benchmarks.aws import LEDGER, REGION, Bucket, DirectClient, DirectS3, IndexedDynamoDB
from benchmarks.sets import BUCKET
from benchmarks.world import ENVIRON
from chalicelib.backup.pacing import PACED, Pace
from chalicelib.backup.service import BackupService
from chalicelib.ledger import Ledger
from chalicelib.settings import read_settings
from sandbox.exports.writer import write_export
from tests.simulation.aws.dynamodb import Answer, Request, error
from tests.simulation.aws.exports import Staging

START_MS = 1_795_222_820_000  # 2026-11-21T01:00:20Z
CALL_MS = 10
EXPORT_MS = 5 * 60_000
ALLOWED_PER_S = 10
_ARN = f"arn:aws:dynamodb:{REGION}:123456789012:table/"
_PROVISIONED_EVERY = 10  # each tenth table has capacity, and scaling of it


class VirtualTime:
    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._main = threading.current_thread()
        self._lock = threading.Lock()
        self._latest_ms = self._begun_ms = float(START_MS)

    def __call__(self) -> int:
        return int(self.now_ms())

    def now_ms(self) -> float:
        if threading.current_thread() is self._main:
            self._begun_ms = self._latest_ms  # pools begin from here; those before have ended
            return self._latest_ms
        return float(getattr(self._of_thread, "now_ms", self._begun_ms))

    def advance(self, ms: float) -> None:
        now_ms = self.now_ms() + ms
        self._of_thread.now_ms = now_ms
        with self._lock:
            self._latest_ms = max(self._latest_ms, now_ms)

    def sleep(self, seconds: float) -> None:
        self.advance(seconds * 1000)

    def move_to(self, at_ms: float) -> None:
        self._latest_ms = self._begun_ms = max(self._latest_ms, at_ms)


class Calls:
    """Which were made, and when; more than `ALLOWED_PER_S` of a paced one in a second are throttled."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._lock = threading.Lock()
        self._at_ms: dict[str, list[float]] = {}
        self.made: Counter[str] = Counter()
        self.throttled = 0

    def before(self, operation: str) -> None:
        with self._lock:
            self._before(operation)

    def _before(self, operation: str) -> None:
        now_ms = self._time.now_ms()
        at_ms = self._at_ms.setdefault(operation, [])
        is_throttled = operation in PACED and self._in_second_before(at_ms, now_ms) >= ALLOWED_PER_S
        self.made[operation] += 1
        self._time.advance(CALL_MS)
        if is_throttled:
            self.throttled += 1
            raise error("ThrottlingException", operation, "Rate exceeded")
        insort(at_ms, now_ms)

    def most_in_a_second(self) -> int:
        """Of any paced operation."""
        paced = [at_ms for operation, at_ms in self._at_ms.items() if operation in PACED]
        return max(bisect_left(at_ms, each + 1000) - index for at_ms in paced for index, each in enumerate(at_ms))

    @staticmethod
    def _in_second_before(at_ms: list[float], now_ms: float) -> int:
        return bisect_right(at_ms, now_ms) - bisect_right(at_ms, now_ms - 1000)


class Account(IndexedDynamoDB):
    """Any table that is asked about, and the exports of all of them."""

    def __init__(self, time: VirtualTime, bucket: Bucket, most_running: int) -> None:
        super().__init__()
        self._now = time
        self._bucket = bucket
        self._most_running = most_running
        self._random = Random(most_running)
        self.exports: dict[str, tuple[float, Request]] = {}
        self._summary_keys: dict[str, str] = {}

    def describe_table(self, request: Request) -> Answer:
        name = request["TableName"]
        number = int(name.rsplit("-", 1)[-1])
        mode = "PROVISIONED" if number % _PROVISIONED_EVERY == 0 else "PAY_PER_REQUEST"
        table = {
            "TableName": name,
            "TableArn": f"{_ARN}{name}",
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "BillingModeSummary": {"BillingMode": mode},
        }
        return {"Table": table}

    def describe_continuous_backups(self, request: Request) -> Answer:
        recovery = {
            "PointInTimeRecoveryStatus": "ENABLED",
            "EarliestRestorableDateTime": _moment(START_MS - 86_400_000),
            "LatestRestorableDateTime": _moment(self._now() - 300_000),
        }
        return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": recovery}}

    def export_table_to_point_in_time(self, request: Request) -> Answer:
        now_ms = self._now.now_ms()
        if sum(now_ms < begun_ms + EXPORT_MS for begun_ms, _ in self.exports.values()) >= self._most_running:
            raise error("LimitExceededException", "ExportTableToPointInTime", "too many exports run at once")
        arn = f"{request['TableArn']}/export/{int(now_ms):014d}-{len(self.exports):08x}"
        self.exports[arn] = (now_ms, request)
        return {"ExportDescription": {"ExportArn": arn}}

    def describe_export(self, request: Request) -> Answer:
        arn = request["ExportArn"]
        begun_ms, asked = self.exports[arn]
        has_ended = self._now.now_ms() >= begun_ms + EXPORT_MS
        if has_ended:
            self.write(arn)
        described = {name: asked[name] for name in ("TableArn", "S3Bucket", "S3Prefix", "ExportFormat")}
        times = {"StartTime": _moment(begun_ms), **({"EndTime": _moment(begun_ms + EXPORT_MS)} if has_ended else {})}
        status = "COMPLETED" if has_ended else "IN_PROGRESS"
        return {"ExportDescription": {**described, **times, "ExportArn": arn, "ExportStatus": status}}

    def write(self, arn: str) -> str:
        """The files of an export that has ended, if they are not there yet; the summary's key."""
        if arn in self._summary_keys:
            return self._summary_keys[arn]
        begun_ms, asked = self.exports[arn]
        staging = Staging()
        written = write_export(
            staging,
            bucket=asked["S3Bucket"],
            prefix=asked["S3Prefix"],
            table_arn=asked["TableArn"],
            items=[{"id": {"S": arn}}],
            key_names=["id"],
            partitions=1,
            export_id=arn.rsplit("/", 1)[-1],
            now_ms=lambda: int(begun_ms),
            random_bytes=self._random.randbytes,
        )
        for key, (body, etag) in staging.objects.items():
            self._bucket.put(key, body, etag)
        self._summary_keys[arn] = written.summary_key
        return written.summary_key


class Unpaced(Pace):
    """As fast as the threads can."""

    def wait(self, operation: str, interval_ms: float, stop_at_ms: int | None) -> float:
        return float(self.clock())


class ManyTables:
    """`is_paced`: with the service's own pace, or as fast as its threads can."""

    def __init__(self, tables: int, most_running: int, *, is_paced: bool = True) -> None:
        self.tables = tables
        logging.getLogger("tablevault").setLevel(logging.CRITICAL)  # each throttled table is one line
        self.time = VirtualTime()
        self.calls = Calls(self.time)
        self.bucket = Bucket(BUCKET)
        self.account = Account(self.time, self.bucket, most_running)
        names = ", ".join(f'"table-{number:04}"' for number in range(tables))
        settings = read_settings({**ENVIRON, "DYNAMODB_TABLES": f"[{names}]"})
        dynamodb = _Locked(self.account, self.calls.before)
        self.s3 = _LockedS3(self.bucket, self.calls.before)
        self.ledger = Ledger(dynamodb, LEDGER, sleep=self.time.sleep)
        scaling = _Locked(_Scaling(), self.calls.before)
        self.service = BackupService(
            settings,
            self.ledger,
            dynamodb,
            self.s3,
            self.time,
            self.time.sleep,
            lambda: scaling,
            tagging=lambda: dynamodb,
        )
        if not is_paced:
            self.service._starter._pace = Unpaced(self.time, self.time.sleep)

    def ended(self, since_ms: float) -> list[str]:
        """Exports that ended since then, in their order."""
        now_ms = self.time.now_ms()
        ends = sorted((begun_ms + EXPORT_MS, arn) for arn, (begun_ms, _) in self.account.exports.items())
        return [arn for end_ms, arn in ends if since_ms < end_ms <= now_ms]


class _Scaling:
    """Application Auto Scaling, of which each provisioned table makes use."""

    def describe_scalable_targets(self, request: Request) -> Answer:
        resource = request["ResourceIds"][0]
        dimension = "dynamodb:table:ReadCapacityUnits"
        return {
            "ScalableTargets": [
                {"ResourceId": resource, "ScalableDimension": dimension, "MinCapacity": 1, "MaxCapacity": 9}
            ]
        }

    def describe_scaling_policies(self, request: Request) -> Answer:
        return {"ScalingPolicies": []}


class _Locked(DirectClient):
    """For threads: the services of this process have none of their own."""

    _one_at_a_time = threading.Lock()

    def __getattr__(self, operation: str) -> Callable[..., Answer]:
        call = super().__getattr__(operation)

        def locked(**request: Any) -> Answer:
            with self._one_at_a_time:
                return call(**request)

        return locked


class _LockedS3(DirectS3):
    meta = SimpleNamespace(region_name=REGION)
    _one_at_a_time = threading.RLock()

    def __getattr__(self, operation: str) -> Callable[..., Answer]:
        call = super().__getattr__(operation)

        def locked(**request: Any) -> Answer:
            with self._one_at_a_time:
                return call(**request)

        return locked


def _moment(at_ms: float) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
