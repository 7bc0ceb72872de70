"""Backup sets of small tables of our own, written into the sandbox's bucket as the schedule leaves them."""

from collections.abc import Iterable
from typing import Any

from chalicelib.backup import layout
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable, encode_manifest
from chalicelib.clock import iso, system_clock
from sandbox import seed
from sandbox.compare import Snapshot, snapshot
from sandbox.exports.snapshot import scan_in_wire_form, scan_items
from sandbox.exports.writer import write_export
from sandbox.increment import back_up_changes, put_definition
from sandbox.isolation import emulator_client
from sandbox.sandbox import Sandbox

KEY_NAMES = ("owner", "number")
INDEX = "by-state"
PREFIX = "native-exports"
Item = dict[str, dict[str, Any]]


def note(number: int, text: str = "as it was") -> Item:
    return {
        "owner": {"S": f"owner-{number % 7}"},
        "number": {"N": str(number)},
        "text": {"S": text},
        "state": {"S": "open" if number % 3 else "done"},
    }


class Notes:
    """A table with both kinds of index, and what stands in it."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.name = name
        self.bucket = sandbox.stage.backup_bucket
        self.s3 = sandbox.client("s3")
        self.dynamodb = emulator_client("dynamodb", sandbox.endpoint_url)
        self.wire = emulator_client("dynamodb", sandbox.endpoint_url)
        scan_in_wire_form(self.wire)

    def create(self, items: Iterable[Item]) -> "Notes":
        projection = {"ProjectionType": "ALL"}
        by_state = [{"AttributeName": "state", "KeyType": "HASH"}]
        by_owner = [{"AttributeName": "owner", "KeyType": "HASH"}, {"AttributeName": "text", "KeyType": "RANGE"}]
        kinds = {"owner": "S", "number": "N", "state": "S", "text": "S"}
        self.dynamodb.create_table(
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()],
            KeySchema=[{"AttributeName": "owner", "KeyType": "HASH"}, {"AttributeName": "number", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[{"IndexName": INDEX, "KeySchema": by_state, "Projection": projection}],
            LocalSecondaryIndexes=[{"IndexName": "by-text", "KeySchema": by_owner, "Projection": projection}],
        )
        self.put(items)
        return self

    def put(self, items: Iterable[Item]) -> None:
        seed.put_items(self.dynamodb, self.name, list(items))

    def delete(self, numbers: Iterable[int]) -> None:
        keys = [{name: note(number)[name] for name in KEY_NAMES} for number in numbers]
        seed.delete_items(self.dynamodb, self.name, keys)

    def now(self) -> Snapshot:
        return snapshot(self.wire, self.name, KEY_NAMES)

    def indexes(self) -> set[str]:
        table = self.dynamodb.describe_table(TableName=self.name)["Table"]
        return {each["IndexName"] for kind in ("Global", "Local") for each in table[f"{kind}SecondaryIndexes"]}

    def back_up(self, backup_date: str) -> str:
        """A full set of the table as it stands."""
        definition = put_definition(self.s3, self.dynamodb, self.bucket, PREFIX, backup_date, self.name)
        written = write_export(
            self.s3,
            bucket=self.bucket,
            prefix=layout.export_prefix(PREFIX, backup_date, self.name),
            table_arn=definition.table_arn,
            items=scan_items(self.wire, self.name),
            key_names=KEY_NAMES,
        )
        files = self.s3.get_object(Bucket=self.bucket, Key=written.files_key)["Body"].read()
        now = iso(system_clock())
        table = ManifestTable(
            table_name=self.name,
            status="COMPLETED",
            table_arn=definition.table_arn,
            export_arn=written.export_arn,
            export_time=iso(written.facts.export_time_ms),
            item_count=written.item_count,
            data_files=len(written.files),
            manifest_summary_key=written.summary_key,
            manifest_files_key=written.files_key,
            manifest_files_md5=md5_of(files),
            definition_key=layout.definition_key(PREFIX, backup_date, self.name),
        )
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            revision=1,
            backup_date=backup_date,
            environment="sandbox",
            backup_type=BACKUP_TYPE,
            status="COMPLETE",
            s3_bucket=self.bucket,
            manifest_s3_key=layout.manifest_key(PREFIX, backup_date),
            total_tables_processed=1,
            successful_exports=1,
            failed_exports=0,
            total_items_exported=written.item_count,
            total_size_mb=0.0,
            started_at=now,
            completed_at=now,
            tables=(table,),
        )
        self.s3.put_object(Bucket=self.bucket, Key=manifest.manifest_s3_key, Body=encode_manifest(manifest))
        return backup_date

    def back_up_changes(self) -> str:
        """An incremental set of what changed since the newest one."""
        return back_up_changes(
            self.s3, self.wire, bucket=self.bucket, exports_prefix=PREFIX, table_name=self.name
        ).backup_date
