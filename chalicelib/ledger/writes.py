"""What is written to the ledger, as plain data, and how it is put into DynamoDB's words."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

Row = dict[str, Any]
Addend = int | set[int]  # to a number, or members of a set
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


class Key(msgspec.Struct, frozen=True):
    pk: str
    sk: str

    def __str__(self) -> str:
        return f"{self.pk}/{self.sk}"


class ConditionFailed(Exception):
    """A conditional write found another state than it named.

    In the order of the writes, `failed` says whose condition did not hold, and `rows` what stands there instead
    (None where the condition held, or the row is absent).
    """

    def __init__(self, failed: Sequence[bool], rows: Sequence[Row | None]) -> None:
        super().__init__("the ledger holds another state than this write expects")
        self.failed = tuple(failed)
        self.rows = tuple(rows)


class Put(msgspec.Struct, frozen=True):
    key: Key
    row: Mapping[str, Any]
    condition: ConditionBase | None = None


class Update(msgspec.Struct, frozen=True):
    key: Key
    set: Mapping[str, Any] = msgspec.field(default_factory=dict)
    add: Mapping[str, Addend] = msgspec.field(default_factory=dict)
    remove: Sequence[str] = ()
    condition: ConditionBase | None = None


class Delete(msgspec.Struct, frozen=True):
    key: Key
    condition: ConditionBase | None = None


class Check(msgspec.Struct, frozen=True):
    key: Key
    condition: ConditionBase


Write = Put | Update | Delete | Check


def absent() -> ConditionBase:
    return Attr("pk").not_exists()


def present() -> ConditionBase:
    return Attr("pk").exists()


def request_of(table_name: str, write: Write) -> tuple[str, Row]:
    request: Row = {"TableName": table_name}
    names: dict[str, str] = {}
    values: Row = {}
    if write.condition is not None:
        names, values = place(request, "ConditionExpression", write.condition)
    if isinstance(write, Put):
        request["Item"] = item_of(write.key, write.row)
    else:
        request["Key"] = key_of(write.key)
    if isinstance(write, Update):
        _place_update(request, write, names, values)
    if names:
        request["ExpressionAttributeNames"] = names
    if values:
        request["ExpressionAttributeValues"] = values
    operation = {Put: "Put", Update: "Update", Delete: "Delete", Check: "ConditionCheck"}[type(write)]
    return operation, request


def place(request: Row, clause: str, condition: ConditionBase) -> tuple[dict[str, str], Row]:
    built = ConditionExpressionBuilder().build_expression(condition)
    request[clause] = built.condition_expression
    return (
        dict(built.attribute_name_placeholders),
        {name: _serialize(value) for name, value in built.attribute_value_placeholders.items()},
    )


def _place_update(request: Row, write: Update, names: dict[str, str], values: Row) -> None:
    clauses = []
    number = 0
    for verb, parts, joint in (("SET", write.set, " = "), ("ADD", write.add, " ")):
        terms = []
        for name, value in parts.items():
            number += 1
            names[f"#u{number}"] = name
            values[f":u{number}"] = _serialize(value)
            terms.append(f"#u{number}{joint}:u{number}")
        if terms:
            clauses.append(f"{verb} {', '.join(terms)}")
    removed = []
    for name in write.remove:
        number += 1
        names[f"#u{number}"] = name
        removed.append(f"#u{number}")
    if removed:
        clauses.append(f"REMOVE {', '.join(removed)}")
    request["UpdateExpression"] = " ".join(clauses)


def key_of(key: Key) -> Row:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def item_of(key: Key, row: Mapping[str, Any]) -> Row:
    return key_of(key) | {name: _serialize(value) for name, value in row.items() if value is not None}


def plain_row(item: Row) -> Row:
    return {name: _plain(_deserialize(value)) for name, value in item.items()}


def _plain(value: Any) -> Any:
    """The ledger holds whole numbers only, so a Decimal is an int."""
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, list | set):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return value
