"""Backup sets in a folder, one file per object, as AWS writes them: for the stand-in to serve. Made once, and kept.

An item is what such tables hold: a random key, numbers, words (which compress), a nested map, binary. Its line in the
export is padded with words to the size asked for. All random choices come from a fixed seed.
"""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any, Protocol

from benchmarks.cache import cache_folder
from chalicelib.backup import layout
from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition, encode_definition
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, Manifest, ManifestTable, encode_manifest
from sandbox.exports.layout import ExportFacts, one_part_etag
from sandbox.exports.partitions import Partitions
from sandbox.exports.writer import WrittenExport, write_partitions

BUCKET = "tablevault-benchmark"
PREFIX = "native-exports"
TABLE = "orders"
DATE = "2026-11-20"
TABLE_ARN = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{TABLE}"
_MADE_AT = "2026-11-20T01:00:00.000Z"
_MADE_AT_MS = 1_795_136_400_000
_TEXT = (
    "account active address amount archive balance batch before billing cancelled carrier changed city confirmed "
    "country courier created currency customer daily delivered delivery discount email empty express failed first "
    "gift invoice item language last locale market method minute mobile monthly name never note number order origin "
    "paid parcel partner payment pending phone pickup postal price priority product quantity reason received refund "
    "region return sales second shipped status stock store street total tracking updated value voucher weekly zone"
)
_WORDS = _TEXT.split()
_VERSION = "1"  # of what is written: another one is made anew


@dataclass(frozen=True)
class SetSpec:
    """A set of one table. `line_bytes`: of one item's line, with its newline."""

    items: int
    line_bytes: int
    files: int

    @property
    def name(self) -> str:
        return f"v{_VERSION}-{self.items}x{self.line_bytes}-{self.files}"


@dataclass(frozen=True)
class PreparedSet:
    """`root` is what the stand-in serves: `<bucket>/<key>`."""

    spec: SetSpec
    root: Path

    @property
    def bucket(self) -> Path:
        return self.root / BUCKET

    def data_files(self) -> list[Path]:
        return sorted(self.bucket.rglob("data/*.json.gz"))


def prepared(spec: SetSpec) -> PreparedSet:
    """The set, made now if it is not there yet."""
    root = cache_folder("sets") / spec.name
    if not root.exists():
        making = root.with_name(f".{spec.name}-{os.getpid()}")  # one that is cut off is never taken for a whole one
        shutil.rmtree(making, ignore_errors=True)
        _make(spec, making / BUCKET)
        making.rename(root)
    return PreparedSet(spec, root)


def lines(spec: SetSpec) -> Iterator[bytes]:
    random = Random(f"{spec.line_bytes}")
    for number in range(spec.items):
        yield _line(random, number, spec.line_bytes)


def _line(random: Random, number: int, line_bytes: int) -> bytes:
    item: dict[str, Any] = {
        "id": {"S": f"{random.getrandbits(64):016x}-{number:08d}"},
        "total": {"N": str(random.randrange(1_000_000) / 100)},
        "raw": {"B": base64.b64encode(random.randbytes(12)).decode()},
    }
    if line_bytes > 300:
        words = random.choices(_WORDS, k=4)
        item["open"] = {"BOOL": number % 3 == 0}
        item["to"] = {"M": {"city": {"S": words[0]}, "zone": {"N": str(number % 97)}, "tags": {"SS": words[1:3]}}}
        item["lines"] = {"L": [{"N": str(random.randrange(9_999))}, {"S": words[3]}]}
    item["note"] = {"S": ""}
    bare = json.dumps({"Item": item}, separators=(",", ":")).encode()
    missing = line_bytes - len(bare) - 1
    if missing < 0:
        raise ValueError(f"lines of {line_bytes} bytes are too short, {len(bare) + 1} is the least")
    text = " ".join(random.choices(_WORDS, k=missing // 4 + 1))[:missing].encode()
    return bare[:-4] + text + b'"}}}\n'


def _make(spec: SetSpec, bucket: Path) -> None:
    s3 = FolderS3(bucket)
    facts = ExportFacts(
        export_id=f"{_MADE_AT_MS:014d}-{spec.line_bytes:08x}",
        table_arn=TABLE_ARN,
        table_id="00000000-0000-4000-8000-000000000000",
        bucket=BUCKET,
        prefix=layout.export_prefix(PREFIX, DATE, TABLE),
        start_ms=_MADE_AT_MS,
        export_time_ms=_MADE_AT_MS,
    )
    random = Random(spec.name)
    with Partitions(spec.files) as partitions:
        each = list(partitions)
        for number, line in enumerate(lines(spec)):
            each[number % spec.files].add(line)
        for partition in each:
            partition.seal()
        written = write_partitions(s3, facts, partitions, now_ms=lambda: _MADE_AT_MS, random_bytes=random.randbytes)
    put_manifest(s3, written, spec.files)


def put_manifest(s3: "WritableS3", written: WrittenExport, data_files: int) -> None:
    """The table's definition and the set's manifest, which make it a set that can be restored."""
    definition = TableDefinition(
        table_name=TABLE,
        table_arn=TABLE_ARN,
        captured_at=_MADE_AT,
        keys=(KeyAttribute("id", "HASH"),),
        attributes=(Attribute("id", "S"),),
        billing_mode="PAY_PER_REQUEST",
    )
    definition_key = layout.definition_key(PREFIX, DATE, TABLE)
    s3.put_object(Bucket=BUCKET, Key=definition_key, Body=encode_definition(definition))
    table = ManifestTable(
        table_name=TABLE,
        status="COMPLETED",
        table_arn=TABLE_ARN,
        export_arn=written.export_arn,
        item_count=written.item_count,
        data_files=data_files,
        manifest_summary_key=written.summary_key,
        manifest_files_key=written.files_key,
        manifest_files_md5=md5_of(s3.body(written.files_key)),
        definition_key=definition_key,
    )
    s3.put_object(Bucket=BUCKET, Key=layout.manifest_key(PREFIX, DATE), Body=encode_manifest(_manifest(table)))


def _manifest(table: ManifestTable) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        revision=1,
        backup_date=DATE,
        environment="benchmark",
        backup_type=BACKUP_TYPE,
        status="COMPLETE",
        s3_bucket=BUCKET,
        manifest_s3_key=layout.manifest_key(PREFIX, DATE),
        total_tables_processed=1,
        successful_exports=1,
        failed_exports=0,
        total_items_exported=table.item_count,
        total_size_mb=0.0,
        started_at=_MADE_AT,
        completed_at=_MADE_AT,
        tables=(table,),
    )


class WritableS3(Protocol):
    """What a set's last objects are written to."""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None: ...

    def body(self, key: str) -> bytes: ...


class FolderS3:
    """What an export's writer needs of S3, as files; the ETag of `<key>` stands in `<key>.etag`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def body(self, key: str) -> bytes:
        return (self._folder / key).read_bytes()

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        path = self._path(Key)
        path.write_bytes(Body)
        path.with_name(f"{path.name}.etag").write_text(hashlib.md5(Body, usedforsecurity=False).hexdigest())

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, *, Key: str, Body: IO[bytes], **_: Any) -> dict[str, str]:
        path = self._path(Key)
        with path.open("wb") as file:
            shutil.copyfileobj(Body, file, 1024 * 1024)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").digest()
        path.with_name(f"{path.name}.etag").write_text(one_part_etag(digest))
        return {"ETag": "1"}

    def complete_multipart_upload(self, **_: Any) -> None:
        return

    def _path(self, key: str) -> Path:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
