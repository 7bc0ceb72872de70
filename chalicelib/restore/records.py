"""The restore side of the ledger: its rows, how they are read, and the moves of a restore as a whole.

Rows of a restore, all under pk `RESTORE#{id}`: `JOB`, `TABLE#{number}`, `SHARD#{kind}#{table}#{number}`,
`SLOT#{number}`, `NOTE#{table}#{shard}#{n}`, `FAILURE#{table}#{shard}`, `REJECTED#{table}#{shard}`; and `LOCK#{table}`
/ `LOCK` for the target tables. Claims on shards are in `claims`, slots in `slots`.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase

from chalicelib.errors import LedgerEntryCorrupt, LedgerRowsLost
from chalicelib.ledger import (
    OPEN_INDEX,
    ConditionFailed,
    Delete,
    Key,
    Ledger,
    Put,
    Row,
    Update,
    absent,
    decode,
    present,
)
from chalicelib.restore.model import (
    ALLOWED_MOVES,
    Job,
    Kind,
    Link,
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
_ONE_PER_TABLE = (Kind.PLAN, Kind.TARGET, Kind.SAFEGUARD, Kind.CREATE, Kind.FINISH, Kind.VERIFY)
_BEFORE_LOADING = ("planning", "checking", "safeguarding", "creating", "clearing", "loading")
_COUNTED_BEFORE_LOADING = tuple(
    name
    for name in Table.__struct_fields__
    if name.startswith(("survey_", *(f"{phase}_" for phase in _BEFORE_LOADING)))
    or name in ("data_files", "data_bytes", "uncompressed_bytes", "data_files_read", "blockers", "warnings")
)
LAST_SHARD = 999_999  # the highest number a shard of a table can have


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


class Lock(NamedTuple):
    """Who holds a lock: a restore, under the name it has for the time until it gives it back."""

    restore_id: str
    holder: str


def lock_of(job: Job) -> Lock:
    return Lock(job.restore_id, job.holder)


class _OpenJob(msgspec.Struct, frozen=True):
    """Of a JOB row what must be known of every open restore, whatever else in it cannot be read."""

    pk: str
    backup_date: str


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

    def links(self, restore_id: str, table_number: int) -> list[Link]:
        """The exports a table is restored from. Raises LedgerRowsLost."""
        shard = self.shard(restore_id, shard_sk(Kind.PLAN, table_number, 0))
        if shard is None:
            raise LedgerRowsLost(f"the ledger lost the plan of the restore's table {table_number}: ask again")
        return shard.links()

    def increments(self, restore_id: str, table_number: int) -> Iterator[Shard]:
        """The LOAD shards of a table's increments."""
        prefix = f"SHARD#{Kind.LOAD.value}#{table_number:04d}#"
        for row in self.ledger.query(job_key(restore_id).pk, prefix, where=Attr("link").gt(0)):
            yield decode(row, Shard)

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
        """Why shards of a table failed, at most 100 of them and each reason once; not from the shards, which may be
        many thousands."""
        rows = self.ledger.query(job_key(restore_id).pk, f"FAILURE#{table_number:04d}#", page_size=_NOTES_SHOWN)
        return list(dict.fromkeys(str(row.get("text")) for row in islice(rows, _NOTES_SHOWN)))

    def rejections(self, restore_id: str, table_number: int) -> list[PlacedReason]:
        """Why items of a table were rejected, of the first 100 shards that ended with any."""
        rows = self.ledger.query(job_key(restore_id).pk, f"REJECTED#{table_number:04d}#", page_size=_NOTES_SHOWN)
        texts = (str(row.get("reasons")) for row in islice(rows, _NOTES_SHOWN))
        return [reason for text in texts for reason in msgspec.json.decode(text, type=list[PlacedReason])]

    def not_ended(self) -> dict[str, str]:
        """The ids of all restores that have not ended, or whose end is not written down completely, each with the name
        of its set. Found by an index, which may lag behind by a moment, and then read. Raises LedgerEntryCorrupt."""
        pks = dict.fromkeys(str(row["pk"]) for row in self.ledger.query_index(OPEN_INDEX, KIND))
        rows = self.ledger.get_many([Key(pk, "JOB") for pk in pks])
        jobs = (decode(row, _OpenJob) for row in rows if "open_kind" in row)
        return {job.pk.removeprefix("RESTORE#"): job.backup_date for job in jobs}

    # --- accepting -------------------------------------------------------------------------------------------

    def create_job(self, job: Job) -> bool:
        """False when another request with the same `Idempotency-Key` has made it. When an answer is lost on its way,
        the client sends the write again, which then finds its own row."""
        row = _row(job) | {"kind": KIND, "sort_name": job.restore_id, "opened_at_ms": job.created_at_ms}
        row["maker"] = secrets.token_hex(8)
        try:
            self.ledger.write(Put(job_key(job.restore_id), row, absent()))
        except ConditionFailed as failed:
            return bool((failed.rows[0] or {}).get("maker") == row["maker"])
        return True

    def discard_job(self, job: Job) -> None:
        """Takes back a job nobody was told of. Only while ACCEPTING: nobody else can know it. One that is gone is taken
        back already; one that reconcile ended stays as it is."""
        ours = Attr("status").eq(Status.ACCEPTING.value) & Attr("holder").eq(job.holder)
        with suppress(ConditionFailed):
            self.ledger.write(Delete(job_key(job.restore_id), ours))

    def create_parts(self, job: Job, tables: Sequence[Table], shards: Iterable[Shard]) -> None:
        lapse = expiry(job.created_at_ms)
        self.ledger.put_all((table_key(job.restore_id, table.number), _row(table) | lapse) for table in tables)
        self.put_shards(job, shards)

    def put_shards(self, job: Job, shards: Iterable[Shard]) -> None:
        """Writes shards anew. Only for shards whose phase has not begun: it would wipe out their progress."""
        lapse = expiry(job.created_at_ms)
        self.ledger.put_all((Key(job.pk, shard.sk), _row(shard) | lapse) for shard in shards)

    def add_shards(self, job: Job, shards: Sequence[Shard]) -> None:
        """Writes shards that are not there yet; those that are stay as they are. At most 100 in one transaction
        (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)."""
        lapse = expiry(job.moved_at_ms)
        for start in range(0, len(shards), 100):
            chunk = shards[start : start + 100]
            with suppress(ConditionFailed):  # the same ones of another request: all of them are there
                self.ledger.transact([Put(Key(job.pk, shard.sk), _row(shard) | lapse, absent()) for shard in chunk])

    def plan_anew(self, job: Job, table: Table) -> None:
        """Takes a table back to where PLANNING finds it; nobody works on it. What was cleared stays counted, a target
        that was missing stays one that this restore makes, or has made, and the shards that were planned are written
        anew by planning. Repeating it changes nothing."""
        first = [self.shard(job.restore_id, shard_sk(kind, table.number, 0)) for kind in _ONE_PER_TABLE]
        again = [Shard(sk=s.sk, kind=s.kind, source=s.source, number=0, files=s.files) for s in first if s is not None]
        self.put_shards(job, [shard for shard in again if shard.kind is not Kind.PLAN])
        for row in (*self._rows_of(job, "NOTE", table), *self._rows_of(job, "FAILURE", table)):
            self.ledger.write(Delete(Key(job.pk, str(row["sk"]))))
        fresh = Table(
            source=table.source,
            target=table.target,
            number=table.number,
            item_count=table.item_count,
            definition_key=table.definition_key,
        )
        kept = ("safeguarding_total", "creating_total", "finishing_total")
        changes = {name: getattr(fresh, name) for name in _COUNTED_BEFORE_LOADING if name not in kept}
        gone = ("plan_digest", "target_digest", "target_facts", "found_keys", "link_ends")
        # A transaction for the sake of its token: the same request that arrives once more, late, would take back what
        # was counted since.
        key = table_key(job.restore_id, table.number)
        self.ledger.transact([Update(key, set=changes, remove=gone, condition=present())])
        # Last: a table whose plan is to be made again counts nothing of the old one.
        self.put_shards(job, [shard for shard in again if shard.kind is Kind.PLAN])

    def _rows_of(self, job: Job, kind: str, table: Table) -> Iterator[Row]:
        return self.ledger.query(job.pk, f"{kind}#{table.number:04d}#")

    def drop_shards_from(self, restore_id: str, kind: Kind, table_number: int, first_number: int) -> None:
        """Deletes a table's shards of a kind from a number on: what a planner that was cut off planned, and the one
        that repeats it does not. Left there, they would be worked on and counted among the planned ones."""
        pk = job_key(restore_id).pk
        begin = shard_sk(kind, table_number, first_number - 1) if first_number else None
        for row in self.ledger.query(pk, f"SHARD#{kind.value}#{table_number:04d}#", start_after=begin):
            self.ledger.write(Delete(Key(pk, str(row["sk"]))))

    # --- locks -----------------------------------------------------------------------------------------------

    def take_lock(self, target: str, lock: Lock) -> Lock | None:
        """None when the lock is ours (also when it already was), else who holds it.

        A transaction for the sake of its token: a request that the client gave up and sent again may arrive when the
        lock has been given back, and would take it for a restore that has ended.
        """
        try:
            self.ledger.transact([Put(lock_key(target), lock._asdict(), absent())])
        except ConditionFailed as failed:
            row = failed.rows[0] or {}
            standing = Lock(str(row.get("restore_id", "")), str(row.get("holder", "")))
            return None if standing == lock else standing
        return None

    def release_lock(self, target: str, lock: Lock) -> None:
        """By its holder too: one who is slow to give a restore's locks back must not give back those that it has taken
        anew meanwhile, because it goes on."""
        holder = Attr("holder").eq(lock.holder)
        if not lock.holder:  # taken by a version that had none
            holder |= Attr("holder").not_exists()
        ours = Attr("restore_id").eq(lock.restore_id) & holder
        with suppress(ConditionFailed):  # given back already, or another one's by now
            self.ledger.write(Delete(lock_key(target), ours))

    # --- moving ----------------------------------------------------------------------------------------------

    def move(self, job: Job, to: Status, now_ms: int, *, remove: Sequence[str] = (), **changes: Any) -> bool:
        """From the status `job` was read with to another. False when somebody else moved it first.

        An answer lost on its way makes the client send the write again, which then fails although it took effect: a
        row that stands exactly as this call writes it was moved by it. A restore that is carried on comes to the same
        status again: what was decided the first time, and arrives late, must not move it then.
        """
        if to not in ALLOWED_MOVES[job.status]:
            raise ValueError(f"restore {job.restore_id} may not move from {job.status} to {to}")
        update = Update(
            job_key(job.restore_id),
            set={"status": to.value, "moved_at_ms": now_ms, **changes},
            remove=remove,
            condition=Attr("status").eq(job.status.value) & Attr("moved_at_ms").eq(job.moved_at_ms),
        )
        try:
            self.ledger.write(update)
        except ConditionFailed as failed:
            stands = failed.rows[0] or {}
            written = {"status": to.value, "moved_at_ms": now_ms, **changes}
            return all(stands.get(name) == value for name, value in written.items())
        return True

    def close(self, job: Job, now_ms: int) -> None:
        """Takes an ended restore off the open work. The ledger forgets it later, the bucket keeps its receipt."""
        update = Update(
            job_key(job.restore_id),
            set={"expires_at_s": now_ms // 1000 + _JOB_KEPT_S},
            remove=["open_kind"],
            condition=Attr("status").eq(job.status.value) & Attr("moved_at_ms").eq(job.moved_at_ms),
        )
        with suppress(ConditionFailed):  # closed by another one, and carried on since
            self.ledger.write(update)


def _row(record: msgspec.Struct) -> Row:
    row: Row = msgspec.to_builtins(record)
    return {name: value for name, value in row.items() if value is not None and name != "sk"}


def expiry(from_ms: int) -> dict[str, int]:
    return {"expires_at_s": from_ms // 1000 + _PARTS_KEPT_S}
