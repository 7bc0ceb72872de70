"""Starting a backup set. May be called again at any time for the same set, also while another call runs.

Order, and what is left if the program stops right after each step:

1. the SET row is written        an open set; reconcile goes on from here
   then for each table, on its own:
2. its EXPORT row is written     a PENDING row without parameters
3. it is described, and the      a PENDING row whose parameters never change again: what the export shows is decided
   parameters go into the row
4. table.json is written         a file that is written again
5. the export is started         a PENDING row although it runs: the same client token gives the same export, and
                                 beyond the token's 8 hours it is found by its S3 prefix
6. the row becomes IN_PROGRESS   nothing; from here on, the recorder's and reconcile's

One table's failure is its own: it becomes that row's, and the others go on.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.capture import CapturedTable, capture_table
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.definition import encode_definition
from chalicelib.backup.failures import AwsError, code_of, failure_of, may_pass, text_of
from chalicelib.backup.plan import Failure, plan_export, plan_set
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState
from chalicelib.clock import Clock
from chalicelib.errors import Conflict
from chalicelib.selection import Chosen
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

POOL_SIZE = 10
GIVE_UP_MS = 24 * 3600 * 1000
_TOKEN_IS_SAFE_MS = 7 * 3600 * 1000  # DynamoDB remembers tokens for 8 hours
_CLOCKS_DIFFER_MS = 10 * 60 * 1000
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
        self._autoscaling = autoscaling
        self._settings = settings
        self._catalog = catalog
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock

    def start(self, backup_date: str, choose: Callable[[], Chosen], *, by_hand: bool) -> None:
        """Starts what is not started of the set; a set that exists keeps the tables it was begun with.

        Raises Conflict when a set asked for by hand would take over another one of the same second, and what `choose`
        raises, which is asked for a new set's tables only.
        """
        existing = self._catalog.set_row(backup_date)
        if existing is None:
            planned = plan_set(self._settings, backup_date, choose(), self._clock(), by_hand=by_hand)
            if self._catalog.create_set(planned):
                self.go_on(SetRecord(planned, {}))
                return
            existing = self._catalog.set_row(backup_date) or planned  # another run was faster: its tables count
        if by_hand:
            _refuse_another_set(existing, choose().tables)
        self.go_on(self._catalog.record(backup_date))

    def go_on(self, record: SetRecord) -> None:
        """Starts every export that is PENDING, or has no row yet."""
        pending = [row.table_name for row in record.exports.values() if row.status is ExportState.PENDING]
        in_parallel(
            lambda table_name: self._start_one(record.set, record.exports.get(table_name), table_name),
            [*record.missing(), *pending],
        )

    def _start_one(self, set_row: SetRow, row: ExportRow | None, table_name: str) -> None:
        row = row or self._catalog.create_export(set_row.backup_date, table_name)
        if row is None or row.status is not ExportState.PENDING:
            return
        fields = {"backup_date": row.backup_date, "table": row.table_name}
        try:
            started = self._started(set_row, row)
        except AwsError as error:
            started = self._failure_or_later(set_row, row, error)
        if isinstance(started, Failure):
            if self._catalog.fail(row, started.code, started.message, self._clock()):
                logger.error("export failed", extra={**fields, "code": started.code, "error": started.message})
        elif started is not None and self._catalog.start(row, started, self._clock()):
            logger.info("export started", extra={**fields, "export_arn": started})

    def _started(self, set_row: SetRow, row: ExportRow) -> str | Failure | None:
        """The export's ARN, or why there is none."""
        captured = capture_table(self._dynamodb, row.table_name, self._clock(), self._autoscaling)
        parameters = row.parameters or self._plan(set_row, row, captured)
        if parameters is None or isinstance(parameters, Failure):
            return parameters
        self._put_definition(set_row, captured)
        if self._clock() - set_row.started_at_ms > _TOKEN_IS_SAFE_MS:
            running = self._find_running(set_row, parameters)
            if running:
                return running
        answer = self._dynamodb.export_table_to_point_in_time(**_request(parameters))
        return str(answer["ExportDescription"]["ExportArn"])

    def _plan(self, set_row: SetRow, row: ExportRow, captured: CapturedTable) -> ExportParameters | Failure | None:
        parameters = plan_export(self._settings, set_row, captured)
        if isinstance(parameters, Failure):
            return parameters
        # Another run that planned it first decides: its parameters are the ones its token goes with.
        if self._catalog.set_parameters(row, parameters):
            return parameters
        current = self._catalog.export_row(row.backup_date, row.table_name)
        return current.parameters if current is not None and current.status is ExportState.PENDING else None

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
            is_ours = (export.get("S3Bucket"), export.get("S3Prefix")) == (parameters.s3_bucket, parameters.s3_prefix)
            if is_ours and export.get("ExportStatus") != "FAILED":
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


def started_at_ms(export_arn: str) -> int:
    """An export's id begins with its start in epoch milliseconds; 0 for an id of another form."""
    digits = export_arn.rsplit("/", 1)[-1].split("-", 1)[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _refuse_another_set(existing: SetRow, tables: Sequence[str]) -> None:
    if set(existing.tables) != set(tables):
        raise Conflict(
            "backup_exists", f"backup {existing.backup_date} was started this very second with other tables: ask again"
        )


def _request(parameters: ExportParameters) -> dict[str, Any]:
    """Exactly the planned parameters, on every attempt. No ExportType: a full export is AWS' default."""
    request: dict[str, Any] = {
        "TableArn": parameters.table_arn,
        "S3Bucket": parameters.s3_bucket,
        "S3Prefix": parameters.s3_prefix,
        "ExportFormat": parameters.export_format,
        "ClientToken": parameters.client_token,
    }
    if parameters.export_time_ms is not None:
        request["ExportTime"] = datetime.fromtimestamp(parameters.export_time_ms / 1000, UTC)
    if parameters.s3_bucket_owner:
        request["S3BucketOwner"] = parameters.s3_bucket_owner
    if parameters.s3_sse_kms_key_id:
        request |= {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": parameters.s3_sse_kms_key_id}
    return request
