"""What people are to be told, noted in the ledger in the moment it happens; `chalicelib/telling` sends it later.

`NOTICE#{what}#{name}#{revision}` / `NOTICE`   one notice, open work until it was sent or given up

A notice of a finished set is written in the transaction that finishes it: a stop right after that loses none. Notices
have rows of their own, apart from their set's: retention removes a set with its rows, and a set whose notice is still
to be sent is a finished one to everybody else. A notice that was sent goes by the table's TTL.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib.backup.catalog import KIND
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.rows import SetRow
from chalicelib.backup.states import SetState
from chalicelib.clock import Clock
from chalicelib.ledger import ConditionFailed, Key, Ledger, Put, absent

NOTICE = "NOTICE"
_LONGEST_REASON = 4000
_HOUR_MS = 3600 * 1000


class What(StrEnum):
    FINISHED = "FINISHED"
    OVERDUE = "OVERDUE"
    NOT_STARTED = "NOT_STARTED"
    STALE = "STALE"
    ON_DEMAND_FINISHED = "ON_DEMAND_FINISHED"


class AgedTable(msgspec.Struct, frozen=True):
    """`newest`: the moment that its newest complete backup shows, in ISO 8601; None where there is none. `reason`: why
    its last export failed."""

    table_name: str
    age_ms: int
    newest: str | None = None
    reason: str | None = None


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of the set, or of the day. `revision`: of the set's row. `manifest_revision`: of the manifest that stood
    in the bucket then. `since_ms`: of a STALE one without tables, since when there has been no backup at all. `stale`:
    the worst ones out of `stale_tables` of `all_tables`.

    `attempts` is how often it was claimed, `failures` how often sending failed in a row; `*_at_ms` of a channel says
    when it was done with.
    """

    what: What
    name: str
    environment: str
    notification_id: str
    opened_at_ms: int
    revision: int = 1
    manifest_revision: int = 1
    status: str | None = None
    s3_bucket: str | None = None
    exports_prefix: str | None = None
    started_at_ms: int | None = None
    reason: str | None = None
    since_ms: int | None = None
    longest_age_hours: int | None = None
    all_tables: int = 0
    stale_tables: int = 0
    stale: tuple[AgedTable, ...] = ()
    attempts: int = 0
    failures: int = 0
    claimed_until_ms: int = 0
    next_try_at_ms: int = 0
    topic_told_at_ms: int | None = None
    bus_told_at_ms: int | None = None
    measured_at_ms: int | None = None
    ended_at_ms: int | None = None
    outcome: str | None = None
    open_kind: str | None = KIND

    @property
    def key(self) -> Key:
        return notice_key(f"{self.what.value}#{self.name}#{self.revision}")


def notice_key(name: str) -> Key:
    """`name`: as `Catalog.open_work` gives it."""
    return Key(f"{NOTICE}#{name}", NOTICE)


class Outbox:
    """Where notices are put. All but `finished` write; each only once, whoever comes first: False then."""

    def __init__(self, ledger: Ledger, environment: str, clock: Clock) -> None:
        self._ledger = ledger
        self._environment = environment
        self._clock = clock

    def finished(self, set_row: SetRow, manifest: Manifest) -> Put:
        """To be written with the set's row. Over one of a set of that name that was lost with its rows: the condition
        that it is this run that finishes the set is that row's."""
        row = self._row(
            What.FINISHED,
            set_row.backup_date,
            revision=set_row.revision,
            manifest_revision=manifest.revision,
            status=manifest.status,
            s3_bucket=set_row.s3_bucket,
            exports_prefix=set_row.exports_prefix,
            started_at_ms=set_row.started_at_ms,
        )
        return Put(row.key, _bare(row))

    def on_demand_finished(self, backup_date: str, status: str, started_at_ms: int) -> Put:
        """To be written with the row of the run."""
        row = self._row(What.ON_DEMAND_FINISHED, backup_date, status=status, started_at_ms=started_at_ms)
        return Put(row.key, _bare(row))

    def overdue(self, set_row: SetRow, reason: str | None) -> bool:
        started_at_ms = set_row.started_at_ms
        return self._put(What.OVERDUE, set_row.backup_date, started_at_ms=started_at_ms, reason=_cut(reason))

    def not_started(self, backup_date: str, reason: str) -> bool:
        return self._put(What.NOT_STARTED, backup_date, reason=_cut(reason))

    def stale(
        self, day: str, longest_age_hours: int, all_tables: int, stale: Sequence[AgedTable], **facts: Any
    ) -> bool:
        """`stale`: all tables without a young enough backup, worst first. `facts`: other fields of the row."""
        facts |= {"longest_age_hours": longest_age_hours, "all_tables": all_tables, "stale_tables": len(stale)}
        return self._put(What.STALE, day, stale=tuple(stale[:100]), **facts)

    def _row(self, what: What, name: str, revision: int = 1, **facts: Any) -> NoticeRow:
        now_ms = self._clock()
        return NoticeRow(
            what=what,
            name=name,
            environment=self._environment,
            notification_id=f"{self._environment}/{what.value}/{name}/{revision}/{now_ms}",
            opened_at_ms=now_ms,
            revision=revision,
            **facts,
        )

    def _put(self, what: What, name: str, **facts: Any) -> bool:
        row = self._row(what, name, **facts)
        try:
            self._ledger.write(Put(row.key, _bare(row), absent()))
        except ConditionFailed:
            return False
        return True


class OverdueWatch:
    """Notes a set as overdue, once, when it was started longer ago than `after_hours` and has never been finished.

    Not one that was adopted from the bucket: its exports may have been started long before anybody looked at it."""

    def __init__(self, outbox: Outbox, after_hours: int, clock: Clock) -> None:
        self._outbox = outbox
        self._after_ms = after_hours * _HOUR_MS
        self._clock = clock
        self._noted: set[str] = set()  # only so that a set that stays open costs no write a minute

    def look_at(self, set_row: SetRow, trouble: str | None) -> None:
        """`trouble`: what kept the set just now from being carried on."""
        was_never_finished = set_row.status is SetState.OPEN and set_row.finished_at_ms is None
        is_overdue = was_never_finished and self._clock() - set_row.started_at_ms > self._after_ms
        if not is_overdue or set_row.adopted or set_row.backup_date in self._noted:
            return
        self._outbox.overdue(set_row, trouble)
        self._noted.add(set_row.backup_date)


def _cut(text: str | None) -> str | None:
    return text if text is None else text[:_LONGEST_REASON]


def _bare(row: NoticeRow) -> dict[str, Any]:
    """Without what is not set: the ledger holds no nulls."""
    built = msgspec.to_builtins(row)
    built["stale"] = [{name: value for name, value in table.items() if value is not None} for table in built["stale"]]
    return {name: value for name, value in built.items() if value is not None}
