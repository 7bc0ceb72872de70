"""Items that a target lacks or has otherwise: what is there is read first, consistently, and only differences are
written. What somebody else writes between the read and the write is overwritten.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from threading import Lock

from chalicelib.aws import Client
from chalicelib.clock import Clock
from chalicelib.restore.datapath.lines import Document, key_of, lines_of
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.target_items import Reads, is_same_item
from chalicelib.restore.datapath.write_units import Allowance
from chalicelib.restore.datapath.writer import HEAVY_BATCH_BYTES, BatchResult, BatchWriter
from chalicelib.restore.model import LineKind
from chalicelib.retry import Random, Sleep


class ChangedOnlyWriter:
    """Writes into one table what differs, until `deadline_ms` (epoch milliseconds). Thread-safe.

    Of a batch, lines whose item is there just so are `unchanged`, and so are removals of what is not there.
    `key_names`: of the table's primary key. The rest is as with BatchWriter; a denial may lack dynamodb:BatchGetItem.
    """

    def __init__(
        self,
        dynamodb: Client,
        table_name: str,
        *,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        deadline_ms: int,
        key_names: Sequence[str],
        on_unanswered: Callable[[], None] = lambda: None,
        line_kind: LineKind = LineKind.ITEM,
        units_per_s: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._writer = BatchWriter(
            dynamodb,
            table_name,
            clock=clock,
            sleep=sleep,
            random=random,
            deadline_ms=deadline_ms,
            on_unanswered=on_unanswered,
            line_kind=line_kind,
            units_per_s=units_per_s,
            allowance=allowance,
        )
        self._reads = Reads(self._writer.target, key_names)
        self._lines = lines_of(line_kind)
        self._key_names = tuple(key_names)
        self._heavy = Lock()
        self._is_approximate = False

    @property
    def concurrency(self) -> int:
        """How many batches may be under way now."""
        return self._writer.concurrency

    @property
    def consumed_units(self) -> float:
        """Write units consumed so far, as DynamoDB says; counted only where there is a limit."""
        return self._writer.consumed_units

    def put(self, batch: Batch) -> BatchResult:
        """Writes what differs of one batch. Lines that are malformed are rejected, not fatal."""
        if not batch.lines:
            return BatchResult(Counts())
        is_heavy = sum(map(len, batch.lines)) > HEAVY_BATCH_BYTES
        with self._heavy if is_heavy else nullcontext():
            same = {index for part in _parts(batch.lines) for index in self._same(batch.lines, part)}
        unchanged = Counts(unchanged=len(same))
        if len(same) == len(batch.lines):
            return BatchResult(unchanged)
        others = [index for index in range(len(batch.lines)) if index not in same]
        lines = tuple(batch.lines[index] for index in others)
        result = self._write(Batch(batch.first_line, len(lines), lines, [batch.places[index] for index in others]))
        rejected = tuple(each._replace(line_index=others[each.line_index]) for each in result.rejected)
        return BatchResult(result.counts + unchanged, rejected)

    @property
    def is_approximate(self) -> bool:
        """Whether lines may be counted as unchanged by whoever goes on that this writer wrote."""
        return self._is_approximate

    def close(self) -> None:
        """Closes the kept connections. No thread may be writing."""
        self._writer.close()

    def _write(self, batch: Batch) -> BatchResult:
        try:
            return self._writer.put(batch)
        except BaseException:  # some of it may be written; nobody counts that
            self._is_approximate = True
            raise

    def _same(self, lines: Sequence[bytes], part: range) -> Iterator[int]:
        """The indexes of those lines of a part that the target agrees with."""
        items: dict[int, Document | None] = {}
        keys: list[Document] = []
        for index in part:
            try:
                item, whereabouts = self._lines.documents(lines[index])
            except ValueError:  # the writer rejects it
                continue
            key = key_of(whereabouts, self._key_names)
            if key is not None:
                items[index] = item
                keys.append(key)
        stored_items = self._reads.read(keys)
        for (index, item), stored in zip(items.items(), stored_items, strict=True):
            if stored is None if item is None else stored is not None and is_same_item(item, stored):
                yield index


def _parts(lines: Sequence[bytes]) -> Iterator[range]:
    """Cuts a batch so that what is parsed of it at once stays small; at least a line each."""
    start, size_bytes = 0, 0
    for index, line in enumerate(lines):
        if index > start and size_bytes + len(line) > HEAVY_BATCH_BYTES:
            yield range(start, index)
            start, size_bytes = index, 0
        size_bytes += len(line)
    yield range(start, len(lines))
