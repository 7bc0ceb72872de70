"""The restore side of the ledger: its rows, how they are read, and the moves of a restore as a whole.

Rows of a restore, all under pk `RESTORE#{id}`: `JOB`, `TABLE#{number}`, `SHARD#{kind}#{table}#{number}`,
`SLOT#{number}`, `NOTE#{table}#{shard}#{n}`, `FAILURE#{table}#{shard}`, `REJECTED#{table}#{shard}`; and `LOCK#{table}`
/ `LOCK` for the target tables. Claims on shards are in `claims`, slots in `slots`.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.errors import LedgerEntryCorrupt
from chalicelib.ledger import (
    ConditionFailed,
    Delete,
    Key,
    Ledger,
    Put,
    Row,
    Update,
    absent,
    decode,
)
from chalicelib.restore.model import (
    ALLOWED_MOVES,
    TERMINAL,
    Job,
    Kind,
    Note,
    PlacedReason,
    Shard,
    Status,
    Table,
    Task,
)

logger = logging.getLogger("tablevault")

KIND = "RESTORE"
_JOB_KEPT_S = 90 * 24 * 3600  # after its end
_PARTS_KEPT_S = 180 * 24 * 3600  # after they were made: always beyond their job's own end
_NOTES_SHOWN = 100


def job_key(restore_id: str) -> Key:
    return Key(f"RESTORE#{restore_id}", "JOB")


def table_key(restore_id: str, number: int) -> Key:
    return Key(f"RESTORE#{restore_id}", f"TABLE#{number:04d}")


def shard_sk(kind: Kind, table_number: int, number: int) -> str:
    return f"SHARD#{kind.value}#{table_number:04d}#{number:06d}"


def lock_key(target: str) -> Key:
    return Key(f"LOCK#{target}", "LOCK")


def table_number(shard: Shard) -> int:
    return int(shard.sk.split("#")[2])


class RestoreRecords:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # --- reading ---------------------------------------------------------------------------------------------

    def job(self, restore_id: str) -> Job | None:
        row = self.ledger.get(job_key(restore_id))
        return decode(row, Job) if row else None

    def tables(self, restore_id: str) -> list[Table]:
        return [decode(row, Table) for row in self.ledger.query(job_key(restore_id).pk, "TABLE#")]

    def shards(self, restore_id: str, kind: Kind, table_number: int | None = None) -> Iterator[Shard]:
        prefix = f"SHARD#{kind.value}#" + (f"{table_number:04d}#" if table_number is not None else "")
        for row in self.ledger.query(job_key(restore_id).pk, prefix):
            yield decode(row, Shard)

    def shard(self, restore_id: str, sk: str) -> Shard | None:
        row = self.ledger.get(Key(job_key(restore_id).pk, sk))
        return decode(row, Shard) if row else None

    def shards_by_key(self, restore_id: str, sks: Sequence[str]) -> list[Shard]:
        keys = [Key(job_key(restore_id).pk, sk) for sk in sks]
        return [decode(row, Shard) for row in self.ledger.get_many(keys)]

    def claimable(self, restore_id: str, task: Task, start_after: str | None, now_ms: int) -> Iterator[Shard]:
        """Shards that stand at the stage the task takes and carry no live claim, from a position on."""
        condition = Attr("stage").eq(task.takes.value) & Attr("claimed_until_ms").lte(now_ms)
        condition &= Attr("paused_until_ms").not_exists() | Attr("paused_until_ms").lte(now_ms)
        yield from self._readable(restore_id, task, start_after, condition)

    def _readable(
        self, restore_id: str, task: Task, start_after: str | None, condition: ConditionBase
    ) -> Iterator[Shard]:
        """One row that cannot be read keeps no other from being restored, and no restore from being cancelled."""
        prefix = f"SHARD#{task.kind.value}#"
        pk = job_key(restore_id).pk
        for row in self.ledger.query(pk, prefix, start_after=start_after, page_size=200, where=condition):
            try:
                yield decode(row, Shard)
            except LedgerEntryCorrupt as error:
                logger.error("shard cannot be read", extra={"restore_id": restore_id, "error": error.message})

    def at_stage(self, restore_id: str, task: Task) -> Iterator[Shard]:
        """Shards that the task still has to take, claimed or not. One that cannot be read is passed over and logged."""
        yield from self._readable(restore_id, task, None, Attr("stage").eq(task.takes.value))

    def count_at_stage(self, restore_id: str, task: Task) -> int:
        condition = Attr("stage").eq(task.takes.value)
        rows = self.ledger.query(job_key(restore_id).pk, f"SHARD#{task.kind.value}#", where=condition)
        return sum(1 for _ in rows)

    def has_live_claim(self, restore_id: str, now_ms: int) -> bool:
        condition = Attr("claimed_until_ms").gt(now_ms)
        return any(self.ledger.query(job_key(restore_id).pk, "SHARD#", where=condition))

    def notes(self, restore_id: str, table_number: int) -> list[Note]:
        """The first notes of a table; how many there are stands in its TABLE row."""
        rows = self.ledger.query(job_key(restore_id).pk, f"NOTE#{table_number:04d}#", page_size=_NOTES_SHOWN)
        return [Note(str(row.get("level")), str(row.get("text"))) for row in islice(rows, _NOTES_SHOWN)]

    def failures(self, restore_id: str, table_number: int) -> list[str]:
        """Why shards of a table failed, at most 100 of them; not from the shards, which may be many thousands."""
        rows = self.ledger.query(job_key(restore_id).pk, f"FAILURE#{table_number:04d}#", page_size=_NOTES_SHOWN)
        return [str(row.get("text")) for row in islice(rows, _NOTES_SHOWN)]

    def rejections(self, restore_id: str, table_number: int) -> list[PlacedReason]:
        """Why items of a table were rejected, of the first 100 shards that ended with any."""
        rows = self.ledger.query(job_key(restore_id).pk, f"REJECTED#{table_number:04d}#", page_size=_NOTES_SHOWN)
        texts = (str(row.get("reasons")) for row in islice(rows, _NOTES_SHOWN))
        return [reason for text in texts for reason in msgspec.json.decode(text, type=list[PlacedReason])]

    # --- accepting -------------------------------------------------------------------------------------------

    def create_job(self, job: Job) -> None:
        """A row that is there already is this one: an answer was lost on its way, and the client sent the write again.
        Nobody else can know the id."""
        row = _row(job) | {"kind": KIND, "sort_name": job.restore_id, "opened_at_ms": job.created_at_ms}
        with suppress(ConditionFailed):
            self.ledger.write(Put(job_key(job.restore_id), row, absent()))

    def discard_job(self, restore_id: str) -> None:
        """Takes back a job nobody was told of. Only while ACCEPTING: nobody else can know it. One that is gone is taken
        back already; one that reconcile ended stays as it is."""
        with suppress(ConditionFailed):
            self.ledger.write(Delete(job_key(restore_id), Attr("status").eq(Status.ACCEPTING.value)))

    def create_parts(self, job: Job, tables: Sequence[Table], shards: Iterable[Shard]) -> None:
        lapse = expiry(job.created_at_ms)
        self.ledger.put_all((table_key(job.restore_id, table.number), _row(table) | lapse) for table in tables)
        self.put_shards(job, shards)

    def put_shards(self, job: Job, shards: Iterable[Shard]) -> None:
        """Writes shards anew. Only for shards whose phase has not begun: it would wipe out their progress."""
        lapse = expiry(job.created_at_ms)
        self.ledger.put_all((Key(job.pk, shard.sk), _row(shard) | lapse) for shard in shards)

    def drop_shards_from(self, restore_id: str, kind: Kind, table_number: int, first_number: int) -> None:
        """Deletes a table's shards of a kind from a number on: what a planner that was cut off planned, and the one
        that repeats it does not. Left there, they would be worked on and counted among the planned ones."""
        pk = job_key(restore_id).pk
        begin = shard_sk(kind, table_number, first_number - 1) if first_number else None
        for row in self.ledger.query(pk, f"SHARD#{kind.value}#{table_number:04d}#", start_after=begin):
            self.ledger.write(Delete(Key(pk, str(row["sk"]))))

    # --- locks -----------------------------------------------------------------------------------------------

    def take_lock(self, target: str, restore_id: str) -> str | None:
        """None when the lock is ours (also when it already was), else the id of the restore that holds it.

        A transaction for the sake of its token: a request that the client gave up and sent again may arrive when the
        lock has been given back, and would take it for a restore that has ended.
        """
        try:
            self.ledger.transact([Put(lock_key(target), {"restore_id": restore_id}, absent())])
        except ConditionFailed as failed:
            holder = str((failed.rows[0] or {}).get("restore_id", ""))
            return None if holder == restore_id else holder
        return None

    def release_lock(self, target: str, restore_id: str) -> None:
        try:
            self.ledger.write(Delete(lock_key(target), Attr("restore_id").eq(restore_id)))
        except ConditionFailed:
            return  # given back already, or another restore's by now

    # --- moving ----------------------------------------------------------------------------------------------

    def move(self, job: Job, to: Status, now_ms: int, **changes: Any) -> bool:
        """From the status `job` was read with to another. False when somebody else moved it first.

        An answer lost on its way makes the client send the write again, which then fails although it took effect: a
        row that stands exactly as this call writes it was moved by it.
        """
        if to not in ALLOWED_MOVES[job.status]:
            raise ValueError(f"restore {job.restore_id} may not move from {job.status} to {to}")
        update = Update(
            job_key(job.restore_id),
            set={"status": to.value, "moved_at_ms": now_ms, **changes},
            condition=Attr("status").eq(job.status.value),
        )
        try:
            self.ledger.write(update)
        except ConditionFailed as failed:
            stands = failed.rows[0] or {}
            return stands.get("status") == to.value and stands.get("moved_at_ms") == now_ms
        return True

    def close(self, job: Job, now_ms: int) -> None:
        """Takes an ended restore off the open work. The ledger forgets it later, the bucket keeps its receipt."""
        ended = Attr("status").is_in(sorted(status.value for status in TERMINAL))
        self.ledger.write(
            Update(
                job_key(job.restore_id),
                set={"expires_at_s": now_ms // 1000 + _JOB_KEPT_S},
                remove=["open_kind"],
                condition=ended,
            )
        )


def _row(record: msgspec.Struct) -> Row:
    row: Row = msgspec.to_builtins(record)
    return {name: value for name, value in row.items() if value is not None and name != "sk"}


def expiry(from_ms: int) -> dict[str, int]:
    return {"expires_at_s": from_ms // 1000 + _PARTS_KEPT_S}
