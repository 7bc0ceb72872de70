"""What stands in bucket and ledger, as plain data for the decision.

Two calls a set, many at a time: a year of sets takes seconds. Whatever cannot be read for a passing reason is raised:
a set that looks absent because of it would let those go that it builds on, and those that it makes good for count.

Folders that no one can tell to be of ours are left alone: without a manifest, without rows in the ledger, and without
a `table.json`, which stands beside every export before it is started. Other backups may have such names too.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.catalog import KIND, Catalog, set_key
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.pruning.removals import Mark, Removals, Stage
from chalicelib.backup.reading import find_manifest, set_names
from chalicelib.backup.retention.found import FoundSet, FoundStatus, broken_of, tables_of
from chalicelib.clock import Clock
from chalicelib.errors import LedgerEntryCorrupt, ManifestInvalid, NotFound, Unavailable
from chalicelib.ledger import KIND_INDEX, Ledger, Row
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

POOL_SIZE = 20
_MOST_FOLDERS_LOOKED_AT = 50
_MOST_PAGES = 50  # of a thousand objects and folders
Tables = dict[str, tuple[str, ...]]
SetsRead = Callable[[], Collection[str]]
T = TypeVar("T")
U = TypeVar("U")


class Picture(NamedTuple):
    """`sets`: all that there is to decide about. `going`: those whose removal has begun, and whose manifest still
    stands. `strangers`: folders that are named as sets are, and are none of ours. `marks`: by name."""

    sets: list[FoundSet]
    going: list[FoundSet]
    strangers: list[str]
    marks: dict[str, Mark]


class _Listed(NamedTuple):
    """What stands directly below a set's prefix."""

    has_manifest: bool
    has_shield: bool
    has_others: bool
    folders: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.has_shield or self._has_more)

    @property
    def is_shield_alone(self) -> bool:
        return self.has_shield and not self._has_more

    @property
    def _has_more(self) -> bool:
        return bool(self.has_manifest or self.has_others or self.folders)


class _Known(NamedTuple):
    """What the ledger knows of the sets, before the bucket is asked for each."""

    rows: Mapping[str, Row]  # SET rows of this bucket and prefix, as they stand
    marks: Mapping[str, Mark]
    read: Collection[str]


def in_parallel(work: Callable[[T], U], things: Iterable[T]) -> list[U]:
    """Results in order. Raises the first error at once, and begins nothing more then."""
    with ThreadPoolExecutor(POOL_SIZE) as pool:
        try:
            return list(pool.map(work, things))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Gatherer:
    def __init__(self, settings: Settings, ledger: Ledger, s3: Client, clock: Clock, sets_read: SetsRead) -> None:
        """`sets_read`: the names of the sets that restores read which have not ended."""
        self._bucket = settings.backup_bucket
        self._prefix = settings.s3_exports_prefix
        self._owner = owner_of(settings)
        self._ledger = ledger
        self._catalog = Catalog(ledger)
        self._removals = Removals(ledger, clock)
        self._s3 = s3
        self._clock = clock
        self._sets_read = sets_read

    def gather(self, stop_at_ms: int | None = None) -> Picture:
        """Raises Unavailable at `stop_at_ms`, LedgerEntryCorrupt for a mark that cannot be read, and botocore's errors:
        then nothing must be removed."""
        names = self._names()
        known = self._known(names)
        found = in_parallel(partial(self._look_at, known, stop_at_ms), names)
        pairs = list(zip(names, found, strict=True))
        begun = {name for name, mark in known.marks.items() if mark.stage is Stage.REMOVING}
        return Picture(
            sets=[each for name, each in pairs if isinstance(each, FoundSet) and name not in begun],
            going=[each for name, each in pairs if isinstance(each, FoundSet) and name in begun],
            strangers=[name for name, each in pairs if each is _STRANGER],
            marks=dict(known.marks),
        )

    def _names(self) -> list[str]:
        in_bucket = set_names(self._s3, self._bucket, self._prefix)
        in_ledger = (str(row["pk"]).removeprefix("BACKUP#") for row in self._ledger.query_index(KIND_INDEX, KIND))
        marked = (mark.backup_date for mark in self._removals.all())
        return sorted({*in_bucket, *in_ledger, *marked})

    def _known(self, names: list[str]) -> _Known:
        rows = (row for row in self._ledger.get_many([set_key(name) for name in names]) if self._is_here(row))
        return _Known(
            rows={str(row["pk"]).removeprefix("BACKUP#"): row for row in rows},
            marks={mark.backup_date: mark for mark in self._removals.of(names)},
            read=frozenset(self._sets_read()),
        )

    def _is_here(self, row: Row) -> bool:
        return is_of_place(row, self._bucket, self._prefix)

    def _look_at(self, known: _Known, stop_at_ms: int | None, name: str) -> "FoundSet | _Stranger | None":
        if stop_at_ms is not None and self._clock() >= stop_at_ms:
            raise Unavailable("looking at all backups took too long, so nothing was decided; try again")
        row, mark, listed = known.rows.get(name), known.marks.get(name), self._listed(name)
        if listed.is_empty and row is None:
            return None
        is_begun = mark is not None and mark.stage is Stage.REMOVING
        if is_begun and not listed.has_manifest:
            return None
        if not (listed.has_manifest or listed.has_shield or row or mark or self._is_ours(name, listed)):
            return _STRANGER
        found = self._found(name, listed, row)
        # A shield alone is what is left of a set that went while it was shielded.
        is_shielded = listed.has_shield and not (listed.is_shield_alone and row is None)
        return msgspec.structs.replace(found, is_shielded=is_shielded, is_read=name in known.read)

    def _listed(self, name: str) -> _Listed:
        """Of a folder with very many objects the first ones: none of ours has so many beside its tables' folders."""
        start = layout.set_prefix(self._prefix, name)
        manifest, shield = layout.manifest_key(self._prefix, name), layout.keep_key(self._prefix, name)
        found: set[str] = set()
        has_others = False
        folders: list[str] = []
        for number, page in enumerate(pages_of(self._s3, self._bucket, start, self._owner, delimiter="/")):
            keys = {each["Key"] for each in page.get("Contents", [])}
            found |= keys & {manifest, shield}
            has_others = has_others or bool(keys - {manifest, shield})
            folders += [each["Prefix"].removeprefix(start).rstrip("/") for each in page.get("CommonPrefixes", [])]
            if number + 1 == _MOST_PAGES:
                found |= {key for key in (manifest, shield) if self._stands(key)}
                break
        return _Listed(manifest in found, shield in found, has_others, folders)

    def _stands(self, key: str) -> bool:
        answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1, **self._owner)
        return any(each["Key"] == key for each in answer.get("Contents", []))

    def _is_ours(self, name: str, listed: _Listed) -> bool:
        for folder in listed.folders[:_MOST_FOLDERS_LOOKED_AT]:
            if self._stands(layout.definition_key(self._prefix, name, folder)):
                return True
        return False

    def _found(self, name: str, listed: _Listed, row: Row | None) -> FoundSet:
        is_open = row is not None and "open_kind" in row
        try:
            manifest = self._manifest(name) if listed.has_manifest else None
        except ManifestInvalid as error:
            fields = {"backup_date": name, "error": error.message}
            logger.warning("backup is kept whatever its age: its manifest cannot be read", extra=fields)
            return FoundSet(backup_date=name, status=FoundStatus.UNREADABLE, tables=self._by_ledger(name, row) or {})
        if is_open:
            return self._open(name, row, manifest)
        if manifest is None:
            return FoundSet(backup_date=name, status=FoundStatus.UNFINISHED, tables=self._by_ledger(name, row) or {})
        status = FoundStatus(manifest.status)
        return FoundSet(backup_date=name, status=status, tables=tables_of(manifest), broken=broken_of(manifest))

    def _manifest(self, name: str) -> Manifest | None:
        found = find_manifest(self._s3, self._bucket, self._prefix, name)
        return found[0] if found else None

    def _open(self, name: str, row: Row | None, manifest: Manifest | None) -> FoundSet:
        tables = self._by_ledger(name, row)
        if tables is None:  # what it will build on is not known
            return FoundSet(backup_date=name, status=FoundStatus.UNREADABLE)
        of_manifest = tables_of(manifest) if manifest else {}
        both = {each: (*of_manifest.get(each, ()), *tables.get(each, ())) for each in (*of_manifest, *tables)}
        return FoundSet(backup_date=name, status=FoundStatus.OPEN, tables=both)

    def _by_ledger(self, name: str, row: Row | None) -> Tables | None:
        """What each table's export builds on, by its row; None where rows are missing or cannot be read. A table of an
        open set may have no row yet: when it gets one, it must not build on a set that is marked."""
        if row is None:
            return None
        try:
            record = self._catalog.record(name)
        except (LedgerEntryCorrupt, NotFound):
            return None
        if record.corrupt or (record.missing() and not record.set.is_open):
            return None
        rows = ((table, record.exports_of(table)) for table in record.set.tables)
        return {table: tuple({link.backup_date: None for link in of[0].base}) for table, of in rows if of}


class _Stranger:
    """A folder that is none of ours."""


_STRANGER = _Stranger()


def owner_of(settings: Settings) -> dict[str, str]:
    """For calls to the bucket: it must be of this account, where one is set."""
    return {"ExpectedBucketOwner": settings.backup_bucket_owner} if settings.backup_bucket_owner else {}


def is_of_place(row: Row, bucket: str, exports_prefix: str) -> bool:
    """Whether a SET row is of a set in this place. The bucket or the prefix may have been others once: what stands
    there is not of this stage any more, and stays."""
    return (row.get("s3_bucket"), row.get("exports_prefix")) == (bucket, exports_prefix)


def pages_of(
    s3: Client, bucket: str, start: str, owner: Mapping[str, str], *, delimiter: str = ""
) -> Iterator[dict[str, Any]]:
    """ListObjectsV2, page by page."""
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": start, "Delimiter": delimiter, **owner}
    while True:
        page = s3.list_objects_v2(**request)
        yield page
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]
