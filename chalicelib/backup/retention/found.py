"""What retention knows of the sets it decides about, and by which policy. Pure."""

from enum import StrEnum

import msgspec

from chalicelib.backup.chain import missing_links
from chalicelib.backup.manifest import Manifest, ManifestTable
from chalicelib.backup.retention.plan import check_limits


class FoundStatus(StrEnum):
    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    OPEN = "OPEN"  # by the ledger, whether there is a manifest or not
    UNFINISHED = "UNFINISHED"  # no manifest, and not open
    UNREADABLE = "UNREADABLE"  # a manifest that cannot be read, or is of a newer schema


RESTORABLE = frozenset({FoundStatus.COMPLETE, FoundStatus.PARTIAL})


class FoundSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set as bucket and ledger have it.

    `tables`: of each table whose export completed, the names of the sets that it builds on; `tables_of` says it of a
    manifest. Of an OPEN set also those under way; of an UNREADABLE one what the ledger knows, nothing where it knows
    nothing. `broken`: those of them whose links leave a gap, so that they cannot be restored; `broken_of` says it.
    `is_shielded`: an operator marked it. `is_read`: a restore reads it right now.
    """

    backup_date: str
    status: FoundStatus
    tables: dict[str, tuple[str, ...]] = {}
    broken: frozenset[str] = frozenset()
    is_shielded: bool = False
    is_read: bool = False


class SetPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`days`: None where retention is off. `daily` to `yearly`: of how many such periods the last set stays, in the
    schedule's time zone. Raises ValueError for a negative number."""

    days: int | None
    minimum: int
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        check_limits(**{name: getattr(self, name) for name in self.__struct_fields__ if name != "timezone"})


def tables_of(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """The tables that completed in a set, each with the other sets that it builds on, oldest link first."""
    completed = (table for table in manifest.tables if table.status == "COMPLETED")
    return {table.table_name: _sets_of(table, manifest.backup_date) for table in completed}


def broken_of(manifest: Manifest) -> frozenset[str]:
    """The tables that completed in a set, and that no restore takes from it: a link of their chain is missing."""
    completed = (table for table in manifest.tables if table.status == "COMPLETED")
    return frozenset(table.table_name for table in completed if missing_links(table))


def _sets_of(table: ManifestTable, own: str) -> tuple[str, ...]:
    """Where a window was split, its other parts are links of the set itself."""
    return tuple(dict.fromkeys(link.backup_date for link in table.base if link.backup_date != own))
