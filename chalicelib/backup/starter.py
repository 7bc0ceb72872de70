"""Starting a backup set. May be called again at any time for the same set, also while another call runs.

Order, and what is left if the program stops right after each step:

1. the SET row is written        an open set; reconcile goes on from here
   then for each table, on its own:
2. its EXPORT row is written     a PENDING row without parameters
3. table.json is written, of     a file that is written again
   the table as it is described
4. the parameters go into the    PENDING rows whose parameters never change again: what their exports show is decided
   row, or into one per part
5. the export is started         a PENDING row although it runs: the same client token gives the same export, and
                                 beyond the token's 8 hours it is found by its S3 prefix
6. the row becomes IN_PROGRESS   nothing; from here on, the recorder's and reconcile's

One table's failure is its own: it becomes that row's, and the others go on.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.capture import CapturedTable, capture_table
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.continuing import Chain, Chains
from chalicelib.backup.definition import encode_definition
from chalicelib.backup.failures import AwsError, code_of, failure_of, may_pass, text_of
from chalicelib.backup.manifest import ExportType
from chalicelib.backup.plan import Failure, plan_exports, plan_set
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState
from chalicelib.backup.windows import Window
from chalicelib.clock import Clock, epoch_ms
from chalicelib.errors import Conflict
from chalicelib.selection import Chosen
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

POOL_SIZE = 10
GIVE_UP_MS = 24 * 3600 * 1000
_TOKEN_IS_SAFE_MS = 7 * 3600 * 1000  # DynamoDB remembers tokens for 8 hours
_CLOCKS_DIFFER_MS = 10 * 60 * 1000
# 300 exports, or 100 TB of tables, at once, in an account and region, whoever started them
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html).
_TOO_MANY = "LimitExceededException"
T = TypeVar("T")


def in_parallel(work: Callable[[T], None], things: Sequence[T]) -> None:
    """`work` must not raise for what is one thing's own trouble."""
    if not things:
        return
    with ThreadPoolExecutor(min(POOL_SIZE, len(things))) as pool:
        list(pool.map(work, things))


class Starter:
    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        dynamodb: Client,
        s3: Client,
        clock: Clock,
        autoscaling: Callable[[], Client] | None = None,
    ) -> None:
        self._chains = Chains(catalog, s3)
        self._autoscaling = autoscaling
        self._settings = settings
        self._catalog = catalog
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock

    def start(
        self,
        backup_date: str,
        choose: Callable[[], Chosen],
        *,
        by_hand: bool,
        export_type: ExportType | None = None,
        stop_at_ms: int | None = None,
    ) -> None:
        """Starts what is not started of the set; a set that exists keeps what it was begun with. What is not started
        at `stop_at_ms` is left to reconcile.

        Raises Conflict when a set asked for by hand would take over another one of the same second, and what `choose`
        raises, which is asked for a new set's tables only.
        """
        existing = self._catalog.set_row(backup_date)
        if existing is None:
            now_ms = self._clock()
            chosen = choose()
            planned = plan_set(self._settings, backup_date, chosen, now_ms, by_hand=by_hand, export_type=export_type)
            if self._catalog.create_set(planned):
                self.go_on(SetRecord(planned, []), stop_at_ms)
                return
            existing = self._catalog.set_row(backup_date) or planned  # another run was faster: its tables count
        if by_hand:
            _refuse_another_set(existing, choose().tables, export_type)
            if self._clock() - existing.started_at_ms > _TOKEN_IS_SAFE_MS:
                return  # asked for again much later: what is left to start is looked for first, which is reconcile's
        self.go_on(self._catalog.record(backup_date), stop_at_ms)

    def go_on(self, record: SetRecord, stop_at_ms: int | None = None) -> None:
        """Starts every export that is PENDING, or has no row yet. Raises botocore's errors of looking for what
        increments continue."""
        rows = [row for table_name in record.set.tables for row in record.exports_of(table_name)]
        pending = [row for row in rows if row.status is ExportState.PENDING]
        unplanned = [*record.missing(), *(row.table_name for row in pending if row.parameters is None)]
        chains: Mapping[str, Chain] = {}
        if unplanned and record.set.export_type == "INCREMENTAL_EXPORT":
            chains = self._chains.before(record.set, unplanned)
        run = _Run(record.set, chains, stop_at_ms)
        waiting: list[ExportRow | str] = [*record.missing(), *pending]
        in_parallel(lambda row: self._start_table(run, row), waiting)

    def _start_table(self, run: "_Run", row: ExportRow | str) -> None:
        """`row`: the name of a table that has none yet."""
        if run.is_full or (run.stop_at_ms is not None and self._clock() >= run.stop_at_ms):
            return
        made = self._catalog.create_export(run.set.backup_date, row) if isinstance(row, str) else row
        if made is None or made.status is not ExportState.PENDING:
            return
        for planned in self._attempt(run, made, lambda: self._planned(run, made)) or ():
            self._start_export(run, planned)

    def _planned(self, run: "_Run", row: ExportRow) -> list[ExportRow] | Failure:
        """The rows to start, with their parameters, after the table's definition was written."""
        captured = self._capture(row.table_name)
        if row.parameters is not None:
            self._put_definition(run.set, captured)
            return [row]
        notes = []
        if self._settings.enable_pitr and not captured.definition.point_in_time_recovery:
            captured = self._with_recovery(row.table_name)
            notes.append("point-in-time recovery was off, and was switched on")
        planned = plan_exports(self._settings, run.set, captured, run.chains.get(row.table_name, ()))
        if isinstance(planned, Failure):
            return planned
        if planned.why_full:
            notes.append(f"a full export was made instead of an increment: {planned.why_full}")
        for note in notes:
            fields = {"backup_date": row.backup_date, "table": row.table_name, "note": note}
            logger.warning("export planned otherwise than asked for", extra=fields)
        self._put_definition(run.set, captured)
        # Another run that planned it first decides: its parameters are the ones its tokens go with.
        self._catalog.plan(row, planned.parameters, planned.base, notes)
        rows = self._catalog.exports_of(row.backup_date, row.table_name)
        return [each for each in rows if each.status is ExportState.PENDING and each.parameters is not None]

    def _capture(self, table_name: str) -> CapturedTable:
        return capture_table(self._dynamodb, table_name, self._clock(), self._autoscaling)

    def _with_recovery(self, table_name: str) -> CapturedTable:
        """The table once point-in-time recovery is on, which it stays if the program stops here: it is asked for."""
        specification = {"PointInTimeRecoveryEnabled": True}
        self._dynamodb.update_continuous_backups(TableName=table_name, PointInTimeRecoverySpecification=specification)
        return self._capture(table_name)

    def _start_export(self, run: "_Run", row: ExportRow) -> None:
        started = self._attempt(run, row, lambda: self._started(run.set, row))
        if started is not None and self._catalog.start(row, started, self._clock()):
            fields = {"backup_date": row.backup_date, "table": row.table_name, "export_arn": started}
            logger.info("export started", extra=fields)

    def _started(self, set_row: SetRow, row: ExportRow) -> str:
        """The export's ARN."""
        parameters = row.parameters
        assert parameters is not None
        if self._clock() - set_row.started_at_ms > _TOKEN_IS_SAFE_MS:
            running = self._find_running(set_row, parameters)
            if running:
                return running
        answer = self._dynamodb.export_table_to_point_in_time(**_request(parameters))
        return str(answer["ExportDescription"]["ExportArn"])

    def _attempt(self, run: "_Run", row: ExportRow, step: Callable[[], T | Failure]) -> T | None:
        """What the step gives; None where it failed, for good, which is then written down, or for now."""
        try:
            given = step()
        except AwsError as error:
            run.is_full = run.is_full or code_of(error) == _TOO_MANY
            failure = self._failure_or_later(run.set, row, error)
            if failure is None:
                return None
            given = failure
        except Exception as error:  # whatever is wrong with one table, the others still have their turn
            fields = {"backup_date": row.backup_date, "table": row.table_name, "error": str(error)}
            logger.error("export could not be started", exc_info=error, extra=fields)
            if self._clock() - run.set.started_at_ms < GIVE_UP_MS:
                return None
            given = Failure("NotStarted", f"the export could not be started for 24 hours, at last: {error}")
        if not isinstance(given, Failure):
            return given
        if self._catalog.fail(row, given.code, given.message, self._clock()):
            fields = {"backup_date": row.backup_date, "table": row.table_name}
            logger.error("export failed", extra={**fields, "code": given.code, "error": given.message})
        return None

    def _put_definition(self, set_row: SetRow, captured: CapturedTable) -> None:
        definition = captured.definition
        owner = {"ExpectedBucketOwner": self._settings.backup_bucket_owner}
        self._s3.put_object(
            Bucket=set_row.s3_bucket,
            Key=layout.definition_key(set_row.exports_prefix, set_row.backup_date, definition.table_name),
            Body=encode_definition(definition),
            ContentType="application/json",
            **{name: value for name, value in owner.items() if value},
        )

    def _find_running(self, set_row: SetRow, parameters: ExportParameters) -> str | None:
        """An export of this table into this set's place that was started and not written down."""
        for export_arn in self._recent_exports(parameters.table_arn, set_row.started_at_ms - _CLOCKS_DIFFER_MS):
            export = self._dynamodb.describe_export(ExportArn=export_arn)["ExportDescription"]
            if is_of(export, parameters) and export.get("ExportStatus") != "FAILED":
                return export_arn
        return None

    def _recent_exports(self, table_arn: str, since_ms: int) -> Iterator[str]:
        request: dict[str, Any] = {"TableArn": table_arn, "MaxResults": 25}
        while True:
            answer = self._dynamodb.list_exports(**request)
            for export in answer.get("ExportSummaries", []):
                if started_at_ms(export["ExportArn"]) < since_ms:
                    return  # exports are listed newest first
                yield str(export["ExportArn"])
            if not answer.get("NextToken"):
                return
            request["NextToken"] = answer["NextToken"]

    def _failure_or_later(self, set_row: SetRow, row: ExportRow, error: ClientError | BotoCoreError) -> Failure | None:
        if isinstance(error, ClientError) and not may_pass(error):
            return failure_of(row.table_name, error)
        if self._clock() - set_row.started_at_ms >= GIVE_UP_MS:
            return Failure("NotStarted", f"the export could not be started for 24 hours, at last: {text_of(error)}")
        fields = {"backup_date": row.backup_date, "table": row.table_name, "error": text_of(error)}
        logger.warning("export could not be started yet, reconcile will try again", extra=fields)
        self._catalog.note_trouble(row, code_of(error), text_of(error))
        return None


class _Run(msgspec.Struct):
    """One run over a set's tables. `is_full`: DynamoDB takes no more exports for now."""

    set: SetRow
    chains: Mapping[str, Chain]
    stop_at_ms: int | None
    is_full: bool = False


def is_of(export: Mapping[str, Any], parameters: ExportParameters) -> bool:
    """Whether DynamoDB describes an export as one that was started with these parameters."""
    place = (export.get("S3Bucket"), str(export.get("S3Prefix", "")).strip("/"))
    asked = (parameters.table_arn, (parameters.s3_bucket, parameters.s3_prefix), parameters.window)
    return (export.get("TableArn"), place, _window_of(export)) == asked


def _window_of(export: Mapping[str, Any]) -> Window | None:
    if export.get("ExportType") != "INCREMENTAL_EXPORT":
        return None
    said = export["IncrementalExportSpecification"]
    return Window(epoch_ms(said["ExportFromTime"]), epoch_ms(said["ExportToTime"]))


def started_at_ms(export_arn: str) -> int:
    """An export's id begins with its start in epoch milliseconds; 0 for an id of another form."""
    digits = export_arn.rsplit("/", 1)[-1].split("-", 1)[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _refuse_another_set(existing: SetRow, tables: Sequence[str], export_type: ExportType | None) -> None:
    if set(existing.tables) != set(tables) or existing.export_type != (export_type or "FULL_EXPORT"):
        raise Conflict(
            "backup_exists", f"backup {existing.backup_date} was started this very second, not as asked now: ask again"
        )


def _request(parameters: ExportParameters) -> dict[str, Any]:
    """Exactly the planned parameters, on every attempt. A full export has no ExportType: it is AWS' default."""
    request: dict[str, Any] = {
        "TableArn": parameters.table_arn,
        "S3Bucket": parameters.s3_bucket,
        "S3Prefix": parameters.s3_prefix,
        "ExportFormat": parameters.export_format,
        "ClientToken": parameters.client_token,
    }
    if parameters.window is not None:
        request |= {"ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": _times(parameters.window)}
    elif parameters.export_time_ms is not None:
        request["ExportTime"] = _moment(parameters.export_time_ms)
    if parameters.s3_bucket_owner:
        request["S3BucketOwner"] = parameters.s3_bucket_owner
    if parameters.s3_sse_kms_key_id:
        request |= {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": parameters.s3_sse_kms_key_id}
    return request


def _times(window: Window) -> dict[str, Any]:
    """Old images too: a restore needs none, but whoever asks what changed in a day finds it in the export."""
    times = {"ExportFromTime": _moment(window.from_ms), "ExportToTime": _moment(window.to_ms)}
    return {**times, "ExportViewType": "NEW_AND_OLD_IMAGES"}


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
