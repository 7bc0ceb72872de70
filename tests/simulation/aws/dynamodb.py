"""DynamoDB in memory, as far as the service uses it: conditions, transactions with tokens, indexes that lag behind,
batches refused as a whole. Fast, and without faults of its own: those are the client's.

Every effect happens at once; `client` decides when, how often, and whether the caller learns of it.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from botocore.exceptions import ClientError

from tests.simulation.aws.expressions import Item, comparable, condition, holds, updated
from tests.simulation.aws.history import History

Request = dict[str, Any]
Answer = dict[str, Any]
KeyTuple = tuple[Any, ...]
_BATCH_LIMIT = 25
_TRANSACTION_LIMIT = 100
_TOKEN_MS = 10 * 60_000
_PARTITION_VALUE = ":pk"  # as the ledger names it in its key conditions


def error(
    code: str, operation: str, message: str = "", status: int = 400, more: dict[str, Any] | None = None
) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message or code}, **(more or {})}
    response["ResponseMetadata"] = {"HTTPStatusCode": status}
    return ClientError(response, operation)


@dataclass
class Index:
    keys: tuple[str, ...]
    keys_only: bool
    rows: dict[KeyTuple, Item] = field(default_factory=dict)  # by the table's key; as of a moment ago


@dataclass
class Table:
    name: str
    arn: str
    keys: tuple[str, ...]
    types: dict[str, str]
    description: dict[str, Any]
    items: dict[KeyTuple, Item] = field(default_factory=dict)
    partitions: dict[Any, dict[KeyTuple, Item]] = field(default_factory=lambda: defaultdict(dict))
    indexes: dict[str, Index] = field(default_factory=dict)
    has_recovery: bool = True
    recovery_days: int = 35
    recovery_since_ms: int = 0
    history: History | None = None  # since then; of the tables that are backed up
    active_at_ms: int = 0  # until then it is being made
    tags: dict[str, str] = field(default_factory=dict)
    tags_shown_at_ms: int = 0
    time_to_live: str | None = None  # the attribute

    def set(self, key: KeyTuple, item: Item | None) -> None:
        if item is None:
            self.items.pop(key, None)
            self.partitions[key[0]].pop(key, None)
        else:
            self.items[key] = self.partitions[key[0]][key] = item

    def key_of(self, item: Item, operation: str, *, whole: bool = True) -> KeyTuple:
        """The item's key as a value that orders as DynamoDB does. `whole`: the item may have other attributes."""
        if not whole and set(item) != set(self.keys):
            raise error("ValidationException", operation, "The provided key element does not match the schema")
        values = []
        for name in self.keys:
            value = item.get(name)
            if value is None:
                text = f"One or more parameter values were invalid: Missing the key {name} in the item"
                raise error("ValidationException", operation, text)
            if set(value) != {self.types[name]}:
                text = f"Type mismatch for key {name} expected: {self.types[name]} actual: {next(iter(value))}"
                raise error("ValidationException", operation, f"One or more parameter values were invalid: {text}")
            if value.get("S") == "" or value.get("B") == b"":
                text = "The AttributeValue for a key attribute cannot contain an empty string value. Key: " + name
                raise error("ValidationException", operation, f"One or more parameter values are not valid. {text}")
            values.append(comparable(value))
        return tuple(values)


class DynamoDB:
    """`lag` is asked at each write to a table with indexes how to make them follow; `on_write(table, key, old, new)`
    is told of every change of an item."""

    def __init__(self, clock: Callable[[], int], lag: Callable[[Callable[[], None]], None]) -> None:
        self.tables: dict[str, Table] = {}
        self.backups: dict[str, dict[str, Any]] = {}  # on demand, by their ARNs
        self.on_write: Callable[[Table, KeyTuple, Item | None, Item | None], None] = lambda *change: None
        self.on_units: Callable[[str, int], None] = lambda table_name, units: None  # written, not by the ledger
        self.denied: set[str] = set()  # tables whose items nobody may read or write
        self.page_items = 1000  # of a query or scan whose answer reaches its 1 MB
        self._clock = clock
        self._lag = lag
        self._done_tokens: dict[str, int] = {}

    def create_table(self, name: str, **definition: Any) -> Table:
        arn = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{name}"
        table = Table(
            name=name,
            arn=arn,
            keys=tuple(key["AttributeName"] for key in definition["KeySchema"]),
            types={entry["AttributeName"]: entry["AttributeType"] for entry in definition["AttributeDefinitions"]},
            description={"TableName": name, "TableArn": arn, "TableStatus": "ACTIVE", **definition},
        )
        for index in definition.get("GlobalSecondaryIndexes", []):
            keys = tuple(key["AttributeName"] for key in index["KeySchema"])
            table.indexes[index["IndexName"]] = Index(keys, index["Projection"]["ProjectionType"] == "KEYS_ONLY")
        self.tables[name] = table
        return table

    def table(self, name: str, operation: str) -> Table:
        if name not in self.tables:
            raise error("ResourceNotFoundException", operation, f"Requested resource not found: Table: {name}")
        return self.tables[name]

    def table_of_items(self, name: str, operation: str) -> Table:
        if name in self.denied:
            text = f"User is not authorized to perform: dynamodb:{operation} on resource: {name}"
            raise error("AccessDeniedException", operation, text)
        table = self.table(name, operation)
        if self._clock() < table.active_at_ms:
            raise error("ResourceNotFoundException", operation, "Requested resource not found")
        return table

    # --- single items ----------------------------------------------------------------------------------------

    def get_item(self, request: Request) -> Answer:
        table = self.table_of_items(request["TableName"], "GetItem")
        item = table.items.get(table.key_of(request["Key"], "GetItem", whole=False))
        return {} if item is None else {"Item": dict(item)}

    def put_item(self, request: Request) -> Answer:
        return self._write_one("PutItem", request)

    def update_item(self, request: Request) -> Answer:
        return self._write_one("UpdateItem", request)

    def delete_item(self, request: Request) -> Answer:
        return self._write_one("DeleteItem", request)

    def _write_one(self, operation: str, request: Request) -> Answer:
        table = self.table_of_items(request["TableName"], operation)
        key, old = self._target(table, operation, request)
        if not holds(request, "ConditionExpression", old):
            more = {"Item": dict(old)} if old and request.get("ReturnValuesOnConditionCheckFailure") else {}
            raise error("ConditionalCheckFailedException", operation, more=more)
        new = self._new_item(operation.removesuffix("Item"), table, request, old)
        self._put(table, key, new)
        answer = {"Attributes": dict(new)} if new and request.get("ReturnValues") == "ALL_NEW" else {}
        units = self._units(table, [new])
        return {**answer, "ConsumedCapacity": units} if "ReturnConsumedCapacity" in request else answer

    def _target(self, table: Table, operation: str, request: Request) -> tuple[KeyTuple, Item | None]:
        whole = "Item" in request
        key = table.key_of(request["Item"] if whole else request["Key"], operation, whole=whole)
        return key, table.items.get(key)

    def _new_item(self, verb: str, table: Table, request: Request, old: Item | None) -> Item | None:
        if verb == "Put":
            return dict(request["Item"])
        if verb == "Delete":
            return None
        return updated(old or dict(request["Key"]), request)

    def _put(self, table: Table, key: KeyTuple, new: Item | None) -> None:
        old = table.items.get(key)
        self.on_write(table, key, old, new)
        if table.history is not None:
            table.history.add(self._clock(), key, old)
        table.set(key, new)
        if table.indexes:
            self._lag(lambda: self._index(table, key))

    def _index(self, table: Table, key: KeyTuple) -> None:
        item = table.items.get(key)
        for index in table.indexes.values():
            index.rows.pop(key, None)
            if item is not None and all(name in item for name in index.keys):
                kept = {name: item[name] for name in (*table.keys, *index.keys)} if index.keys_only else item
                index.rows[key] = kept

    # --- many items ------------------------------------------------------------------------------------------

    def batch_get_item(self, request: Request) -> Answer:
        responses: dict[str, list[Item]] = {}
        for name, asked in request["RequestItems"].items():
            table = self.table_of_items(name, "BatchGetItem")
            keys = [table.key_of(key, "BatchGetItem", whole=False) for key in asked["Keys"]]
            responses[name] = [dict(table.items[key]) for key in keys if key in table.items]
        return {"Responses": responses, "UnprocessedKeys": {}}

    def batch_write_item(self, request: Request) -> Answer:
        """All of it, or a refusal of all of it."""
        changes: list[tuple[Table, KeyTuple, Item | None]] = []
        for name, writes in request["RequestItems"].items():
            table = self.table_of_items(name, "BatchWriteItem")
            for write in writes:
                if "PutRequest" in write:
                    item = write["PutRequest"]["Item"]
                    changes.append((table, table.key_of(item, "BatchWriteItem"), dict(item)))
                else:
                    key = table.key_of(write["DeleteRequest"]["Key"], "BatchWriteItem", whole=False)
                    changes.append((table, key, None))
        targets = [(table.name, key) for table, key, _ in changes]
        if len(set(targets)) < len(targets):
            text = "Provided list of item keys contains duplicates"
            raise error("ValidationException", "BatchWriteItem", text)
        if not 1 <= len(changes) <= _BATCH_LIMIT:
            raise error("ValidationException", "BatchWriteItem", "Too many items requested for the BatchWriteItem call")
        for table, key, new in changes:
            self._put(table, key, new)
        units = self._units(changes[0][0], [new for _, _, new in changes])
        more = {"ConsumedCapacity": [units]} if "ReturnConsumedCapacity" in request else {}
        return {"UnprocessedItems": {}, **more}

    def _units(self, table: Table, written: list[Item | None]) -> dict[str, Any]:
        """None is a delete."""
        units = sum(max(1, -(-len(repr(item)) // 1024)) if item else 1 for item in written)
        self.on_units(table.name, units)
        return {"TableName": table.name, "CapacityUnits": float(units)}

    def transact_write_items(self, request: Request) -> Answer:
        token = request.get("ClientRequestToken", "")
        if self._clock() - self._done_tokens.get(token, -_TOKEN_MS) < _TOKEN_MS:
            return {}
        changes = []
        reasons: list[dict[str, Any]] = []
        if len(request["TransactItems"]) > _TRANSACTION_LIMIT:
            raise error("ValidationException", "TransactWriteItems", "at most 100 items")
        for entry in request["TransactItems"]:
            ((verb, write),) = entry.items()
            table = self.table(write["TableName"], "TransactWriteItems")
            key, old = self._target(table, "TransactWriteItems", write)
            if holds(write, "ConditionExpression", old):
                reasons.append({"Code": "None"})
                if verb != "ConditionCheck":
                    changes.append((table, key, self._new_item(verb, table, write, old)))
            else:
                reasons.append({"Code": "ConditionalCheckFailed", **({"Item": dict(old)} if old else {})})
        if any(reason["Code"] != "None" for reason in reasons):
            more = {"CancellationReasons": reasons}
            raise error("TransactionCanceledException", "TransactWriteItems", more=more)
        for table, key, new in changes:
            self._put(table, key, new)
        if token:
            self._done_tokens[token] = self._clock()
        return {}

    def query(self, request: Request) -> Answer:
        table = self.table_of_items(request["TableName"], "Query")
        index = table.indexes[request["IndexName"]] if "IndexName" in request else None
        values = request["ExpressionAttributeValues"]
        if index is None:
            order, rows = table.keys, table.partitions[comparable(values[_PARTITION_VALUE])]
        else:
            order, rows = (*index.keys, *table.keys), index.rows
        matches = condition(request["KeyConditionExpression"])
        names = request.get("ExpressionAttributeNames", {})
        found = [
            (tuple(comparable(item[name]) for name in order), item)
            for item in rows.values()
            if matches(item, names, values)
        ]
        found.sort(key=itemgetter(0), reverse=not request.get("ScanIndexForward", True))
        return self._page(table, request, found, order)

    def scan(self, request: Request) -> Answer:
        table = self.table_of_items(request["TableName"], "Scan")
        segment, segments = request.get("Segment", 0), request.get("TotalSegments", 1)
        found = [(key, item) for key, item in sorted(table.items.items()) if _segment_of(key, segments) == segment]
        return self._page(table, request, found, table.keys)

    def _page(
        self, table: Table, request: Request, found: list[tuple[KeyTuple, Item]], order: tuple[str, ...]
    ) -> Answer:
        start = request.get("ExclusiveStartKey")
        if start is not None:
            after = tuple(comparable(start[name]) for name in order)
            forward = request.get("ScanIndexForward", True)
            found = [(key, item) for key, item in found if (key > after if forward else key < after)]
        size = min(self.page_items, request.get("Limit", self.page_items))
        page, rest = found[:size], found[size:]
        items = [item for _, item in page if holds(request, "FilterExpression", item)]
        answer: Answer = {"Items": [_projected(request, item) for item in items], "Count": len(items)}
        if rest:
            answer["LastEvaluatedKey"] = {name: page[-1][1][name] for name in order}
        return answer


def _segment_of(key: KeyTuple, segments: int) -> int:
    return sum(map(ord, str(key[0]))) % segments


def _projected(request: Request, item: Item) -> Item:
    if "ProjectionExpression" not in request:
        return dict(item)
    names = request.get("ExpressionAttributeNames", {})
    wanted = [names.get(part.strip(), part.strip()) for part in request["ProjectionExpression"].split(",")]
    return {name: item[name] for name in wanted if name in item}
