"""Histories of backup sets for the tests of retention, written as text: one set a line.

    2026-11-20 COMPLETE orders users<2026-11-15,2026-11-19 +shielded

is a set in which `orders` is a full export and `users` builds on two earlier sets; `+shielded` and `+read` mark it. A
table with `!` in front of its name has a chain with a gap.
"""

from datetime import UTC, datetime

from chalicelib.backup.retention.found import FoundSet, FoundStatus
from chalicelib.backup.retention.plan import RetentionPlan

DAY_MS = 24 * 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def history(text: str) -> list[FoundSet]:
    return [_found(line.split()) for line in text.splitlines() if line.strip()]


def _found(words: list[str]) -> FoundSet:
    name, status, *rest = words
    tables = [word.removeprefix("!").partition("<") for word in rest if not word.startswith("+")]
    return FoundSet(
        backup_date=name,
        status=FoundStatus(status),
        tables={table: tuple(bases.split(",")) if bases else () for table, _, bases in tables},
        broken=frozenset(word[1:].partition("<")[0] for word in rest if word.startswith("!")),
        is_shielded="+shielded" in rest,
        is_read="+read" in rest,
    )


def reasons(plan: RetentionPlan) -> dict[str, str]:
    """Of each set the codes of its reasons, those by which it goes in lower case."""
    return {
        each.name: " ".join(reason.code if each.is_kept else reason.code.lower() for reason in each.reasons)
        for each in plan.decisions
    }


def expected(text: str) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}
