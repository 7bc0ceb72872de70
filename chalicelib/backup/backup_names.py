"""The names of this service's on-demand backups: every one is made, and recognised, here. Pure.

`tablevault-scheduled-{backup_date}`       taken by the schedule, beside the set of that name
`tablevault-{restore_id}[-{resumes}]`      a safety backup: of a target before a restore clears or overwrites it, and
                                           another one for each time that restore is resumed

Names need not be unique in DynamoDB, and anybody may give one of any form: what is recognised here is only what
retention may look at, never a proof.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateBackup.html (3 to 255 of a-z A-Z 0-9 _ . -)
"""

import re
from typing import NamedTuple

from chalicelib.backup import layout

_SCHEDULED = "tablevault-scheduled-"
_SAFETY = "tablevault-"
_RESTORE = re.compile(r"(r-\d{8}T\d{6}Z-[0-9a-f]{8})(?:-([1-9]\d{0,8}))?", re.ASCII)


class ScheduledName(NamedTuple):
    backup_date: str


class SafetyName(NamedTuple):
    """`resumes`: how often the restore had been resumed when the backup was taken."""

    restore_id: str
    resumes: int


def scheduled_name(backup_date: str) -> str:
    """Raises ValueError for what is no set's name: such a backup would never be recognised, and so never removed."""
    if not layout.BACKUP_DATE.match(backup_date):
        raise ValueError(f"{backup_date!r} is no set's name: YYYY-MM-DD or YYYY-MM-DDTHHMMSSZ")
    return f"{_SCHEDULED}{backup_date}"


def safety_name(restore_id: str, resumes: int = 0) -> str:
    return f"{_SAFETY}{restore_id}" + (f"-{resumes}" if resumes else "")


def parse_backup_name(name: str) -> ScheduledName | SafetyName | None:
    """What a backup of this service is for; None for a name that this service gives to none."""
    if name.startswith(_SCHEDULED):
        backup_date = name.removeprefix(_SCHEDULED)
        return ScheduledName(backup_date) if layout.BACKUP_DATE.match(backup_date) else None
    match = _RESTORE.fullmatch(name.removeprefix(_SAFETY)) if name.startswith(_SAFETY) else None
    return SafetyName(match[1], int(match[2] or 0)) if match else None
