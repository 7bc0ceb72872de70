"""What retention decides: for each set or backup whether it stays, why, and in which order the others go."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

DAY_MS = 24 * 60 * 60 * 1000
_MOST_NAMES_SHOWN = 5


class Why(StrEnum):
    # It stays.
    RETENTION_OFF = "RETENTION_OFF"
    WITHIN_DAYS = "WITHIN_DAYS"
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"
    MINIMUM = "MINIMUM"
    NEWEST = "NEWEST"
    NEEDED = "NEEDED"
    MAY_BE_NEEDED = "MAY_BE_NEEDED"
    OPEN = "OPEN"
    SHIELDED = "SHIELDED"
    RESTORE_READS = "RESTORE_READS"
    UNREADABLE = "UNREADABLE"
    FUTURE = "FUTURE"
    UNDATED = "UNDATED"
    # A backup stays.
    NOT_OURS = "NOT_OURS"
    NOT_AVAILABLE = "NOT_AVAILABLE"
    RESTORE_NOT_ENDED = "RESTORE_NOT_ENDED"
    # It goes.
    EXPIRED = "EXPIRED"
    UNFINISHED = "UNFINISHED"


class Reason(msgspec.Struct, frozen=True):
    """`text` is for people. `names`: all the sets, tables or restores it speaks of; the text has room for a few."""

    code: Why
    text: str
    names: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """`name`: a set's backup_date, or an on-demand backup's ARN. `reasons`: all that keep it, or why it goes."""

    name: str
    is_kept: bool
    reasons: tuple[Reason, ...]


class RetentionPlan(msgspec.Struct, frozen=True):
    """`removals`: what goes, in the order in which it may go. Cut off after any of them, all that is left is whole."""

    decisions: tuple[Decision, ...]
    removals: tuple[str, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        return tuple(decision.name for decision in self.decisions if decision.is_kept)


def decision(name: str, keeping: Sequence[Reason], otherwise: Reason) -> Decision:
    return Decision(name, bool(keeping), tuple(keeping) or (otherwise,))


def listed(names: Sequence[str]) -> str:
    """Names for a text: the first few, and how many more there are."""
    more = len(names) - _MOST_NAMES_SHOWN
    return ", ".join(names[:_MOST_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def check_limits(**limits: int | None) -> None:
    """Raises ValueError for a negative one."""
    for name, limit in limits.items():
        if limit is not None and limit < 0:
            raise ValueError(f"{name} is {limit}; allowed: 0 or more")
