"""A small world for restores: moto's DynamoDB, S3 and SQS, backup sets written as AWS writes exports, a clock that
only moves when told, and Lambda's part played by a loop that hands queue messages to workers."""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import boto3
import msgspec

from chalicelib import entry
from chalicelib.aws import Clients
from chalicelib.backup import layout
from chalicelib.backup.chain import links_of
from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition, encode_definition
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable, encode_manifest
from chalicelib.backup.reading import read_manifest
from chalicelib.clock import from_iso, iso
from chalicelib.restore.requests import parse_restore_request
from chalicelib.services import Services
from chalicelib.settings import read_settings
from sandbox.exports.incremental import Change, write_incremental_export
from sandbox.exports.writer import WrittenExport, write_export
from sandbox.resources import LEDGER_DEFINITION

BUCKET = "tablevault-tests"
LEDGER = "tablevault-tests-ledger"
QUEUE = "tablevault-tests-restore"
DATE = "2026-11-21"
PREFIX = "native-exports"
START_MS = 1_795_000_000_000
_DAY_MS = 24 * 3600 * 1000  # an incremental export covers no more
REGION = "eu-west-1"

ENVIRON = {
    "BACKUP_BUCKET": BUCKET,
    "ENVIRONMENT": "tests",
    "DYNAMODB_TABLES": '["orders"]',
    "LEDGER_TABLE": LEDGER,
    "RESTORE_QUEUE": QUEUE,
}


class ManualClock:
    """Moves only when told; `sleep` moves it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


class LambdaContext:
    """What a worker sees of Lambda: the time left, which passes with the world's clock."""

    def __init__(self, clock: ManualClock, timeout_ms: int = 300_000) -> None:
        self._clock = clock
        self._deadline_ms = clock() + timeout_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._deadline_ms - self._clock()


# Calls that moto does not answer, as DynamoDB answers them for these tests' tables.
NOT_IN_MOTO: dict[str, Callable[..., Any]] = {
    "describe_kinesis_streaming_destination": lambda **_: {"KinesisDataStreamDestinations": []}
}


class Faulty:
    """A client whose calls go through a hook first: it may raise, or change what happens, by the call's name."""

    def __init__(self, client: Any, hook: Callable[[str, dict[str, Any]], None]) -> None:
        self._client = client
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        attribute = NOT_IN_MOTO.get(name) or getattr(self._client, name)
        if not callable(attribute) or name.startswith("_") or name in ("get_paginator", "get_waiter"):
            return attribute

        def call(*arguments: Any, **request: Any) -> Any:
            self._hook(name, request)
            answer = attribute(*arguments, **request)
            if name == "describe_table":  # moto says no TableId
                answer["Table"].setdefault("TableId", repr(answer["Table"]["CreationDateTime"].timestamp()))
            return answer

        return call


class FakeClients(Clients):
    def __init__(self, clients: dict[str, Any]) -> None:
        super().__init__()
        self._by_service.update(clients)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.hook: Callable[[str, dict[str, Any]], None] = lambda name, request: None
        made = {service: boto3.client(service, region_name=REGION) for service in ("dynamodb", "s3", "sqs", "ssm")}
        self.dynamodb, self.s3, self.sqs = made["dynamodb"], made["s3"], made["sqs"]
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.dynamodb.create_table(TableName=LEDGER, **LEDGER_DEFINITION)
        self.queue_url = self.sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        self.services = self.new_process()

    def new_process(self) -> Services:
        """Services as a cold start makes them, behind the fault hook."""

        def hook(name: str, request: dict[str, Any]) -> None:
            self.hook(name, request)

        faulty = {name: Faulty(getattr(self, name), hook) for name in ("dynamodb", "s3", "sqs")}
        services = Services(read_settings(ENVIRON), FakeClients(faulty), self.clock)
        services.sleep = self.clock.sleep
        services.random = random.Random(7).random
        return services

    # --- tables and backups ----------------------------------------------------------------------------------

    def create_table(self, name: str, keys: Iterable[tuple[str, str, str]] = (("id", "S", "HASH"),)) -> str:
        keys = list(keys)
        described = self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind, _ in keys],
            KeySchema=[{"AttributeName": key, "KeyType": role} for key, _, role in keys],
        )
        return str(described["TableDescription"]["TableArn"])

    def put(self, table: str, items: Iterable[dict[str, Any]]) -> None:
        for item in items:
            self.dynamodb.put_item(TableName=table, Item=item)

    def items(self, table: str) -> list[dict[str, Any]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return sorted((item for page in pages for item in page["Items"]), key=repr)

    def back_up(
        self,
        tables: dict[str, list[dict[str, Any]]],
        *,
        date: str = DATE,
        keys: Iterable[tuple[str, str, str]] = (("id", "S", "HASH"),),
        failed: dict[str, str] | None = None,
        partitions: int = 4,
    ) -> dict[str, WrittenExport]:
        """A finished set of these tables and items, as the backup side leaves it in the bucket."""
        exports: dict[str, WrittenExport] = {}
        entries = []
        keys = list(keys)
        for name, items in tables.items():
            exports[name] = write_export(
                self.s3,
                bucket=BUCKET,
                prefix=layout.export_prefix(PREFIX, date, name),
                table_arn=_arn(name),
                items=items,
                key_names=[key for key, _, _ in keys],
                partitions=partitions,
                now_ms=self.clock,
            )
            definition_key = self._put_definition(date, name, keys)
            entries.append(self._entry(name, exports[name], definition_key))
        for name, reason in (failed or {}).items():
            entries.append(ManifestTable(table_name=name, status="FAILED", failure_code="Test", failure_message=reason))
        self._put_manifest(date, entries)
        return exports

    def back_up_increment(
        self,
        date: str,
        tables: dict[str, list[Change]],
        *,
        base: str = DATE,
        keys: Iterable[tuple[str, str, str]] = (("id", "S", "HASH"),),
        view: str = "NEW_AND_OLD_IMAGES",
        partitions: int = 4,
    ) -> dict[str, WrittenExport]:
        """A finished set of what changed in the day after the set `base`, which may be an increment itself. Its
        manifest names all that is needed to restore it."""
        exports: dict[str, WrittenExport] = {}
        entries = []
        keys = list(keys)
        before = read_manifest(self.s3, BUCKET, PREFIX, base)
        for name, changes in tables.items():
            table = before.table(name)
            assert table is not None
            links = links_of(table)
            from_ms = from_iso(links[-1].export_to or links[-1].export_time or "") // 1000 * 1000
            to_ms = from_ms + _DAY_MS
            exports[name] = write_incremental_export(
                self.s3,
                bucket=BUCKET,
                prefix=layout.export_prefix(PREFIX, date, name),
                table_arn=_arn(name),
                records=changes,
                key_names=[key for key, _, _ in keys],
                from_ms=from_ms,
                to_ms=to_ms,
                view=view,
                partitions=partitions,
            )
            entry = self._entry(name, exports[name], self._put_definition(date, name, keys))
            entries.append(
                msgspec.structs.replace(
                    entry,
                    export_type="INCREMENTAL_EXPORT",
                    export_time=None,
                    export_from=iso(from_ms),
                    export_to=iso(to_ms),
                    base=links,
                )
            )
        self._put_manifest(date, entries)
        return exports

    def _put_definition(self, date: str, name: str, keys: list[tuple[str, str, str]]) -> str:
        definition = TableDefinition(
            table_name=name,
            table_arn=_arn(name),
            captured_at=iso(self.clock()),
            keys=tuple(KeyAttribute(key, role) for key, _, role in keys),
            attributes=tuple(Attribute(key, kind) for key, kind, _ in keys),
            billing_mode="PAY_PER_REQUEST",
        )
        definition_key = layout.definition_key(PREFIX, date, name)
        self.s3.put_object(Bucket=BUCKET, Key=definition_key, Body=encode_definition(definition))
        return definition_key

    def _entry(self, name: str, export: WrittenExport, definition_key: str) -> ManifestTable:
        file_list = self.s3.get_object(Bucket=BUCKET, Key=export.files_key)["Body"].read()
        return ManifestTable(
            table_name=name,
            status="COMPLETED",
            table_arn=_arn(name),
            export_arn=export.export_arn,
            export_time=iso(export.facts.export_time_ms),
            item_count=export.item_count,
            data_files=len(export.files),
            manifest_summary_key=export.summary_key,
            manifest_files_key=export.files_key,
            manifest_files_md5=md5_of(file_list),
            definition_key=definition_key,
        )

    def _put_manifest(self, date: str, entries: list[ManifestTable]) -> None:
        failed = sum(entry.status == "FAILED" for entry in entries)
        key = layout.manifest_key(PREFIX, date)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            revision=1,
            backup_date=date,
            environment="tests",
            backup_type=BACKUP_TYPE,
            status="PARTIAL" if failed else "COMPLETE",
            s3_bucket=BUCKET,
            manifest_s3_key=key,
            total_tables_processed=len(entries),
            successful_exports=len(entries) - failed,
            failed_exports=failed,
            total_items_exported=sum(entry.item_count for entry in entries),
            total_size_mb=0.0,
            started_at=iso(self.clock()),
            completed_at=iso(self.clock()),
            tables=tuple(entries),
        )
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=encode_manifest(manifest))

    # --- restores --------------------------------------------------------------------------------------------

    def ask(self, **body: Any) -> str:
        """POST /restores: the id of the accepted restore."""
        return self.services.desk.accept(parse_restore_request(body), "tests").restore_id

    def messages(self) -> list[dict[str, Any]]:
        """Takes every message out of the queue, as Lambda's poller does."""
        taken: list[dict[str, Any]] = []
        while True:
            received = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages", [])
            if not received:
                return taken
            for message in received:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
                taken.append({"messageId": message["MessageId"], "body": message["Body"]})

    def work(self, record: dict[str, Any], timeout_ms: int = 300_000) -> str:
        """One invocation of a worker."""
        return entry.restore_shards(self.services, record, LambdaContext(self.clock, timeout_ms))

    def run_until_quiet(self, timeout_ms: int = 300_000) -> None:
        """Workers until no message is left."""
        for _ in range(1_000):
            records = self.messages()
            if not records:
                return
            for record in records:
                self.work(record, timeout_ms)
        raise AssertionError("workers wake each other without end")

    def tick(self, minutes: float = 1) -> None:
        """The schedule of `reconcile`, after some time."""
        self.clock.now_ms += round(minutes * 60_000)
        self.services.restore_sweep.run()

    def settle(self, restore_id: str, minutes: int = 60) -> dict[str, Any]:
        """Workers and reconcile until the restore has ended."""
        for _ in range(minutes):
            self.run_until_quiet()
            described = self.services.desk.describe(restore_id)
            if described["status"] in ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED"):
                return described
            self.tick()
        raise AssertionError(f"restore {restore_id} does not end: {described}")

    def restore(self, **body: Any) -> dict[str, Any]:
        return self.settle(self.ask(**body))

    def receipt(self, restore_id: str) -> dict[str, Any]:
        """Of the last time it ended."""
        key = self.services.desk.describe(restore_id)["receipt_key"]
        body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"]
        receipt: dict[str, Any] = json.load(body)
        return receipt

    def locks(self) -> list[str]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=LEDGER)
        keys = [item["pk"]["S"] for page in pages for item in page["Items"]]
        return sorted(key for key in keys if key.startswith("LOCK#"))

    def open_work(self) -> list[str]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=LEDGER)
        return [item["pk"]["S"] for page in pages for item in page["Items"] if "open_kind" in item]


def _arn(table: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:123456789012:table/{table}"


def numbered(count: int, start: int = 0, **attributes: Any) -> list[dict[str, Any]]:
    return [
        {"id": {"S": f"item-{number:05d}"}, "n": {"N": str(number)}, **attributes} for number in range(start, count)
    ]
