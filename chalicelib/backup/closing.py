"""Finishing a set: once every export has ended, its manifest is written, and then the set leaves the open work.

What is left if the program stops: before the manifest, an open set whose exports have ended; after it, the same with
a manifest that will be found equal. Both are finished by the next run. Any number of runs may finish one set at a time.

A manifest in the bucket is only ever replaced by one in which every table that could be restored still can be. That
holds against a slow run that would write an older state, and for a set that is made again after the ledger was lost.
"""

import logging

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup.assembly import assemble
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.manifest import LARGEST_MANIFEST_BYTES, Manifest, encode_manifest
from chalicelib.backup.reading import find_manifest
from chalicelib.backup.rows import SetRow
from chalicelib.backup.states import SetState
from chalicelib.clock import Clock
from chalicelib.errors import ManifestInvalid, Unavailable

logger = logging.getLogger("tablevault")

_TRIES = 8
# 412: another manifest stands there. 409: another write of it was under way.
_BEATEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class Closer:
    def __init__(self, catalog: Catalog, s3: Client, clock: Clock, bucket_owner: str | None) -> None:
        self._catalog = catalog
        self._s3 = s3
        self._clock = clock
        self._owner = {"ExpectedBucketOwner": bucket_owner} if bucket_owner else {}

    def close_if_decided(self, backup_date: str) -> SetState | None:
        """What the set is now finished as; None where exports still run, or it had been finished before.

        Raises NotFound for an unknown set, ManifestInvalid where something else stands in the manifest's place,
        and Unavailable where other runs always came first.
        """
        for _ in range(_TRIES):
            record = self._catalog.record(backup_date)
            if not record.set.is_open or not record.is_decided:
                return None
            if record.is_torn:
                continue
            standing = self._publish(record.set, assemble(record))
            status = SetState(standing.status)
            if self._catalog.finish(record.set, status, self._clock()):
                fields = {"backup_date": backup_date, "status": status.value, "revision": standing.revision}
                logger.info("backup finished", extra=fields)
                return status
        raise Unavailable(f"backup {backup_date} changes while it is being finished; reconcile will try again")

    def _publish(self, set_row: SetRow, manifest: Manifest) -> Manifest:
        """The manifest that stands in the bucket afterwards."""
        for _ in range(_TRIES):
            if self._put(manifest, {"IfNoneMatch": "*"}):
                return manifest
            found = find_manifest(self._s3, set_row.s3_bucket, set_row.exports_prefix, set_row.backup_date)
            if found is None:
                continue
            standing, etag = found
            if _is_kept(standing, manifest):
                return standing
            following = msgspec.structs.replace(manifest, revision=max(manifest.revision, standing.revision + 1))
            if self._put(following, {"IfMatch": etag}):
                return following
        raise Unavailable(
            f"the manifest of backup {set_row.backup_date} is written by others; reconcile will try again"
        )

    def _put(self, manifest: Manifest, condition: dict[str, str]) -> bool:
        body = encode_manifest(manifest)
        if len(body) > LARGEST_MANIFEST_BYTES:  # nobody could read it
            advice = "make full exports more often, or split the tables over two stages"
            raise ManifestInvalid(f"{manifest.manifest_s3_key} would have {len(body)} bytes, too many: {advice}")
        try:
            self._s3.put_object(
                Bucket=manifest.s3_bucket,
                Key=manifest.manifest_s3_key,
                Body=body,
                ContentType="application/json",
                **condition,
                **self._owner,
            )
        except ClientError as error:
            if error_code(error) not in _BEATEN:
                raise
            return False
        return True


def _is_kept(standing: Manifest, ours: Manifest) -> bool:
    """Whether the manifest in the bucket stays: it says the same, or has a table that ours would take away."""
    if msgspec.structs.replace(standing, revision=ours.revision) == ours:
        return standing.revision >= ours.revision
    lost = _restorable(standing) - _restorable(ours)
    if lost:
        fields = {"backup_date": ours.backup_date, "tables": sorted(lost), "revision": standing.revision}
        logger.warning("the bucket's manifest has tables that the ledger has not, and stays", extra=fields)
    return bool(lost)


def _restorable(manifest: Manifest) -> set[str]:
    return {table.table_name for table in manifest.tables if table.status == "COMPLETED"}
