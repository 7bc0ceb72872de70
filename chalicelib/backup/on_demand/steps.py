"""What a table's on-demand backup needs next, from its row and from what DynamoDB lists. Pure.

CreateBackup has no client token: a second call makes a second backup, which is paid for. So one is created only by who
has the row's claim, and never while an earlier call may still have, or may just have had, an effect: then the list
decides, which must be younger than that claim's end.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateBackup.html
"""

from collections.abc import Iterable
from typing import NamedTuple

from chalicelib.backup.backup_names import scheduled_name
from chalicelib.backup.on_demand.rows import BackupState, RunRow, TableRow
from chalicelib.backup.plan import Failure
from chalicelib.backup.retention.on_demand import ListedBackup

GIVE_UP_MS = 24 * 3600 * 1000


class Create(NamedTuple):
    """CreateBackup."""


class Describe(NamedTuple):
    """DescribeBackup: the list, which is a little behind, does not have it."""

    backup_arn: str


class Found(NamedTuple):
    """DynamoDB has it; the row is to say so."""

    backup: ListedBackup


class Fail(NamedTuple):
    failure: Failure


Step = Create | Describe | Found | Fail


class Seen(NamedTuple):
    """What ListBackups told of a run. `at_ms`: just before it was asked. `trouble`: why it did not tell; `is_refused`:
    and will not before somebody changes something."""

    at_ms: int
    by_arn: dict[str, ListedBackup]
    by_table: dict[str, ListedBackup]
    trouble: Failure | None = None
    is_refused: bool = False

    def of(self, row: TableRow) -> ListedBackup | None:
        return self.by_arn.get(row.backup_arn) if row.backup_arn else self.by_table.get(row.table_name)


def seen(run: RunRow, at_ms: int, listed: Iterable[ListedBackup]) -> Seen:
    """Of two with the same name, the one made first is the run's: the other one was not made by a run."""
    newest_first = sorted(listed, key=lambda each: (each.created_at_ms, each.arn), reverse=True)
    name = scheduled_name(run.environment, run.backup_date)
    named = [each for each in newest_first if (each.name, each.backup_type) == (name, "USER")]
    by_table = {each.table_name: each for each in named if each.status in ("CREATING", "AVAILABLE")}
    return Seen(at_ms, {each.arn: each for each in named}, by_table)


def nothing_yet(at_ms: int) -> Seen:
    """Of a run that was begun this moment."""
    return Seen(at_ms, {}, {})


def not_seen(at_ms: int, trouble: Failure, *, is_refused: bool) -> Seen:
    return Seen(at_ms, {}, {}, trouble, is_refused)


def next_step(run: RunRow, row: TableRow, what: Seen) -> Step | None:
    """None while there is nothing to do but wait, or no more."""
    if row.has_ended:
        return None
    found = what.of(row)
    if row.status is BackupState.CREATING:
        return _of_creating(run, row, what, found)
    if found is not None:
        return Found(found)
    if what.is_refused and what.trouble is not None:
        return Fail(what.trouble)
    if what.at_ms - run.started_at_ms >= GIVE_UP_MS:
        return Fail(_not_created(row, what))
    if what.trouble is not None or what.at_ms < row.attempt_until_ms:
        return None
    return Create()


def _of_creating(run: RunRow, row: TableRow, what: Seen, found: ListedBackup | None) -> Step | None:
    if found is not None and found.status == "AVAILABLE":
        return Found(found)
    if found is not None and found.status == "DELETED":
        return Fail(deleted(row))
    if what.at_ms - run.started_at_ms >= GIVE_UP_MS:
        return Fail(_overdue(row))
    return Describe(str(row.backup_arn)) if found is None else None


def deleted(row: TableRow) -> Failure:
    return Failure(
        "BackupDeleted", f"the backup {row.backup_arn} was deleted while it was being made; start another one"
    )


def _overdue(row: TableRow) -> Failure:
    text = f"the backup {row.backup_arn} was not available 24 hours after its run was started"
    trouble = f", at last: {row.failure_message}" if row.failure_message else ""
    return Failure("Overdue", f"{text}{trouble}; if it becomes available, it stays as long as any other one")


def _not_created(row: TableRow, what: Seen) -> Failure:
    last = row.failure_message or (what.trouble.message if what.trouble else "its turn did not come")
    return Failure("NotCreated", f"no backup of table {row.table_name} could be made for 24 hours, at last: {last}")
