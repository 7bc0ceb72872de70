"""Where restores are asked for: accept, look at, list, cancel, carry on. What the HTTP API calls.

Accepting writes a job (ACCEPTING), then its locks, then its parts, then moves it to PLANNING and wakes workers. It
may be cut off between any two of these: until the move nobody works on it, and `reconcile` ends a job that stayed
ACCEPTING for too long and gives its locks back. A wake that fails changes nothing: `reconcile` wakes workers later.
"""

import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client, error_text
from chalicelib.backup import layout
from chalicelib.backup.definition import read_definition
from chalicelib.backup.manifest import Manifest, ManifestTable
from chalicelib.backup.reading import latest_manifest, read_manifest
from chalicelib.backup.removal_mark import refuse_marked
from chalicelib.clock import Clock
from chalicelib.errors import Conflict, Fault, InvalidRequest, NotFound, TablevaultError, Unavailable
from chalicelib.restore import asked_keys, overview
from chalicelib.restore.acceptance import first_shards, scope_faults, sets_of, sources_of, table_of
from chalicelib.restore.datapath.unanswered import Unanswered
from chalicelib.restore.decision import NOT_ACCEPTED
from chalicelib.restore.locks import Locks
from chalicelib.restore.model import CANCELLABLE, Comparison, Job, Mode, Status, Table
from chalicelib.restore.records import KIND, RestoreRecords
from chalicelib.restore.requests import LATEST, RestoreRequest, is_restore_id
from chalicelib.restore.resuming import Resuming
from chalicelib.restore.slots import Slots
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")


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
        self._locks = Locks(records)

    # --- accepting -------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """A name for a restore; by it they sort by time."""
        moment = datetime.fromtimestamp(self._clock() / 1000, UTC)
        return f"r-{moment:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"

    def accept(self, request: RestoreRequest, requested_by: str, restore_id: str | None = None) -> Job:
        """Raises NotFound (set or table), Conflict (set incomplete or being removed, target locked), InvalidRequest,
        ManifestInvalid, Unavailable (no queue to wake workers with, or it took too long).

        `restore_id`: chosen by an earlier request with the same `Idempotency-Key`; Conflict while that one is still
        being accepted.
        """
        manifest = self._manifest(request)
        sources = sources_of(manifest, request)
        faults = scope_faults(sources, request, self._settings.ledger_table)
        if faults:
            raise InvalidRequest(faults)
        tables = [table_of(number, source, request) for number, source in enumerate(sources)]
        job = self._new_job(restore_id or self.new_id(), request, manifest, tables, requested_by)
        if request.keys is not None:
            self._check_keys(sources[0], request)
        self._slots.reach_queue()
        if not self._records.create_job(job):
            raise Conflict(
                "request_in_progress", "the first request with this Idempotency-Key is still being accepted; ask again"
            )
        self._write_down(job, request, tables, sources)
        self._wake(job.restore_id, min(len(tables), job.max_workers))
        return msgspec.structs.replace(job, status=Status.PLANNING)

    def _write_down(
        self, job: Job, request: RestoreRequest, tables: Sequence[Table], sources: Sequence[ManifestTable]
    ) -> None:
        unanswered_ms = self._unanswered.over_at_ms
        try:
            # After the job was written: a mark that comes later is made by a run that finds this job.
            refuse_marked(self._records.ledger, sets_of(job.backup_date, sources))
            self._locks.take_all(job)
        except Conflict:
            self._records.discard_job(job)
            raise
        if request.keys is not None:
            asked_keys.write(self._s3, job, request.keys)
        self._records.create_parts(job, tables, first_shards(job, tables, sources))
        if self._unanswered.over_at_ms != unanswered_ms:
            # A row that arrives late would undo what workers have written to it by then: nothing is ever done under
            # this id, also not for the next request with the same key. `reconcile` closes it.
            self._locks.give_back(job, job.targets)
            given_up: dict[str, Any] = {"reason": NOT_ACCEPTED, "finished_at_ms": self._clock(), "status_code": 500}
            given_up["receipt_key"] = layout.receipt_key(job.restore_id)
            self._records.move(job, Status.FAILED, self._clock(), **given_up)
            raise Unavailable("the ledger did not answer in time; nothing was started; ask again")
        if not self._records.move(job, Status.PLANNING, self._clock()) and self._was_given_up(job):
            raise Unavailable(
                "accepting the restore took too long, and it was given up; nothing was touched; ask again"
            )

    def _check_keys(self, source: ManifestTable, request: RestoreRequest) -> None:
        """Raises InvalidRequest where an asked key is no key of the table that was backed up, ExportInvalid where its
        definition cannot be read."""
        definition = read_definition(self._s3, self._settings.backup_bucket, str(source.definition_key))
        found = asked_keys.faults(definition, request.keys or ())
        if found:
            raise InvalidRequest([Fault(path, message) for path, message in found])

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
        return standing is None or is_not_accepted(standing)

    def _manifest(self, request: RestoreRequest) -> Manifest:
        bucket, prefix = self._settings.backup_bucket, self._settings.s3_exports_prefix
        if request.backup_date == LATEST:
            return latest_manifest(self._s3, bucket, prefix, request.tables)
        return read_manifest(self._s3, bucket, prefix, request.backup_date)

    def _new_job(
        self,
        restore_id: str,
        request: RestoreRequest,
        manifest: Manifest,
        tables: Sequence[Table],
        requested_by: str,
    ) -> Job:
        now_ms = self._clock()
        return Job(
            restore_id=restore_id,
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
            holder=secrets.token_hex(8),
            mode=Mode(request.mode),
            comparison=Comparison(request.verify),
            key_count=len(request.keys or ()),
            keys_digest=asked_keys.digest(request.keys) if request.keys is not None else None,
            create_missing_tables=request.create_missing_tables,
            max_write_units=request.max_write_units,
            plan_digest=request.plan_digest,
            open_kind=KIND,
        )

    # --- looking ---------------------------------------------------------------------------------------------

    def find(self, restore_id: str) -> Job | None:
        return self._records.job(restore_id) if is_restore_id(restore_id) else None

    def describe(self, restore_id: str) -> dict[str, Any]:
        """Status, progress per table, findings; of an ended restore, what its receipt says."""
        return overview.describe(self._records, self._slots, self._job(restore_id))

    def list_page(self, limit: int, before: str | None) -> tuple[list[dict[str, Any]], list[str]]:
        """Newest first; and the ids of restores whose rows cannot be read."""
        return overview.list_page(self._records, limit, before)

    # --- ending, and carrying on -----------------------------------------------------------------------------

    def cancel(self, restore_id: str) -> Job:
        """From any phase; what is written stays written. Raises Conflict when the restore has ended already."""
        while True:
            job = self._job(restore_id)
            if job.status is Status.CANCELLING:
                return job
            if job.status not in CANCELLABLE:
                raise Conflict("restore_not_cancellable", f"restore {restore_id} is {job.status}: nothing to cancel")
            cancelled_in = job.resume_to if job.status is Status.REOPENING else job.status
            told = cancelled_in.value if cancelled_in else None
            if self._records.move(job, Status.CANCELLING, self._clock(), cancelled_in=told):
                # Workers see it at their next checkpoint. Where none is at work, this one ends the restore.
                self._wake(restore_id, 1)
                return self._job(restore_id)

    def resume(self, restore_id: str) -> Job:
        """A cancelled restore goes on where it was cancelled. Raises Conflict in any other state, or where a target is
        being restored by another one by now, or a set that it reads is being removed."""
        return self._carry_on(self._resuming.resume(self._job(restore_id)))

    def retry_failed(self, restore_id: str) -> Job:
        """What failed of an ended restore is tried again, from the last checkpoints. Raises Conflict where nothing did,
        or as `resume`."""
        return self._carry_on(self._resuming.retry_failed(self._job(restore_id)))

    @property
    def _resuming(self) -> Resuming:
        return Resuming(self._records, self._locks, self._slots, self._clock)

    def _carry_on(self, job: Job) -> Job:
        self._wake(job.restore_id, min(job.table_count, job.max_workers))
        return job

    def _job(self, restore_id: str) -> Job:
        job = self.find(restore_id)
        if job is None:
            raise NotFound("restore_not_found", f"no restore {restore_id[:60]!r}; GET /restores lists them")
        return job


def is_not_accepted(job: Job) -> bool:
    """Whether a restore was given up while it was still being written down."""
    return job.reason == NOT_ACCEPTED
