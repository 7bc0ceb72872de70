"""Backup sets as they stand in the bucket: the only thing a restore relies on."""

from collections.abc import Sequence

from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup import layout
from chalicelib.backup.manifest import Manifest, decode_manifest
from chalicelib.errors import Conflict, NotFound

_NAMED_IN_AN_ERROR = 10
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})


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
        raise
    content = answer["Body"].read()
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

    Raises NotFound when there is none. A newer set that is not finished, or failed for a table, is passed over.
    """
    names = set_names(s3, bucket, exports_prefix)
    for name in names:
        found = find_manifest(s3, bucket, exports_prefix, name)
        if found is not None and _has_all(found[0], tables):
            return found[0]
    asked = "every table" if tables is None else ", ".join(tables)
    raise NotFound("backup_not_found", f"no backup holds {asked} complete; {_existing(names)}")


def _has_all(manifest: Manifest, tables: Sequence[str] | None) -> bool:
    if tables is None:
        return manifest.status == "COMPLETE"
    found = [manifest.table(name) for name in tables]
    return all(table is not None and table.status == "COMPLETED" for table in found)


def _existing(names: Sequence[str]) -> str:
    if not names:
        return "there are no backups yet"
    more = f" and {len(names) - _NAMED_IN_AN_ERROR} older" if len(names) > _NAMED_IN_AN_ERROR else ""
    return f"there are: {', '.join(names[:_NAMED_IN_AN_ERROR])}{more}"
