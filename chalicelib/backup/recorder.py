"""Recording exports that ended. An event is a hint, DescribeExport decides, and the files in the bucket must agree.

Events come twice, late, in any order, before the ledger knows of their export, or never; `record` and `check` (which
reconcile calls) may run for one export at the same time. What is left if the program stops: before the row is
COMPLETED, an export that reconcile checks again; after it, an open set that reconcile finishes.
"""

import logging
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup import layout
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.failures import explained, is_permanent
from chalicelib.backup.plan import with_token
from chalicelib.backup.rows import ExportRow, SetRow
from chalicelib.backup.running import is_of, started_at_ms
from chalicelib.backup.states import ExportState
from chalicelib.backup.verification import VerifiedExport, verify_export
from chalicelib.clock import Clock, epoch_ms
from chalicelib.errors import ExportInvalid, ExportNotReadable, Unavailable

logger = logging.getLogger("tablevault")

WAIT_FOR_FILES_MS = 3600 * 1000
MOST_ATTEMPTS = 3
_TRIES = 4


class Outcome(StrEnum):
    RECORDED = "recorded"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    TRIED_AGAIN = "tried_again"
    NOT_READABLE_YET = "not_readable_yet"
    ALREADY_RECORDED = "already_recorded"
    ADOPTED = "adopted"  # it had no row, and has one now
    # Ignored, and why: nothing was changed.
    SET_IS_REMOVED = "set_is_removed"
    FOREIGN_BUCKET = "foreign_bucket"
    FOREIGN_KEY = "foreign_key"
    UNKNOWN_SET = "unknown_set"
    UNKNOWN_TABLE = "unknown_table"
    UNKNOWN_EXPORT = "unknown_export"
    ANOTHER_EXPORT = "another_export"


class _Case(msgspec.Struct, frozen=True):
    """An export that says of itself that it belongs to a row of the ledger."""

    set: SetRow
    row: ExportRow
    export_arn: str

    @property
    def is_the_rows_own(self) -> bool:
        return self.row.export_arn == self.export_arn


class Recorder:
    def __init__(self, catalog: Catalog, dynamodb: Client, s3: Client, clock: Clock) -> None:
        self._catalog = catalog
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock

    def record(self, said: layout.SummaryKey) -> Outcome:
        """An export whose summary was seen in the bucket. Raises LedgerEntryCorrupt and botocore's errors."""
        set_row = self._catalog.set_row(said.backup_date)
        if set_row is None:
            return Outcome.UNKNOWN_SET
        if said.table_name not in set_row.tables:
            return Outcome.UNKNOWN_TABLE
        for _ in range(_TRIES):
            rows = self._catalog.exports_of(said.backup_date, said.table_name)
            if not rows or rows[0].parameters is None:
                return Outcome.UNKNOWN_EXPORT
            export_arn = f"{rows[0].parameters.table_arn}/export/{said.export_id}"
            row = self._row_of(rows, export_arn)
            if row is None:
                return Outcome.UNKNOWN_EXPORT
            outcome = self._settled(row, export_arn) or self._judge(_Case(set_row, row, export_arn))
            if outcome is not None:
                return _for_good(row, outcome)
        raise Unavailable(f"the export of {said.table_name} changes while it is recorded; try again")

    def check(self, set_row: SetRow, row: ExportRow) -> Outcome:
        """An export that is IN_PROGRESS in the ledger. Raises botocore's errors."""
        if row.export_arn is None:
            raise ValueError(f"export of {row.table_name} is {row.status} without an ARN")
        return self._judge(_Case(set_row, row, row.export_arn)) or Outcome.IN_PROGRESS

    def _row_of(self, rows: Sequence[ExportRow], export_arn: str) -> ExportRow | None:
        """Which of a table's exports this is: the one it was started as, or, before that is written down, the one with
        its window."""
        own = [row for row in rows if row.export_arn == export_arn]
        if own or len(rows) == 1:
            return (own or list(rows))[0]
        try:
            export = self._dynamodb.describe_export(ExportArn=export_arn)["ExportDescription"]
        except ClientError as error:
            if error_code(error) != "ExportNotFoundException":
                raise
            return None
        return next((row for row in rows if row.parameters is not None and is_of(export, row.parameters)), None)

    def _settled(self, row: ExportRow, export_arn: str) -> Outcome | None:
        """Where the ledger alone can answer."""
        if row.status is ExportState.COMPLETED:
            return Outcome.ALREADY_RECORDED if row.export_arn == export_arn else Outcome.ANOTHER_EXPORT
        if row.status is ExportState.IN_PROGRESS and row.export_arn != export_arn:
            return Outcome.ANOTHER_EXPORT
        return None

    def _judge(self, case: _Case) -> Outcome | None:
        """None where the row moved on meanwhile and has to be looked at again."""
        try:
            export = self._dynamodb.describe_export(ExportArn=case.export_arn)["ExportDescription"]
        except ClientError as error:
            if error_code(error) != "ExportNotFoundException":
                raise
            return self._fail(case, "ExportNotFound", f"DynamoDB does not know the export {case.export_arn}")
        status = export["ExportStatus"]
        if status == "COMPLETED":
            return self._record_completed(case, export)
        if status == "FAILED":
            code = str(export.get("FailureCode", "Unknown"))
            message = str(export.get("FailureMessage", "DynamoDB gave no reason"))
            key_id = case.row.parameters.s3_sse_kms_key_id if case.row.parameters else None
            return self._try_again(case, code, message) or self._fail(case, code, explained(code, message, key_id))
        return Outcome.IN_PROGRESS

    def _try_again(self, case: _Case, code: str, message: str) -> Outcome | None:
        """Where another attempt may do better: the row is PENDING again, and reconcile starts it. None: no more."""
        row, parameters = case.row, case.row.parameters
        may_be_tried = case.is_the_rows_own and row.status is ExportState.IN_PROGRESS and row.attempt < MOST_ATTEMPTS
        if parameters is None or not may_be_tried or is_permanent(code, message):
            return None
        following = with_token(row.backup_date, parameters, row.attempt + 1)
        note = f"attempt {row.attempt} of {MOST_ATTEMPTS} failed: {message}"
        if not self._catalog.try_again(row, following, code, note):
            return Outcome.TRIED_AGAIN  # by another run, or by this one, whose first answer was lost
        logger.warning("export failed and is tried again", extra={**_fields(case), "code": code, "error": message})
        return Outcome.TRIED_AGAIN

    def _record_completed(self, case: _Case, export: Mapping[str, Any]) -> Outcome | None:
        try:
            verified = self._verify(case, export)
        except ExportNotReadable as error:
            if self._clock() - _ended_at_ms(case.row, export) < WAIT_FOR_FILES_MS:
                logger.warning("export cannot be read yet", extra={**_fields(case), "error": error.message})
                return Outcome.NOT_READABLE_YET
            return self._fail(case, "ExportNotReadable", f"{error.message}, an hour after the export completed")
        except ExportInvalid as error:
            return self._fail(case, "ExportInvalid", error.message)
        if not self._catalog.complete(case.row, _facts(case, verified), self._clock()):
            return None
        fields = {**_fields(case), "items": verified.item_count, "size_bytes": verified.size_bytes}
        logger.info("export recorded", extra=fields)
        return Outcome.RECORDED

    def _verify(self, case: _Case, export: Mapping[str, Any]) -> VerifiedExport:
        parameters = case.row.parameters
        if parameters is None:
            raise ExportInvalid(f"the export {case.export_arn} is in no plan")
        if not is_of(export, parameters):
            raise ExportInvalid(
                f"the export {case.export_arn} is of another table, place, kind or window than asked for"
            )
        date, table_name = case.row.backup_date, case.row.table_name
        verified = verify_export(
            self._s3,
            case.set.s3_bucket,
            summary_key=_summary_key(case, export),
            definition_key=layout.definition_key(case.set.exports_prefix, date, table_name),
            export_arn=case.export_arn,
            table_arn=parameters.table_arn,
            window=parameters.window,
        )
        if export.get("ItemCount", verified.item_count) != verified.item_count:
            said = export["ItemCount"]
            raise ExportInvalid(f"DynamoDB counts {said} items, {verified.summary_key} {verified.item_count}")
        return verified

    def _fail(self, case: _Case, code: str, message: str) -> Outcome | None:
        """Only the row's own export can fail it: a stranger in its folder says nothing about it."""
        if not case.is_the_rows_own:
            return Outcome.UNKNOWN_EXPORT
        if case.row.status is ExportState.FAILED:
            return Outcome.FAILED
        if not self._catalog.fail(case.row, code, message, self._clock()):
            return None
        logger.error("export failed", extra={**_fields(case), "code": code, "error": message})
        return Outcome.FAILED


def _ended_at_ms(row: ExportRow, export: Mapping[str, Any]) -> int:
    """By our clock, by which it began; DynamoDB's may differ, but knows how long the export took."""
    if "EndTime" not in export:
        return row.started_at_ms or 0
    ended_at_ms = epoch_ms(export["EndTime"])
    if row.started_at_ms is None or "StartTime" not in export:
        return ended_at_ms
    return row.started_at_ms + ended_at_ms - epoch_ms(export["StartTime"])


def _for_good(row: ExportRow, outcome: Outcome) -> Outcome:
    """Reconcile looks again at what is not decided yet, but not at exports that were given up: for those the event
    itself has to come again, which an error brings about."""
    if row.status is ExportState.FAILED and outcome in (Outcome.IN_PROGRESS, Outcome.NOT_READABLE_YET):
        raise ExportNotReadable(f"the late export of {row.table_name} ({row.backup_date}) cannot be recorded yet")
    return outcome


def _summary_key(case: _Case, export: Mapping[str, Any]) -> str:
    """DynamoDB says where the summary is; it must be where this set's exports of this table stand."""
    prefix = case.set.exports_prefix
    export_id = case.export_arn.rsplit("/", 1)[-1]
    key = layout.summary_key(prefix, case.row.backup_date, case.row.table_name, export_id)
    said = str(export.get("ExportManifest", key))
    if said != key:
        raise ExportInvalid(f"the summary of {case.export_arn} is not {key} but {said[:300]}")
    return key


def _facts(case: _Case, verified: VerifiedExport) -> dict[str, Any]:
    date, table_name = case.row.backup_date, case.row.table_name
    return {
        "export_arn": case.export_arn,
        "started_at_ms": case.row.started_at_ms or started_at_ms(case.export_arn),
        **_times(verified),
        "item_count": verified.item_count,
        "billed_size_bytes": verified.billed_size_bytes,
        "size_bytes": verified.size_bytes,
        "data_files": verified.data_files,
        "manifest_summary_key": verified.summary_key,
        "manifest_files_key": verified.files_key,
        "manifest_files_md5": verified.files_md5,
        "definition_key": layout.definition_key(case.set.exports_prefix, date, table_name),
    }


def _times(verified: VerifiedExport) -> dict[str, str]:
    """The ledger holds no nulls."""
    times = (("export_time", verified.export_time), ("export_from", verified.export_from))
    return {name: time for name, time in (*times, ("export_to", verified.export_to)) if time is not None}


def _fields(case: _Case) -> dict[str, str]:
    return {"backup_date": case.row.backup_date, "table": case.row.table_name, "export_arn": case.export_arn}
