"""Backup sets as they stand in the bucket: the only thing a restore relies on."""

from collections.abc import Sequence

from botocore.exceptions import ClientError

from chalicelib.aws import DENIED, Client, error_code, error_text
from chalicelib.backup import layout
from chalicelib.backup.documents import DocumentInvalid, read_document
from chalicelib.backup.manifest import LARGEST_MANIFEST_BYTES, Manifest, decode_manifest
from chalicelib.errors import Conflict, ManifestInvalid, NotFound

_NAMED_IN_AN_ERROR = 10
# `latest` reads one manifest after another while somebody waits for an answer; a year of daily sets is fewer.
_MOST_LOOKED_AT = 500
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
# Archived, or encrypted with a key of the writer's own
# (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).
_SEALED = DENIED | {"InvalidObjectState", "InvalidRequest"}


def set_names(s3: Client, bucket: str, exports_prefix: str) -> list[str]:
    """The names of all sets that left anything in the bucket, newest first."""
    names = []
    start = f"{exports_prefix}/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start, Delimiter="/"):
        for common in page.get("CommonPrefixes", []):
            name = common["Prefix"].removeprefix(start).rstrip("/")
            if layout.BACKUP_DATE.match(name):
                names.append(name)
    return sorted(names, reverse=True)


def find_manifest(s3: Client, bucket: str, exports_prefix: str, backup_date: str) -> tuple[Manifest, str] | None:
    """A set's manifest and its ETag; None when there is none (yet). Raises ManifestInvalid."""
    key = layout.manifest_key(exports_prefix, backup_date)
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error_code(error) in _MISSING:
            return None
        if error_code(error) in _SEALED or error_code(error).startswith("KMS."):
            advice = "make the object readable: restore it if it is archived, allow s3:GetObject and kms:Decrypt"
            raise ManifestInvalid(f"{key} cannot be read ({error_text(error)}): {advice}") from error
        raise
    try:
        content = read_document(answer, LARGEST_MANIFEST_BYTES)
    except DocumentInvalid as error:
        raise ManifestInvalid(f"{key} {error}: it is not a manifest of ours") from None
    return decode_manifest(content, key=key, exports_prefix=exports_prefix, backup_date=backup_date), answer["ETag"]


def read_manifest(s3: Client, bucket: str, exports_prefix: str, backup_date: str) -> Manifest:
    """Raises NotFound (saying what exists), Conflict for a set still being made, ManifestInvalid."""
    found = find_manifest(s3, bucket, exports_prefix, backup_date) if layout.BACKUP_DATE.match(backup_date) else None
    if found is not None:
        return found[0]
    names = set_names(s3, bucket, exports_prefix)
    if backup_date in names:
        raise Conflict(
            "backup_not_complete",
            f"backup {backup_date} has no manifest yet: its exports still run; GET /backups/{backup_date} shows them",
        )
    raise NotFound("backup_not_found", f"no backup {backup_date[:60]!r}; {_existing(names)}")


def latest_manifest(s3: Client, bucket: str, exports_prefix: str, tables: Sequence[str] | None) -> Manifest:
    """The newest set in which every asked table succeeded; for None, the newest complete one.

    Raises NotFound when there is none. A newer set that is not finished, or failed for a table, is passed over; one
    whose manifest cannot be trusted is not (ManifestInvalid): an older state must not come back unasked for.
    """
    names = set_names(s3, bucket, exports_prefix)
    for name in names[:_MOST_LOOKED_AT]:
        found = find_manifest(s3, bucket, exports_prefix, name)
        if found is not None and _has_all(found[0], tables):
            return found[0]
    asked = "every table" if tables is None else _listed(tables, "more")
    looked = f"of the newest {_MOST_LOOKED_AT} backups none" if len(names) > _MOST_LOOKED_AT else "no backup"
    raise NotFound("backup_not_found", f"{looked} holds {asked} complete; {_existing(names)}")


def _has_all(manifest: Manifest, tables: Sequence[str] | None) -> bool:
    if tables is None:
        return manifest.status == "COMPLETE"
    found = [manifest.table(name) for name in tables]
    return all(table is not None and table.status == "COMPLETED" for table in found)


def _existing(names: Sequence[str]) -> str:
    if not names:
        return "there are no backups yet"
    return f"there are: {_listed(names, 'older')}"


def _listed(names: Sequence[str], others: str) -> str:
    more = f" and {len(names) - _NAMED_IN_AN_ERROR} {others}" if len(names) > _NAMED_IN_AN_ERROR else ""
    return ", ".join(names[:_NAMED_IN_AN_ERROR]) + more
