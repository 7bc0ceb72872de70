"""The world of backups with sets that were made long ago: their objects and their rows, written as they are in the end,
and runs of retention over them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.catalog import export_key, set_key
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, BaseLink, Manifest, ManifestTable, encode_manifest
from chalicelib.backup.pruning.pruner import SetPruner
from chalicelib.backup.pruning.removals import Mark, Removals
from chalicelib.backup.pruning.shields import Shields
from chalicelib.backup.removal_mark import removal_key
from chalicelib.backup.rows import ExportRow, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.ledger import Key, Ledger
from chalicelib.restore.records import RestoreRecords
from tests.functional.backup.world import BUCKET, LEDGER_TABLE, PREFIX, START_MS, Watched, World
from tests.unit.backup.documents import MD5

HOUR_S = 3600
_EXPORT_ID = "01795222820000-0123abcd"
Tables = Mapping[str, Sequence[str]]  # of each table the sets that its export builds on, the full one first


class PruningWorld(World):
    """Sets go after three days, and one stays in any case. It is 2026-11-21, one in the morning."""

    def __init__(self, *, versioned: bool = False, **environ: str) -> None:
        super().__init__(("orders",), **{"RETENTION_DAYS": "3", "RETENTION_MINIMUM": "1", **environ})
        self.is_versioned = versioned
        if versioned:
            self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.read: Callable[[], Sequence[str]] = lambda: [
            *RestoreRecords(self.ledger).not_ended().values(),
            *self.reads,
        ]
        self.reads: list[str] = []
        self.slept_s: list[float] = []
        self.objects: dict[str, list[str]] = {}
        self.bases: dict[str, set[str]] = {}
        self.shields = Shields(self.settings, self.ledger, self.s3, self.clock)
        self.removals = Removals(self.ledger, self.clock)

    # --- runs ------------------------------------------------------------------------------------------------

    def pruner(self) -> SetPruner:
        """As a cold start makes it, behind the hooks."""
        ledger = Ledger(Watched(self.dynamodb, self), LEDGER_TABLE, sleep=lambda seconds: None)
        return SetPruner(self.settings, ledger, Watched(self.s3, self), self.clock, self._sleep, lambda: self.read())

    def watched_shields(self) -> Shields:
        return Shields(self.settings, self.ledger, Watched(self.s3, self), self.clock)

    def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.asleep()

    def _read(self) -> list[str]:
        return [*RestoreRecords(self.ledger).not_ended().values(), *self.reads]

    def prune(self, seconds: int = HOUR_S) -> dict[str, Any]:
        return self.pruner().run(self.clock() + seconds * 1000)

    # --- sets ------------------------------------------------------------------------------------------------

    def put_set(
        self,
        date: str,
        tables: Tables | None = None,
        *,
        data_files: int = 2,
        manifest: bool = True,
        rows: bool = True,
        is_open: bool = False,
    ) -> None:
        """A set that was made then. In a bucket with versions every object has an older one, too."""
        of_tables = {"orders": ()} if tables is None else tables
        self.objects[date] = [key for name in of_tables for key in _keys(date, name, data_files)]
        self.bases[date] = {base for bases in of_tables.values() for base in bases}
        for key in self.objects[date]:
            self._put(key, b"{}")
        if manifest:
            self._put(layout.manifest_key(PREFIX, date), encode_manifest(a_manifest(date, of_tables)))
        if rows:
            self.put_rows(date, of_tables, is_open=is_open)

    def put_rows(self, date: str, tables: Tables, *, is_open: bool = False, prefix: str = PREFIX) -> None:
        set_row = SetRow(
            backup_date=date,
            status=SetState.OPEN if is_open else SetState.COMPLETE,
            environment="tests",
            s3_bucket=BUCKET,
            exports_prefix=prefix,
            started_at_ms=START_MS,
            tables=list(tables),
            open_kind="BACKUP" if is_open else None,
        )
        attributes = {"kind": "BACKUP", "sort_name": date, "opened_at_ms": START_MS}
        rows: list[tuple[Key, dict[str, Any]]] = [(set_key(date), _bare(set_row) | attributes)]
        for name, bases in tables.items():
            export = ExportRow(
                backup_date=date,
                table_name=name,
                status=ExportState.IN_PROGRESS if is_open else ExportState.COMPLETED,
                base=chain_of(name, bases),
            )
            rows.append((export_key(date, name), _bare(export)))
        self.ledger.put_all(rows)

    def _put(self, key: str, body: bytes) -> None:
        for content in (b"older", body) if self.is_versioned else (body,):
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)

    # --- looking ---------------------------------------------------------------------------------------------

    def sets(self) -> list[str]:
        """Those that can be read, by name."""
        names = {key.split("/")[1] for key in self.all_keys() if key.endswith("/manifest.json")}
        return sorted(names & set(self.objects))

    def all_keys(self) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def versions(self, date: str) -> list[str]:
        """All that is paid for, delete markers too."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/{date}/")
        return [each["Key"] for page in pages for each in (*page.get("Versions", []), *page.get("DeleteMarkers", []))]

    def rows(self, date: str) -> list[str]:
        return [str(row["sk"]) for row in self.ledger.query(f"BACKUP#{date}")]

    def mark(self, date: str) -> Mark | None:
        return next(iter(self.removals.of([date])), None)

    def marked(self) -> list[str]:
        return [mark.backup_date for mark in self.removals.all()]

    def assert_gone(self, *dates: str) -> None:
        for date in dates:
            assert (self.versions(date), self.rows(date)) == ([], [])

    def assert_whole(self) -> None:
        """What can be read has all its objects, and those of all sets it builds on."""
        keys = set(self.all_keys())
        for date in self.sets():
            for needed in (date, *self.bases[date]):
                missing = [key for key in self.objects[needed] if key not in keys]
                assert not missing, f"{date} lacks {missing}"

    def take_mark(self, date: str) -> Mark:
        return self.removals.mark(date, "a test wants it")

    def lose_rows(self, date: str) -> None:
        self.ledger.delete_all([Key(f"BACKUP#{date}", sk) for sk in self.rows(date)])

    def lose_mark(self, date: str) -> None:
        self.lose(removal_key(date))


class Meanwhile:
    """A hook after a call: does something right after the n-th one of a kind, once."""

    def __init__(self, world: World, operation: str, do: Callable[[], object], *, nth: int = 1) -> None:
        self._operation, self._do, self._left = operation, do, nth
        self._lock = threading.Lock()
        self._world = world
        world.after = self

    def __call__(self, name: str, request: dict[str, Any]) -> None:
        if name != self._operation:
            return
        with self._lock:
            self._left -= 1
            is_now = self._left == 0
        if is_now:
            self._do()


def _bare(record: msgspec.Struct) -> dict[str, Any]:
    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(each) for name, each in value.items() if each is not None}
        return [bare(each) for each in value] if isinstance(value, list | tuple) else value

    built: dict[str, Any] = bare(msgspec.to_builtins(record))
    return built


def _keys(date: str, table: str, data_files: int) -> list[str]:
    folder = f"{layout.export_prefix(PREFIX, date, table)}/AWSDynamoDB/{_EXPORT_ID}"
    names = [layout.SUMMARY_NAME, layout.FILES_NAME, *(f"data/{number:06d}.json.gz" for number in range(data_files))]
    return [layout.definition_key(PREFIX, date, table), *(f"{folder}/{name}" for name in names)]


def _export(date: str, table: str, since: str | None) -> dict[str, Any]:
    """`since`: of an increment, the set it follows."""
    folder = f"{layout.export_prefix(PREFIX, date, table)}/AWSDynamoDB/{_EXPORT_ID}"
    moment = f"{date[:10]}T01:00:00.000Z"
    full = {"export_type": "FULL_EXPORT", "export_time": moment}
    window = {"export_from": f"{since or date[:10]}T01:00:00.000Z", "export_to": moment}
    return {
        "manifest_summary_key": f"{folder}/{layout.SUMMARY_NAME}",
        "manifest_files_key": f"{folder}/{layout.FILES_NAME}",
        "manifest_files_md5": MD5,
        "export_arn": f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/export/{_EXPORT_ID}",
        **({"export_type": "INCREMENTAL_EXPORT", **window} if since else full),
    }


def chain_of(table: str, dates: Sequence[str]) -> tuple[BaseLink, ...]:
    """A full export, and the increments after it."""
    facts: dict[str, Any] = {"export_format": "DYNAMODB_JSON", "item_count": 2, "size_bytes": 10, "data_files": 2}
    before = [None, *dates]
    return tuple(
        BaseLink(backup_date=date, **facts, **_export(date, table, since[:10] if since else None))
        for date, since in zip(dates, before, strict=False)
    )


def a_manifest(date: str, tables: Tables) -> Manifest:
    entries = tuple(
        ManifestTable(
            table_name=name,
            status="COMPLETED",
            item_count=2,
            definition_key=layout.definition_key(PREFIX, date, name),
            base=chain_of(name, bases),
            **_export(date, name, bases[-1][:10] if bases else None),
        )
        for name, bases in tables.items()
    )
    return Manifest(
        schema_version=SCHEMA_VERSION,
        revision=1,
        backup_date=date,
        environment="tests",
        backup_type=BACKUP_TYPE,
        status="COMPLETE",
        s3_bucket=BUCKET,
        manifest_s3_key=layout.manifest_key(PREFIX, date),
        total_tables_processed=len(entries),
        successful_exports=len(entries),
        failed_exports=0,
        total_items_exported=2 * len(entries),
        total_size_mb=0.0,
        started_at=f"{date[:10]}T01:00:00.000Z",
        completed_at=f"{date[:10]}T01:05:00.000Z",
        tables=entries,
    )
