"""Raw lines into a table: every line of a batch ends written or rejected, or the batch is an error.

Puts are idempotent, so whatever is in doubt goes again. In order: the whole batch as raw bytes; then,
through the boto3 client, what DynamoDB left unprocessed; then, where DynamoDB refuses a request because of
one item in it, ever smaller halves, down to that item, which is rejected with its reason. What concerns
the whole table ends the work at once, and an endpoint that is away is waited for until the deadline.

If the work stops inside of `put`, any part of the batch may be written. Nothing is lost: the batch was not
counted, so the next worker begins before it and writes the same items again.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chalicelib.aws import THROTTLED, TRANSIENT, Client, error_code
from chalicelib.clock import Clock
from chalicelib.errors import OutOfTime, TargetUnavailable
from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.raw_batch import RawAnswer, message_without_content, put_request, raw_sender
from chalicelib.restore.datapath.reader import BATCH_LINES, Batch
from chalicelib.retry import Backoff, Random, Sleep

_RAW_TIMEOUT_MS = 10_000
_LEAST_ROOM_MS = 1_000  # no request begins with less time than this before the deadline
_RETRY_CAP_MS = 2_000  # a partition has room again every second: waiting much longer leaves it idle

# Malformed JSON may be answered with a 500. So a server error on one and the same request, this often and
# this long, is taken for a fault of the request, and looked for in its halves.
_SERVER_ERROR_TRIES = 5
_SERVER_ERROR_PATIENCE_MS = 5_000

# Parsed, a batch takes up to fifty times its size, which 15 MB of lines allow to be more than half of a worker's
# memory. Those above this are parsed one at a time; ordinary items stay far below it.
_HEAVY_BATCH_BYTES = 2_000_000

_NO_TABLE = frozenset({"ResourceNotFoundException", "TableNotFoundException"})
_DENIED = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
    }
)
# Credentials are fetched again meanwhile; a conflict between replicas passes.
_RETRIED = THROTTLED | {"ExpiredTokenException", "ReplicatedWriteConflictException"}


class Rejected(NamedTuple):
    """A line DynamoDB refuses: its index in the batch, its bytes, and why. `message` has no item content."""

    line_index: int
    line: bytes
    code: str
    message: str


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch: `counts.total` is its number of lines."""

    counts: Counts
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class _Write:
    index: int  # in the batch
    request: dict[str, Any]  # boto3's WriteRequest


@dataclass(frozen=True)
class _Refusal:
    """Why DynamoDB takes a request neither now nor later. `is_certain` is false for what may be an outage."""

    code: str
    message: str
    is_certain: bool = True


class BatchWriter:
    """Writes into one table until `deadline_ms` (epoch milliseconds). Thread-safe.

    Raises OutOfTime (retryable) when the deadline is near, and TargetUnavailable when the table is gone or
    access to it denied. `on_unanswered` is told of raw requests without a complete answer. `dynamodb` should have
    timeouts and retries well below the deadline: a call that has begun is not cut short.
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
    ) -> None:
        self._on_unanswered = on_unanswered
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._backoff = Backoff(clock, sleep, random, deadline_ms - _LEAST_ROOM_MS, cap_ms=_RETRY_CAP_MS)
        self._raw = raw_sender(dynamodb, table_name)
        self._heavy = Lock()
        self._last_written_ms = 0  # only ever assigned, never added to: threads need no lock for it

    def put(self, batch: Batch) -> BatchResult:
        """Puts the lines of one batch, overwriting. Lines that are no items are rejected, not fatal."""
        answer = self._send_raw(batch.lines)
        if answer is not None and answer.is_clean:
            self._last_written_ms = self._backoff.clock()
            return BatchResult(Counts(written=len(batch.lines)))
        is_heavy = sum(map(len, batch.lines)) > _HEAVY_BATCH_BYTES
        with self._heavy if is_heavy else nullcontext():
            return self._put_parsed(batch, answer)

    def _put_parsed(self, batch: Batch, answer: RawAnswer | None) -> BatchResult:
        """Over the boto3 client, what the raw answer leaves to do."""
        writes, rejected = _parsed(batch)
        writes = _still_to_write(writes, answer)
        if writes and answer is not _NOT_SENT and _is_busy(answer):
            self._wait(0)
        for write, refusal in self._submit(writes):
            line = batch.lines[write.index]
            message = message_without_content(refusal.message, line)
            rejected.append(Rejected(write.index, line, refusal.code, message))
        counts = Counts(written=len(batch.lines) - len(rejected), rejected=len(rejected))
        return BatchResult(counts, tuple(sorted(rejected)))

    def delete_keys(self, keys: Sequence[Mapping[str, Any]]) -> int:
        """Deletes up to 25 items by their keys, given as boto3 gives them (AttributeValues); how many.

        Raises TargetUnavailable also where DynamoDB refuses a key: then it is no key of this table.
        """
        if len(keys) > BATCH_LINES:
            raise ValueError(f"{len(keys)} keys in one batch, at most {BATCH_LINES} are allowed")
        refused = self._submit([_Write(i, {"DeleteRequest": {"Key": dict(key)}}) for i, key in enumerate(keys)])
        if refused:
            raise TargetUnavailable(
                f"table {self._table_name} refuses to delete {len(refused)} of its keys ({refused[0][1].code}):"
                " was it made anew with another key?"
            )
        return len(keys)

    def close(self) -> None:
        """Closes the kept connections. No thread may be writing."""
        if self._raw:
            self._raw.close()

    def _send_raw(self, lines: Sequence[bytes]) -> RawAnswer | None:
        """The answer to the lines as they stand, if each of them can only be one put; otherwise they are not sent."""
        timeout_s = min(_RAW_TIMEOUT_MS, self._room_ms()) / 1000
        if self._raw is None or not all(map(is_item_line, lines)):
            return _NOT_SENT
        answer = self._raw.send(lines, timeout_s)
        if answer is None:
            self._on_unanswered()
        return answer

    def _submit(self, writes: list[_Write]) -> list[tuple[_Write, _Refusal]]:
        """Writes all of them but those it returns, each of them refused by itself.

        The first half goes first, so that of two lines with one key the later one stays, as in the file.
        """
        started_ms = self._backoff.clock()
        refused = []
        groups = [writes] if writes else []
        while groups:
            group = groups.pop()
            refusal = self._attempt(group)
            if refusal is None:
                continue
            if len(group) > 1:
                middle = len(group) // 2
                groups += [group[middle:], group[:middle]]
            elif refusal.is_certain or self._last_written_ms > started_ms:
                refused.append((group[0], refusal))
            else:
                # Only server errors, and nothing else was written since: it may be an outage and not this
                # item. The others go first; with none left it is tried until the deadline.
                groups.insert(0, group)
        return refused

    def _attempt(self, group: list[_Write]) -> _Refusal | None:
        """Sends a group until all of it is written (None), or the group is refused as it stands."""
        patience_ends_ms = self._backoff.clock() + _SERVER_ERROR_PATIENCE_MS
        pending = group
        retry = server_errors = 0
        while True:
            self._room_ms()
            left, refusal = self._send(pending)
            if refusal is not None:
                server_errors += 1
                is_lasting = server_errors >= _SERVER_ERROR_TRIES and self._backoff.clock() >= patience_ends_ms
                if refusal.is_certain or is_lasting:
                    return refusal
            if not left:
                return None
            retry = retry + 1 if len(left) == len(pending) else 0
            pending = left
            self._wait(retry)

    def _send(self, writes: list[_Write]) -> tuple[list[_Write], _Refusal | None]:
        """One call of the client: what it left to write, and why, if it was an answer to these very items."""
        try:
            answer = self._dynamodb.batch_write_item(RequestItems={self._table_name: [w.request for w in writes]})
        except ClientError as error:
            return writes, self._refusal(error)
        except (ParamValidationError, RecursionError):  # the message of the first has item content
            return writes, _Refusal("MalformedItem", "it is not valid DynamoDB JSON")
        except BotoCoreError:  # the endpoint is away, or the client's quota of retries is used up
            return writes, None
        if "UnprocessedItems" not in answer:  # botocore makes this of a 200 that it cannot read
            return writes, None
        left = _matching(writes, answer["UnprocessedItems"])
        if left is None:
            return writes, _Refusal("Unmatched", "DynamoDB names unprocessed items that were not sent")
        if len(left) < len(writes):
            self._last_written_ms = self._backoff.clock()
        return left, None

    def _refusal(self, error: ClientError) -> _Refusal | None:
        """None for what passes by itself; raises TargetUnavailable for what concerns the whole table."""
        code = error_code(error)
        if code in _RETRIED:
            return None
        if code in _NO_TABLE:
            raise TargetUnavailable(
                f"table {self._table_name} does not exist (any more): make it, or name another target"
            ) from error
        message = str(error.response.get("Error", {}).get("Message", ""))
        if code in _DENIED:
            raise TargetUnavailable(
                f"table {self._table_name} cannot be written ({code}: {message}): allow dynamodb:BatchWriteItem"
            ) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _Refusal(code, message, is_certain=status < 500 and code not in TRANSIENT)

    def _wait(self, retry: int) -> None:
        if not self._backoff.wait(retry):
            raise self._out_of_time()

    def _room_ms(self) -> int:
        room_ms = self._backoff.remaining_ms()
        if room_ms <= 0:
            raise self._out_of_time()
        return room_ms

    def _out_of_time(self) -> OutOfTime:
        return OutOfTime(f"table {self._table_name}: the deadline is near, a batch stays for the next worker")


_NOT_SENT = RawAnswer(0, b"")


def _parsed(batch: Batch) -> tuple[list[_Write], list[Rejected]]:
    writes = []
    rejected = []
    for index, line in enumerate(batch.lines):
        try:
            writes.append(_Write(index, put_request(line)))
        except ValueError as error:
            rejected.append(Rejected(index, line, "MalformedLine", str(error)))
    return writes, rejected


def _still_to_write(writes: list[_Write], answer: RawAnswer | None) -> list[_Write]:
    """What a raw answer leaves to do: what it names as unprocessed, or all where that is not certain."""
    unprocessed = answer.unprocessed() if answer is not None else None
    left = None if unprocessed is None else _matching(writes, unprocessed)
    return writes if left is None else left


def _matching(writes: list[_Write], unprocessed: Mapping[str, Sequence[Any]]) -> list[_Write] | None:
    """The writes named in `unprocessed`; None if it does not fit, e.g. with a number written otherwise."""
    requests = [request for of_table in unprocessed.values() for request in of_table]
    if len(requests) >= len(writes):
        return writes
    left = [write for write in writes if write.request in requests]
    return left if len(left) == len(requests) else None


def _is_busy(answer: RawAnswer | None) -> bool:
    """Whether the next request should wait: after throttling and failures, not after a refusal."""
    if answer is None or answer.status == 200 or answer.status >= 500:
        return True
    return any(code.encode() in answer.body for code in _RETRIED)
