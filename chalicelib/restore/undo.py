"""How to go back: the steps from a restore's end to what stood in a target before it. Pure.

RestoreTableFromBackup and RestoreTableToPointInTime always make a new table
(https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_RestoreTableFromBackup.html), so the steps say how
to get from there into the old one.
"""

from chalicelib.clock import iso
from chalicelib.restore.model import Job, Status, Table

_LONGEST_NAME = 255
# While one of them is under way, and where one was cancelled, a worker may have done more than any counter says.
_CHANGES_ITEMS = frozenset({Status.CLEARING, Status.LOADING})


def undo_steps(job: Job, table: Table) -> list[str]:
    """What an operator does, in order; commands of the AWS command line stand as they are typed. None for a dry run,
    and for a target that nothing was done to."""
    if job.dry_run or not (table.is_made or _may_be_changed(job, table)):
        return []
    if table.is_made:
        return [
            f"the restore made {table.target}: aws dynamodb delete-table --table-name {table.target} (where deletion"
            f" protection is on, before that: aws dynamodb update-table --table-name {table.target}"
            " --no-deletion-protection-enabled)"
        ]
    name = _name_of_the_copy(job, table)
    return [*_make_copy(job, table, name), *_use_copy(table, name)]


def _may_be_changed(job: Job, table: Table) -> bool:
    """Whether an item may have been removed or written, counted or not: a worker that is killed may have cleared what
    nobody counts, a shard that failed may have written, and what is resumed begins to count anew."""
    if job.resumes or _CHANGES_ITEMS & {job.status, job.cancelled_in}:
        return True
    is_counted = table.clearing_ended or table.written or table.deleted
    return bool(is_counted or table.approximate or table.loading_failed)


def _name_of_the_copy(job: Job, table: Table) -> str:
    ending = f"-before-{job.restore_id}"
    return table.target[: _LONGEST_NAME - len(ending)] + ending


def _make_copy(job: Job, table: Table, name: str) -> list[str]:
    wait = f"aws dynamodb wait table-exists --table-name {name}"
    if table.safety_backup_arn is not None:
        return [
            f"make a new table of the safety backup: aws dynamodb restore-table-from-backup --target-table-name {name}"
            f" --backup-arn {table.safety_backup_arn}",
            f"wait until it is there, minutes to hours: {wait}",
            *_later_backups(table),
        ]
    return [
        f"no safety backup was taken; if {table.target} had point-in-time recovery before the restore, make a new table"
        f" of that moment: aws dynamodb restore-table-to-point-in-time --source-table-name {table.target}"
        f" --target-table-name {name} --restore-date-time {iso(job.created_at_ms)}",
        f"wait until it is there, minutes to hours: {wait}",
    ]


def _later_backups(table: Table) -> list[str]:
    """Of a restore that was resumed before it loaded: what was written since the first one is only in these."""
    arns = table.later_safety_backup_arns
    return [f"what was written while the restore was interrupted is in: {', '.join(arns)}"] if arns else []


def _use_copy(table: Table, name: str) -> list[str]:
    return [
        f"compare {name} with {table.target}; where the application can read another table, let it read {name}: done",
        f"otherwise, to bring it back into {table.target}: aws dynamodb update-continuous-backups --table-name {name}"
        " --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        f'back it up: add "{name}" to DYNAMODB_TABLES, deploy, POST /backups {{"tables": ["{name}"]}} and wait until'
        " the set is COMPLETE",
        f'restore it: POST /restores {{"backup_date": "<that set>", "tables": ["{name}"], "target_tables":'
        f' {{"{name}": "{table.target}"}}, "clear_existing_data": true}} (needs the scope restore:clear; what was'
        f" written to {table.target} since is lost, but stands in the safety backup of that restore)",
        f"then: aws dynamodb delete-table --table-name {name}, and take it out of DYNAMODB_TABLES",
    ]
