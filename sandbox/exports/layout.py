"""The bytes of a DYNAMODB_JSON export: object keys, lines, manifests and checksums. Pure.

What stands here was taken from exports that AWS wrote, not from its documentation: the checksum objects are
named `.md5` there and not `.checksum`, and the keys in the manifests include the prefix.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from chalicelib.clock import iso

Item = Mapping[str, Mapping[str, Any]]

_FULL_EXPORT_VERSION = "2020-06-30"  # exports made in 2026 still say so
_INCREMENTAL_EXPORT_VERSION = "2023-08-01"
_encode = msgspec.json.Encoder().encode  # compact, raw UTF-8, bytes as standard base64: what AWS writes


@dataclass(frozen=True)
class Window:
    """What an incremental export is of: from a time, inclusive, to another one, both epoch milliseconds. `view`:
    `NEW_AND_OLD_IMAGES` or `NEW_IMAGE`."""

    from_ms: int
    to_ms: int
    view: str = "NEW_AND_OLD_IMAGES"


@dataclass(frozen=True)
class ExportFacts:
    """What is known of an export when it starts. Times are epoch milliseconds. Only an incremental one has a
    `window`; it has no export time."""

    export_id: str
    table_arn: str
    table_id: str
    bucket: str
    prefix: str | None
    start_ms: int
    export_time_ms: int
    sse_algorithm: str = "AES256"
    sse_kms_key_id: str | None = None
    window: Window | None = None

    @property
    def export_arn(self) -> str:
        return f"{self.table_arn}/export/{self.export_id}"


@dataclass(frozen=True)
class DataFile:
    """One data object: a line of `manifest-files.json`. `md5_digest` is that of the compressed object."""

    key: str
    item_count: int
    md5_digest: bytes
    etag: str


@dataclass(frozen=True)
class ExportKeys:
    """Every S3 key of one export, from the bucket's root."""

    prefix: str | None
    export_id: str
    checksum_suffix: str = ".md5"
    is_incremental: bool = False

    @property
    def root(self) -> str:
        """Ends in a slash."""
        return f"{self._all_exports}{self.export_id}/"

    @property
    def data_folder(self) -> str:
        """Ends in a slash. Shared by all incremental exports of a prefix."""
        return f"{self._all_exports if self.is_incremental else self.root}data/"

    @property
    def _all_exports(self) -> str:
        """A prefix that ends in a slash does not make `//`."""
        prefix = self.prefix.removesuffix("/") + "/" if self.prefix else ""
        return f"{prefix}AWSDynamoDB/"

    @property
    def started(self) -> str:
        return f"{self.root}_started"

    @property
    def manifest_files(self) -> str:
        return f"{self.root}manifest-files.json"

    @property
    def manifest_summary(self) -> str:
        return f"{self.root}manifest-summary.json"

    def checksum_of(self, manifest_key: str) -> str:
        return manifest_key.removesuffix(".json") + self.checksum_suffix

    def data_file(self, random_16_bytes: bytes) -> str:
        name = base64.b32encode(random_16_bytes).decode().rstrip("=").lower()
        return f"{self.data_folder}{name}.json.gz"


def new_export_id(start_ms: int, random_4_bytes: bytes) -> str:
    return f"{start_ms:014d}-{random_4_bytes.hex()}"


def one_part_etag(md5_digest: bytes) -> str:
    """The ETag, without quotes, of an object uploaded in one part: the MD5 of its parts' MD5s, then their number.

    Not the object's own MD5. Every data object of every export seen has this form, also those of 20 bytes.
    """
    return f"{hashlib.md5(md5_digest).hexdigest()}-1"


def item_line(item: Item, key_names: Sequence[str]) -> bytes:
    """One line of a data file, key attributes first.

    Binary values may be bytes, as botocore gives them, or base64 text, as they cross the wire; both are written
    as base64 once.
    """
    return _encode({"Item": {**{name: item[name] for name in key_names}, **item}}) + b"\n"


def change_line(
    *, old: Item | None, new: Item | None, key_names: Sequence[str], written_at_us: int, view: str
) -> bytes:
    """One line of an incremental export's data file: no `old` is an insert, no `new` a delete. The attributes of an
    image are in the order of their names, and `WriteTimestampMicros` is an attribute value, as AWS writes them."""
    image = new or old or {}
    record: dict[str, Any] = {
        "Metadata": {"WriteTimestampMicros": {"N": str(written_at_us)}},
        "Keys": {name: image[name] for name in key_names},
    }
    if old is not None and view == "NEW_AND_OLD_IMAGES":
        record["OldImage"] = dict(sorted(old.items()))
    if new is not None:
        record["NewImage"] = dict(sorted(new.items()))
    return _encode(record) + b"\n"


def partition_of(item: Item, partition_key_name: str, partitions: int) -> int:
    """The partition, from 0, whose range of key hashes holds the item; all items of one key share it."""
    digest = hashlib.md5(_encode(item[partition_key_name])).digest()
    return int.from_bytes(digest[:8]) * partitions >> 64


def files_manifest(files: Sequence[DataFile]) -> bytes:
    """`manifest-files.json`: JSON Lines, in spite of its name."""
    return b"".join(
        _encode(
            {
                "itemCount": file.item_count,
                "md5Checksum": base64.b64encode(file.md5_digest).decode(),
                "etag": file.etag,
                "dataFileS3Key": file.key,
            }
        )
        + b"\n"
        for file in files
    )


def summary_manifest(
    facts: ExportFacts, *, manifest_files_key: str, end_ms: int, billed_size_bytes: int, item_count: int
) -> bytes:
    """`manifest-summary.json`: one line without a newline, keys in AWS' order. A full export says no exportType."""
    window = facts.window
    if window is None:
        version, last = _FULL_EXPORT_VERSION, {}
        times = {"exportTime": iso(facts.export_time_ms)}
    else:
        version, last = _INCREMENTAL_EXPORT_VERSION, {"outputView": window.view, "exportType": "INCREMENTAL_EXPORT"}
        times = {"exportFromTime": iso(window.from_ms), "exportToTime": iso(window.to_ms)}
    return _encode(
        {
            "version": version,
            "exportArn": facts.export_arn,
            "startTime": iso(facts.start_ms),
            "endTime": iso(end_ms),
            "tableArn": facts.table_arn,
            "tableId": facts.table_id,
            **times,
            "s3Bucket": facts.bucket,
            "s3Prefix": facts.prefix,
            "s3SseAlgorithm": facts.sse_algorithm,
            "s3SseKmsKeyId": facts.sse_kms_key_id,
            "manifestFilesS3Key": manifest_files_key,
            "billedSizeBytes": billed_size_bytes,
            "itemCount": item_count,
            "outputFormat": "DYNAMODB_JSON",
            **last,
        }
    )


def checksum(content: bytes) -> bytes:
    """What a manifest's `.md5` object holds: 24 bytes, no newline, no file name."""
    return base64.b64encode(hashlib.md5(content).digest())
