"""LOADING: the data files of one shard into the target, interleaved, with a checkpoint every second.

The checkpoint says per file before which line every line is written or rejected, with the counts and reasons of
exactly those lines. What was written beyond it when a worker dies is written again by the next one, which is
harmless, and counted only then. A rejected item's line is in the bucket before the checkpoint passes it.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, fields

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client, error_text, is_transient
from chalicelib.backup import layout
from chalicelib.errors import DataFileDamaged, OutOfTime, TargetUnavailable, Unavailable
from chalicelib.restore.datapath.progress import Counts, FileProgress
from chalicelib.restore.datapath.reader import Batch, DataFile, DataFileReader
from chalicelib.restore.datapath.transfer import transfer
from chalicelib.restore.datapath.writer import BatchResult, BatchWriter, Rejected
from chalicelib.restore.model import FileCheckpoint, Job, PlannedFile, Shard, Table
from chalicelib.restore.rejections import FileReasons, reason
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, backoff, outage_pause_ms

_CHECKPOINT_EVERY_MS = 1_000
_THREADS = 8
_COUNT_NAMES = tuple(field.name for field in fields(Counts))


def load_files(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    load = _Load(around, run, job, table, shard)
    try:
        load.run_until_stopped()
    except (OutOfTime, Unavailable) as error:
        return load.yielded(error.message)
    except TargetUnavailable as error:
        return load.ended(failure=f"{table.source}: {error.message}")
    except ClientError as error:  # of keeping rejected lines, or a checkpoint
        if is_transient(error):
            return load.yielded(error_text(error))
        return load.ended(failure=f"{table.source}: {error_text(error)}")
    except BotoCoreError as error:
        return load.yielded(type(error).__name__)
    if not load.is_read_to_the_end:
        return load.yielded(None)
    return load.ended(failure=load.damage() or load.imbalance())


class _Load:
    def __init__(self, around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> None:
        self._around = around
        self._run = run
        self._job = job
        self._table = table
        self._shard = shard
        self._damage_by_index: dict[int, str] = {}
        self._files = shard.planned_files()
        self._begun = shard.file_checkpoints()
        self._progress = [_resume(checkpoint) for checkpoint in self._begun]
        self._reasons = [FileReasons(checkpoint.reasons) for checkpoint in self._begun]
        self._read_to_end = [checkpoint.verified for checkpoint in self._begun]
        self._saved_at_ms = around.clock()

    def run_until_stopped(self) -> None:
        writer = BatchWriter(
            self._around.dynamodb,
            self._table.target,
            clock=self._around.clock,
            sleep=self._around.sleep,
            random=self._around.random,
            deadline_ms=self._run.give_up_ms,
            on_unanswered=self._around.unanswered.note,
        )
        readers = [(index, self._batches(index)) for index, verified in enumerate(self._read_to_end) if not verified]
        try:
            transfer(readers, writer, threads=_THREADS, stop=self._is_time_up, on_result=self._take_result)
        finally:
            writer.close()

    @property
    def is_read_to_the_end(self) -> bool:
        """As far as it can be read: a damaged data file ends where its damage is."""
        checkpoints = enumerate(self._checkpoints())
        return all(checkpoint.verified or index in self._damage_by_index for index, checkpoint in checkpoints)

    def damage(self) -> str | None:
        if not self._damage_by_index:
            return None
        return "; ".join(f"{self._table.source}: {text}" for _, text in sorted(self._damage_by_index.items()))

    def imbalance(self) -> str | None:
        """Every data file's counts must add up to what the export recorded for it."""
        for file, checkpoint in zip(self._files, self._checkpoints(), strict=True):
            if checkpoint.accounted != file.item_count:
                return f"data file {file.key}: {checkpoint.accounted} of {file.item_count} items are accounted for"
        return None

    def ended(self, failure: str | None) -> Ended:
        checkpoints = self._checkpoints()
        totals = {name: sum(getattr(checkpoint, name) for checkpoint in checkpoints) for name in _COUNT_NAMES}
        return Ended(failure=failure, checkpoint=_encode(checkpoints), table_add={n: c for n, c in totals.items() if c})

    def yielded(self, reason: str | None) -> Yielded:
        """`reason`: what outside kept it from going on; None when only its time is up."""
        checkpoints = self._checkpoints()
        progressed = checkpoints != self._begun
        pause_ms = 0 if reason is None or progressed else outage_pause_ms(self._shard)
        return Yielded(_encode(checkpoints), progressed=progressed, reason=reason, pause_ms=pause_ms)

    def _is_time_up(self) -> bool:
        return self._around.clock() >= self._run.soft_stop_ms

    def _batches(self, index: int) -> Iterator[Batch]:
        file = self._files[index]
        reader = DataFileReader(
            self._around.s3,
            self._job.bucket,
            DataFile(file.key, file.etag, file.size_bytes, file.md5, file.item_count),
            retry=backoff(self._around, self._run.give_up_ms),
        )
        try:
            yield from reader.batches(self._begun[index].line)
        except DataFileDamaged as error:  # one damaged file does not keep the others of its shard from the table
            self._damage_by_index[index] = error.message
            return
        self._read_to_end[index] = True

    def _take_result(self, index: int, batch: Batch, result: BatchResult) -> None:
        """Called under the transfer's lock, one result at a time."""
        if result.rejected:
            _keep_rejected(self._around.s3, self._job, self._table, self._files[index], batch, result)
            self._reasons[index].add(
                batch.first_line, (reason(r.code, r.message, _line(batch, r)) for r in result.rejected)
            )
        filtered = Counts(filtered=batch.line_count - len(batch.lines))
        self._progress[index].add(batch.first_line, batch.line_count, result.counts + filtered)
        now_ms = self._around.clock()
        if now_ms - self._saved_at_ms >= _CHECKPOINT_EVERY_MS:
            self._saved_at_ms = now_ms
            self._run.save(_encode(self._checkpoints()))

    def _checkpoints(self) -> list[FileCheckpoint]:
        checkpoints = []
        files = zip(self._files, self._progress, self._reasons, self._read_to_end, strict=True)
        for file, progress, reasons, read_to_end in files:
            line, counts = progress.position()
            # The reader is ahead of the writers: a file read to its end may have batches that never came back.
            verified = read_to_end and line == file.item_count
            checkpoints.append(FileCheckpoint(line, verified, **asdict(counts), reasons=reasons.before(line)))
        return checkpoints


def _resume(checkpoint: FileCheckpoint) -> FileProgress:
    return FileProgress(checkpoint.line, Counts(**{name: getattr(checkpoint, name) for name in _COUNT_NAMES}))


def _encode(checkpoints: list[FileCheckpoint]) -> str:
    return msgspec.json.encode(checkpoints).decode()


def _keep_rejected(s3: Client, job: Job, table: Table, file: PlannedFile, batch: Batch, result: BatchResult) -> None:
    """The refused lines of one batch, as they stand in the export, with DynamoDB's reason. The content stays in
    the bucket it came from; it is not logged."""
    lines = [
        {
            "data_file": file.key,
            "line": _line(batch, rejected),
            "code": rejected.code,
            "message": rejected.message,
            **_content(rejected.line),
        }
        for rejected in result.rejected
    ]
    body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    key = layout.rejected_key(job.restore_id, table.source, file.key, batch.first_line)
    s3.put_object(Bucket=job.bucket, Key=key, Body=body.encode(), ContentType="application/x-ndjson")


def _line(batch: Batch, rejected: Rejected) -> int:
    """Where a rejected line stands in its data file, from 1."""
    return batch.places[rejected.line_index] + 1


def _content(line: bytes) -> dict[str, str]:
    try:
        return {"text": line.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(line).decode()}
