"""Whether an export's files in the bucket are all there and agree with each other, read once when it is recorded.

What is checked: both manifests against the checksums beside them (`.md5` as AWS writes it, `.checksum` as its guide
has it), counts against each other, and every data file's presence. A data file's content is compared by its ETag;
where that differs (KMS, a copied bucket) a restore compares the content itself before it writes anything.

The folder is listed rather than asked for key by key: a listing tells size and ETag of a thousand objects at once,
and what is missing without an error that could also mean "denied".
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup import layout
from chalicelib.backup.documents import DocumentInvalid, read_document, shown
from chalicelib.backup.export_files import MOST_DATA_FILES, Summary, parse_summary, read_file_list, verify_checksum
from chalicelib.backup.windows import Window
from chalicelib.clock import from_iso, iso
from chalicelib.errors import ExportInvalid, ExportNotReadable

logger = logging.getLogger("tablevault")

_CHECKSUM_SUFFIXES = (".md5", ".checksum")
_CHUNK_BYTES = 256 * 1024
_LARGEST_SUMMARY_BYTES = 1024 * 1024
_MOST_OBJECTS = MOST_DATA_FILES + 10_000
_EMPTY_GZIP_BYTES = 20  # what an export writes for a partition without items
_NAMED = 3


class VerifiedExport(msgspec.Struct, frozen=True):
    """The facts of an export; `files_md5` is the base64 MD5 of its file list, `size_bytes` of its data as stored."""

    summary_key: str
    files_key: str
    files_md5: str
    export_time: str | None
    export_from: str | None
    export_to: str | None
    item_count: int
    billed_size_bytes: int
    size_bytes: int
    data_files: int


def verify_export(
    s3: Client,
    bucket: str,
    *,
    summary_key: str,
    definition_key: str,
    export_arn: str,
    table_arn: str,
    window: Window | None = None,
) -> VerifiedExport:
    """`window`: of an incremental export; None is a full one. Raises ExportNotReadable where an object is missing,
    ExportInvalid where they contradict each other, or are of another kind or window."""
    root = summary_key.rsplit("/", 1)[0]
    roots = [f"{root}/"] if window is None else [f"{root}/", layout.data_folder(summary_key, is_incremental=True)]
    folder = _Folder(s3, bucket, roots)
    summary = parse_summary(folder.checked(summary_key), key=summary_key)
    _check_identity(summary, summary_key, export_arn, table_arn)
    _check_times(summary, summary_key, window)
    files_key = summary.manifest_files_s3_key
    files_md5 = shown(folder.checksum_of(files_key).strip().decode("ascii", "replace"))
    count, items, size_bytes = _data_files(folder, files_key, files_md5, is_incremental=window is not None)
    if items != summary.item_count:
        raise ExportInvalid(f"{summary_key} counts {summary.item_count} items, its file list {items}")
    if not _exists(s3, bucket, definition_key):
        raise ExportNotReadable(f"{definition_key}, the table's definition, is not in the bucket")
    return VerifiedExport(
        summary_key=summary_key,
        files_key=files_key,
        files_md5=files_md5,
        export_time=summary.export_time,
        export_from=summary.export_from_time,
        export_to=summary.export_to_time,
        item_count=summary.item_count,
        billed_size_bytes=summary.billed_size_bytes,
        size_bytes=size_bytes,
        data_files=count,
    )


def _check_identity(summary: Summary, key: str, export_arn: str, table_arn: str) -> None:
    if summary.export_arn != export_arn or summary.table_arn != table_arn:
        raise ExportInvalid(f"{key} is of another export or table than {export_arn}")
    if summary.output_format != "DYNAMODB_JSON":
        form = shown(summary.output_format)
        raise ExportInvalid(f"{key} is of an export in {form}; this version takes DYNAMODB_JSON")


def _check_times(summary: Summary, key: str, window: Window | None) -> None:
    wanted = "FULL_EXPORT" if window is None else "INCREMENTAL_EXPORT"
    if summary.export_type != wanted:
        raise ExportInvalid(f"{key} is of an {shown(summary.export_type)}, asked for was a {wanted}")
    if window is None:
        _moment_ms(summary.export_time, f"{key} has no valid export time")
        return
    from_ms = _moment_ms(summary.export_from_time, f"{key} does not say from when it is")
    to_ms = _moment_ms(summary.export_to_time, f"{key} does not say to when it is")
    if (from_ms, to_ms) != (window.from_ms, window.to_ms):
        said, asked = f"{iso(from_ms)} to {iso(to_ms)}", f"{iso(window.from_ms)} to {iso(window.to_ms)}"
        raise ExportInvalid(f"{key} is of the time from {said}, asked for was {asked}")


def _moment_ms(text: str | None, otherwise: str) -> int:
    try:
        return from_iso(text or "")
    except (ValueError, OverflowError):
        raise ExportInvalid(otherwise) from None


def _data_files(folder: "_Folder", files_key: str, files_md5: str, *, is_incremental: bool) -> tuple[int, int, int]:
    """Number of data files, of their items, and of their bytes."""
    count = items = size_bytes = 0
    missing: list[str] = []
    other_etags = 0
    for entry in read_file_list(folder.chunks(files_key), key=files_key, md5=files_md5, is_incremental=is_incremental):
        count += 1
        items += entry.item_count
        found = folder.objects.get(entry.key)
        if found is None:
            missing.append(entry.key)
            continue
        etag, size = found
        if size < _EMPTY_GZIP_BYTES:
            raise ExportInvalid(f"data file {entry.key} has {size} bytes and so is no gzip file")
        size_bytes += size
        other_etags += etag != entry.etag
    if missing:
        raise ExportNotReadable(f"{len(missing)} data files are not in the bucket: {', '.join(missing[:_NAMED])}")
    if other_etags:
        logger.info("data files have other ETags than recorded", extra={"files_key": files_key, "count": other_etags})
    return count, items, size_bytes


class _Folder:
    """Where an export stands, its folder and that of its data: `objects` is every object's ETag, without quotes, and
    size."""

    def __init__(self, s3: Client, bucket: str, prefixes: Sequence[str]) -> None:
        self._s3 = s3
        self._bucket = bucket
        self.objects: dict[str, tuple[str, int]] = {}
        for prefix in prefixes:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                self._take(page, prefix)

    def _take(self, page: Mapping[str, Any], prefix: str) -> None:
        for listed in page.get("Contents", []):
            self.objects[listed["Key"]] = (listed["ETag"].strip('"'), int(listed["Size"]))
        if len(self.objects) > _MOST_OBJECTS:
            raise ExportInvalid(f"{prefix} holds more than {_MOST_OBJECTS} objects, more than this version takes")

    def checked(self, key: str) -> bytes:
        """A manifest's content, after it was compared with its checksum."""
        checksum = self.checksum_of(key)
        content = self._content(key)
        verify_checksum(key, content, checksum)
        return content

    def checksum_of(self, key: str) -> bytes:
        for suffix in _CHECKSUM_SUFFIXES:
            name = key.removesuffix(".json") + suffix
            if name in self.objects:
                return self._content(name)
        raise ExportNotReadable(f"{key.removesuffix('.json')}.md5, its checksum, is not in the bucket")

    def _content(self, key: str) -> bytes:
        try:
            return read_document(self._open(key), _LARGEST_SUMMARY_BYTES)
        except DocumentInvalid as error:
            raise ExportInvalid(f"{key} {error}") from None

    def chunks(self, key: str) -> Iterator[bytes]:
        body = self._open(key)["Body"]
        return iter(lambda: body.read(_CHUNK_BYTES), b"")

    def _open(self, key: str) -> Mapping[str, Any]:
        if key not in self.objects:
            raise ExportNotReadable(f"{key} is not in the bucket")
        try:
            opened: Mapping[str, Any] = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                raise ExportNotReadable(f"{key} was removed while it was read") from error
            raise
        return opened


def _exists(s3: Client, bucket: str, key: str) -> bool:
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
    return any(each["Key"] == key for each in listed)
