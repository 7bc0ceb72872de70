"""Starting a backup set. May be called again at any time for the same set, also while another call runs.

Order, and what is left if the program stops right after each step:

1. the SET row is written        an open set; reconcile goes on from here
   then a lease on the starting    one that lapses within minutes; other runs leave the starting alone till then
   and, for each table, on its own:
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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client
from chalicelib.backup.adoption.taking_over import take_over
from chalicelib.backup.bucket import why_unusable
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.continuing import Chain, Chains
from chalicelib.backup.export_request import export_request
from chalicelib.backup.failures import AwsError, code_of, failure_of, may_pass, text_of
from chalicelib.backup.manifest import ExportType
from chalicelib.backup.objects import SetObjects
from chalicelib.backup.pacing import Pace
from chalicelib.backup.plan import Failure, plan_set
from chalicelib.backup.planner import TablePlanner
from chalicelib.backup.removal_mark import being_removed
from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.running import find_running
from chalicelib.backup.start_lease import StartLease
from chalicelib.backup.states import ExportState
from chalicelib.clock import Clock
from chalicelib.errors import Conflict, OutOfTime
from chalicelib.selection import Chosen
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

POOL_SIZE = 10
GIVE_UP_MS = 24 * 3600 * 1000
_TOKEN_IS_SAFE_MS = 7 * 3600 * 1000  # DynamoDB remembers tokens for 8 hours
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
        pace: Pace,
        lease: StartLease,
        autoscaling: Callable[[], Client] | None = None,
    ) -> None:
        self._chains = Chains(catalog, s3)
        self._settings = settings
        self._catalog = catalog
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock
        self._pace = pace
        self._lease = lease
        self._autoscaling = autoscaling

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

        Raises Conflict when a set asked for by hand would take over another one of the same second, or a set of this
        name is being removed; and what `choose` raises, which is asked for the tables of a new set, or of an
        adopted one.
        """
        if self._catalog.being_removed([backup_date]):
            raise being_removed(backup_date)
        existing = self._catalog.set_row(backup_date)
        if existing is None:
            now_ms = self._clock()
            chosen = choose()
            planned = plan_set(self._settings, backup_date, chosen, now_ms, by_hand=by_hand, export_type=export_type)
            if self._catalog.create_set(planned):
                self.go_on(SetRecord(planned, []), stop_at_ms)
                return
            existing = self._catalog.set_row(backup_date) or planned  # another run was faster: its tables count
        if existing.adopted and not by_hand:
            now_ms = self._clock()
            take_over(self._catalog, plan_set(self._settings, backup_date, choose(), now_ms, by_hand=False))
        if by_hand:
            _refuse_another_set(existing, choose().tables, export_type)
            if self._clock() - existing.started_at_ms > _TOKEN_IS_SAFE_MS:
                return  # asked for again much later: what is left to start is looked for first, which is reconcile's
        self.go_on(self._catalog.record(backup_date), stop_at_ms)

    def go_on(self, record: SetRecord, stop_at_ms: int | None = None) -> None:
        """Starts every export that is PENDING, or has no row yet; nothing where another run is at it. Raises
        botocore's errors of looking for what increments continue."""
        rows = [row for table_name in record.set.tables for row in record.exports_of(table_name)]
        pending = [row for row in rows if row.status is ExportState.PENDING]
        waiting: list[ExportRow | str] = [*record.missing(), *pending]
        leased = self._lease.take(record.set.backup_date, len(waiting), stop_at_ms) if waiting else None
        if leased is None:
            return
        try:
            run = self._run(record, pending, stop_at_ms)
            in_parallel(lambda row: self._start_table(run, row), waiting)
        finally:
            self._lease.give_back(record.set.backup_date, leased)

    def _run(self, record: SetRecord, pending: Sequence[ExportRow], stop_at_ms: int | None) -> "_Run":
        unusable = why_unusable(self._s3, record.set.s3_bucket, self._settings.backup_bucket_owner)
        unplanned = [*record.missing(), *(row.table_name for row in pending if row.parameters is None)]
        chains: Mapping[str, Chain] = {}
        if unplanned and not unusable and record.set.export_type == "INCREMENTAL_EXPORT":
            chains = self._chains.before(record.set, unplanned)
        paced = self._pace.run(stop_at_ms)
        dynamodb, autoscaling = paced.client(self._dynamodb), self._autoscaling
        planner = TablePlanner(
            self._settings,
            self._catalog,
            dynamodb,
            SetObjects.of(self._settings, self._s3),
            self._clock,
            None if autoscaling is None else lambda: paced.client(autoscaling()),
        )
        return _Run(record.set, chains, dynamodb, planner, stop_at_ms, unusable)

    def _start_table(self, run: "_Run", row: ExportRow | str) -> None:
        """`row`: the name of a table that has none yet."""
        if run.is_over or (run.stop_at_ms is not None and self._clock() >= run.stop_at_ms):
            return
        made = self._catalog.create_export(run.set.backup_date, row) if isinstance(row, str) else row
        if made is None or made.status is not ExportState.PENDING:
            return
        for planned in self._attempt(run, made, lambda: self._planned(run, made)) or ():
            self._start_export(run, planned)

    def _planned(self, run: "_Run", row: ExportRow) -> list[ExportRow] | Failure:
        return run.unusable or run.planner.plan(run.set, run.chains, row)

    def _start_export(self, run: "_Run", row: ExportRow) -> None:
        started = self._attempt(run, row, lambda: self._started(run, row))
        if started is not None and self._catalog.start(row, started, self._clock()):
            fields = {"backup_date": row.backup_date, "table": row.table_name, "export_arn": started}
            logger.info("export started", extra=fields)

    def _started(self, run: "_Run", row: ExportRow) -> str:
        """The export's ARN."""
        parameters = row.parameters
        assert parameters is not None
        if self._clock() - run.set.started_at_ms > _TOKEN_IS_SAFE_MS:
            running = find_running(run.dynamodb, run.set, parameters)
            if running:
                return running
        answer = run.dynamodb.export_table_to_point_in_time(**export_request(parameters))
        return str(answer["ExportDescription"]["ExportArn"])

    def _attempt(self, run: "_Run", row: ExportRow, step: Callable[[], T | Failure]) -> T | None:
        """What the step gives; None where it failed, for good, which is then written down, or for now."""
        try:
            given = step()
        except OutOfTime:
            run.is_over = True
            return None
        except AwsError as error:
            run.is_over = run.is_over or code_of(error) == _TOO_MANY
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

    def _failure_or_later(self, set_row: SetRow, row: ExportRow, error: ClientError | BotoCoreError) -> Failure | None:
        if isinstance(error, ClientError) and not may_pass(error):
            return failure_of(row.table_name, error, self._settings.s3_sse_kms_key_id)
        if self._clock() - set_row.started_at_ms >= GIVE_UP_MS:
            return Failure("NotStarted", f"the export could not be started for 24 hours, at last: {text_of(error)}")
        fields = {"backup_date": row.backup_date, "table": row.table_name, "error": text_of(error)}
        logger.warning("export could not be started yet, reconcile will try again", extra=fields)
        self._catalog.note_trouble(row, code_of(error), text_of(error))
        return None


class _Run(msgspec.Struct):
    """One run over a set's tables. `unusable`: why no export of the set can be started. `is_over`: DynamoDB takes no
    more exports for now, or no time is left."""

    set: SetRow
    chains: Mapping[str, Chain]
    dynamodb: Client
    planner: TablePlanner
    stop_at_ms: int | None
    unusable: Failure | None = None
    is_over: bool = False


def _refuse_another_set(existing: SetRow, tables: Sequence[str], export_type: ExportType | None) -> None:
    if set(existing.tables) != set(tables) or existing.export_type != (export_type or "FULL_EXPORT"):
        raise Conflict(
            "backup_exists", f"backup {existing.backup_date} was started this very second, not as asked now: ask again"
        )
