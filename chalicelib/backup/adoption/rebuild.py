"""Rebuilding the backup side of the ledger from the bucket alone: asked for once, carried on by reconcile.

`LEDGER#REBUILD` / `RUN`   the rebuild that runs, or the last one that ran: where it is, and what it found

The bucket's sets are walked through twice. First newest first, for what has a manifest: soon there is something to
show. Then oldest first, for what has none, since increments in such a set may continue exports of an older such set.
Each set is on its own, and may be looked at again: what is left if the program stops is the cursor before it. The
counts are of steps that were written down, so a set that was adopted right before a stop is counted as known.
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from boto3.dynamodb.conditions import Attr

from chalicelib.aws import Client
from chalicelib.backup.adoption.adopter import Adopter
from chalicelib.backup.catalog import KIND, Catalog
from chalicelib.backup.documents import shown
from chalicelib.backup.failures import AwsError, may_pass
from chalicelib.backup.reading import set_names
from chalicelib.clock import Clock, iso
from chalicelib.errors import ManifestInvalid, NotFound, TablevaultError
from chalicelib.ledger import ConditionFailed, Key, Ledger, Put, absent, decode
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

LEDGER = "LEDGER"
_KEY = Key(f"{LEDGER}#REBUILD", "RUN")
_SHARE_MS = 20 * 1000  # of reconcile's time: backups that are being made go on meanwhile
_MOST_TRIES = 10
_MOST_PROBLEMS = 50


class Problem(msgspec.Struct, frozen=True):
    backup_date: str
    message: str


class RebuildRow(msgspec.Struct, frozen=True, kw_only=True):
    """`cursor`: the last set that was done with in this phase. `tries`: how many runs began with the one after it.
    `step` counts the writes: each is made only by the run that saw the one before it."""

    status: Literal["OPEN", "COMPLETED"] = "OPEN"
    asked_by: str
    started_at_ms: int
    opened_at_ms: int
    finished_at_ms: int | None = None
    phase: Literal["MANIFESTS", "EXPORTS"] = "MANIFESTS"
    cursor: str | None = None
    tries: int = 0
    step: int = 0
    sets: int = 0
    adopted: int = 0
    known: int = 0
    removed: int = 0
    tables_added: int = 0
    problems: tuple[Problem, ...] = ()
    problems_total: int = 0
    open_kind: str | None = KIND


class _Seen(msgspec.Struct, frozen=True):
    """What became of one set: how much each count grows."""

    adopted: int = 0
    known: int = 0
    removed: int = 0
    tables_added: int = 0
    problem: str | None = None


class Rebuild:
    def __init__(self, settings: Settings, ledger: Ledger, adopter: Adopter, s3: Client, clock: Clock) -> None:
        self._settings = settings
        self._ledger = ledger
        self._catalog = Catalog(ledger)
        self._adopter = adopter
        self._s3 = s3
        self._clock = clock

    def start(self, by: str) -> dict[str, Any]:
        """Begins one, or tells of the one that runs. `by`: who asks."""
        now_ms = self._clock()
        row = RebuildRow(asked_by=by, started_at_ms=now_ms, opened_at_ms=now_ms)
        try:
            self._ledger.write(Put(_KEY, _plain(row), absent() | Attr("status").eq("COMPLETED")))
        except ConditionFailed:
            return self.describe()
        logger.info("rebuild of the ledger asked for", extra={"asked_by": by})
        return _shown(row)

    def describe(self) -> dict[str, Any]:
        """The rebuild that runs, or the last one. Raises NotFound, and LedgerEntryCorrupt."""
        row = self._row()
        if row is None:
            raise NotFound("rebuild_not_found", "no rebuild was asked for; POST /ledger/rebuild starts one")
        return _shown(row)

    def carry_on(self, name: str, stop_at_ms: int) -> None:
        """As far as it comes until then, in epoch milliseconds. Raises botocore's errors of listing the sets."""
        row = self._row()
        if row is None or row.status != "OPEN":
            return
        stop_at_ms = min(stop_at_ms, self._clock() + _SHARE_MS)
        begun = self._write(row, tries=row.tries + 1)
        names = set_names(self._s3, self._settings.backup_bucket, self._settings.s3_exports_prefix)
        while begun is not None and begun.status == "OPEN" and self._clock() < stop_at_ms:
            left = _left(begun, names)
            begun = self._done_with(begun, left[0]) if left else self._next_phase(begun)

    def _done_with(self, row: RebuildRow, name: str) -> RebuildRow | None:
        """None where the set is left to the next run, or another run is at it."""
        if row.tries > _MOST_TRIES:
            seen: _Seen | None = _Seen(
                problem=f"it could not be looked at in {_MOST_TRIES} runs; reconcile's log says why"
            )
        else:
            seen = self._seen(row, name)
        return None if seen is None else self._write(row, **_counted(row, name, seen))

    def _seen(self, row: RebuildRow, name: str) -> _Seen | None:
        fields = {"backup_date": name, "phase": row.phase}
        try:
            return self._with_manifest(name) if row.phase == "MANIFESTS" else self._without_manifest(name)
        except AwsError as error:
            if may_pass(error):
                logger.warning("rebuild goes on later", extra={**fields, "error": str(error)})
                return None
            trouble = str(error)
        except TablevaultError as error:
            if error.retryable:
                logger.warning("rebuild goes on later", extra={**fields, "error": error.message})
                return None
            trouble = error.message
        except Exception as error:  # whatever is wrong with one set, the next one still has its turn
            logger.error("set cannot be adopted", exc_info=error, extra=fields)
            trouble = f"{type(error).__name__}: {error}"
        logger.warning("set is not adopted", extra={**fields, "error": shown(trouble, 1000)})
        return _Seen(problem=trouble)

    def _with_manifest(self, name: str) -> _Seen:
        if self._adopter.is_being_removed(name):
            return _Seen(removed=1)
        set_row = self._catalog.set_row(name)
        if set_row is not None and set_row.is_open:
            return _Seen(known=1)
        manifest = self._adopter.manifest(name)
        if set_row is None:
            if manifest is None:
                return _Seen()
            return _Seen(adopted=1) if self._adopter.adopt_manifest(manifest) else _Seen(known=1)
        added = self._adopter.complete_from(self._catalog.record(name), manifest) if manifest else 0
        return _Seen(known=1, tables_added=added)

    def _without_manifest(self, name: str) -> _Seen:
        if self._adopter.is_being_removed(name):
            return _Seen()
        set_row = self._catalog.set_row(name)
        if set_row is not None:
            return _Seen(tables_added=0 if set_row.is_open else self._adopter.add_exports(self._catalog.record(name)))
        try:
            manifest = self._adopter.manifest(name)
        except ManifestInvalid:
            return _Seen()  # it was named as a problem in the first phase, and what it says is not known
        if manifest is not None:
            return _Seen(adopted=int(self._adopter.adopt_manifest(manifest)))
        if self._adopter.adopt_set(name):
            return _Seen(adopted=1)
        is_known = self._catalog.set_row(name) is not None
        return _Seen() if is_known else _Seen(problem="it has no manifest, and no export that was ever begun")

    def _next_phase(self, row: RebuildRow) -> RebuildRow | None:
        if row.phase == "MANIFESTS":
            return self._write(row, phase="EXPORTS", cursor=None, tries=0)
        finished = self._write(row, status="COMPLETED", open_kind=None, finished_at_ms=self._clock())
        if finished is not None:
            fields = {"sets": finished.sets, "adopted": finished.adopted, "problems": finished.problems_total}
            logger.info("ledger rebuilt", extra=fields)
        return finished

    def _row(self) -> RebuildRow | None:
        row = self._ledger.get(_KEY)
        return None if row is None else decode(row, RebuildRow)

    def _write(self, row: RebuildRow, **changes: Any) -> RebuildRow | None:
        """None where another run was faster."""
        following = msgspec.structs.replace(row, step=row.step + 1, **changes)
        condition = Attr("step").eq(row.step) & Attr("started_at_ms").eq(row.started_at_ms)
        try:
            self._ledger.write(Put(_KEY, _plain(following), condition))
        except ConditionFailed:
            return None
        return following


def _left(row: RebuildRow, names: Sequence[str]) -> list[str]:
    """`names`: newest first."""
    if row.phase == "MANIFESTS":
        return [name for name in names if row.cursor is None or name < row.cursor]
    return [name for name in reversed(names) if row.cursor is None or name > row.cursor]


def _counted(row: RebuildRow, name: str, seen: _Seen) -> dict[str, Any]:
    problems = row.problems
    if seen.problem is not None and len(problems) < _MOST_PROBLEMS:
        problems = (*problems, Problem(name, shown(seen.problem, 500)))
    return {
        "cursor": name,
        "tries": 0,
        "sets": row.sets + (row.phase == "MANIFESTS"),
        "adopted": row.adopted + seen.adopted,
        "known": row.known + seen.known,
        "removed": row.removed + seen.removed,
        "tables_added": row.tables_added + seen.tables_added,
        "problems": problems,
        "problems_total": row.problems_total + (seen.problem is not None),
    }


def _shown(row: RebuildRow) -> dict[str, Any]:
    return {
        "status": row.status,
        "asked_by": row.asked_by,
        "started_at": iso(row.started_at_ms),
        "finished_at": None if row.finished_at_ms is None else iso(row.finished_at_ms),
        "phase": row.phase,
        "cursor": row.cursor,
        "sets": row.sets,
        "adopted": row.adopted,
        "known": row.known,
        "removed": row.removed,
        "tables_added": row.tables_added,
        "problems": [{"backup_date": each.backup_date, "message": each.message} for each in row.problems],
        "problems_total": row.problems_total,
        "links": {"self": "/ledger/rebuild"},
    }


def _plain(row: RebuildRow) -> dict[str, Any]:
    """The ledger holds no nulls."""
    return {name: value for name, value in msgspec.to_builtins(row).items() if value is not None}
