"""A worker's way through the data files of one shard: interleaved, in batches, with a checkpoint every second.

LOADING writes on this way, COMPARING reads back. The checkpoint says per file before which line every line is done,
with the counts and reasons of exactly those lines. What was done beyond it when a worker dies is done again by the next
one, which is harmless, and counted only then.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import error_text, is_transient
from chalicelib.errors import DataFileDamaged, OutOfTime, TargetUnavailable, Unavailable
from chalicelib.restore.datapath.progress import Counts, FileProgress
from chalicelib.restore.datapath.reader import Batch, DataFile
from chalicelib.restore.datapath.transfer import Writer, transfer
from chalicelib.restore.datapath.writer import BatchResult
from chalicelib.restore.model import FileCheckpoint, Job, PlannedFile, Shard, Table
from chalicelib.restore.rejections import FileReasons, reason
from chalicelib.restore.work import Invocation, Surroundings, Yielded, outage_pause_ms

_CHECKPOINT_EVERY_MS = 1_000
COUNT_NAMES = tuple(field.name for field in msgspec.structs.fields(Counts))


def data_file_of(file: PlannedFile) -> DataFile:
    return DataFile(file.key, file.etag, file.size_bytes, file.md5, file.item_count, file.first_line, file.end_line)


class Stop(msgspec.Struct, frozen=True):
    """Why a passage ended before its end: `failure`, for good; or `reason`, for now."""

    failure: str | None = None
    reason: str | None = None


class Passage:
    """`batches(file, from_line)`: what is to be done with a data file, from a line on. `keep(file, batch, result)` puts
    what was rejected into the bucket, before any checkpoint passes it. `found(batch)`: which of the asked keys it has.
    `encode(checkpoints)`: as the shard's checkpoint.
    """

    def __init__(
        self,
        around: Surroundings,
        run: Invocation,
        job: Job,
        table: Table,
        shard: Shard,
        *,
        files: Sequence[PlannedFile],
        begun: list[FileCheckpoint],
        batches: Callable[[PlannedFile, int], Iterator[Batch]],
        keep: Callable[[PlannedFile, Batch, BatchResult], None],
        found: Callable[[Batch], set[int]] | None = None,
        encode: Callable[[list[FileCheckpoint]], str] = lambda checkpoints: msgspec.json.encode(checkpoints).decode(),
    ) -> None:
        self._around = around
        self._run = run
        self._job = job
        self._table = table
        self._shard = shard
        self._batches_of = batches
        self._keep = keep
        self._found_in = found
        self._encode = encode
        self._damage_by_index: dict[int, str] = {}
        self._files = files
        self._begun = begun
        self._progress = [_resume(checkpoint) for checkpoint in begun]
        self._reasons = [FileReasons(checkpoint.reasons) for checkpoint in begun]
        self._found = [set(checkpoint.found) for checkpoint in begun]
        self._read_to_end = [checkpoint.verified for checkpoint in begun]
        self._saved_at_ms = around.clock()

    def go(self, writer: Writer) -> Stop | None:
        """To the end of all files, or until the soft stop: None in both cases; `is_at_the_end` tells which."""
        begun = enumerate(self._begun)
        readers = [(index, self._batches(index)) for index, checkpoint in begun if not checkpoint.verified]
        try:
            transfer(readers, writer, stop=self._is_time_up, on_result=self._take_result)
        except (OutOfTime, Unavailable) as error:
            return Stop(reason=error.message)
        except TargetUnavailable as error:
            return Stop(failure=f"{self._table.source}: {error.message}")
        except ClientError as error:  # of keeping rejected lines, or a checkpoint
            if is_transient(error):
                return Stop(reason=error_text(error))
            return Stop(failure=f"{self._table.source}: {error_text(error)}")
        except BotoCoreError as error:
            return Stop(reason=type(error).__name__)
        return None

    @property
    def is_at_the_end(self) -> bool:
        """As far as can be read: a damaged data file ends where its damage is."""
        checkpoints = enumerate(self.checkpoints())
        return all(checkpoint.verified or index in self._damage_by_index for index, checkpoint in checkpoints)

    def damage(self) -> str | None:
        if not self._damage_by_index:
            return None
        return "; ".join(f"{self._table.source}: {text}" for _, text in sorted(self._damage_by_index.items()))

    def imbalance(self) -> str | None:
        """Every data file's counts must add up to what the export recorded for it."""
        for file, checkpoint in zip(self._files, self.checkpoints(), strict=True):
            told = checkpoint.accounted + checkpoint.elsewhere
            if told != file.line_count:
                return f"data file {file.key}: {told} of {file.line_count} items are accounted for"
        return None

    def total(self, name: str) -> int:
        return sum(getattr(checkpoint, name) for checkpoint in self.checkpoints())

    def found(self) -> set[int]:
        return set().union(*self._found)

    def encoded(self) -> str:
        return self._encode(self.checkpoints())

    def yielded(self, reason: str | None, *, is_exact: bool) -> Yielded:
        """`reason`: what outside kept it from going on; None when only its time is up, and everything it began is done.
        `is_exact`: whether the writer can tell all of its own writes."""
        checkpoints = self.checkpoints()
        progressed = checkpoints != self._begun
        pause_ms = 0 if reason is None or progressed else outage_pause_ms(self._shard)
        return Yielded(
            self.encoded(),
            progressed=progressed,
            reason=reason,
            pause_ms=pause_ms,
            in_good_order=reason is None and is_exact,
        )

    def checkpoints(self) -> list[FileCheckpoint]:
        checkpoints = []
        parts = zip(self._files, self._progress, self._reasons, self._found, self._read_to_end, strict=True)
        for file, progress, reasons, found, read_to_end in parts:
            line, counts = progress.position()
            # The reader is ahead of the writers: a file read to its end may have batches that never came back.
            verified = read_to_end and line == file.first_line + file.line_count
            told = msgspec.structs.asdict(counts)
            checkpoints.append(
                FileCheckpoint(line, verified, **told, reasons=reasons.before(line), found=tuple(sorted(found)))
            )
        return checkpoints

    def _is_time_up(self) -> bool:
        return self._around.clock() >= self._run.soft_stop_ms

    def _batches(self, index: int) -> Iterator[Batch]:
        try:
            yield from self._batches_of(self._files[index], self._begun[index].line)
        except DataFileDamaged as error:  # one damaged file does not keep the others of its shard from the table
            self._damage_by_index[index] = error.message
            return
        self._read_to_end[index] = True

    def _take_result(self, index: int, batch: Batch, result: BatchResult) -> None:
        """Called under the transfer's lock, one result at a time."""
        if result.rejected:
            self._keep(self._files[index], batch, result)
            self._reasons[index].add(
                batch.first_line, (reason(r.code, r.message, batch.places[r.line_index] + 1) for r in result.rejected)
            )
        if self._found_in is not None:
            self._found[index] |= self._found_in(batch)
        counts = result.counts
        if len(batch.lines) < batch.line_count:
            passed_over = batch.line_count - len(batch.lines) - batch.elsewhere
            counts += Counts(filtered=passed_over, elsewhere=batch.elsewhere)
        self._progress[index].add(batch.first_line, batch.line_count, counts)
        now_ms = self._around.clock()
        if now_ms - self._saved_at_ms >= _CHECKPOINT_EVERY_MS:
            self._saved_at_ms = now_ms
            self._run.save(self.encoded())


def _resume(checkpoint: FileCheckpoint) -> FileProgress:
    return FileProgress(checkpoint.line, Counts(**{name: getattr(checkpoint, name) for name in COUNT_NAMES}))


def untouched(files: Sequence[PlannedFile]) -> list[FileCheckpoint]:
    """Of data files that nobody has begun with."""
    return [FileCheckpoint(line=file.first_line) for file in files]
