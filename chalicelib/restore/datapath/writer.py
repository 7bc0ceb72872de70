"""Raw lines into a table: every line of a batch ends written, deleted or rejected, or the batch is an error.

In order: the whole batch as raw bytes, and again, after a growing random delay, what of it DynamoDB throttles or leaves
unprocessed; then, through the boto3 client, what is not so easily understood; then, where DynamoDB refuses a request
because of one item in it, ever smaller halves, down to that item, which is rejected with its reason.

If the work stops inside of `put`, any part of the batch may be written. Nothing is lost: the batch was not
counted, so the next worker begins before it and writes the same items again.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import nullcontext
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chalicelib.aws import THROTTLED, Client, error_code
from chalicelib.clock import Clock
from chalicelib.errors import TargetUnavailable
from chalicelib.restore.datapath.lines import lines_of
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.raw_batch import RawAnswer, batch_body, message_without_content
from chalicelib.restore.datapath.reader import BATCH_LINES, Batch
from chalicelib.restore.datapath.submission import RETRIED, Refusal, Submission, Write, matching, refusal_of
from chalicelib.restore.datapath.target import Target
from chalicelib.restore.datapath.write_units import Allowance, units_of
from chalicelib.restore.model import LineKind
from chalicelib.retry import Random, Sleep

# Parsed, a batch takes up to fifty times its size, which 15 MB of lines allow to be more than half of a worker's
# memory. Those above this are parsed one at a time; ordinary items stay far below it.
HEAVY_BATCH_BYTES = 2_000_000


class Rejected(NamedTuple):
    """A line DynamoDB refuses: its index in the batch, its bytes, and why. `message` has no item content."""

    line_index: int
    line: bytes
    code: str
    message: str


class BatchResult(msgspec.Struct, frozen=True, gc=False):
    """What became of a batch: `counts.total` is its number of lines."""

    counts: Counts
    rejected: tuple[Rejected, ...] = ()


class BatchWriter:
    """Writes into one table until `deadline_ms` (epoch milliseconds): puts items, and deletes where a line of an
    incremental export (`line_kind`) says so. Thread-safe.

    Raises OutOfTime (retryable) when the deadline is near, and TargetUnavailable when the table is gone or
    access to it denied. `on_unanswered` is told of raw requests without a complete answer. `dynamodb` should have
    timeouts and retries well below the deadline: a call that has begun is not cut short. `units_per_s`: the write
    units, of the table and its indexes, that may be consumed; `allowance`: what is left of them from one writer to the
    next.
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
        on_unanswered: Callable[[], None] = lambda: None,
        line_kind: LineKind = LineKind.ITEM,
        units_per_s: float | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self.target = Target(
            dynamodb,
            table_name,
            clock=clock,
            sleep=sleep,
            random=random,
            deadline_ms=deadline_ms,
            on_unanswered=on_unanswered,
            units_per_s=units_per_s,
            allowance=allowance,
        )
        self._lines = lines_of(line_kind)
        self._submission = Submission(table_name, self.target.backoff)
        self._heavy = Lock()

    @property
    def concurrency(self) -> int:
        """How many batches may be under way now."""
        return self.target.flow.limit

    @property
    def consumed_units(self) -> float:
        """Write units consumed so far, as DynamoDB says; counted only where there is a limit."""
        return self.target.units.consumed

    @property
    def is_approximate(self) -> bool:
        """Whether counts depend on what was written before: what overwrites counts the same each time."""
        return False

    def put(self, batch: Batch) -> BatchResult:
        """Writes the lines of one batch, overwriting. Lines that are malformed are rejected, not fatal."""
        if not batch.lines:
            return BatchResult(_counts(0, 0))
        entries = self._lines.entries(batch.lines) if self.target.raw else None
        left = range(len(batch.lines)) if entries is None else self._put_raw(batch, entries)
        if left:
            return self._put_parsed(batch, entries, left)
        assert entries is not None
        deleted = len(self._lines.removals(entries))
        return BatchResult(_counts(len(entries) - deleted, deleted))

    def delete_keys(self, keys: Sequence[Mapping[str, Any]]) -> int:
        """Deletes up to 25 items by their keys, given as boto3 gives them (AttributeValues); how many.

        Raises TargetUnavailable also where DynamoDB refuses a key: then it is no key of this table.
        """
        if len(keys) > BATCH_LINES:
            raise ValueError(f"{len(keys)} keys in one batch, at most {BATCH_LINES} are allowed")
        writes = [Write(i, {"DeleteRequest": {"Key": dict(key)}}) for i, key in enumerate(keys)]
        refused = self._submit(writes)
        if refused:
            raise TargetUnavailable(
                f"table {self.target.table_name} refuses to delete {len(refused)} of its keys"
                f" ({refused[0][1].code}): was it made anew with another key?"
            )
        return len(keys)

    def close(self) -> None:
        """Closes the kept connections. No thread may be writing."""
        self.target.close()

    # --- raw ---------------------------------------------------------------------------------------------------

    def _put_raw(self, batch: Batch, entries: Sequence[bytes]) -> Sequence[int]:
        """The indexes of the lines that are left to the client."""
        indexes = range(len(entries))
        if not self.target.units.is_limited:
            return self._put_part(batch, entries, indexes)
        left: list[int] = []
        for part in self.target.units.groups([len(entry) for entry in entries]):
            left += self._put_part(batch, entries, indexes[part])
        return left

    def _put_part(self, batch: Batch, entries: Sequence[bytes], indexes: Sequence[int]) -> Sequence[int]:
        retry = -1
        while True:
            is_whole = len(indexes) == len(entries)
            answer = self._send_raw(entries if is_whole else [entries[index] for index in indexes])
            if answer is not None and answer.is_clean:
                self._submission.note_written()
                return ()
            remaining = self._remaining(batch, answer, indexes)
            if remaining is None:
                if _is_busy(answer):
                    self._submission.wait(0)
                return indexes
            has_moved = len(remaining) < len(indexes)
            if has_moved:
                self._submission.note_written()
            retry = 0 if has_moved else retry + 1
            indexes = remaining
            self._submission.wait(retry)

    def _send_raw(self, entries: Sequence[bytes]) -> RawAnswer | None:
        target, lines = self.target, self._lines
        room_ms = self._submission.room_ms()
        with_units = target.units.is_limited
        body = batch_body(target.table_name, entries, lines.head, lines.separator, with_units=with_units)
        if not with_units:
            answer = target.send_raw("BatchWriteItem", body, room_ms)
        else:
            with target.units.spending(sum(units_of(len(entry)) for entry in entries)) as spending:
                answer = target.send_raw("BatchWriteItem", body, self._submission.room_ms())
                if answer is not None and answer.status < 500:
                    spending.measured = answer.consumed_units() if answer.status == 200 else 0.0
        if answer is not None:
            target.flow.ended(throttled=not answer.is_clean and _is_throttled(answer))
        return answer

    def _remaining(self, batch: Batch, answer: RawAnswer | None, indexes: Sequence[int]) -> Sequence[int] | None:
        """What an answer leaves to do and may go again as it is; None where that is for the client to find out."""
        if answer is None:
            return None
        if answer.error_code() in THROTTLED:
            return indexes
        with self._parsing(batch):
            unprocessed = answer.unprocessed()
            if not unprocessed:
                return None
            try:
                writes = [Write(index, self._lines.write_request(batch.lines[index])) for index in indexes]
            except ValueError:
                return None
            left = matching(writes, unprocessed)
            return [write.index for write in left] if left else None

    # --- over the boto3 client ---------------------------------------------------------------------------------

    def _put_parsed(self, batch: Batch, entries: Sequence[bytes] | None, left: Sequence[int]) -> BatchResult:
        with self._parsing(batch):
            writes, rejected = self._parsed(batch, left)
            deletes: Set[int] = {write.index for write in writes if "DeleteRequest" in write.request}
            for write, refusal in self._submit(writes):
                line = batch.lines[write.index]
                message = message_without_content(refusal.message, line)
                rejected.append(Rejected(write.index, line, refusal.code, message))
        if entries is not None:
            deletes = self._lines.removals(entries)
        deleted = len(deletes - {each.line_index for each in rejected})
        counts = Counts(written=len(batch.lines) - deleted - len(rejected), deleted=deleted, rejected=len(rejected))
        return BatchResult(counts, tuple(sorted(rejected)))

    def _parsing(self, batch: Batch) -> Any:
        is_heavy = sum(map(len, batch.lines)) > HEAVY_BATCH_BYTES
        return self._heavy if is_heavy else nullcontext()

    def _parsed(self, batch: Batch, left: Sequence[int]) -> tuple[list[Write], list[Rejected]]:
        writes = []
        rejected = []
        for index in left:
            line = batch.lines[index]
            try:
                writes.append(Write(index, self._lines.write_request(line), len(line)))
            except ValueError as error:
                rejected.append(Rejected(index, line, "MalformedLine", str(error)))
        return writes, rejected

    def _submit(self, writes: list[Write]) -> list[tuple[Write, Refusal]]:
        if not self.target.units.is_limited:
            return self._submission.submit(self._send, writes)
        parts = self.target.units.groups([write.size_bytes for write in writes])
        return [refused for part in parts for refused in self._submission.submit(self._send, writes[part])]

    def _send(self, writes: list[Write]) -> tuple[list[Write], Refusal | None]:
        """One call of the client: what it left to write, and why, if it was an answer to these very items."""
        target = self.target
        arguments: dict[str, Any] = {"RequestItems": {target.table_name: [write.request for write in writes]}}
        if target.units.is_limited:
            arguments["ReturnConsumedCapacity"] = "TOTAL"
        with target.units.spending(sum(units_of(write.size_bytes) for write in writes)) as spending:
            try:
                answer = target.dynamodb.batch_write_item(**arguments)
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500:
                    spending.measured = 0.0
                target.flow.ended(throttled=error_code(error) in THROTTLED)
                return writes, refusal_of(error, target.table_name, "BatchWriteItem")
            except (ParamValidationError, RecursionError):  # the message of the first has item content
                spending.measured = 0.0
                return writes, Refusal("MalformedItem", "it is not valid DynamoDB JSON")
            except BotoCoreError:  # the endpoint is away, or the client's quota of retries is used up
                return writes, None
            if "UnprocessedItems" not in answer:  # botocore makes this of a 200 that it cannot read
                return writes, None
            consumed = answer.get("ConsumedCapacity")
            if consumed:
                spending.measured = sum(each.get("CapacityUnits", 0.0) for each in consumed)
        target.flow.ended(throttled=bool(answer["UnprocessedItems"]))
        left = matching(writes, answer["UnprocessedItems"])
        if left is None:
            return writes, Refusal("Unmatched", "DynamoDB names unprocessed items that were not sent")
        return left, None


@cache
def _counts(written: int, deleted: int) -> Counts:
    return Counts(written=written, deleted=deleted)


def _is_throttled(answer: RawAnswer) -> bool:
    return bool(answer.unprocessed()) if answer.status == 200 else answer.error_code() in THROTTLED


def _is_busy(answer: RawAnswer | None) -> bool:
    """Whether the next request should wait: after throttling and failures, not after a refusal."""
    return answer is None or answer.status == 200 or answer.status >= 500 or answer.error_code() in RETRIED
