"""PLANNING, one table per shard: the export's file list and the bucket's listing become shards.

The listing is read, not a HEAD per file: it gives every object's size and current ETag in one request per thousand.
Nothing is lost when it stops halfway: the next attempt writes the shards again, and deletes those it has no more.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import error_text, is_transient
from chalicelib.backup import layout
from chalicelib.backup.export_files import FileEntry, read_file_list
from chalicelib.errors import ExportInvalid
from chalicelib.restore.model import Job, Kind, Note, PlannedFile, Shard, Stage, Table, blocker
from chalicelib.restore.phases.planner import clear_segments, gather
from chalicelib.restore.records import shard_sk
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings

_NAMED_IN_A_NOTE = 3
# Objects beside an export's data files, which AWS never puts there: a listing without end must not hold a worker.
_MOST_STRANGERS = 10_000
# Deflate makes at most 1,032 bytes of one (https://zlib.net/zlib_tech.html); `{"Item":{"k":{"S":"v"}}}` is the
# shortest line. A file list that says more items would have a worker read lines that nobody wrote, for hours.
_MOST_INFLATED = 1_032
_SHORTEST_LINE_BYTES = 25
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_CHUNK_BYTES = 256 * 1024


def plan_table(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    try:
        entries = list(_entries(around, job, table))
        listing = _listing(around, job, table, {entry.key for entry in entries})
        planned, missing = _pin(entries, listing)
    except ExportInvalid as error:
        return _blocked(around, job, table, error.message)
    except ClientError as error:
        if is_transient(error):
            raise
        return _blocked(around, job, table, f"its file list cannot be read: {error_text(error)}")
    notes = [*_missing_note(table, missing), *_archived_note(table, planned, listing), *_count_note(table, entries)]
    shards = [_load_shard(table, number, files) for number, files in enumerate(gather(planned, job.max_workers))]
    clears = _clear_shards(around, job, table)
    around.records.put_shards(job, [*shards, *clears])
    around.records.drop_shards_from(job.restore_id, Kind.LOAD, table.number, len(shards))
    around.records.drop_shards_from(job.restore_id, Kind.CLEAR, table.number, len(clears))
    totals = {
        "checking_total": 1 + len(shards),
        "loading_total": len(shards),
        "clearing_total": len(clears),
        "data_files": len(entries),
        "data_bytes": sum(file.size_bytes for file in planned),
    }
    return Ended(table_set=totals, notes=tuple(notes))


def _blocked(around: Surroundings, job: Job, table: Table, why: str) -> Ended:
    """Nothing is planned, and nothing may be left of an attempt that was cut off: it would be worked on and counted."""
    around.records.drop_shards_from(job.restore_id, Kind.LOAD, table.number, 0)
    around.records.drop_shards_from(job.restore_id, Kind.CLEAR, table.number, 0)
    return Ended(notes=(blocker(f"{table.source}: {why}"),))


def _entries(around: Surroundings, job: Job, table: Table) -> Iterator[FileEntry]:
    body = around.s3.get_object(Bucket=job.bucket, Key=table.manifest_files_key)["Body"]
    chunks = iter(lambda: body.read(_CHUNK_BYTES), b"")
    return read_file_list(chunks, key=table.manifest_files_key, md5=table.manifest_files_md5)


class _Listed(NamedTuple):
    """An object as the bucket lists it. `archive`: the storage class it cannot be read from right now, if any."""

    etag: str
    size_bytes: int
    archive: str | None


def _listing(around: Surroundings, job: Job, table: Table, wanted: set[str]) -> dict[str, _Listed]:
    """The data files that are in their export's folder. Raises ExportInvalid where it is full of other objects."""
    found: dict[str, _Listed] = {}
    folder = layout.data_folder(table.manifest_files_key)
    pages = around.s3.get_paginator("list_objects_v2")
    strangers = 0
    for page in pages.paginate(Bucket=job.bucket, Prefix=folder, OptionalObjectAttributes=["RestoreStatus"]):
        for listed in page.get("Contents", []):
            if listed["Key"] in wanted:
                found[listed["Key"]] = _Listed(listed["ETag"].strip('"'), int(listed["Size"]), _archive(listed))
            else:
                strangers += 1
        if strangers > _MOST_STRANGERS:
            raise ExportInvalid(f"{folder} holds more than {_MOST_STRANGERS} objects that its export did not write")
    return found


def _archive(listed: dict[str, Any]) -> str | None:
    storage_class = str(listed.get("StorageClass", "STANDARD"))
    is_thawed = "RestoreExpiryDate" in listed.get("RestoreStatus", {})
    return storage_class if storage_class in _ARCHIVES and not is_thawed else None


def _pin(entries: list[FileEntry], listing: dict[str, _Listed]) -> tuple[list[PlannedFile], list[FileEntry]]:
    planned = []
    missing = []
    for entry in entries:
        if entry.key not in listing:
            missing.append(entry)
            continue
        etag, size_bytes, _ = listing[entry.key]
        if entry.item_count * _SHORTEST_LINE_BYTES > size_bytes * _MOST_INFLATED:
            raise ExportInvalid(f"data file {entry.key} cannot hold {entry.item_count} items in {size_bytes} bytes")
        planned.append(PlannedFile(entry.key, etag, size_bytes, entry.md5, entry.item_count, etag != entry.etag))
    return planned, missing


def _missing_note(table: Table, missing: list[FileEntry]) -> list[Note]:
    if not missing:
        return []
    names = ", ".join(entry.key for entry in missing[:_NAMED_IN_A_NOTE])
    more = "" if len(missing) <= _NAMED_IN_A_NOTE else f" and {len(missing) - _NAMED_IN_A_NOTE} more"
    return [blocker(f"{table.source}: {len(missing)} data files are missing from the bucket: {names}{more}")]


def _archived_note(table: Table, planned: list[PlannedFile], listing: dict[str, _Listed]) -> list[Note]:
    """Such a file would be found unreadable only in LOADING, when the target is cleared already."""
    archives = [archive for file in planned if (archive := listing[file.key].archive)]
    if not archives:
        return []
    classes = ", ".join(sorted(set(archives)))
    text = f"{len(archives)} data files are archived ({classes}) and cannot be read: restore the objects in S3 first"
    return [blocker(f"{table.source}: {text}")]


def _count_note(table: Table, entries: list[FileEntry]) -> list[Note]:
    listed = sum(entry.item_count for entry in entries)
    if listed == table.item_count:
        return []
    return [
        blocker(
            f"{table.source}: its file list counts {listed} items, the manifest {table.item_count}; neither is used"
        )
    ]


def _load_shard(table: Table, number: int, files: list[PlannedFile]) -> Shard:
    return Shard(
        sk=shard_sk(Kind.LOAD, table.number, number),
        kind=Kind.LOAD,
        source=table.source,
        number=number,
        files=msgspec.json.encode(files).decode(),
    )


def _clear_shards(around: Surroundings, job: Job, table: Table) -> list[Shard]:
    """None for a target that cannot be described: CHECKING finds that, and nothing is cleared."""
    if not job.clear_existing_data:
        return []
    try:
        described = around.dynamodb.describe_table(TableName=table.target)["Table"]
    except ClientError as error:
        if is_transient(error):
            raise
        return []
    segments = clear_segments(int(described.get("TableSizeBytes", 0)), job.max_workers)
    return [
        Shard(
            sk=shard_sk(Kind.CLEAR, table.number, number),
            kind=Kind.CLEAR,
            source=table.source,
            number=number,
            stage=Stage.TODO,
            segments=segments,
        )
        for number in range(segments)
    ]
