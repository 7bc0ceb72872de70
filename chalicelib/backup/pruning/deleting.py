"""Taking a set away. The order, and what is left if the program stops right after each step:

1. the manifest is deleted, plainly   a set that readers no longer find; in a bucket with versions it is hidden
2. all else below the set's prefix    fewer objects
   but the tables' definitions, in
   every version
3. the definitions                    no objects; where the ledger is lost before, a rebuild finds by them that exports
                                      of these tables are missing: what is left is never taken for a whole set
4. the manifest's old versions        delete markers that hide nothing
5. its delete markers; before step 4  nothing in the bucket
   they would uncover an old manifest
6. the set's rows in the ledger       its mark, by which the next run finds it and does all this again

Every version is named, so that nothing stays behind and is paid for. In a bucket that never had versions they are
called "null", and deleting them by that name is deleting the object.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from chalicelib.aws import DENIED, Client
from chalicelib.backup import layout
from chalicelib.backup.catalog import set_key
from chalicelib.backup.pruning.gathering import is_of_place, owner_of
from chalicelib.backup.removal_mark import removal_key
from chalicelib.clock import Clock
from chalicelib.errors import OutOfTime
from chalicelib.ledger import Key, Ledger
from chalicelib.settings import Settings

# A listing of versions has as many, and DeleteObjects takes as many
# (https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html).
MOST_AT_ONCE = 1000
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
_TIMES_LOOKED = 3
Entry = dict[str, str]


class Refusal(msgspec.Struct, frozen=True):
    """Objects of a set that S3 does not delete: how many for one reason, and the first of them."""

    key: str
    code: str
    message: str
    count: int = 1

    @property
    def text(self) -> str:
        advice = "the next run tries again"
        if self.code in DENIED:
            advice = (
                "allow s3:DeleteObject and s3:DeleteObjectVersion there; where Object Lock or a legal hold keeps them,"
                " they stay until it ends, and the next run goes on"
            )
        return (
            f"{self.count} objects cannot be deleted, the first is {self.key} ({self.code}: {self.message}): {advice}"
        )


class _Last(NamedTuple):
    """What goes after all else: the tables' definitions, and the manifest's versions and delete markers."""

    definitions: list[Entry]
    versions: list[Entry]
    markers: list[Entry]


class SetDeleter:
    def __init__(self, settings: Settings, ledger: Ledger, s3: Client, clock: Clock) -> None:
        self._bucket = settings.backup_bucket
        self._prefix = settings.s3_exports_prefix
        self._owner = owner_of(settings)
        self._ledger = ledger
        self._s3 = s3
        self._clock = clock

    def hide(self, backup_date: str) -> None:
        """Without a manifest nobody restores from a set. Raises botocore's errors."""
        key = layout.manifest_key(self._prefix, backup_date)
        self._s3.delete_object(Bucket=self._bucket, Key=key, **self._owner)

    def delete_objects(self, backup_date: str, stop_at_ms: int) -> list[Refusal]:
        """What S3 refuses; nothing where the set's prefix is empty now. Of a set that is hidden.

        Raises OutOfTime at `stop_at_ms`, and botocore's errors.
        """
        for _ in range(_TIMES_LOOKED):
            last, refused = self._delete_all_else(backup_date, stop_at_ms)
            if refused:
                return refused
            refused = self._delete(last.definitions) or self._delete(last.versions) or self._delete(last.markers)
            if refused or self._is_empty(backup_date):
                return refused
        raise OutOfTime(f"something writes below the prefix of backup {backup_date} while it is being removed")

    def forget(self, backup_date: str) -> None:
        """The set's rows, but for its mark. A set of another bucket or prefix stands there still, and stays known."""
        standing = self._ledger.get(set_key(backup_date))
        if standing is not None and not is_of_place(standing, self._bucket, self._prefix):
            return
        keys = (Key(str(row["pk"]), str(row["sk"])) for row in self._ledger.query(set_key(backup_date).pk))
        self._ledger.delete_all([key for key in keys if key != removal_key(backup_date)])

    def _delete_all_else(self, backup_date: str, stop_at_ms: int) -> tuple["_Last", list[Refusal]]:
        """What is to be deleted last, and what S3 refuses of all else."""
        last = _Last([], [], [])
        refused: list[Refusal] = []
        for page in self._pages(backup_date):
            if self._clock() >= stop_at_ms:
                raise OutOfTime(
                    f"backup {backup_date} could not be removed in the time there was; the next run goes on"
                )
            others: list[Entry] = []
            for name, of_manifest in (("Versions", last.versions), ("DeleteMarkers", last.markers)):
                for entry in page.get(name, []):
                    place = self._place(backup_date, entry["Key"], of_manifest, last.definitions)
                    (others if place is None else place).append({"Key": entry["Key"], "VersionId": entry["VersionId"]})
            refused = _together([*refused, *self._delete(others)])
        return last, refused

    def _place(
        self, backup_date: str, key: str, of_manifest: list[Entry], definitions: list[Entry]
    ) -> list[Entry] | None:
        if key == layout.manifest_key(self._prefix, backup_date):
            return of_manifest
        folder = key.removeprefix(layout.set_prefix(self._prefix, backup_date)).partition("/")[0]
        return definitions if key == layout.definition_key(self._prefix, backup_date, folder) else None

    def _pages(self, backup_date: str) -> Iterator[dict[str, Any]]:
        start = layout.set_prefix(self._prefix, backup_date)
        request: dict[str, Any] = {"Bucket": self._bucket, "Prefix": start, "MaxKeys": MOST_AT_ONCE, **self._owner}
        while True:
            page = self._s3.list_object_versions(**request)
            yield page
            if not page.get("IsTruncated"):
                return
            request["KeyMarker"] = page["NextKeyMarker"]
            request["VersionIdMarker"] = page["NextVersionIdMarker"]

    def _delete(self, entries: Sequence[Entry]) -> list[Refusal]:
        refused: list[Refusal] = []
        for start in range(0, len(entries), MOST_AT_ONCE):
            delete = {"Objects": list(entries[start : start + MOST_AT_ONCE]), "Quiet": True}
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete=delete, **self._owner)
            refused += [
                Refusal(str(each.get("Key")), str(each.get("Code")), str(each.get("Message", "")))
                for each in answer.get("Errors", [])
                if each.get("Code") not in _GONE
            ]
        return _together(refused)

    def _is_empty(self, backup_date: str) -> bool:
        """An export that was given up may have ended meanwhile."""
        page = next(self._pages(backup_date))
        return not (page.get("Versions") or page.get("DeleteMarkers"))


def _together(refused: Sequence[Refusal]) -> list[Refusal]:
    by_code: dict[str, Refusal] = {}
    for each in refused:
        first = by_code.get(each.code)
        count = each.count + (first.count if first else 0)
        by_code[each.code] = msgspec.structs.replace(first or each, count=count)
    return list(by_code.values())
