"""Defects in how work is handed out, claimed, written down and ended."""

from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import msgspec
from boto3.dynamodb.conditions import Attr
from msgspec.structs import replace

from chalicelib.backup import recorder
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.recorder import Recorder
from chalicelib.backup.rows import SetRecord
from chalicelib.backup.verification import VerifiedExport
from chalicelib.ledger import Ledger, Update
from chalicelib.restore import advance, dead_letter, slots, worker
from chalicelib.restore.claims import Claims
from chalicelib.restore.datapath.line_split import LineSplitter
from chalicelib.restore.datapath.raw_batch import RawAnswer
from chalicelib.restore.datapath.unanswered import Unanswered
from chalicelib.restore.decision import Finish, Move, Work, decide
from chalicelib.restore.model import FileCheckpoint, SlotState, Status
from chalicelib.restore.phases import loading, safeguarding
from chalicelib.restore.phases.passage import Passage
from chalicelib.restore.records import RestoreRecords
from chalicelib.restore.slots import SlotMessage, Slots
from chalicelib.restore.sweep import RestoreSweep
from chalicelib.restore.work import Ended
from tests.simulation.aws.s3 import S3
from tests.simulation.mutations.mutation import mutation
from tests.simulation.threads import SimulatedThread

_BATCH = 25


@mutation("cancelled-in-safeguarding", "resumed-in-verifying", "three-at-once")
def a_conditional_dropped() -> Iterator[None]:
    """A restore is moved on without looking where it stands."""
    write = Ledger.write

    def unconditional(self: Ledger, write_: Any) -> Any:
        if isinstance(write_, Update) and write_.key.sk == "JOB" and "moved_at_ms" in write_.set:
            write_ = replace(write_, condition=Attr("pk").exists())
        return write(self, write_)

    with patch.object(Ledger, "write", unconditional):
        yield


@mutation("restore-one", "restore-many", "clear-and-restore")
def a_lost_slot() -> Iterator[None]:
    """A slot whose message was lost counts as taken for ever."""

    def is_free(slot: Any, now_ms: int) -> bool:
        if slot is None or slot.state is SlotState.IDLE:
            return True
        return slot.state is SlotState.BUSY and slot.busy_until_ms <= now_ms

    with patch.object(slots, "is_free", is_free):
        yield


@mutation("long-chain", "restore-one")
def a_count_added_twice() -> Iterator[None]:
    """A shard that was continued counts again what its checkpoint had counted."""
    ended = loading._ended

    def twice(passage: Passage, *where: Any) -> Ended:
        answer = ended(passage, *where)
        again = sum(checkpoint.written for checkpoint in passage._begun)
        return replace(answer, table_add={**answer.table_add, "written": passage.total("written") + again})

    with patch.object(loading, "_ended", twice):
        yield


@mutation("clear-and-restore", "cancelled-in-checking")
def clear_before_check() -> Iterator[None]:
    """CHECKING is over as soon as the targets are checked."""

    def hasty(job: Any, tables: Any, now_ms: int) -> Any:
        decision = decide(job, tables, now_ms)
        is_checking = isinstance(decision, Work) and job.status is Status.CHECKING
        if is_checking and job.clear_existing_data and all(table.checking_ended for table in tables):
            return Move(Status.CLEARING)
        return decision

    with patch.object(advance, "decide", hasty):
        yield


@mutation("daily-set", "cycle")
def manifest_written_before_verification() -> Iterator[None]:
    """The summary is believed: neither checksums nor data files are looked at."""

    def believing(s3: Any, bucket: str, *, summary_key: str, **_: Any) -> VerifiedExport:
        summary = msgspec.json.decode(s3.get_object(Bucket=bucket, Key=summary_key)["Body"].read())
        file_list = s3.get_object(Bucket=bucket, Key=summary["manifestFilesS3Key"])["Body"].read()
        return VerifiedExport(
            summary_key=summary_key,
            files_key=summary["manifestFilesS3Key"],
            files_md5=md5_of(file_list),
            export_time=summary["exportTime"],
            export_from=None,
            export_to=None,
            item_count=summary["itemCount"],
            billed_size_bytes=0,
            size_bytes=0,
            data_files=1,
        )

    with patch.object(recorder, "verify_export", believing):
        yield


@mutation("long-chain", "restore-one", "cycle")
def a_checkpoint_one_batch_too_far() -> Iterator[None]:
    """What is under way counts as written."""
    checkpoints = Passage.checkpoints

    def too_far(self: Passage) -> list[FileCheckpoint]:
        moved = []
        for file, checkpoint in zip(self._files, checkpoints(self), strict=True):
            line = min(file.item_count, checkpoint.line + _BATCH)
            ahead = line - checkpoint.line
            moved.append(msgspec.structs.replace(checkpoint, line=line, written=checkpoint.written + ahead))
        return moved

    with patch.object(Passage, "checkpoints", too_far):
        yield


@mutation("clear-and-restore", "cancelled-in-clearing", "cancelled-in-loading")
def a_late_clear_worker_during_loading() -> Iterator[None]:
    """CLEARING is over although segments are still being cleared."""

    def hasty(job: Any, tables: Any, now_ms: int) -> Any:
        decision = decide(job, tables, now_ms)
        is_begun = now_ms - job.moved_at_ms > 40
        if isinstance(decision, Work) and job.status is Status.CLEARING and is_begun:
            return Move(Status.LOADING)
        return decision

    with patch.object(advance, "decide", hasty):
        yield


@mutation("cancelled-in-loading", "cancelled-in-clearing")
def the_lock_released_while_a_claim_lives() -> Iterator[None]:
    with patch.object(RestoreRecords, "has_live_claim", lambda self, restore_id, now_ms: False):
        yield


@mutation("restore-one", "restore-many", "three-at-once", "clear-and-restore")
def a_claim_taken_over_early() -> Iterator[None]:
    """A claim counts for half a minute, whatever it says."""
    claimable, claim = RestoreRecords.claimable, Claims.claim

    def early(self: RestoreRecords, *where: Any, **how: Any) -> Any:
        *rest, now_ms = where
        return claimable(self, rest[0], rest[1], rest[2], now_ms + 285_000, **how)

    def take(self: Claims, *what: Any, now_ms: int, **how: Any) -> Any:
        return claim(self, *what, now_ms=now_ms + 285_000, **how)

    busy = patch.object(slots, "is_free", lambda slot, now_ms: True)
    with patch.object(RestoreRecords, "claimable", early), patch.object(Claims, "claim", take), busy:
        yield


@mutation("daily-set", "cycle")
def an_event_trusted_without_verification() -> Iterator[None]:
    """The summary's event is taken for the export's end."""
    judge = Recorder._judge

    def trusting(self: Recorder, case: Any) -> Any:
        real = self._dynamodb

        class Trusting:
            def describe_export(self, ExportArn: str) -> Mapping[str, Any]:
                answer = real.describe_export(ExportArn=ExportArn)
                return {"ExportDescription": {**answer["ExportDescription"], "ExportStatus": "COMPLETED"}}

        self._dynamodb = Trusting()
        try:
            return judge(self, case)
        finally:
            self._dynamodb = real

    with patch.object(Recorder, "_judge", trusting):
        yield


@mutation("clear-and-restore", "cancelled-in-clearing")
def a_safety_backup_not_waited_for() -> Iterator[None]:
    def hasty(around: Any, run: Any, job: Any, table: Any, shard: Any) -> Any:
        arn = safeguarding._find_backup(around, job, table) or safeguarding._create_backup(around, job, table)
        return Ended(table_set={"safety_backup_arn": arn})

    with patch.object(safeguarding, "take_safety_backup", hasty):
        yield


@mutation("long-chain")
def a_chain_without_end() -> Iterator[None]:
    """Messages do not count how long their chain is; real Lambda does, and stops it after 16 invocations."""
    pass_on = Slots.pass_on

    def uncounted(self: Slots, message: SlotMessage, *, now_ms: int) -> None:
        pass_on(self, msgspec.structs.replace(message, hop=message.hop - 1), now_ms=now_ms)

    with patch.object(Slots, "pass_on", uncounted):
        yield


@mutation("restore-one", "cycle", "long-chain")
def unprocessed_items_taken_for_written() -> Iterator[None]:
    with patch.object(RawAnswer, "is_clean", property(lambda self: self.status == 200)):
        yield


@mutation("restore-one", "cycle", "restore-many")
def an_ended_restore_that_keeps_its_locks() -> Iterator[None]:
    with patch.object(RestoreRecords, "release_lock", lambda self, target, lock: None):
        yield


@mutation("daily-set", "cycle")
def a_set_closed_while_exports_run() -> Iterator[None]:
    with patch.object(SetRecord, "is_decided", property(lambda self: len(self.exports) == len(self.set.tables))):
        yield


@mutation("restore-one", "restore-many", "cycle", "clear-and-restore")
def threads_not_joined() -> Iterator[None]:
    """A worker waits for its first thread only; others may have a request open when it gives its claim back."""
    join = SimulatedThread.join

    def join_first(self: SimulatedThread) -> None:
        if self.name == "transfer-0":
            join(self)

    with patch.object(SimulatedThread, "join", join_first):
        yield


@mutation("blocked")
def blockers_ignored() -> Iterator[None]:
    def bold(job: Any, tables: Any, now_ms: int) -> Any:
        decision = decide(job, tables, now_ms)
        if isinstance(decision, Finish) and job.status is Status.CHECKING and not job.dry_run:
            return Move(Status.CLEARING if job.clear_existing_data else Status.LOADING)
        return decision

    with patch.object(advance, "decide", bold):
        yield


@mutation("replaced")
def a_data_file_read_without_its_etag() -> Iterator[None]:
    get_object = S3.get_object

    def unconditional(self: S3, request: Any) -> Any:
        return get_object(self, {name: value for name, value in request.items() if name != "IfMatch"})

    with patch.object(S3, "get_object", unconditional):
        yield


@mutation("overdue")
def a_late_export_that_opens_nothing_again() -> Iterator[None]:
    def without_reopening(self: Catalog, update: Any, backup_date: str) -> bool:
        return self._try(update)

    with patch.object(Catalog, "_complete_late", without_reopening):
        yield


@mutation("long-chain", "slices", "restore-one")
def a_line_skipped_at_each_checkpoint() -> Iterator[None]:
    blocks = LineSplitter.blocks

    def one_more(self: LineSplitter, inflated: Iterator[bytes], first_line: int) -> Iterator[list[bytes]]:
        return blocks(self, inflated, first_line + 1 if first_line else 0)

    with patch.object(LineSplitter, "blocks", one_more):
        yield


@mutation("long-chain", "without-reconcile", "clear-and-restore", "cancelled-in-loading")
def a_claim_without_a_margin() -> Iterator[None]:
    """The request that is open when a worker is killed may take effect after its claim."""
    with patch.object(worker, "CLAIM_MARGIN_MS", 0):
        yield


@mutation("poison", "without-reconcile")
def messages_of_others_thrown_away() -> Iterator[None]:
    with patch.object(dead_letter, "quarantine", lambda *what: "nowhere"):
        yield


@mutation("lost-ledger")
def lost_rows_not_noticed() -> Iterator[None]:
    with patch.object(RestoreSweep, "_stands_still", lambda self, job: False):
        yield


@mutation("replaced", "cancelled-in-clearing", "clear-and-restore", "restore-one", "dry-run", "cycle")
def writes_without_an_answer_not_waited_for() -> Iterator[None]:
    with patch.object(Unanswered, "remaining_ms", lambda self: 0):
        yield
