"""The names of this service's on-demand backups: every one is made, and recognised, here. Pure.

`tablevault-{environment}-scheduled-{backup_date}`       taken by the schedule, beside the set of that name, or asked
                                                         for by hand: the backup_date says which, to the second
`tablevault-{environment}-{restore_id}[-{resumes}]`      a safety backup: of a target before a restore clears or
                                                         overwrites it, and another one for each time it is resumed

Two stages of one account may back up one table. Names are read for one environment at a time, and none of another
one's is recognised, whatever both are called: the part behind the environment tells by itself where it begins.

Names need not be unique in DynamoDB, and anybody may give one of any form: what is recognised here is only what
retention may look at, never a proof.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateBackup.html (3 to 255 of a-z A-Z 0-9 _ . -)
"""

import re
from typing import NamedTuple

from chalicelib.backup import layout

_OURS = "tablevault-"
_SCHEDULED = "scheduled-"
_RESTORE = re.compile(r"(r-\d{8}T\d{6}Z-[0-9a-f]{8})(?:-([1-9]\d{0,8}))?", re.ASCII)


class ScheduledName(NamedTuple):
    backup_date: str


class SafetyName(NamedTuple):
    """`resumes`: how often the restore had been resumed when the backup was taken."""

    restore_id: str
    resumes: int


def scheduled_name(environment: str, backup_date: str) -> str:
    """Raises ValueError for what is no set's name: such a backup would never be recognised, and so never removed."""
    if not layout.BACKUP_DATE.match(backup_date):
        raise ValueError(f"{backup_date!r} is no set's name: YYYY-MM-DD or YYYY-MM-DDTHHMMSSZ")
    return f"{_prefix(environment)}{_SCHEDULED}{backup_date}"


def safety_name(environment: str, restore_id: str, resumes: int = 0) -> str:
    return f"{_prefix(environment)}{restore_id}" + (f"-{resumes}" if resumes else "")


def parse_backup_name(environment: str, name: str) -> ScheduledName | SafetyName | None:
    """What a backup of this environment is for; None for a name that this environment gives to none."""
    if not name.startswith(_prefix(environment)):
        return None
    rest = name.removeprefix(_prefix(environment))
    if rest.startswith(_SCHEDULED):
        backup_date = rest.removeprefix(_SCHEDULED)
        return ScheduledName(backup_date) if layout.BACKUP_DATE.match(backup_date) else None
    match = _RESTORE.fullmatch(rest)
    return SafetyName(match[1], int(match[2] or 0)) if match else None


def _prefix(environment: str) -> str:
    return f"{_OURS}{environment}-"
