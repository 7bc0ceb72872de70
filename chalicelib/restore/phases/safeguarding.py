"""SAFEGUARDING: a native on-demand backup of each target, AVAILABLE before anything of it is cleared.

CreateBackup has no client token. The backup's name carries the restore's id instead: an attempt that was cut off
after the call, before its ARN was written down, is found again by that name.
"""

from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import error_code, error_text, is_transient
from chalicelib.backup.backup_names import safety_name
from chalicelib.restore.model import Job, Shard, Table
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, outage_pause_ms

_POLL_S = 1.0
# What passes by itself: another backup of the table, or too many of the account's, are being made right now.
_LATER = frozenset(
    {"BackupInUseException", "TableInUseException", "LimitExceededException", "ContinuousBackupsUnavailableException"}
)


def take_safety_backup(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    if table.is_new:
        return Ended()  # it is not there yet: there is nothing to lose
    try:
        arn = _find_backup(around, job, table) or _create_backup(around, job, table)
        while True:
            details = around.dynamodb.describe_backup(BackupArn=arn)["BackupDescription"]["BackupDetails"]
            if details["BackupStatus"] == "AVAILABLE":
                return Ended(table_set=_kept(table, arn))
            if details["BackupStatus"] == "DELETED":
                return Ended(failure=f"{table.target}: its safety backup {arn} was deleted while it was being made")
            if around.clock() >= run.soft_stop_ms:
                return Yielded(progressed=True)
            around.sleep(_POLL_S)
    except ClientError as error:
        if is_transient(error):
            raise
        if error_code(error) in _LATER:
            return Yielded(reason=error_text(error), pause_ms=outage_pause_ms(shard))
        return Ended(failure=f"{table.target}: no safety backup could be taken: {error_text(error)}")


def _kept(table: Table, arn: str) -> dict[str, Any]:
    """The first one is what stood there before anything was touched; a restore that was resumed takes another one."""
    if table.safety_backup_arn in (None, arn):
        return {"safety_backup_arn": arn}
    return {"later_safety_backup_arns": sorted({*table.later_safety_backup_arns, arn})}


def _find_backup(around: Surroundings, job: Job, table: Table) -> str | None:
    request = {"TableName": table.target, "BackupType": "USER", "Limit": 100}
    while True:
        answer = around.dynamodb.list_backups(**request)
        for summary in answer.get("BackupSummaries", []):
            if summary["BackupName"] == _name(around, job) and summary["BackupStatus"] != "DELETED":
                return str(summary["BackupArn"])
        if "LastEvaluatedBackupArn" not in answer:
            return None
        request["ExclusiveStartBackupArn"] = answer["LastEvaluatedBackupArn"]


def _create_backup(around: Surroundings, job: Job, table: Table) -> str:
    answer = around.dynamodb.create_backup(TableName=table.target, BackupName=_name(around, job))
    return str(answer["BackupDetails"]["BackupArn"])


def _name(around: Surroundings, job: Job) -> str:
    return safety_name(around.settings.environment, job.restore_id, job.resumes)
