"""Creating one table's backup. Order, and what is left if the program stops right after each step:

1. the TABLE row is written,    a PENDING row with a claim; nobody creates the backup before the claim has ended and a
   with a claim that ends       list from after that does not have it: then it is claimed again
2. the backup is created        the same; but the list has it, and it is written down, claim or not
3. the row becomes CREATING     nothing; from here on, reconcile's

A call that was refused has made nothing: its claim is given back at once. One without an answer keeps it.
"""

import logging
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import THROTTLED, Client, may_have_had_effect
from chalicelib.backup.backup_names import scheduled_name
from chalicelib.backup.failures import AwsError, code_of, failure_of, may_pass, text_of
from chalicelib.backup.on_demand.listed import listed_backup
from chalicelib.backup.on_demand.rows import RunRow, TableRow
from chalicelib.backup.on_demand.runs import Runs
from chalicelib.backup.plan import Failure
from chalicelib.backup.retention.on_demand import ListedBackup
from chalicelib.clock import Clock

logger = logging.getLogger("tablevault")

# Longer than a call takes that is tried three times, and than a request that nobody waits for any more may take effect
# or take to be listed.
CLAIM_MARGIN_MS = 2 * 60 * 1000
# What ends by itself: the table or another backup of it is being made, changed or deleted right now.
_LATER = frozenset({"BackupInUseException", "TableInUseException", "ContinuousBackupsUnavailableException"})
_TOO_MANY = THROTTLED | {"LimitExceededException"}


class Creator:
    def __init__(self, runs: Runs, dynamodb: Client, clock: Clock) -> None:
        self._runs = runs
        self._dynamodb = dynamodb
        self._clock = clock

    def create(self, run: RunRow, row: TableRow, stop_at_ms: int) -> bool:
        """`stop_at_ms`: no call is begun later. False when DynamoDB takes no more of them for now. Raises the ledger's
        errors."""
        name = scheduled_name(run.environment, run.backup_date)
        claimed = self._runs.claim(row, name, stop_at_ms + CLAIM_MARGIN_MS)
        if claimed is None:
            return True
        try:
            backup = self._created(claimed, name)
        except AwsError as error:
            self._note(claimed, error)
            return code_of(error) not in _TOO_MANY
        if self._runs.found(claimed, backup, self._clock()) is not None:
            logger.info("on-demand backup begun", extra={**_fields(row), "backup_arn": backup.arn})
        return True

    def _created(self, row: TableRow, name: str) -> ListedBackup:
        answer: dict[str, Any] = self._dynamodb.create_backup(TableName=row.table_name, BackupName=name)
        return listed_backup(answer["BackupDetails"])

    def _note(self, row: TableRow, error: ClientError | BotoCoreError) -> None:
        told = {**_fields(row), "code": code_of(error), "error": text_of(error)}
        if isinstance(error, ClientError) and not may_pass(error) and code_of(error) not in _LATER:
            self._runs.fail(row, failure_of(row.table_name, error), self._clock())
            logger.error("on-demand backup failed", extra=told)
            return
        trouble = Failure(code_of(error), text_of(error))
        self._runs.note(row, trouble, keeps_claim=may_have_had_effect(error))
        logger.warning("on-demand backup could not be made yet, reconcile will try again", extra=told)


def _fields(row: TableRow) -> dict[str, Any]:
    return {"backup_date": row.backup_date, "table": row.table_name}
