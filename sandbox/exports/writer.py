"""Writes one export to S3 exactly as AWS does, to the sandbox's S3 or to moto's in a test.

Order, and what a stop leaves behind: `_started` proves that the bucket can be written; data objects without
manifests mean "running or failed"; the files' manifest names complete objects only; the summary comes last, so
whoever sees it sees a complete export.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import Client
from chalicelib.clock import Clock, system_clock
from sandbox.exports.layout import (
    DataFile,
    ExportFacts,
    ExportKeys,
    Item,
    checksum,
    files_manifest,
    new_export_id,
    one_part_etag,
    summary_manifest,
)
from sandbox.exports.partitions import Partition, Partitions

RandomBytes = Callable[[int], bytes]
BeforeObject = Callable[[str], None]


def _nothing(_: str) -> None:
    return


@dataclass(frozen=True)
class WrittenExport:
    """What was written: the facts of the start, and what only the end knows. `end_ms` is the summary's endTime."""

    facts: ExportFacts
    keys: ExportKeys
    files: tuple[DataFile, ...]
    item_count: int
    billed_size_bytes: int
    end_ms: int

    @property
    def export_arn(self) -> str:
        return self.facts.export_arn

    @property
    def export_id(self) -> str:
        return self.facts.export_id

    @property
    def summary_key(self) -> str:
        return self.keys.manifest_summary

    @property
    def files_key(self) -> str:
        return self.keys.manifest_files


def write_export(
    s3: Client,
    *,
    bucket: str,
    prefix: str | None,
    table_arn: str,
    items: Iterable[Item],
    key_names: Sequence[str],
    partitions: int = 4,
    export_id: str | None = None,
    now_ms: Clock = system_clock,
    checksum_suffix: str = ".md5",
    table_id: str = "00000000-0000-4000-8000-000000000000",
    export_time_ms: int | None = None,
    billed_size_bytes: int = 0,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> WrittenExport:
    """Writes a whole export of `items` (AttributeValue form, `B` as bytes) into `bucket`.

    `key_names` is the partition key, then the sort key if the table has one. `export_id` is made from the clock
    when not given. `export_time_ms` is the start when not given. `checksum_suffix` may be `.checksum`, as AWS'
    documentation has it. `billed_size_bytes` is 0 by default, as AWS says it for small tables. Raises
    botocore's ClientError when S3 refuses a call; what was written until then stays, as on AWS.
    """
    start_ms = now_ms()
    facts = ExportFacts(
        export_id=export_id or new_export_id(start_ms, random_bytes(4)),
        table_arn=table_arn,
        table_id=table_id,
        bucket=bucket,
        prefix=prefix,
        start_ms=start_ms,
        export_time_ms=start_ms if export_time_ms is None else export_time_ms,
    )
    with Partitions(partitions) as spooled:
        spooled.fill(items, key_names)
        return write_partitions(
            s3,
            facts,
            spooled,
            now_ms=now_ms,
            billed_size_bytes=billed_size_bytes,
            checksum_suffix=checksum_suffix,
            random_bytes=random_bytes,
        )


def write_partitions(
    s3: Client,
    facts: ExportFacts,
    partitions: Partitions,
    *,
    now_ms: Clock = system_clock,
    billed_size_bytes: int = 0,
    checksum_suffix: str = ".md5",
    random_bytes: RandomBytes = secrets.token_bytes,
    before_object: BeforeObject = _nothing,
) -> WrittenExport:
    """Writes an export whose items are spooled already. Raises ClientError as `write_export` does.

    `before_object` is called with each object's key before it is written; what it raises ends the export there.
    """
    keys = ExportKeys(facts.prefix, facts.export_id, checksum_suffix, is_incremental=facts.window is not None)
    objects = _Objects(s3, facts, before_object)
    objects.put(keys.started, b"")
    files = tuple(objects.upload(keys.data_file(random_bytes(16)), each) for each in partitions)
    written = WrittenExport(
        facts=facts,
        keys=keys,
        files=files,
        item_count=partitions.item_count,
        billed_size_bytes=billed_size_bytes,
        end_ms=now_ms(),
    )
    files_body, summary_body = _manifests(written)
    objects.put(keys.manifest_files, files_body)
    objects.put(keys.checksum_of(keys.manifest_files), checksum(files_body))
    objects.put(keys.checksum_of(keys.manifest_summary), checksum(summary_body))
    objects.put(keys.manifest_summary, summary_body)
    return written


def _manifests(written: WrittenExport) -> tuple[bytes, bytes]:
    summary = summary_manifest(
        written.facts,
        manifest_files_key=written.keys.manifest_files,
        end_ms=written.end_ms,
        billed_size_bytes=written.billed_size_bytes,
        item_count=written.item_count,
    )
    return files_manifest(written.files), summary


class _Objects:
    """One export's objects in one bucket, encrypted as the export asked."""

    def __init__(self, s3: Client, facts: ExportFacts, before_object: BeforeObject) -> None:
        self._s3 = s3
        self._before_object = before_object
        self._bucket = facts.bucket
        self._encryption: Mapping[str, Any] = {}
        if facts.sse_algorithm == "KMS":
            key = {"SSEKMSKeyId": facts.sse_kms_key_id} if facts.sse_kms_key_id else {}
            self._encryption = {"ServerSideEncryption": "aws:kms", **key}

    def put(self, key: str, body: bytes) -> None:
        self._before_object(key)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, **self._encryption)

    def upload(self, key: str, partition: Partition) -> DataFile:
        """In one part, as AWS does even for 20 bytes: it shows in the ETag and in the event's name."""
        self._before_object(key)
        upload = {"Bucket": self._bucket, "Key": key}
        created = self._s3.create_multipart_upload(**upload, **self._encryption)
        upload["UploadId"] = created["UploadId"]
        try:
            part = self._s3.upload_part(**upload, PartNumber=1, Body=partition.content)
            parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
            self._s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except Exception:
            with suppress(ClientError):  # the upload's own error is the one to tell
                self._s3.abort_multipart_upload(**upload)
            raise
        return DataFile(key, partition.item_count, partition.md5_digest, one_part_etag(partition.md5_digest))
