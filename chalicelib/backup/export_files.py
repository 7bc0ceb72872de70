"""The files an export writes about itself: its summary and its file list, parsed and verified. Pure.

Real exports are the reference here, not the guide: checksums stand in `.md5` objects although the guide names
`.checksum`, a full export's summary has no exportType, and the file list is JSON Lines. What is hostile or damaged
ends in ExportInvalid, never in another exception.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.documents import DocumentInvalid, decode_document, is_md5, shown
from chalicelib.errors import ExportInvalid

# Seen in every real file list: below 500 bytes. A line beyond this is not one of AWS'.
_LONGEST_LINE_BYTES = 16 * 1024
# What a worker can plan in its memory and its five minutes. DynamoDB writes about one file per partition, of 10 GB.
MOST_DATA_FILES = 250_000
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # far beyond any table, and fits a ledger row


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """`manifest-summary.json`. Unknown fields are allowed: AWS adds some with time. Times are ISO 8601."""

    version: str
    export_arn: str
    table_arn: str
    s3_bucket: str
    manifest_files_s3_key: str = msgspec.field(name="manifestFilesS3Key")
    item_count: Count
    billed_size_bytes: Count
    output_format: str
    start_time: str
    end_time: str
    export_time: str | None = None
    export_from_time: str | None = None
    export_to_time: str | None = None
    export_type: str = "FULL_EXPORT"
    s3_prefix: str | None = msgspec.field(name="s3Prefix", default=None)


class _Line(msgspec.Struct, frozen=True):
    itemCount: Count  # AWS' own names
    md5Checksum: str
    etag: str
    dataFileS3Key: str


class FileEntry(msgspec.Struct, frozen=True):
    """A data file as the export recorded it: `md5` in base64, of the object as stored; `etag` without quotes."""

    key: str
    etag: str
    md5: str
    item_count: int


def verify_checksum(name: str, content: bytes, checksum: bytes) -> None:
    """Raises ExportInvalid unless `checksum`, the content of the object beside it, is the base64 MD5 of `content`."""
    if md5_of(content).encode() != checksum.strip():
        raise ExportInvalid(f"{name} does not match its checksum: it is damaged, or was changed after the export")


def md5_of(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def parse_summary(content: bytes, *, key: str) -> Summary:
    """Raises ExportInvalid for anything that is not a summary, or whose file list is not beside it."""
    try:
        summary = decode_document(content, Summary)
    except DocumentInvalid as error:
        raise ExportInvalid(f"{key} is not an export's summary: {error}") from None
    folder = key.rsplit("/", 1)[0]
    if summary.manifest_files_s3_key != f"{folder}/{layout.FILES_NAME}":
        said = shown(summary.manifest_files_s3_key)
        raise ExportInvalid(f"{key} names a file list that is not its own: '{said}'")
    return summary


def read_file_list(
    chunks: Iterable[bytes], *, key: str, md5: str | None, is_incremental: bool = False
) -> Iterator[FileEntry]:
    """The entries of the file list at `key`, in the order they stand; kept of each is its name.

    Every data file must be where the export puts its data: `.../AWSDynamoDB/{id}/data/`, of an incremental one
    `.../AWSDynamoDB/data/`. The MD5, when known, is compared at the end: act on the entries only when all have been
    read. Raises ExportInvalid.
    """
    digest = hashlib.md5(usedforsecurity=False)
    seen: set[str] = set()
    for number, line in enumerate(_lines(chunks, digest, key), start=1):
        if number > MOST_DATA_FILES:
            raise ExportInvalid(f"{key} has more than {MOST_DATA_FILES} lines, more than this version takes")
        if not line:
            continue
        entry = _entry(line, f"{key} line {number}", key, is_incremental)
        name = entry.key.rsplit("/", 1)[-1]
        if name in seen:
            raise ExportInvalid(f"{key} line {number} names {entry.key!r} a second time")
        seen.add(name)
        yield entry
    if md5 is not None and base64.b64encode(digest.digest()).decode() != md5:
        raise ExportInvalid(f"{key} is not the file list the export was recorded with: it is damaged or was changed")


def _lines(chunks: Iterable[bytes], digest: Any, key: str) -> Iterator[bytes]:
    tail = b""
    for chunk in chunks:
        digest.update(chunk)
        *lines, tail = (tail + chunk).split(b"\n")
        if len(tail) > _LONGEST_LINE_BYTES:
            raise ExportInvalid(f"{key} has a line of more than {_LONGEST_LINE_BYTES} bytes: it is no file list")
        yield from lines
    if tail:
        yield tail


def _entry(line: bytes, where: str, files_key: str, is_incremental: bool) -> FileEntry:
    if len(line) > _LONGEST_LINE_BYTES:
        raise ExportInvalid(f"{where} has more than {_LONGEST_LINE_BYTES} bytes: it is no data file's record")
    try:
        parsed = decode_document(line, _Line)
    except DocumentInvalid as error:
        raise ExportInvalid(f"{where} is no data file's record: {error}") from None
    if parsed.dataFileS3Key.endswith(".ion.gz"):
        raise ExportInvalid(f"{where} names a data file in Amazon Ion; only DYNAMODB_JSON is read")
    if not layout.is_data_file_key(files_key, parsed.dataFileS3Key, is_incremental=is_incremental):
        said = shown(parsed.dataFileS3Key)
        folder = layout.data_folder(files_key, is_incremental=is_incremental)
        raise ExportInvalid(f"{where} names '{said}', which is no data file's name, or outside of {folder}")
    if not is_md5(parsed.md5Checksum):
        raise ExportInvalid(f"{where} has no MD5 of its data file")
    return FileEntry(parsed.dataFileS3Key, parsed.etag.strip('"'), parsed.md5Checksum, parsed.itemCount)
