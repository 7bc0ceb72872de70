"""A small world for backups: moto's DynamoDB and S3, exports as `tests.fake_exports` does them, a clock that moves when
told, and clients that can be broken."""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import boto3
import msgspec

from chalicelib.backup import listing
from chalicelib.backup.catalog import export_key, set_key
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.reading import read_manifest
from chalicelib.backup.service import BackupService
from chalicelib.ledger import Key, Ledger, Row, Update
from chalicelib.settings import Settings, read_settings
from sandbox.resources import LEDGER_DEFINITION
from tests.fake_exports import ExportingDynamoDB

BUCKET = "tablevault-tests"
PREFIX = "native-exports"
LEDGER_TABLE = "tablevault-tests-ledger"
TABLES = ("orders", "catalog")
START_MS = 1_795_222_820_000  # 2026-11-21T01:00:20Z
DATE = "2026-11-21"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

Hook = Callable[[str, dict[str, Any]], None]


@cache
def client(service: str) -> Any:
    """Made once: moto answers whichever client asks, and making one costs more than most tests."""
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms


class Stopped(BaseException):
    """The process ended. No `except Exception` stops it, as none would."""


class Watched:
    """A client whose calls are shown to a hook, before (it may raise) and after (it may raise, the call being done)."""

    def __init__(self, client: Any, world: "World") -> None:
        self._client = client
        self._world = world

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute) or name in ("meta", "exceptions"):
            return attribute

        def call(*arguments: Any, **request: Any) -> Any:
            self._world.before(name, request)
            # moto copies a table for each transaction, and fails when another thread writes meanwhile.
            with self._world.in_moto:
                answer = attribute(*arguments, **request)
            self._world.after(name, request)
            return answer

        return call


def do_nothing(name: str, request: dict[str, Any]) -> None:
    return


_READS = ("get_", "head_", "describe_", "list_", "query", "scan", "batch_get")


class StopAfter:
    """A hook for `World.stop_after`: the process ends right after its n-th call that changes anything.

    Reads are not counted: one that ends after a read leaves what the write before it left.
    """

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._lock = threading.Lock()
        self.was_reached = False

    def before(self, name: str, request: dict[str, Any]) -> None:
        if self.was_reached:
            raise Stopped

    def after(self, name: str, request: dict[str, Any]) -> None:
        if name.startswith(_READS):
            return
        with self._lock:
            self._left -= 1
            self.was_reached = self.was_reached or self._left <= 0
        if self.was_reached:
            raise Stopped


class World:
    """Two tables with point-in-time recovery, an empty bucket and ledger. Used inside of `moto.mock_aws`."""

    def __init__(self, tables: tuple[str, ...] = TABLES, **environ: str) -> None:
        self.clock = Clock()
        self.in_moto = threading.RLock()
        self.before: Hook = do_nothing
        self.after: Hook = do_nothing
        self.calls: list[str] = []
        self.asleep: Callable[[], None] = lambda: None
        plain, self.s3 = client("dynamodb"), client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        plain.create_table(TableName=LEDGER_TABLE, **LEDGER_DEFINITION)
        self.dynamodb = ExportingDynamoDB(plain, self.s3, self.clock)
        for name in tables:
            self.create_table(name)
        self.tables = tables
        names = msgspec.json.encode(tables).decode()
        required = {"BACKUP_BUCKET": BUCKET, "ENVIRONMENT": "tests", "DYNAMODB_TABLES": names}
        self.settings: Settings = read_settings({**required, "LEDGER_TABLE": LEDGER_TABLE, **environ})
        self.ledger = Ledger(plain, LEDGER_TABLE, sleep=lambda seconds: None)
        self.service = self.new_process()

    def new_process(self) -> BackupService:
        """A service as a cold start makes it, behind the hooks."""
        dynamodb, s3 = Watched(self.dynamodb, self), Watched(self.s3, self)
        ledger = Ledger(dynamodb, LEDGER_TABLE, sleep=lambda seconds: None)
        return BackupService(
            self.settings,
            ledger,
            dynamodb,
            s3,
            self.clock,
            lambda seconds: self.asleep(),
            tagging=lambda: Watched(client("resourcegroupstaggingapi"), self),
        )

    def create_table(self, name: str, *, recovery: bool = True, items: int = 2) -> None:
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        for number in range(items):
            self.dynamodb.put_item(TableName=name, Item={"id": {"S": f"{name}-{number}"}, "n": {"N": str(number)}})
        if recovery:
            self.enable_recovery(name)

    def enable_recovery(self, name: str, enabled: bool = True) -> None:
        self.dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled}
        )

    # --- breaking --------------------------------------------------------------------------------------------

    def refuse(self, operation: str, error: Exception, *, when: Callable[[dict[str, Any]], bool]) -> None:
        def before(name: str, request: dict[str, Any]) -> None:
            if name == operation and when(request):
                raise error

        self.before = before

    def mend(self) -> None:
        self.before = self.after = do_nothing

    def stop_after(self, calls: int) -> StopAfter:
        stop = StopAfter(calls)
        self.before, self.after = stop.before, stop.after
        return stop

    def watch(self) -> None:
        self.calls.clear()
        self.before = lambda name, request: self.calls.append(name)

    # --- looking ---------------------------------------------------------------------------------------------

    def manifest(self, backup_date: str = DATE) -> Manifest:
        return read_manifest(self.s3, BUCKET, PREFIX, backup_date)

    def list_keys(self, prefix: str = "") -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def set_row(self, backup_date: str = DATE) -> Row:
        return self.ledger.get(set_key(backup_date)) or {}

    def export_row(self, table_name: str, backup_date: str = DATE) -> Row:
        return self.ledger.get(export_key(backup_date, table_name)) or {}

    def statuses(self, backup_date: str = DATE) -> dict[str, str]:
        return {name: str(self.export_row(name, backup_date).get("status")) for name in self.tables}

    def corrupt(self, key: Key) -> None:
        self.ledger.write(Update(key, set={"status": 17}))

    def lose(self, key: Key) -> None:
        self.dynamodb.delete_item(TableName=LEDGER_TABLE, Key={"pk": {"S": key.pk}, "sk": {"S": key.sk}})

    def replace_in_manifest(self, backup_date: str, old: str, new: str) -> None:
        key = f"{PREFIX}/{backup_date}/manifest.json"
        text = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
        assert old in text
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=text.replace(old, new).encode())

    def is_open(self, backup_date: str = DATE) -> bool:
        return "open_kind" in self.set_row(backup_date)

    # --- the usual course ------------------------------------------------------------------------------------

    def start(self, process: BackupService | None = None) -> dict[str, Any]:
        """The schedule's run, and the set as the API shows it then."""
        started = (process or self.service).start_scheduled()
        return listing.show(self.service._catalog.record(str(started["backup_date"])))

    def send(self, key: str) -> str:
        return str(self.service.record_export(BUCKET, key)["result"])

    def reconcile_a_minute_later(self) -> list[str]:
        self.clock.advance(MINUTE_MS)
        return self.service.reconcile()

    def finished_set(self) -> str:
        """A complete set, made the usual way; its name."""
        started = self.service.start_scheduled()
        for key in self.dynamodb.complete_all():
            self.send(key)
        return str(started["backup_date"])


def started(world: World) -> dict[str, str]:
    """A set whose exports have all completed, and nobody told us; the summaries' keys by table."""
    world.service.start_scheduled()
    return {
        export.request["TableArn"].rsplit("/", 1)[-1]: world.dynamodb.complete(export)
        for export in world.dynamodb.running()
    }
