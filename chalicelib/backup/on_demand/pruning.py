"""Retention of on-demand backups. May be cut off anywhere, and run again at any time, also twice at once.

Order, and what is left if the program stops right after each step:

1. all backups are listed         nothing was changed; a list that is not complete decides nothing
2. for each table, what goes is   the others of it stay for the next run: whatever is left of what was decided, the
   decided, and deleted one by    rules held, as only young ones count for the minimum and those all stay
   one, oldest first
3. rows of runs that are past     rows of a run whose backups are gone, which the next run drops
   retention go, once all of
   their backups are gone

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DeleteBackup.html (10 calls a second)
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from chalicelib.aws import DENIED, THROTTLED, Client
from chalicelib.backup.failures import AwsError, code_of, text_of
from chalicelib.backup.on_demand.listed import BackupList
from chalicelib.backup.on_demand.rows import RunRow
from chalicelib.backup.on_demand.runs import Runs
from chalicelib.backup.retention.on_demand import BackupPolicy, ListedBackup, decide_backups, is_ours
from chalicelib.backup.retention.plan import DAY_MS, RetentionPlan
from chalicelib.clock import Clock
from chalicelib.errors import LedgerEntryCorrupt, NotFound
from chalicelib.ledger import Ledger, decode
from chalicelib.retry import Backoff, Random, Sleep
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

_GONE = "BackupNotFoundException"
# DynamoDB takes no more for now, of any table.
_TOO_MANY = THROTTLED | {"LimitExceededException"}


class Pruned(msgspec.Struct):
    """What a run did, by ARN: `deleted`; `gone`, somebody else was faster; `left`, with the reason, for the next run or
    until somebody changes something. `tables_left`: how many tables' turn did not come, or was cut short.
    `dropped_runs`: by name."""

    deleted: list[str] = msgspec.field(default_factory=list)
    gone: list[str] = msgspec.field(default_factory=list)
    left: dict[str, str] = msgspec.field(default_factory=dict)
    tables_left: int = 0
    dropped_runs: list[str] = msgspec.field(default_factory=list)


class BackupPruner:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        dynamodb: Client,
        not_ended: Callable[[], Collection[str]],
        clock: Clock,
        sleep: Sleep,
        random: Random,
    ) -> None:
        """`not_ended`: gives the ids of the restores that have not ended."""
        retention = settings.retention
        self._policy = BackupPolicy(
            days=retention.on_demand_days, minimum=retention.minimum, safety_days=retention.safety_days
        )
        self._environment = settings.environment
        self._runs = Runs(ledger)
        self._dynamodb = dynamodb
        self._not_ended = not_ended
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._list = BackupList(dynamodb, clock, sleep, random)

    def plan(self, tables: Iterable[str] = (), *, stop_at_ms: int) -> dict[str, RetentionPlan]:
        """What would be decided now, by table: of all that have a backup of this environment, whether they are still
        selected or even there, and of `tables`, an empty one where they have none.

        Raises OutOfTime, botocore's errors and what `not_ended` raises.
        """
        by_table = self._ours(self._list.read(stop_at_ms))
        return {name: self._decided(by_table.get(name, [])) for name in sorted({*tables, *by_table})}

    def run(self, stop_at_ms: int) -> dict[str, Any]:
        """Deletes what is past its retention; what it did, as `Pruned` has it. Asks nothing where retention is off.

        Raises what `plan` raises: nothing was deleted then of tables that are not decided yet.
        """
        pruned = Pruned()
        if self._policy.days is not None or self._policy.safety_days is not None:
            listed = self._list.read(stop_at_ms)
            self._delete_expired(self._ours(listed), pruned, stop_at_ms)
            self._drop_runs(listed, pruned, stop_at_ms)
            self._tell(pruned)
        result: dict[str, Any] = msgspec.to_builtins(pruned)
        return result

    def _ours(self, listed: Iterable[ListedBackup]) -> dict[str, list[ListedBackup]]:
        by_table: dict[str, list[ListedBackup]] = defaultdict(list)
        for backup in listed:
            if is_ours(backup, self._environment):
                by_table[backup.table_name].append(backup)
        return by_table

    def _decided(self, backups: Iterable[ListedBackup]) -> RetentionPlan:
        """Restores are asked for each time: one that is resumed while backups of others go keeps its own."""
        return decide_backups(backups, self._policy, self._environment, self._not_ended(), self._clock())

    def _delete_expired(self, by_table: dict[str, list[ListedBackup]], pruned: Pruned, stop_at_ms: int) -> None:
        names = sorted(by_table)
        for number, name in enumerate(names):
            if self._clock() >= stop_at_ms or not self._delete_of_table(by_table[name], pruned, stop_at_ms):
                pruned.tables_left = len(names) - number
                return

    def _delete_of_table(self, backups: Iterable[ListedBackup], pruned: Pruned, stop_at_ms: int) -> bool:
        """False when there is no time for more, or DynamoDB takes no more for now."""
        removals = self._decided(backups).removals
        for number, arn in enumerate(removals):
            if self._clock() >= stop_at_ms:
                return False
            code = self._delete(arn, pruned, stop_at_ms)
            if code in _TOO_MANY:
                return False
            if code in DENIED:
                pruned.left |= dict.fromkeys(removals[number + 1 :], pruned.left[arn])
                break
        return True

    def _delete(self, arn: str, pruned: Pruned, stop_at_ms: int) -> str | None:
        """The error's code, where it was not deleted and is not gone."""
        try:
            self._delete_paced(arn, stop_at_ms)
        except AwsError as error:
            code = code_of(error)
            if code == _GONE:
                pruned.gone.append(arn)
                return None
            hint = "; grant dynamodb:DeleteBackup to this function's role" if code in DENIED else ""
            pruned.left[arn] = f"{text_of(error)}{hint}"
            return code
        pruned.deleted.append(arn)
        logger.info("on-demand backup deleted", extra={"arn": arn})
        return None

    def _delete_paced(self, arn: str, stop_at_ms: int) -> None:
        """Waits where it is throttled. One call at a time is about as many as DynamoDB takes."""
        backoff = Backoff(self._clock, self._sleep, self._random, stop_at_ms, base_ms=200, cap_ms=3_000)
        retry = 0
        while True:
            try:
                self._dynamodb.delete_backup(BackupArn=arn)
                return
            except AwsError as error:
                if code_of(error) not in THROTTLED or not backoff.wait(retry):
                    raise
            retry += 1

    def _drop_runs(self, listed: Iterable[ListedBackup], pruned: Pruned, stop_at_ms: int) -> None:
        if self._policy.days is None:
            return
        there = {each.arn for each in listed if each.status != "DELETED"} - {*pruned.deleted, *pruned.gone}
        for run in self._expired_runs(self._clock() - self._policy.days * DAY_MS):
            if self._clock() >= stop_at_ms:
                return
            if self._drop(run.backup_date, there):
                pruned.dropped_runs.append(run.backup_date)

    def _expired_runs(self, before_ms: int) -> Iterable[RunRow]:
        """Those that have ended. Names are times, so the first younger one ends the search."""
        for row in self._runs.oldest_first():
            try:
                run = decode(row, RunRow)
            except LedgerEntryCorrupt as error:
                fields = {"backup_date": str(row.get("sort_name")), "error": error.message}
                logger.warning("run of on-demand backups stays: its ledger row cannot be read", extra=fields)
                continue
            if run.started_at_ms > before_ms:
                return
            if not run.is_open:
                yield run

    def _drop(self, backup_date: str, there: Collection[str]) -> bool:
        try:
            record = self._runs.record(backup_date)
        except NotFound:
            return False  # the index lags behind
        if record.run.is_open or record.corrupt or any(row.backup_arn in there for row in record.rows.values()):
            return False
        self._runs.drop(record)
        return True

    def _tell(self, pruned: Pruned) -> None:
        for arn, reason in pruned.left.items():
            logger.warning("on-demand backup is past its retention and stays", extra={"arn": arn, "error": reason})
        numbers = {"deleted": len(pruned.deleted), "left": len(pruned.left), "tables_left": pruned.tables_left}
        logger.info("on-demand backups pruned", extra=numbers)
