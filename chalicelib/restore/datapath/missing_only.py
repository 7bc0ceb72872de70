"""Items that a target does not have: each is put alone, on the condition that none with its key is there.

So an item that is there is never touched, also where somebody writes it at the same moment. What cannot be had with it
is an exact split of the counts: a put whose answer was lost may meet its own item when it goes again.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chalicelib.aws import THROTTLED, Client, error_code
from chalicelib.clock import Clock
from chalicelib.restore.datapath.lines import lines_of
from chalicelib.restore.datapath.progress import Counts
from chalicelib.restore.datapath.raw_batch import RawAnswer, message_without_content
from chalicelib.restore.datapath.reader import Batch
from chalicelib.restore.datapath.submission import Refusal, Submission, Write, refusal_of
from chalicelib.restore.datapath.target import Target
from chalicelib.restore.datapath.write_units import Allowance, Spending, units_of
from chalicelib.restore.datapath.writer import BatchResult, Rejected
from chalicelib.restore.model import LineKind
from chalicelib.retry import Random, Sleep

_CONDITION = "attribute_not_exists(#hash)"
_CONDITION_FAILED = "ConditionalCheckFailedException"


class MissingOnlyWriter:
    """Puts into one table what it lacks, until `deadline_ms` (epoch milliseconds); removes nothing. Thread-safe.

    Of a batch, lines whose item is there are `skipped`, and so are removals. `key_names`: the hash key's name first.
    The rest is as with BatchWriter; a denial lacks dynamodb:PutItem.
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
        self._hash_name = key_names[0]
        self._submission = Submission(table_name, self.target.backoff)
        self._is_approximate = False

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
        """Whether an item may be counted as skipped, also by whoever goes on, that this writer wrote itself."""
        return self._is_approximate

    def put(self, batch: Batch) -> BatchResult:
        """Puts what is missing of one batch. Lines that are malformed are rejected, not fatal."""
        written = skipped = 0
        rejected: list[Rejected] = []
        try:
            for index, line in enumerate(batch.lines):
                outcome = self._put_line(line)
                if isinstance(outcome, Refusal):
                    rejected.append(Rejected(index, line, outcome.code, outcome.message))
                else:
                    written += outcome
                    skipped += not outcome
        except BaseException:
            self._is_approximate |= written > 0  # nobody counts those
            raise
        return BatchResult(Counts(written=written, skipped=skipped, rejected=len(rejected)), tuple(rejected))

    def close(self) -> None:
        """Closes the kept connections. No thread may be writing."""
        self.target.close()

    def _put_line(self, line: bytes) -> bool | Refusal:
        """Whether the line's item was missing, and is written now; or why it cannot be."""
        try:
            item = self._lines.raw_put(line)
        except ValueError as error:
            return Refusal("MalformedLine", str(error))
        if item is None:
            return False
        put = _Put(self.target, self._lines.write_request, self._hash_name, line, item)
        try:
            refused = self._submission.submit(put.send, [Write(0, {}, len(line))])
        finally:
            if put.is_in_doubt and not put.is_missing:
                self._is_approximate = True
        if refused:
            ((_, refusal),) = refused
            return Refusal(refusal.code, message_without_content(refusal.message, line))
        return put.is_missing


class _Put:
    """One item's put, as often as it is sent. `is_in_doubt`: one that was sent before may have written the item."""

    def __init__(
        self,
        target: Target,
        write_request: Callable[[bytes], dict[str, Any]],
        hash_name: str,
        line: bytes,
        item: bytes,
    ) -> None:
        self._target = target
        self._write_request = write_request
        self._line = line
        self._item = item
        self._names = {"#hash": hash_name}
        self._for_client = target.raw is None
        self.is_missing = False
        self.is_in_doubt = False

    def send(self, writes: list[Write]) -> tuple[list[Write], Refusal | None]:
        """As Submission wants it: one attempt."""
        room_ms = self._target.backoff.remaining_ms()
        with self._target.units.spending(units_of(len(self._item))) as spending:
            if not self._for_client:
                is_done = self._send_raw(room_ms, spending)
                if is_done is not None:
                    return ([] if is_done else writes), None
            return self._send_over_client(writes, spending)

    def _send_raw(self, room_ms: int, spending: Spending) -> bool | None:
        """Whether the item is there now; None where the client shall find out at once."""
        answer = self._target.send_raw("PutItem", self._body(), room_ms, self._note_unanswered)
        if answer is None:
            self._for_client = True
            return False
        code = answer.error_code()
        self._target.flow.ended(throttled=code in THROTTLED)
        if answer.status < 500:
            spending.measured = self._measured(answer, code)
        if answer.status == 200 or code == _CONDITION_FAILED:
            self.is_missing = answer.status == 200
            return True
        if code in THROTTLED:
            return False
        self._for_client = True
        if answer.status >= 500:
            self.is_in_doubt = True
            return False
        return None

    def _measured(self, answer: RawAnswer, code: str | None) -> float | None:
        """A condition that is not met costs as much as the item that it met
        (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html)."""
        if answer.status == 200:
            return answer.consumed_units()
        return float(units_of(answer.old_item_bytes())) if code == _CONDITION_FAILED else 0.0

    def _send_over_client(self, writes: list[Write], spending: Spending) -> tuple[list[Write], Refusal | None]:
        name = self._target.table_name
        try:
            item = self._write_request(self._line)["PutRequest"]["Item"]
            answer = self._target.dynamodb.put_item(TableName=name, Item=item, **self._condition())
        except ClientError as error:
            self._look_at_attempts(error.response)
            code = error_code(error)
            self._target.flow.ended(throttled=code in THROTTLED)
            if code == _CONDITION_FAILED:
                return [], None
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                self.is_in_doubt = True
            else:
                spending.measured = 0.0
            return writes, refusal_of(error, name, "PutItem")
        except (ParamValidationError, RecursionError, ValueError):
            spending.measured = 0.0
            return writes, Refusal("MalformedItem", "it is not valid DynamoDB JSON")
        except BotoCoreError:
            self._note_unanswered()
            return writes, None
        if answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 200) != 200:
            return writes, None
        self._look_at_attempts(answer)
        self._target.flow.ended()
        self.is_missing = True
        spending.measured = answer.get("ConsumedCapacity", {}).get("CapacityUnits")
        return [], None

    def _look_at_attempts(self, answer: dict[str, Any]) -> None:
        """The client tries again by itself; it does not say whether an attempt went unanswered."""
        if answer.get("ResponseMetadata", {}).get("RetryAttempts", 0):
            self._note_unanswered()

    def _note_unanswered(self) -> None:
        self.is_in_doubt = True
        self._target.on_unanswered()

    def _body(self) -> bytes:
        more = json.dumps({"TableName": self._target.table_name, **self._condition()})[1:].encode()
        return b'{"Item":%b,%b' % (self._item, more)

    def _condition(self) -> dict[str, Any]:
        condition = {"ConditionExpression": _CONDITION, "ExpressionAttributeNames": self._names}
        if not self._target.units.is_limited:
            return condition
        return condition | {"ReturnConsumedCapacity": "TOTAL", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
