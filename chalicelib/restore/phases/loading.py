"""LOADING: the data files of one shard into the target, interleaved, with a checkpoint every second.

What was written beyond the checkpoint when a worker dies is written again by the next one, which is harmless, and
counted only then. A rejected item's line is in the bucket before the checkpoint passes it.
"""

import base64
import json
from typing import Any, Protocol

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.restore.datapath.changed_only import ChangedOnlyWriter
from chalicelib.restore.datapath.missing_only import MissingOnlyWriter
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.writer import BatchResult, BatchWriter
from chalicelib.restore.model import Job, Mode, PlannedFile, Shard, Table
from chalicelib.restore.phases.passage import COUNT_NAMES, Passage
from chalicelib.restore.phases.selection import Selection
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings


class Writer(Protocol):
    """What the modes have in common."""

    @property
    def concurrency(self) -> int: ...

    @property
    def is_approximate(self) -> bool: ...

    def put(self, batch: Batch) -> BatchResult: ...

    def close(self) -> None: ...


def load_files(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    selection = Selection(around, run, job, table, shard)
    files = shard.planned_files()
    selection.prepare(files[0].turn, files[0].turns)

    def keep(file: PlannedFile, batch: Batch, result: BatchResult) -> None:
        _keep_rejected(around.s3, job, table, shard, file, batch, result)

    passage = Passage(
        around,
        run,
        job,
        table,
        shard,
        files=files,
        begun=shard.file_checkpoints(),
        batches=selection.batches,
        keep=keep,
        found=selection.found if job.key_count else None,
    )
    writer = _writer(around, run, job, table, shard, selection)
    try:
        stop = passage.go(writer)
    finally:
        writer.close()
    if stop is not None and stop.failure is not None:
        return _ended(passage, job, shard, writer, stop.failure)
    if stop is not None or not passage.is_at_the_end:
        return passage.yielded(stop.reason if stop else None, is_exact=not writer.is_approximate)
    return _ended(passage, job, shard, writer, passage.damage() or passage.imbalance())


def _writer(
    around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard, selection: Selection
) -> Writer:
    common: dict[str, Any] = {
        "clock": around.clock,
        "sleep": around.sleep,
        "random": around.random,
        "deadline_ms": run.give_up_ms,
        "on_unanswered": around.unanswered.note,
        "line_kind": shard.line_kind,
        "units_per_s": run.units_per_s,
        "allowance": run.allowance,
    }
    match job.mode:
        case Mode.OVERWRITE:
            return BatchWriter(around.dynamodb, table.target, **common)
        case Mode.MISSING_ONLY:
            return MissingOnlyWriter(around.dynamodb, table.target, key_names=selection.key_names, **common)
        case Mode.CHANGED_ONLY:
            return ChangedOnlyWriter(around.dynamodb, table.target, key_names=selection.key_names, **common)


def _ended(passage: Passage, job: Job, shard: Shard, writer: Writer, failure: str | None) -> Ended:
    totals: dict[str, int | set[int]] = {}
    for name in COUNT_NAMES:
        count = passage.total(name)
        if count and name != "elsewhere":
            totals[name] = count
    if passage.found():
        totals["found_keys"] = passage.found()
    if job.mode is not Mode.OVERWRITE and (writer.is_approximate or not shard.is_exact):
        totals["approximate"] = 1
    return Ended(failure=failure, checkpoint=passage.encoded(), table_add=totals)


def _keep_rejected(
    s3: Client, job: Job, table: Table, shard: Shard, file: PlannedFile, batch: Batch, result: BatchResult
) -> None:
    """The refused lines of one batch, as they stand in the export, with DynamoDB's reason. The content stays in
    the bucket it came from; it is not logged."""
    lines = [
        {
            "data_file": file.key,
            "line": batch.places[rejected.line_index] + 1,
            "code": rejected.code,
            "message": rejected.message,
            **_content(rejected.line.removesuffix(b"\n")),
        }
        for rejected in result.rejected
    ]
    body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    place = {"link": shard.link, "turn": file.turn}
    key = layout.rejected_key(job.restore_id, table.source, file.key, batch.first_line, **place)
    s3.put_object(Bucket=job.bucket, Key=key, Body=body.encode(), ContentType="application/x-ndjson")


def _content(line: bytes) -> dict[str, str]:
    try:
        return {"text": line.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(line).decode()}
