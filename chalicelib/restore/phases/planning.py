"""PLANNING, one table per shard: the file lists of its exports and the bucket's listings become load shards.

A table's links are planned one after another, and their shards numbered on: of a chain that is loaded link by link,
those of a link follow those of the link before it. A chain that is resolved is planned once per turn.

Nothing is lost when it stops halfway. The checkpoint says how many links are planned and how many shards of the next
one are written; those are written anew when the bucket changed since. One that was killed writes the shards since the
last checkpoint again, the same ones. At the end those are deleted that an earlier attempt had planned beyond.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import error_text, is_transient
from chalicelib.backup import layout
from chalicelib.backup.export_files import FileEntry, read_file_list
from chalicelib.errors import ExportInvalid, OutOfTime
from chalicelib.restore.datapath.chain_index import turns_needed
from chalicelib.restore.model import Job, Kind, LineKind, Link, Note, PlannedFile, Shard, Stage, Table, blocker
from chalicelib.restore.phases.pinning import PinnedFiles
from chalicelib.restore.phases.planner import Parts, clear_segments, gather
from chalicelib.restore.records import LAST_SHARD, shard_sk
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded

_NAMED_IN_A_NOTE = 3
_MOST_NOTES = 20  # they are written in one transaction with the shard's end
_CHUNK_BYTES = 256 * 1024


class PlanState(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint of a shard in PLANNING. A pass is one link in one turn.

    `passes`, `shards`: finished passes, and the shards of them. `written`: shards of the next pass, planned of files
    with the digest `begun`. `digests`: of each link's data files. `is_refused`: a link cannot be planned at all.
    """

    passes: int = 0
    shards: int = 0
    written: int = 0
    begun: str | None = None
    digests: list[str] = []
    link_ends: list[int] = []
    data_files: int = 0
    data_bytes: int = 0
    notes: list[str] = []
    is_refused: bool = False

    @classmethod
    def decode(cls, text: str | None) -> "PlanState":
        return msgspec.json.decode(text, type=cls) if text else cls()

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def plan_table(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    links = shard.links()
    if table.known_blockers:  # the check of the target names them; none of its exports may be read for them
        return _refused(around, job, table, PlanState())
    begun = state = PlanState.decode(shard.checkpoint)
    if not _is_chain(links, table):
        state = _noted(state, [f"{table.source}: its exports are no chain that can be restored; ask again"], True)
    passes = _turns(job, links) * len(links)
    while state.passes < (len(links) if state.is_refused else passes):
        planner = _Pass(around, run, job, table, links, state)
        try:
            state = planner.plan()
        except OutOfTime as error:
            return Yielded(state.encode(), progressed=state != begun, reason=error.message)
        if state.written:
            return Yielded(state.encode(), progressed=True)
        if state.passes < passes:
            run.save(state.encode())
    return _refused(around, job, table, state) if state.is_refused else _planned(around, job, table, links, state)


def _is_chain(links: list[Link], table: Table) -> bool:
    kinds = [link.line_kind for link in links]
    is_ordered = kinds[:1] == [LineKind.ITEM] and LineKind.ITEM not in kinds[1:]
    return is_ordered and sum(link.item_count for link in links) == table.item_count


def _turns(job: Job, links: list[Link]) -> int:
    """How often every data file is read. Of asked keys, the index of a chain is small: they are 1,000 at most."""
    if len(links) == 1 or not job.resolves_chains or job.key_count:
        return 1
    return turns_needed(sum(link.item_count for link in links[1:]))


def _planned(around: Surroundings, job: Job, table: Table, links: list[Link], state: PlanState) -> Ended:
    clears = _clear_shards(around, job, table)
    around.records.put_shards(job, clears)
    _drop_from(around, job, table, state.shards, len(clears))
    totals = {
        "checking_total": 1 + state.shards,
        "loading_total": state.shards,
        "clearing_total": len(clears),
        "data_files": state.data_files,
        "data_bytes": state.data_bytes,
        "link_ends": [state.shards] if job.resolves_chains else state.link_ends,
        "plan_digest": hashlib.sha256("".join(state.digests).encode()).hexdigest(),
    }
    # A restore that is resumed before LOADING plans anew.
    return Ended(checkpoint=PlanState().encode(), table_set=totals, notes=_notes(state))


def _refused(around: Surroundings, job: Job, table: Table, state: PlanState) -> Ended:
    """Nothing is planned, and nothing may be left of what was: it would be worked on and counted."""
    _drop_from(around, job, table, 0, 0)
    return Ended(checkpoint=PlanState().encode(), notes=_notes(state))


def _notes(state: PlanState) -> tuple[Note, ...]:
    return tuple(blocker(text) for text in state.notes)


def _noted(state: PlanState, texts: list[str], is_refused: bool = False) -> PlanState:
    notes = [*state.notes, *(text for text in texts if text not in state.notes)][:_MOST_NOTES]
    return msgspec.structs.replace(state, notes=notes, is_refused=state.is_refused or is_refused)


def _drop_from(around: Surroundings, job: Job, table: Table, load_shards: int, clear_shards: int) -> None:
    around.records.drop_shards_from(job.restore_id, Kind.LOAD, table.number, load_shards)
    around.records.drop_shards_from(job.restore_id, Kind.CLEAR, table.number, clear_shards)


class _Pass:
    """One link in one turn."""

    def __init__(
        self, around: Surroundings, run: Invocation, job: Job, table: Table, links: list[Link], state: PlanState
    ) -> None:
        self._around = around
        self._run = run
        self._job = job
        self._table = table
        self._state = state
        self._turn, self._number = divmod(state.passes, len(links))
        self._turns = _turns(job, links)
        self._link = links[self._number]

    def plan(self) -> PlanState:
        """The state with this pass finished, or with more of its shards written. Raises OutOfTime when none was."""
        files_key = self._link.manifest_files_key
        try:
            files = self._pinned()
            parts = Parts(files)
            digest, shards = self._measured(parts)
            if self._turn and digest != self._state.digests[self._number]:
                raise ExportInvalid(f"data files of {files_key} were changed while they were planned; ask again")
            if self._state.shards + shards > LAST_SHARD:
                raise ExportInvalid(
                    f"{files_key} has more data files than one restore takes; name fewer keys or tables"
                )
        except ExportInvalid as error:
            return self._refused(error.message)
        except ClientError as error:
            if is_transient(error):
                raise
            return self._refused(f"{files_key} cannot be read: {error_text(error)}")
        written = shards if self._state.is_refused else self._write(parts, digest)
        if written < shards:
            return msgspec.structs.replace(self._state, written=written, begun=digest)
        return self._finished(files, digest, shards)

    def _refused(self, why: str) -> PlanState:
        backup_date = layout.backup_date_of(self._link.manifest_files_key)
        text = f"{self._table.source}: backup set {backup_date}: {why}"
        state = _noted(self._state, [text], True)
        return msgspec.structs.replace(state, passes=state.passes + 1, digests=[*state.digests, ""])

    def _finished(self, files: PinnedFiles, digest: str, shards: int) -> PlanState:
        state = msgspec.structs.replace(
            self._state, passes=self._state.passes + 1, shards=self._state.shards + shards, written=0, begun=None
        )
        if self._turn:
            return state
        state = msgspec.structs.replace(
            state,
            digests=[*state.digests, digest],
            link_ends=[*state.link_ends, state.shards],
            data_files=state.data_files + files.entry_count,
            data_bytes=state.data_bytes + files.size_bytes,
        )
        return _noted(state, [f"{self._table.source}: {text}" for text in self._findings(files)])

    # --- reading ---------------------------------------------------------------------------------------------

    def _pinned(self) -> PinnedFiles:
        files = PinnedFiles(self._link.manifest_files_key, is_incremental=self._is_incremental)
        files.take_entries(self._entries())
        pages = self._around.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._job.bucket, Prefix=files.folder, OptionalObjectAttributes=["RestoreStatus"]
        )
        files.take_listing(pages, on_page=self._check_time)
        return files

    def _entries(self) -> Iterator[FileEntry]:
        key, md5 = self._link.manifest_files_key, self._link.manifest_files_md5
        body = self._around.s3.get_object(Bucket=self._job.bucket, Key=key)["Body"]
        chunks = iter(lambda: body.read(_CHUNK_BYTES), b"")
        return read_file_list(chunks, key=key, md5=md5, is_incremental=self._is_incremental)

    def _check_time(self) -> None:
        if self._is_time_up():
            raise OutOfTime(f"{self._link.manifest_files_key}: its data files could not be listed in the time left")

    def _is_time_up(self) -> bool:
        return self._around.clock() >= self._run.soft_stop_ms

    @property
    def _is_incremental(self) -> bool:
        return self._link.line_kind is LineKind.RECORD

    # --- judging ---------------------------------------------------------------------------------------------

    def _measured(self, parts: Parts) -> tuple[str, int]:
        """A digest of all that is to be read, whatever the order it was listed in; and the number of its shards."""
        digest = hashlib.sha256()
        shards = 0
        for gathered in gather(parts, len(parts), self._job.max_workers):
            shards += 1
            for part in gathered:
                said = (part.key, part.md5, part.etag, part.item_count, part.first_line, part.end_line)
                digest.update(msgspec.json.encode(said))
        return digest.hexdigest(), shards

    def _findings(self, files: PinnedFiles) -> Iterator[str]:
        backup_date = layout.backup_date_of(self._link.manifest_files_key)
        missing = files.entry_count - len(files)
        if missing:
            names = ", ".join(islice(files.missing_keys(), _NAMED_IN_A_NOTE))
            more = "" if missing <= _NAMED_IN_A_NOTE else f" and {missing - _NAMED_IN_A_NOTE} more"
            advice = f"put them back, or restore another set than {backup_date}"
            yield f"{missing} data files are missing from the bucket: {names}{more}; {advice}"
        if files.archives:
            # Such a file would be found unreadable only in LOADING, when the target is cleared already.
            count, classes = sum(files.archives.values()), ", ".join(sorted(files.archives))
            advice = "restore the objects in S3 first"
            yield f"{count} data files are archived ({classes}) and cannot be read: {advice} (backup set {backup_date})"
        if files.item_count != self._link.item_count:
            said = f"counts {files.item_count} items, the manifest {self._link.item_count}"
            yield f"its file list in backup set {backup_date} {said}; neither is used"

    # --- writing ---------------------------------------------------------------------------------------------

    def _write(self, parts: Parts, digest: str) -> int:
        """How many of the pass's shards are written: all of them, or those there was time for. Raises OutOfTime when
        there was none."""
        begun = written = self._state.written if self._state.begun == digest else 0
        gathered = islice(gather(parts, len(parts), self._job.max_workers), written, None)

        def shards() -> Iterator[Shard]:
            nonlocal written
            for files in gathered:
                if self._is_time_up():
                    if written == begun:
                        raise OutOfTime(
                            f"{self._link.manifest_files_key}: reading what is to be planned took all the time"
                        )
                    return
                written += 1
                yield self._load_shard(self._state.shards + written - 1, files)

        self._around.records.put_shards(self._job, shards())
        return written

    def _load_shard(self, number: int, files: list[PlannedFile]) -> Shard:
        if self._turns > 1:
            files = [msgspec.structs.replace(file, turn=self._turn, turns=self._turns) for file in files]
        return Shard(
            sk=shard_sk(Kind.LOAD, self._table.number, number),
            kind=Kind.LOAD,
            source=self._table.source,
            number=number,
            link=self._number,
            line_kind=self._link.line_kind,
            files=msgspec.json.encode(files).decode(),
        )


def _clear_shards(around: Surroundings, job: Job, table: Table) -> list[Shard]:
    """None for a target that cannot be described: CHECKING finds that, and nothing is cleared."""
    if not job.clear_existing_data:
        return []
    try:
        described = around.dynamodb.describe_table(TableName=table.target)["Table"]
    except ClientError as error:
        if is_transient(error):
            raise
        return []
    segments = clear_segments(int(described.get("TableSizeBytes", 0)), job.max_workers)
    return [
        Shard(
            sk=shard_sk(Kind.CLEAR, table.number, number),
            kind=Kind.CLEAR,
            source=table.source,
            number=number,
            stage=Stage.TODO,
            segments=segments,
        )
        for number in range(segments)
    ]
