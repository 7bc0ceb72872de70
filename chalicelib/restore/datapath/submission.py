"""What is done with writes that DynamoDB does not simply take: they go again, or ever smaller halves of them do, until
the one that is refused stands alone.

Puts and deletes are idempotent, so whatever is in doubt goes again. What concerns the whole table ends the work at
once, and an endpoint that is away is waited for until the deadline.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.aws import THROTTLED, TRANSIENT, error_code
from chalicelib.errors import OutOfTime, TargetUnavailable
from chalicelib.retry import Backoff

# Malformed JSON may be answered with a 500. So a server error on one and the same request, this often and
# this long, is taken for a fault of the request, and looked for in its halves.
_SERVER_ERROR_TRIES = 5
_SERVER_ERROR_PATIENCE_MS = 5_000

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
# Credentials are fetched again meanwhile; a conflict between replicas, or with a transaction, passes.
RETRIED = THROTTLED | {
    "ExpiredTokenException",
    "ReplicatedWriteConflictException",
    "TransactionConflictException",
}


class Write(msgspec.Struct, frozen=True):
    index: int  # in the batch
    request: dict[str, Any]  # boto3's WriteRequest
    size_bytes: int = 0  # as a line of an export; 0: not known


class Refusal(msgspec.Struct, frozen=True):
    """Why DynamoDB takes a request neither now nor later. `is_certain` is false for what may be an outage."""

    code: str
    message: str
    is_certain: bool = True


Send = Callable[[list[Write]], tuple[list[Write], Refusal | None]]


def refusal_of(error: ClientError, table_name: str, action: str) -> Refusal | None:
    """None for what passes by itself; raises TargetUnavailable for what concerns the whole table.

    `action`: the IAM action that a denial lacks.
    """
    code = error_code(error)
    if code in RETRIED:
        return None
    if code in _NO_TABLE:
        raise TargetUnavailable(
            f"table {table_name} does not exist (any more): make it, or name another target"
        ) from error
    message = str(error.response.get("Error", {}).get("Message", ""))
    if code in _DENIED:
        raise TargetUnavailable(
            f"table {table_name} cannot be used ({code}: {message}): allow dynamodb:{action}"
        ) from error
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Refusal(code, message, is_certain=status < 500 and code not in TRANSIENT)


def matching(writes: list[Write], unprocessed: Mapping[str, Sequence[Any]]) -> list[Write] | None:
    """The writes named in `unprocessed`; None if it does not fit, e.g. with a number written otherwise."""
    requests = [request for of_table in unprocessed.values() for request in of_table]
    if len(requests) >= len(writes):
        return writes
    left = [write for write in writes if write.request in requests]
    return left if len(left) == len(requests) else None


class Patience:
    """How long one and the same request is tried again."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._ends_ms = backoff.clock() + _SERVER_ERROR_PATIENCE_MS
        self._server_errors = 0

    def is_over(self, refusal: Refusal) -> bool:
        """Told of each refusal: whether the request is to be taken for refused as it stands."""
        self._server_errors += 1
        is_lasting = self._server_errors >= _SERVER_ERROR_TRIES and self._backoff.clock() >= self._ends_ms
        return refusal.is_certain or is_lasting


class Submission:
    """Submits writes into one table, until all of them are written or refused. Thread-safe."""

    def __init__(self, table_name: str, backoff: Backoff) -> None:
        self._table_name = table_name
        self._backoff = backoff
        self._last_written_ms = 0  # only ever assigned, never added to: threads need no lock for it

    def note_written(self) -> None:
        """Something was written: the table takes writes."""
        self._last_written_ms = self._backoff.clock()

    def submit(self, send: Send, writes: list[Write]) -> list[tuple[Write, Refusal]]:
        """Writes all of them but those it returns, each of them refused by itself.

        `send` says what it left to write, and why if that was an answer to these very items. The first half goes
        first, so that of two lines with one key the later one stays, as in the file. Raises OutOfTime when the
        deadline is near, and what `send` raises.
        """
        started_ms = self._backoff.clock()
        refused = []
        groups = [writes] if writes else []
        while groups:
            group = groups.pop()
            refusal = self._attempt(send, group)
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

    def wait(self, retry: int) -> None:
        if not self._backoff.wait(retry):
            raise self.out_of_time()

    def room_ms(self) -> int:
        room_ms = self._backoff.remaining_ms()
        if room_ms <= 0:
            raise self.out_of_time()
        return room_ms

    def out_of_time(self) -> OutOfTime:
        return OutOfTime(f"table {self._table_name}: the deadline is near, a batch stays for the next worker")

    def _attempt(self, send: Send, group: list[Write]) -> Refusal | None:
        """Sends a group until all of it is written (None), or the group is refused as it stands."""
        patience = Patience(self._backoff)
        pending = group
        retry = 0
        while True:
            self.room_ms()
            left, refusal = send(pending)
            if refusal is not None and patience.is_over(refusal):
                return refusal
            if len(left) < len(pending):
                self.note_written()
            if not left:
                return None
            retry = retry + 1 if len(left) == len(pending) else 0
            pending = left
            self.wait(retry)
