"""Reads items back and compares them with the lines they were restored from. Writes nothing.

Counted as a writer counts: `unchanged` is as it should be, `rejected` is not, `skipped` is not for this mode to say.
"""

from collections.abc import Sequence

from chalicelib.aws import Client
from chalicelib.clock import Clock
from chalicelib.restore.datapath.lines import Document, key_of, lines_of
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.target_items import TargetItems, is_same_item
from chalicelib.restore.datapath.writer import BatchResult, Rejected
from chalicelib.restore.model import LineKind, Mode
from chalicelib.retry import Random, Sleep

MISSING = "Missing"
DIFFERENT = "Different"
STILL_THERE = "StillThere"


class Comparer:
    """Thread-safe; raises as `TargetItems` does. `key_names`: of the table that was backed up, the partition key first.

    In `missing_only` what stood there before was not touched, so an item only has to be there; and nothing was removed.
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
        line_kind: LineKind,
        key_names: Sequence[str],
        mode: Mode,
    ) -> None:
        self._lines = lines_of(line_kind)
        self._key_names = tuple(key_names)
        self._mode = mode
        self._items = TargetItems(
            dynamodb,
            table_name,
            clock=clock,
            sleep=sleep,
            random=random,
            deadline_ms=deadline_ms,
            key_names=key_names,
        )

    @property
    def concurrency(self) -> int:
        """How many batches may be under way now."""
        return self._items.concurrency

    def put(self, batch: Batch) -> BatchResult:
        """Reads back what a batch restored."""
        wanted: list[tuple[int, Document | None, Document]] = []
        codes: dict[int, str] = {}
        for index, line in enumerate(batch.lines):
            try:
                item, keyed = self._lines.documents(line)
                key = key_of(keyed, self._key_names)
            except ValueError:
                key = None
            if key is None:
                codes[index] = MISSING  # a line that is no item cannot have been restored
            else:
                wanted.append((index, item, key))
        skipped = 0
        found = self._items.read([key for _, _, key in wanted])
        for (index, item, _), standing in zip(wanted, found, strict=True):
            if item is None and self._mode is Mode.MISSING_ONLY:
                skipped += 1
                continue
            code = self._difference(item, standing)
            if code is not None:
                codes[index] = code
        differing = tuple(Rejected(index, batch.lines[index], code, "") for index, code in sorted(codes.items()))
        same = len(batch.lines) - len(differing) - skipped
        return BatchResult(Counts(unchanged=same, skipped=skipped, rejected=len(differing)), differing)

    def _difference(self, item: Document | None, standing: Document | None) -> str | None:
        if item is None:
            return None if standing is None else STILL_THERE
        if standing is None:
            return MISSING
        if self._mode is Mode.MISSING_ONLY or is_same_item(item, standing):
            return None
        return DIFFERENT

    def close(self) -> None:
        """Closes the kept connections. No thread may be reading."""
        self._items.close()
