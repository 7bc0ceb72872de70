"""COMPARING: what was loaded is read back and compared with the data files: some items of each, or all.

It is asked for with `verify`. A difference is counted, and keeps the restore from being COMPLETED; where it was found
stands in the bucket, without content. On a table that others write to meanwhile, it may be their doing.
"""

import json
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.restore.datapath.chain_index import turns_needed
from chalicelib.restore.datapath.comparer import Comparer
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.writer import BatchResult
from chalicelib.restore.model import Comparison, FileCheckpoint, Job, PlannedFile, Shard, Table
from chalicelib.restore.phases.passage import Passage, untouched
from chalicelib.restore.phases.selection import Selection
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded

_SAMPLED_LINES = 100  # of each data file, evenly spread


class CompareState(msgspec.Struct, frozen=True):
    """The checkpoint of a shard in COMPARING: what was compared in the turns before `turn`, and how far it is in that.

    A chain that was loaded link by link is compared by the last word on each key, for which an index of all keys of its
    increments may be too large: then the files are read once per turn.
    """

    turn: int = 0
    compared: int = 0
    differing: int = 0
    files: list[FileCheckpoint] = []

    @classmethod
    def decode(cls, text: str | None) -> "CompareState":
        return msgspec.json.decode(text, type=cls) if text else cls()

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def compare_files(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    selection = Selection(around, run, job, table, shard, is_final=True)
    files = shard.planned_files()
    turns = _turns(selection, job, files)
    state = CompareState.decode(shard.comparison)
    # Of a sample, the keys of the first turn are enough.
    compared_turns = 1 if job.comparison is Comparison.SAMPLE else turns
    if state.turn >= compared_turns:
        return Ended(table_add=_counts(state))
    in_turn = files if turns == 1 else [replace(file, turn=state.turn, turns=turns) for file in files]
    answer = _compare(around, run, job, table, shard, selection, in_turn, state)
    if isinstance(answer, Ended | Yielded):
        return answer
    if answer.turn < compared_turns:
        # The next turn's index is not made before the other shards had this one's: a worker goes around them.
        return Yielded(checkpoint=answer.encode(), progressed=True, in_good_order=True)
    return Ended(table_add=_counts(answer))


def _turns(selection: Selection, job: Job, files: Sequence[PlannedFile]) -> int:
    """How many turns the keys are in. A chain that was loaded in turns has a shard for each of them."""
    if files[0].turns > 1 or not selection.is_resolved or job.key_count:
        return 1
    return turns_needed(selection.record_count)


def _compare(
    around: Surroundings,
    run: Invocation,
    job: Job,
    table: Table,
    shard: Shard,
    selection: Selection,
    files: Sequence[PlannedFile],
    state: CompareState,
) -> Answer | CompareState:
    """The state with one more turn, or what the shard is to be left with."""
    selection.prepare(files[0].turn, files[0].turns)

    def batches(file: PlannedFile, from_line: int) -> Iterator[Batch]:
        every = selection.batches(file, from_line)
        is_sampled = job.comparison is Comparison.SAMPLE and not job.key_count
        return _sampled(every, file) if is_sampled else every

    def keep(file: PlannedFile, batch: Batch, result: BatchResult) -> None:
        _keep_differences(around.s3, job, table, shard, file, batch, result)

    def encode(checkpoints: list[FileCheckpoint]) -> str:
        return replace(state, files=checkpoints).encode()

    passage = Passage(
        around,
        run,
        job,
        table,
        shard,
        files=files,
        begun=state.files or untouched(files),
        batches=batches,
        keep=keep,
        encode=encode,
    )
    comparer = Comparer(
        around.dynamodb,
        table.target,
        clock=around.clock,
        sleep=around.sleep,
        random=around.random,
        deadline_ms=run.give_up_ms,
        line_kind=shard.line_kind,
        key_names=selection.key_names,
        mode=job.mode,
    )
    try:
        stop = passage.go(comparer)
    finally:
        comparer.close()
    differing = passage.total("rejected")
    compared = passage.total("unchanged") + differing
    done = CompareState(state.turn + 1, state.compared + compared, state.differing + differing)
    if stop is not None and stop.failure is not None:
        return Ended(failure=stop.failure)
    if stop is not None or not passage.is_at_the_end:
        return passage.yielded(stop.reason if stop else None, is_exact=True)
    failure = passage.damage()
    return Ended(failure=failure) if failure else done


def _counts(state: CompareState) -> dict[str, int]:
    return {"compared": state.compared, "differing": state.differing}


def _sampled(every: Iterator[Batch], file: PlannedFile) -> Iterator[Batch]:
    """Which lines are compared depends on their places alone, so that going on from a checkpoint takes the same ones.
    Where few of a file's lines have the last word on their key, the first of each run that a batch covers."""
    stride = max(1, file.line_count // _SAMPLED_LINES)
    for batch in every:
        picked = [index for index, place in enumerate(batch.places) if (place - file.first_line) % stride == 0]
        if not picked and batch.lines and batch.line_count >= stride:
            picked = [0]
        lines = tuple(batch.lines[index] for index in picked)
        places = tuple(batch.places[index] for index in picked)
        yield Batch(batch.first_line, batch.line_count, lines, places, batch.elsewhere)


def _keep_differences(
    s3: Client, job: Job, table: Table, shard: Shard, file: PlannedFile, batch: Batch, result: BatchResult
) -> None:
    """Where items differ, and how: whoever wants to know more has the data file and the table."""
    lines = [
        {"data_file": file.key, "line": batch.places[each.line_index] + 1, "found": each.code}
        for each in result.rejected
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    place = {"link": shard.link, "turn": file.turn}
    key = layout.differing_key(job.restore_id, table.source, file.key, batch.first_line, **place)
    s3.put_object(Bucket=job.bucket, Key=key, Body=body.encode(), ContentType="application/x-ndjson")
