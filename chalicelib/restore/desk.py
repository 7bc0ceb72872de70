"""Where restores are asked for: accept, look at, list, cancel. What the HTTP API calls.

Accepting writes a job (ACCEPTING), then its locks, then its parts, then moves it to PLANNING and wakes workers. It
may be cut off between any two of these: until the move nobody works on it, and `reconcile` ends a job that stayed
ACCEPTING for too long and gives its locks back. A wake that fails changes nothing: `reconcile` wakes workers later.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client, error_text
from chalicelib.backup.manifest import Manifest, ManifestTable
from chalicelib.backup.reading import latest_manifest, read_manifest
from chalicelib.clock import Clock
from chalicelib.errors import (
    Conflict,
    Fault,
    InvalidRequest,
    LedgerEntryCorrupt,
    NotFound,
    TablevaultError,
    Unavailable,
)
from chalicelib.ledger import decode
from chalicelib.restore.claims import shard_counts
from chalicelib.restore.datapath.unanswered import Unanswered
from chalicelib.restore.decision import NOT_ACCEPTED
from chalicelib.restore.model import CANCELLABLE, TERMINAL, Job, Kind, Shard, Stage, Status, Table
from chalicelib.restore.receipt import InFlight, findings, job_head, table_result
from chalicelib.restore.records import KIND, RestoreRecords, shard_sk, table_number
from chalicelib.restore.rejections import shard_reasons
from chalicelib.restore.requests import LATEST, MAX_TABLES, RestoreRequest, is_restore_id, target_faults
from chalicelib.restore.slots import Slots
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

_LOCK_TRIES = 3
_NAMED_IN_AN_ERROR = 20


class RestoreDesk:
    def __init__(
        self,
        settings: Settings,
        records: RestoreRecords,
        slots: Slots,
        s3: Client,
        clock: Clock,
        unanswered: Unanswered,
    ) -> None:
        self._unanswered = unanswered
        self._settings = settings
        self._records = records
        self._slots = slots
        self._s3 = s3
        self._clock = clock

    # --- accepting -------------------------------------------------------------------------------------------

    def accept(self, request: RestoreRequest, requested_by: str) -> Job:
        """Raises NotFound (set or table), Conflict (set incomplete, target locked), InvalidRequest, ManifestInvalid,
        Unavailable (no queue to wake workers with, or it took too long)."""
        manifest = self._manifest(request)
        sources = _sources(manifest, request)
        mapping = dict(request.target_tables or {})
        faults = target_faults(tuple(source.table_name for source in sources), mapping)
        faults += _scope_faults(sources, mapping, self._settings.ledger_table)
        if faults:
            raise InvalidRequest(faults)
        tables = [_table(number, source, mapping, request) for number, source in enumerate(sources)]
        job = self._new_job(request, manifest, tables, requested_by)
        self._slots.reach_queue()
        self._records.create_job(job)
        self._lock_targets(job)
        self._records.create_parts(job, tables, _first_shards(job, tables))
        if self._unanswered.remaining_ms():
            # A row that arrives late would undo what workers have written to it by then.
            self._give_back_locks(job, job.targets)
            self._records.discard_job(job.restore_id)
            raise Unavailable("the ledger did not answer in time; nothing was started; ask again")
        if not self._records.move(job, Status.PLANNING, self._clock()) and self._was_given_up(job):
            raise Unavailable(
                "accepting the restore took too long, and it was given up; nothing was touched; ask again"
            )
        self._wake(job.restore_id, min(len(tables), job.max_workers))
        return job

    def _wake(self, restore_id: str, wanted: int) -> None:
        """What was asked for stands in the ledger, and `reconcile` wakes whom this does not: no reason to fail."""
        try:
            self._slots.wake_free(restore_id, wanted, hop=0, now_ms=self._clock())
        except (ClientError, BotoCoreError, TablevaultError) as error:
            why = error_text(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"
            logger.warning("no worker woken; reconcile will", extra={"restore_id": restore_id, "error": why})

    def _was_given_up(self, job: Job) -> bool:
        """After a move that did not succeed: whether reconcile has ended the job, and gives its locks back. Otherwise
        the move took effect although its answer was lost, and workers may have carried the restore on since."""
        standing = self._records.job(job.restore_id)
        return standing is None or standing.reason == NOT_ACCEPTED

    def _manifest(self, request: RestoreRequest) -> Manifest:
        bucket, prefix = self._settings.backup_bucket, self._settings.s3_exports_prefix
        if request.backup_date == LATEST:
            return latest_manifest(self._s3, bucket, prefix, request.tables)
        return read_manifest(self._s3, bucket, prefix, request.backup_date)

    def _new_job(self, request: RestoreRequest, manifest: Manifest, tables: Sequence[Table], requested_by: str) -> Job:
        now_ms = self._clock()
        moment = datetime.fromtimestamp(now_ms / 1000, UTC)
        return Job(
            restore_id=f"r-{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}",
            status=Status.ACCEPTING,
            created_at_ms=now_ms,
            moved_at_ms=now_ms,
            bucket=self._settings.backup_bucket,
            exports_prefix=self._settings.s3_exports_prefix,
            backup_date=manifest.backup_date,
            dry_run=request.dry_run,
            clear_existing_data=request.clear_existing_data,
            safety_backup=request.takes_safety_backup,
            max_workers=request.max_workers,
            table_count=len(tables),
            targets=[] if request.dry_run else sorted(table.target for table in tables),
            requested_by=requested_by,
            open_kind=KIND,
        )

    def _lock_targets(self, job: Job) -> None:
        """All of them, in sorted order, or none: two restores that want the same tables cannot block each other."""
        for index, target in enumerate(job.targets):
            holder = self._take_lock(target, job.restore_id)
            if holder is not None:
                self._give_back_locks(job, job.targets[:index])
                self._records.discard_job(job.restore_id)
                raise Conflict(
                    "target_locked", f"table {target} is being restored by {holder}: wait for it, or cancel it"
                )

    def _take_lock(self, target: str, restore_id: str) -> str | None:
        """The restore that holds the lock, or None. A lock whose restore has ended is given back on the way."""
        holder = None
        for _ in range(_LOCK_TRIES):
            holder = self._records.take_lock(target, restore_id)
            if holder is None:
                return None
            job = self._records.job(holder)
            if job is not None and job.status not in TERMINAL:
                return holder
            self._records.release_lock(target, holder)
        return holder

    def _give_back_locks(self, job: Job, targets: Sequence[str]) -> None:
        for target in targets:
            self._records.release_lock(target, job.restore_id)

    # --- looking ---------------------------------------------------------------------------------------------

    def describe(self, restore_id: str) -> dict[str, Any]:
        """Status, progress per table, findings; of an ended restore, what its receipt says."""
        job = self._job(restore_id)
        tables = self._records.tables(restore_id)
        in_flight = self._in_flight(job)
        shards = {status.value: _phase_counts(tables, status) for status in (job.status,) if _is_phase(status)}
        return {
            **job_head(job),
            "receipt_key": job.receipt_key if job.open_kind is None else None,
            "phase_shards": shards.get(job.status.value),
            **findings(self._records, job, tables, in_flight),
            "tables": [table_result(job, table, in_flight.get(table.number)) for table in tables],
        }

    def _in_flight(self, job: Job) -> dict[int, InFlight]:
        """What the checkpoints of open shards say, by table. Only shards that slots hold: a few, not all."""
        if job.status not in (Status.LOADING, Status.CANCELLING):
            return {}
        held = sorted({slot.shard for slot in self._slots.all(job.restore_id).values() if slot.shard})
        found: dict[int, InFlight] = {}
        for shard in self._records.shards_by_key(job.restore_id, held):
            if shard.kind is not Kind.LOAD or shard.stage is not Stage.CHECKED:
                continue
            so_far = found.get(table_number(shard), InFlight())
            counts = Counter(so_far.counts) + Counter(shard_counts(shard))
            found[table_number(shard)] = InFlight(counts, (*so_far.reasons, *shard_reasons(shard)))
        return found

    def list_page(self, limit: int, before: str | None) -> tuple[list[dict[str, Any]], list[str]]:
        """Newest first; and the ids of restores whose rows cannot be read."""
        heads, corrupt = [], []
        for row in self._records.ledger.list_page(KIND, limit=limit, before=before):
            try:
                heads.append(job_head(decode(row, Job)))
            except (LedgerEntryCorrupt, ValueError, OverflowError):  # also a time out of any calendar
                corrupt.append(str(row.get("sort_name")))
        return heads, corrupt

    def cancel(self, restore_id: str) -> Job:
        """From any phase; what is written stays written. Raises Conflict when the restore has ended already."""
        while True:
            job = self._job(restore_id)
            if job.status is Status.CANCELLING:
                return job
            if job.status not in CANCELLABLE:
                raise Conflict("restore_not_cancellable", f"restore {restore_id} is {job.status}: nothing to cancel")
            if self._records.move(job, Status.CANCELLING, self._clock(), cancelled_in=job.status.value):
                # Workers see it at their next checkpoint. Where none is at work, this one ends the restore.
                self._wake(restore_id, 1)
                return self._job(restore_id)

    def _job(self, restore_id: str) -> Job:
        job = self._records.job(restore_id) if is_restore_id(restore_id) else None
        if job is None:
            raise NotFound("restore_not_found", f"no restore {restore_id[:60]!r}; GET /restores lists them")
        return job


def _sources(manifest: Manifest, request: RestoreRequest) -> list[ManifestTable]:
    """The tables of the set that are to be restored; every one of them must have been backed up."""
    if not manifest.tables:
        raise Conflict("backup_not_complete", f"backup {manifest.backup_date} has no tables: nothing to restore")
    names = [table.table_name for table in manifest.tables]
    asked = list(request.tables) if request.tables is not None else names
    unknown = [name for name in (*asked, *(request.target_tables or {})) if name not in names]
    if unknown:
        raise NotFound(
            "table_not_in_backup",
            f"backup {manifest.backup_date} has no {_some(dict.fromkeys(unknown))}; it has: {_some(names)}",
        )
    sources = [table for table in manifest.tables if table.table_name in set(asked)]
    failed = [table for table in sources if table.status == "FAILED"]
    if failed:
        reasons = [f"{table.table_name}: {table.why_failed}" for table in failed]
        good = [table.table_name for table in manifest.tables if table.status == "COMPLETED"]
        raise Conflict(
            "backup_not_complete",
            f"backup {manifest.backup_date} lacks tables that failed ({_some(reasons, '; ')}); "
            f"name the tables to restore: {_some(good) or 'none succeeded'}",
        )
    return sources


def _some(texts: Iterable[str], joint: str = ", ") -> str:
    every = list(texts)
    more = f" and {len(every) - _NAMED_IN_AN_ERROR} more" if len(every) > _NAMED_IN_AN_ERROR else ""
    return joint.join(every[:_NAMED_IN_AN_ERROR]) + more


def _scope_faults(sources: Sequence[ManifestTable], mapping: Mapping[str, str], ledger_table: str) -> list[Fault]:
    faults = []
    if len(sources) > MAX_TABLES:
        text = f"the set has {len(sources)} tables, one restore takes at most {MAX_TABLES}: name those to restore"
        faults.append(Fault("$.tables", text))
    if any(mapping.get(source.table_name, source.table_name) == ledger_table for source in sources):
        # The restore would clear or overwrite the rows it works by, and all locks.
        text = f"{ledger_table} is tablevault's own ledger and no target: name another table, or leave it out"
        faults.append(Fault("$.target_tables", text))
    return faults


def _table(number: int, source: ManifestTable, mapping: Mapping[str, str], request: RestoreRequest) -> Table:
    return Table(
        source=source.table_name,
        target=mapping.get(source.table_name, source.table_name),
        number=number,
        item_count=source.item_count,
        manifest_files_key=str(source.manifest_files_key),
        manifest_files_md5=source.manifest_files_md5,
        definition_key=str(source.definition_key),
        safeguarding_total=int(request.takes_safety_backup),
    )


def _first_shards(job: Job, tables: Sequence[Table]) -> list[Shard]:
    """One per table for all that is not split further; planning adds the others."""
    kinds = [Kind.PLAN, Kind.TARGET, Kind.VERIFY, *([Kind.SAFEGUARD] if job.safety_backup else [])]
    return [
        Shard(sk=shard_sk(kind, table.number, 0), kind=kind, source=table.source, number=0)
        for kind in kinds
        for table in tables
    ]


def _is_phase(status: Status) -> bool:
    return status not in TERMINAL and status not in (Status.ACCEPTING, Status.CANCELLING)


def _phase_counts(tables: Sequence[Table], status: Status) -> dict[str, int]:
    counts = [table.phase(status) for table in tables]
    return {
        "total": sum(count.total for count in counts),
        "ended": sum(count.ended for count in counts),
        "failed": sum(count.failed for count in counts),
    }
