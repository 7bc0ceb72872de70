"""The ledger's table: strongly consistent reads, conditional writes, transactions that are tried again."""

import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec
from boto3.dynamodb.conditions import ConditionBase
from botocore.exceptions import ClientError

from chalicelib.aws import THROTTLED, Client, error_code
from chalicelib.errors import LedgerEntryCorrupt, Unavailable
from chalicelib.ledger.writes import ConditionFailed, Key, Row, Write, item_of, key_of, place, plain_row, request_of

T = TypeVar("T")

KIND_INDEX = "by_kind"
OPEN_INDEX = "open_work"
_TRANSACTION_TRIES = 12
_BATCH_LIMIT = 25
_GET_LIMIT = 100


class Ledger:
    def __init__(
        self,
        dynamodb: Client,
        table_name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._dynamodb = dynamodb
        self.table_name = table_name
        self._sleep = sleep
        self._jitter = jitter

    def get(self, key: Key) -> Row | None:
        answer = self._dynamodb.get_item(TableName=self.table_name, Key=key_of(key), ConsistentRead=True)
        return plain_row(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Sequence[Key]) -> list[Row]:
        """The rows that exist, in no order."""
        rows: list[Row] = []
        for start in range(0, len(keys), _GET_LIMIT):
            pending: Any = {
                self.table_name: {
                    "Keys": [key_of(key) for key in keys[start : start + _GET_LIMIT]],
                    "ConsistentRead": True,
                }
            }
            for attempt in range(_TRANSACTION_TRIES):
                answer = self._dynamodb.batch_get_item(RequestItems=pending)
                rows.extend(plain_row(item) for item in answer["Responses"].get(self.table_name, []))
                pending = answer.get("UnprocessedKeys")
                if not pending:
                    break
                self._back_off(attempt)
            else:
                raise Unavailable("the ledger is throttled: its rows could not all be read")
        return rows

    def query(
        self,
        pk: str,
        sk_prefix: str = "",
        *,
        start_after: str | None = None,
        page_size: int | None = None,
        where: ConditionBase | None = None,
    ) -> Iterator[Row]:
        """Rows of `pk` whose `sk` begins with `sk_prefix`, in order of `sk`, page by page."""
        request: Row = {
            "TableName": self.table_name,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk" + (" AND begins_with(sk, :sk)" if sk_prefix else ""),
            "ExpressionAttributeValues": {
                ":pk": {"S": pk},
                **({":sk": {"S": sk_prefix}} if sk_prefix else {}),
            },
        }
        if page_size:
            request["Limit"] = page_size
        if start_after is not None:
            request["ExclusiveStartKey"] = key_of(Key(pk, start_after))
        if where is not None:
            names, values = place(request, "FilterExpression", where)
            request["ExpressionAttributeNames"] = names
            request["ExpressionAttributeValues"] |= values
        return self._pages(request)

    def query_index(
        self, index: str, partition: str, *, newest_first: bool = False, page_size: int | None = None
    ) -> Iterator[Row]:
        """Rows of an index, eventually consistent."""
        attribute = {KIND_INDEX: "kind", OPEN_INDEX: "open_kind"}[index]
        request: Row = {
            "TableName": self.table_name,
            "IndexName": index,
            "KeyConditionExpression": f"{attribute} = :partition",
            "ExpressionAttributeValues": {":partition": {"S": partition}},
            "ScanIndexForward": not newest_first,
        }
        if page_size:
            request["Limit"] = page_size
        return self._pages(request)

    def list_page(self, kind: str, *, limit: int, before: str | None) -> list[Row]:
        """At most `limit` rows of a kind, newest first, whose `sort_name` is less than `before`."""
        condition = "kind = :kind" + (" AND sort_name < :before" if before else "")
        request: Row = {
            "TableName": self.table_name,
            "IndexName": KIND_INDEX,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {":kind": {"S": kind}, **({":before": {"S": before}} if before else {})},
            "ScanIndexForward": False,
            "Limit": limit,
        }
        # One query ends at 1 MB, whatever its limit: the next ones bring what is missing.
        return list(islice(self._pages(request), limit))

    def write(self, write: Write) -> Row:
        """One conditional write; returns the row as it now stands. Raises ConditionFailed."""
        operation, request = request_of(self.table_name, write)
        call = {"Put": "put_item", "Update": "update_item", "Delete": "delete_item"}[operation]
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if operation == "Update":
            request["ReturnValues"] = "ALL_NEW"
        for attempt in range(_TRANSACTION_TRIES):
            try:
                answer = getattr(self._dynamodb, call)(**request)
                return plain_row(answer["Attributes"]) if operation == "Update" else {}
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    old = error.response.get("Item")
                    raise ConditionFailed([True], [plain_row(old) if old else None]) from error
                if error_code(error) != "TransactionConflictException":
                    raise
            self._back_off(attempt)  # a transaction holds the row for a moment; the client does not try this again
        raise Unavailable("the ledger is too busy: a write met transactions again and again; try again")

    def transact(self, writes: Sequence[Write]) -> None:
        """All or none. Conflicts with other transactions are tried again.

        Raises ConditionFailed, or Unavailable when the conflicts do not end.
        """
        items = []
        for write in writes:
            operation, request = request_of(self.table_name, write)
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
            items.append({operation: request})
        # One token for all tries: one whose answer was lost, or that is still in progress, is not done a second time.
        token = uuid.uuid4().hex
        for attempt in range(_TRANSACTION_TRIES):
            try:
                self._dynamodb.transact_write_items(TransactItems=items, ClientRequestToken=token)
                return
            except ClientError as error:
                reasons = _cancellation(error)
                failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
                if any(failed):
                    rows = [plain_row(reason["Item"]) if reason.get("Item") else None for reason in reasons]
                    raise ConditionFailed(failed, rows) from error
            self._back_off(attempt)
        raise Unavailable("the ledger is too busy: a transaction met others again and again; try again")

    def put_all(self, rows: Iterable[tuple[Key, Mapping[str, Any]]]) -> None:
        """Unconditional puts in batches. Repeating it writes the same rows again."""
        self._write_all({"PutRequest": {"Item": item_of(key, row)}} for key, row in rows)

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Unconditional deletes in batches, of each key once; rows that are not there are no error."""
        self._write_all({"DeleteRequest": {"Key": key_of(key)}} for key in keys)

    def _write_all(self, requests: Iterable[Row]) -> None:
        batch: list[Any] = []
        for request in requests:
            batch.append(request)
            if len(batch) == _BATCH_LIMIT:
                self._write_batch(batch)
                batch = []
        if batch:
            self._write_batch(batch)

    def _write_batch(self, batch: list[Any]) -> None:
        pending: Any = {self.table_name: batch}
        for attempt in range(_TRANSACTION_TRIES):
            try:
                pending = self._dynamodb.batch_write_item(RequestItems=pending).get("UnprocessedItems")
            except ClientError as error:  # every single row of the batch was throttled
                if error_code(error) not in THROTTLED:
                    raise
            if not pending:
                return
            self._back_off(attempt)
        raise Unavailable("the ledger is throttled: rows could not all be written; try again")

    def _pages(self, request: Row) -> Iterator[Row]:
        while True:
            answer = self._dynamodb.query(**request)
            for item in answer["Items"]:
                yield plain_row(item)
            if "LastEvaluatedKey" not in answer:
                return
            request = {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _back_off(self, attempt: int) -> None:
        self._sleep(self._jitter() * min(2.0, 0.025 * 2**attempt))


def decode(row: Row, row_type: type[T]) -> T:
    """A ledger row as its type; raises LedgerEntryCorrupt naming the row and what is wrong with it."""
    try:
        return msgspec.convert(row, row_type)
    except msgspec.ValidationError as error:
        where = f"{row.get('pk')}/{row.get('sk')}"
        raise LedgerEntryCorrupt(
            f"ledger row {where} cannot be read ({error}); nothing was changed because of it"
        ) from error


def _cancellation(error: ClientError) -> list[Row]:
    """The reasons of a cancelled transaction that may be tried again; any other error is raised as it is."""
    if error_code(error) == "TransactionInProgressException":
        return []
    if error_code(error) != "TransactionCanceledException":
        raise error
    response: Any = error.response
    reasons: list[Row] = response.get("CancellationReasons", [])
    throttled = {"ThrottlingError", "ProvisionedThroughputExceeded"}
    known = {"None", "ConditionalCheckFailed", "TransactionConflict"} | throttled
    if not reasons or any(reason.get("Code", "None") not in known for reason in reasons):
        raise error
    return reasons
