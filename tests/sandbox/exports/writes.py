"""Each way to write to a table, and incremental exports of what was written."""

from collections.abc import Callable
from typing import Any

from .emulator import start_export, until_ended

Item = dict[str, Any]
Mark = Callable[[], int]
MakeTable = Callable[..., str]


def item(key: str, value: str) -> Item:
    return {"id": {"S": key}, "value": {"S": value}}


def name_of(table_arn: str) -> str:
    return table_arn.rpartition("/")[2]


def incremental(dynamodb: Any, table_arn: str, from_s: int, to_s: int | None = None, **more: Any) -> Item:
    """The ended export's description."""
    specification = {"ExportFromTime": from_s, **({} if to_s is None else {"ExportToTime": to_s}), **more}
    started = start_export(
        dynamodb, table_arn, ExportType="INCREMENTAL_EXPORT", IncrementalExportSpecification=specification
    )
    ended = until_ended(dynamodb, started["ExportArn"])
    assert ended["ExportStatus"] == "COMPLETED"
    return ended


def images(records: list[Item]) -> dict[str, tuple[str | None, str | None]]:
    """Old and new value by key; each key once."""
    by_key = {}
    for record in records:
        key = record["Keys"]["id"]["S"]
        assert key not in by_key
        pair = [record.get(name, {}).get("value", {}).get("S") for name in ("OldImage", "NewImage")]
        by_key[key] = (pair[0], pair[1])
    return by_key


class Writes:
    """Each way to write that DynamoDB has, on one table."""

    def __init__(self, dynamodb: Any, table_arn: str) -> None:
        self.dynamodb = dynamodb
        self.table = name_of(table_arn)

    def put(self, key: str, value: str) -> None:
        self.dynamodb.put_item(TableName=self.table, Item=item(key, value))

    def update(self, key: str, value: str) -> None:
        self.dynamodb.update_item(TableName=self.table, **self._update(key, value))

    def delete(self, key: str) -> None:
        self.dynamodb.delete_item(TableName=self.table, Key={"id": {"S": key}})

    def batch(self, puts: dict[str, str], deletes: tuple[str, ...]) -> None:
        requests = [{"PutRequest": {"Item": item(*each)}} for each in puts.items()]
        requests += [{"DeleteRequest": {"Key": {"id": {"S": key}}}} for key in deletes]
        self.dynamodb.batch_write_item(RequestItems={self.table: requests})

    def transact(self, put: tuple[str, str], update: tuple[str, str], delete: str, check: str = "none") -> None:
        table = {"TableName": self.table}
        absent = {"Key": {"id": {"S": check}}, "ConditionExpression": "attribute_not_exists(id)"}
        self.dynamodb.transact_write_items(
            TransactItems=[
                {"Put": {**table, "Item": item(*put)}},
                {"Update": {**table, **self._update(*update)}},
                {"Delete": {**table, "Key": {"id": {"S": delete}}}},
                {"ConditionCheck": {**table, **absent}},
            ]
        )

    def insert_statement(self, key: str, value: str) -> str:
        return f"INSERT INTO \"{self.table}\" VALUE {{'id': '{key}', 'value': '{value}'}}"

    def update_statement(self, key: str, value: str) -> str:
        return f"UPDATE \"{self.table}\" SET \"value\" = '{value}' WHERE id = '{key}'"

    def delete_statement(self, key: str) -> str:
        return f"DELETE FROM \"{self.table}\" WHERE id = '{key}'"

    @staticmethod
    def _update(key: str, value: str) -> Item:
        return {
            "Key": {"id": {"S": key}},
            "UpdateExpression": "SET #v = :v",
            "ExpressionAttributeNames": {"#v": "value"},
            "ExpressionAttributeValues": {":v": {"S": value}},
        }
