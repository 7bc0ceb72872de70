"""Finishing a set: once every export has ended, its manifest is written, and then the set leaves the open work, and
the notice of it comes there in the same transaction.

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
from chalicelib.backup.failures import explained_error, may_pass
from chalicelib.backup.manifest import LARGEST_MANIFEST_BYTES, Manifest, encode_manifest
from chalicelib.backup.notices import Outbox
from chalicelib.backup.objects import SetObjects
from chalicelib.backup.reading import find_manifest
from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.states import SetState
from chalicelib.clock import Clock
from chalicelib.errors import LedgerEntryCorrupt, ManifestInvalid, Unavailable

logger = logging.getLogger("tablevault")

_TRIES = 8
# 412: another manifest stands there. 409: another write of it was under way.
_BEATEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class Closer:
    def __init__(
        self, catalog: Catalog, s3: Client, clock: Clock, objects: SetObjects, outbox: Outbox | None = None
    ) -> None:
        """`outbox`: where it is noted that people are to be told; without one they are not."""
        self._outbox = outbox
        self._catalog = catalog
        self._s3 = s3
        self._clock = clock
        self._objects = objects
        self._running: dict[str, ExportRow] = {}  # by set, as this process saw it last

    def close_if_decided(self, backup_date: str) -> SetState | None:
        """What the set is now finished as; None where exports still run, or it had been finished before.

        Raises NotFound for an unknown set, ManifestInvalid where something else stands in the manifest's place,
        and Unavailable where other runs always came first, or the bucket or its key does not let the manifest in.
        """
        if self._is_known_to_run(backup_date):
            return None
        for _ in range(_TRIES):
            record = self._catalog.record(backup_date)
            if not record.set.is_open or not record.is_decided:
                self._note_running(record)
                return None
            if record.is_torn:
                continue
            standing = self._publish(record.set, assemble(record))
            status = SetState(standing.status)
            notice = self._outbox.finished(record.set, standing) if self._outbox else None
            if self._catalog.finish(record.set, status, self._clock(), notice):
                fields = {"backup_date": backup_date, "status": status.value, "revision": standing.revision}
                logger.info("backup finished", extra=fields)
                return status
        raise Unavailable(f"backup {backup_date} changes while it is being finished; reconcile will try again")

    def _note_running(self, record: SetRecord) -> None:
        """The export begun last of those that have not ended: it most likely ends last. None of a finished set."""
        running = [row for name in record.set.tables for row in record.exports_of(name) if not row.has_ended]
        if running and record.set.is_open:
            self._running[record.set.backup_date] = running[-1]

    def _is_known_to_run(self, backup_date: str) -> bool:
        """Whether the export that ran when the set was last read still does. One row is read then: each of a thousand
        events would otherwise read a thousand."""
        running = self._running.pop(backup_date, None)
        if running is None:
            return False
        try:
            row = self._catalog.export_row(backup_date, running.table_name, running.part)
        except LedgerEntryCorrupt:
            return False
        if row is None or row.has_ended:
            return False
        self._running[backup_date] = running
        return True

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
            self._objects.put_json(manifest.s3_bucket, manifest.manifest_s3_key, body, **condition)
        except ClientError as error:
            if error_code(error) in _BEATEN:
                return False
            if may_pass(error):
                raise
            why = explained_error(error, self._objects.kms_key_id)
            raise Unavailable(f"{manifest.manifest_s3_key} cannot be put into {manifest.s3_bucket}: {why}") from error
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
