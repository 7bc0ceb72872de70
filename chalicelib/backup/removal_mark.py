"""The mark of a set that is being removed: a row of the ledger that keeps everybody else off it.

`BACKUP#{date}` / `REMOVAL`, written by `pruning.removals`. Whoever is about to use a set writes that down first, and
then looks for the mark, strongly consistent; or both in one transaction. Who removes sets does it the other way round:
first the mark, then, after a while, a look at who uses them. So at least one of the two sees the other, and gives way.
"""

from collections.abc import Iterable

from chalicelib.errors import Conflict
from chalicelib.ledger import Check, Key, Ledger, absent


def removal_key(backup_date: str) -> Key:
    return Key(f"BACKUP#{backup_date}", "REMOVAL")


def not_marked(backup_date: str) -> Check:
    """For a transaction that must not take effect on a set that is being removed."""
    return Check(removal_key(backup_date), absent())


def marked_among(ledger: Ledger, backup_dates: Iterable[str]) -> list[str]:
    """Those of the sets that are marked, by name."""
    rows = ledger.get_many([removal_key(name) for name in dict.fromkeys(backup_dates)])
    return sorted(str(row["pk"]).removeprefix("BACKUP#") for row in rows)


def refuse_marked(ledger: Ledger, backup_dates: Iterable[str]) -> None:
    """Raises Conflict where one of the sets is marked."""
    for backup_date in marked_among(ledger, backup_dates):
        raise being_removed(backup_date)


def being_removed(backup_date: str) -> Conflict:
    return Conflict(
        "backup_being_removed",
        f"backup {backup_date} is being removed, as retention decided: take another one; GET /backups lists them",
    )
