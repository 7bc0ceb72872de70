"""A backup set of very many data files that are only listed: the file list of its export and the bucket's listing stand
on disk and are read from there piece by piece, so that the memory of a process that plans them is the planner's."""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.aws import Bucket, DirectS3
from benchmarks.cache import cache_folder
from benchmarks.sets import BUCKET, DATE, PREFIX, TABLE, TABLE_ARN, FolderS3, put_manifest
from chalicelib.backup import layout
from sandbox.exports.layout import ExportFacts, ExportKeys, one_part_etag
from sandbox.exports.writer import WrittenExport
from tests.simulation.aws.dynamodb import Answer, Request

_MADE_AT_MS = 1_795_136_400_000
_ITEMS_PER_FILE = 1_000
_FILE_BYTES = 100_000
_VERSION = "1"
_LISTING = "listing"  # of the data files, in order of their keys; rows of one length


class ListedSet:
    def __init__(self, data_files: int) -> None:
        self.item_count = data_files * _ITEMS_PER_FILE
        self.folder = cache_folder("listed") / f"v{_VERSION}-{data_files}"
        if not self.folder.exists():
            making = self.folder.with_name(f".{self.folder.name}-{os.getpid()}")
            shutil.rmtree(making, ignore_errors=True)
            _make(data_files, making)
            making.rename(self.folder)

    def client(self) -> "ListedS3":
        return ListedS3(self.folder)


class ListedS3(DirectS3):
    """S3 with that set: the small objects in memory, file list and listing from disk."""

    def __init__(self, folder: Path) -> None:
        self.bucket = Bucket(BUCKET)
        self.bucket.load(folder / BUCKET)
        super().__init__(self.bucket)
        self._rows_path = folder / _LISTING
        with self._rows_path.open("rb") as rows:
            self._row_bytes = len(rows.readline())
        self._row_count = self._rows_path.stat().st_size // self._row_bytes

    def get_object(self, **request: Any) -> Answer:
        if not request["Key"].endswith("manifest-files.json"):
            return super().get_object(**request)
        path = self.bucket.objects[request["Key"]].path  # type: ignore[attr-defined]
        return {"Body": path.open("rb"), "ContentLength": path.stat().st_size}

    def list_objects_v2(self, **request: Any) -> Answer:
        if "/data/" not in request["Prefix"]:
            return self.bucket.list_objects_v2(request)
        return self._page(request)

    def _page(self, request: Request) -> Answer:
        begin = int(request.get("ContinuationToken", 0))
        end = min(self._row_count, begin + self.bucket.page_keys)
        with self._rows_path.open("rb") as rows:
            rows.seek(begin * self._row_bytes)
            page = rows.read((end - begin) * self._row_bytes).decode().splitlines()
        contents = [
            {"Key": key, "ETag": f'"{etag}"', "Size": _FILE_BYTES} for key, etag in (row.split("\t") for row in page)
        ]
        more = {"NextContinuationToken": str(end)} if end < self._row_count else {}
        return {"Contents": contents, "IsTruncated": bool(more), **more}


def _make(data_files: int, folder: Path) -> None:
    s3 = FolderS3(folder / BUCKET)
    prefix = layout.export_prefix(PREFIX, DATE, TABLE)
    facts = ExportFacts(
        export_id=f"{_MADE_AT_MS:014d}-{data_files:08x}",
        table_arn=TABLE_ARN,
        table_id="00000000-0000-4000-8000-000000000000",
        bucket=BUCKET,
        prefix=prefix,
        start_ms=_MADE_AT_MS,
        export_time_ms=_MADE_AT_MS,
    )
    keys = ExportKeys(prefix, facts.export_id)
    entries = list(_entries(keys, data_files))
    lines = (
        {"itemCount": _ITEMS_PER_FILE, "md5Checksum": md5, "etag": etag, "dataFileS3Key": key}
        for key, etag, md5 in entries
    )
    body = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    s3.put_object(Bucket=BUCKET, Key=keys.manifest_files, Body=body)
    (folder / _LISTING).write_text("".join(f"{key}\t{etag}\n" for key, etag, _ in sorted(entries)))
    put_manifest(s3, WrittenExport(facts, keys, (), data_files * _ITEMS_PER_FILE, 0, _MADE_AT_MS), data_files)


def _entries(keys: ExportKeys, data_files: int) -> Iterator[tuple[str, str, str]]:
    """Key, ETag and MD5 of each, in no order, as an export has them."""
    random = Random(data_files)
    for _ in range(data_files):
        digest = hashlib.md5(random.randbytes(16), usedforsecurity=False).digest()
        yield keys.data_file(random.randbytes(16)), one_part_etag(digest), base64.b64encode(digest).decode()
