"""The primary keys a restore is asked for. They stand in the bucket, beside what the restore leaves there, and not in
the ledger: they are made of items' content."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.definition import TableDefinition
from chalicelib.backup.documents import DocumentInvalid, decode_document, read_document
from chalicelib.errors import ExportInvalid
from chalicelib.restore.datapath.keys import KeySchema, key_faults
from chalicelib.restore.model import Job

Key = Mapping[str, Mapping[str, str]]
_LARGEST_BYTES = 8 * 1024 * 1024  # a request has at most one


def digest(keys: Sequence[Key]) -> str:
    """Of the keys as they were asked for, in any order: part of the plan's digest."""
    texts = sorted(json.dumps(key, sort_keys=True, default=dict) for key in keys)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def faults(definition: TableDefinition, keys: Sequence[Key]) -> list[tuple[str, str]]:
    """What is wrong with them, as (path, message), by the definition of the table that was backed up."""
    return key_faults(KeySchema.of(definition), keys)


def write(s3: Client, job: Job, keys: Sequence[Key]) -> None:
    body = msgspec.json.encode([dict(key) for key in keys])
    key = layout.asked_keys_key(job.restore_id)
    s3.put_object(Bucket=job.bucket, Key=key, Body=body, ContentType="application/json")


def read(s3: Client, job: Job) -> list[Key]:
    """Raises ExportInvalid where they are no longer those that were asked for, and botocore's ClientError."""
    name = layout.asked_keys_key(job.restore_id)
    try:
        answer = s3.get_object(Bucket=job.bucket, Key=name)
        keys = decode_document(read_document(answer, _LARGEST_BYTES), list[dict[str, dict[str, str]]])
    except DocumentInvalid as error:
        raise ExportInvalid(f"{name}, the asked keys, {error}") from None
    if digest(keys) != job.keys_digest:
        raise ExportInvalid(f"{name} no longer holds the keys that were asked for")
    return list(keys)
