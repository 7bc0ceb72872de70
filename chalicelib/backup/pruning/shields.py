"""Shields: `keep.json` beside a set's manifest keeps retention off it. It stands in the bucket, which describes itself:
the ledger may be made anew.

Who puts one looks for the mark of removal before and after. A mark that comes later is made by a run that looks for
shields after it, and takes the mark back; so may one that came in between. The object stays in any case: what is left
of a set that went all the same is no set to be shielded, and goes with the next run.
"""

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup import layout
from chalicelib.backup.catalog import set_key
from chalicelib.backup.documents import DocumentInvalid, decode_document, read_document
from chalicelib.backup.objects import SetObjects
from chalicelib.backup.pruning.gathering import is_of_place, owner_of
from chalicelib.backup.reading import read_manifest
from chalicelib.backup.removal_mark import marked_among, refuse_marked
from chalicelib.clock import Clock, iso
from chalicelib.errors import Conflict, Unavailable
from chalicelib.ledger import Ledger
from chalicelib.settings import Settings

_LARGEST_BYTES = 10_000
_TOO_LATE = "backup {} was marked for removal this very moment; ask again in a minute whether the shield came in time"
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_STANDS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class Shield(msgspec.Struct, frozen=True):
    """Since when, ISO 8601 in UTC, and by whom; None where an object that is not of ours says neither."""

    kept_at: str | None = None
    kept_by: str | None = None


class Shields:
    def __init__(self, settings: Settings, ledger: Ledger, s3: Client, clock: Clock) -> None:
        self._bucket = settings.backup_bucket
        self._prefix = settings.s3_exports_prefix
        self._owner = owner_of(settings)
        self._objects = SetObjects.of(settings, s3)
        self._ledger = ledger
        self._s3 = s3
        self._clock = clock

    def keep(self, backup_date: str, by: str) -> Shield:
        """The shield that stands then; the first one counts. Also of a set that is still being made.

        Raises NotFound, saying what exists, and Conflict for a set that is being removed.
        """
        self._check(backup_date)
        standing = self.find(backup_date)
        if standing is not None:
            return standing
        shield = Shield(iso(self._clock()), by)
        standing = shield if self._put(backup_date, shield) else self.find(backup_date)
        if standing is None:
            raise Unavailable(f"the shield of backup {backup_date} was taken away while it was put there; ask again")
        if marked_among(self._ledger, [backup_date]):
            raise Conflict("backup_being_removed", _TOO_LATE.format(backup_date))
        return standing

    def release(self, backup_date: str) -> None:
        """Retention decides again; nothing to do for a set without a shield. Raises as `keep`."""
        self._check(backup_date)
        self._delete(backup_date)

    def find(self, backup_date: str) -> Shield | None:
        """Whatever the object says, it being there is what counts. Raises botocore's errors."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key(backup_date), **self._owner)
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise
        try:
            return decode_document(read_document(answer, _LARGEST_BYTES), Shield)
        except DocumentInvalid:
            return Shield()

    def _check(self, backup_date: str) -> None:
        if not (layout.BACKUP_DATE.match(backup_date) and self._exists(backup_date)):
            read_manifest(self._s3, self._bucket, self._prefix, backup_date)  # says which sets there are
        refuse_marked(self._ledger, [backup_date])

    def _exists(self, backup_date: str) -> bool:
        row = self._ledger.get(set_key(backup_date))
        if row is not None and is_of_place(row, self._bucket, self._prefix):
            return True
        start = layout.set_prefix(self._prefix, backup_date)
        answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=start, MaxKeys=1, **self._owner)
        return bool(answer.get("Contents"))

    def _put(self, backup_date: str, shield: Shield) -> bool:
        """False where another one was faster."""
        body = msgspec.json.encode(shield)
        try:
            self._objects.put_json(self._bucket, self._key(backup_date), body, IfNoneMatch="*")
        except ClientError as error:
            if error_code(error) not in _STANDS:
                raise
            return False
        return True

    def _delete(self, backup_date: str) -> None:
        self._s3.delete_object(Bucket=self._bucket, Key=self._key(backup_date), **self._owner)

    def _key(self, backup_date: str) -> str:
        return layout.keep_key(self._prefix, backup_date)
