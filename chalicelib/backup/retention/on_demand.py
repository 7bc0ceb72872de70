"""Which of a table's on-demand backups stay, and which go. Pure.

    days, minimum   scheduled backups: those older than `days` go, and only while `minimum` younger ones are there; so
                    where the schedule has stopped, all stay
    safety_days     safety backups: a limit of their own; they count for no minimum
    always          the newest scheduled one, what belongs to a restore that has not ended, and all that is not ours

Ours are backups of type USER with a name that `backup_names` makes for this environment: another stage of the account
may back up the same table, by rules of its own.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BackupSummary.html
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from chalicelib.backup.backup_names import SafetyName, ScheduledName, parse_backup_name
from chalicelib.backup.retention.plan import DAY_MS, Decision, Reason, RetentionPlan, Why, check_limits, decision

_AVAILABLE = "AVAILABLE"
_USER = "USER"
_NOT_AVAILABLE = {"CREATING": "it is still being made", "DELETED": "it is deleted already"}


class ListedBackup(msgspec.Struct, frozen=True, kw_only=True):
    """As ListBackups tells of it: `status` AVAILABLE, CREATING or DELETED, `backup_type` USER, SYSTEM or AWS_BACKUP.
    `size_bytes`: 0 while it is being made."""

    arn: str
    name: str
    created_at_ms: int
    status: str
    backup_type: str
    size_bytes: int = 0

    @property
    def table_arn(self) -> str:
        """Of the table as it was called: there may be another one of that name by now."""
        return self.arn.split("/backup/")[0]

    @property
    def table_name(self) -> str:
        return self.table_arn.rsplit("/", 1)[-1]


class BackupPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`days`, `safety_days`: None where none of that kind ever goes. Raises ValueError for a negative number."""

    days: int | None
    minimum: int
    safety_days: int | None

    def __post_init__(self) -> None:
        check_limits(days=self.days, minimum=self.minimum, safety_days=self.safety_days)


class _View(NamedTuple):
    """`recent`: how many scheduled ones are AVAILABLE and younger than `days`; `newest_ms`: when the newest of all that
    are AVAILABLE was made."""

    policy: BackupPolicy
    environment: str
    now_ms: int
    not_ended: Collection[str]
    recent: int
    newest_ms: int | None


def decide_backups(
    backups: Iterable[ListedBackup], policy: BackupPolicy, environment: str, not_ended: Collection[str], now_ms: int
) -> RetentionPlan:
    """Decisions by time, then ARN; the name of each is its ARN. `environment`: whose backups may go. `not_ended`: ids
    of restores that have not ended.

    Raises ValueError for backups of more than one table: each has a minimum of its own.
    """
    oldest_first = sorted(backups, key=lambda each: (each.created_at_ms, each.arn))
    if len({each.table_arn for each in oldest_first}) > 1:
        raise ValueError("these are backups of more than one table: decide about one table at a time")
    view = _view(oldest_first, policy, environment, not_ended, now_ms)
    decisions = tuple(_decision(each, view) for each in oldest_first)
    return RetentionPlan(decisions, tuple(each.name for each in decisions if not each.is_kept))


def _view(
    backups: Iterable[ListedBackup], policy: BackupPolicy, environment: str, not_ended: Collection[str], now_ms: int
) -> _View:
    """Those dated in the future stay, and count for nothing."""
    made_ms = [
        each.created_at_ms
        for each in backups
        if _is_scheduled(each, environment) and each.status == _AVAILABLE and each.created_at_ms <= now_ms
    ]
    recent = sum(_is_within(each, policy.days, now_ms) for each in made_ms)
    return _View(policy, environment, now_ms, not_ended, recent, max(made_ms, default=None))


def is_ours(backup: ListedBackup, environment: str) -> bool:
    return _name_of(backup, environment) is not None


def _name_of(backup: ListedBackup, environment: str) -> ScheduledName | SafetyName | None:
    return parse_backup_name(environment, backup.name) if backup.backup_type == _USER else None


def _is_scheduled(backup: ListedBackup, environment: str) -> bool:
    return isinstance(_name_of(backup, environment), ScheduledName)


def _is_within(made_ms: int, days: int | None, now_ms: int) -> bool:
    return days is None or now_ms - made_ms < days * DAY_MS


def _decision(backup: ListedBackup, view: _View) -> Decision:
    name = _name_of(backup, view.environment)
    if name is None:
        text = f"it is not of {view.environment} of this service: {backup.name}, of type {backup.backup_type}"
        return Decision(backup.arn, True, (Reason(Why.NOT_OURS, text),))
    days = view.policy.days if isinstance(name, ScheduledName) else view.policy.safety_days
    keeping = [*_of_both(backup, view, days)]
    keeping += _of_scheduled(backup, view) if isinstance(name, ScheduledName) else _of_safety(name, view)
    return decision(
        backup.arn, keeping, Reason(Why.EXPIRED, f"it is older than {days} days, and nothing else keeps it")
    )


def _of_both(backup: ListedBackup, view: _View, days: int | None) -> Iterator[Reason]:
    if backup.status != _AVAILABLE:
        yield Reason(Why.NOT_AVAILABLE, _NOT_AVAILABLE.get(backup.status, f"its status is {backup.status}"))
    if backup.created_at_ms > view.now_ms:
        yield Reason(Why.FUTURE, "it is dated in the future: a clock is wrong, or was")
    if days is None:
        yield Reason(Why.RETENTION_OFF, "retention is off")
    elif _is_within(backup.created_at_ms, days, view.now_ms):
        yield Reason(Why.WITHIN_DAYS, f"it is not older than {days} days")


def _of_scheduled(backup: ListedBackup, view: _View) -> Iterator[Reason]:
    if backup.status == _AVAILABLE and backup.created_at_ms == view.newest_ms:
        yield Reason(Why.NEWEST, "it is the newest scheduled backup of its table")
    if view.recent < view.policy.minimum:
        text = (
            f"of the {view.policy.minimum} younger backups that there must be before one goes, there are {view.recent}"
        )
        yield Reason(Why.MINIMUM, text)


def _of_safety(name: SafetyName, view: _View) -> Iterator[Reason]:
    """All of such a restore, not the newest alone: the first one is what stood there before anything was touched."""
    if name.restore_id in view.not_ended:
        text = f"restore {name.restore_id}, which it was taken for, has not ended"
        yield Reason(Why.RESTORE_NOT_ENDED, text, (name.restore_id,))
