"""Incremental exports over every way to write that DynamoDB has, and over random writes."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from .emulator import exported_changes, exported_items, start_export, until_ended
from .writes import Item, MakeTable, Mark, Writes, images, incremental


def _puts_and_deletes(writes: Writes) -> None:
    writes.put("new", "1")
    writes.put("old-1", "replaced")
    writes.update("old-2", "updated")
    writes.update("upserted", "made")
    writes.delete("old-3")
    writes.delete("was never there")


def _several_writes_to_one_item(writes: Writes) -> None:
    writes.put("made and removed", "1")
    writes.delete("made and removed")
    writes.put("old-1", "first")
    writes.put("old-1", "last")
    writes.put("old-2", "away")
    writes.put("old-2", "2")
    writes.delete("old-3")
    writes.put("old-3", "again")
    writes.put("old-4", "4")


def _batches(writes: Writes) -> None:
    writes.batch({"new": "1", "old-1": "replaced"}, ("old-2", "was never there"))


def _transactions(writes: Writes) -> None:
    writes.transact(("new", "1"), ("old-1", "updated"), "old-2")
    with pytest.raises(writes.dynamodb.exceptions.TransactionCanceledException):
        writes.transact(("cancelled", "1"), ("old-3", "cancelled"), "old-4", check="old-1")


def _partiql(writes: Writes) -> None:
    run = writes.dynamodb.execute_statement
    run(Statement=writes.insert_statement("new", "1"))
    run(Statement=writes.update_statement("old-1", "updated"))
    run(Statement=writes.delete_statement("old-2"))
    writes.dynamodb.batch_execute_statement(
        Statements=[{"Statement": writes.insert_statement("batched", "1")}, {"Statement": writes.delete_statement("x")}]
    )


def _partiql_transactions(writes: Writes) -> None:
    def run(*statements: str) -> None:
        writes.dynamodb.execute_transaction(TransactStatements=[{"Statement": each} for each in statements])

    run(writes.insert_statement("new", "1"), writes.update_statement("old-1", "updated"))
    with pytest.raises(writes.dynamodb.exceptions.TransactionCanceledException):
        run(writes.update_statement("old-2", "cancelled"), writes.insert_statement("old-3", "a duplicate"))


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            _puts_and_deletes,
            {
                "new": (None, "1"),
                "old-1": ("1", "replaced"),
                "old-2": ("2", "updated"),
                "upserted": (None, "made"),
                "old-3": ("3", None),
            },
        ),
        (_several_writes_to_one_item, {"old-1": ("1", "last"), "old-2": ("2", "2"), "old-3": ("3", "again")}),
        (_batches, {"new": (None, "1"), "old-1": ("1", "replaced"), "old-2": ("2", None)}),
        (_transactions, {"new": (None, "1"), "old-1": ("1", "updated"), "old-2": ("2", None)}),
        (
            _partiql,
            {"new": (None, "1"), "old-1": ("1", "updated"), "old-2": ("2", None), "batched": (None, "1")},
        ),
        (_partiql_transactions, {"new": (None, "1"), "old-1": ("1", "updated")}),
    ],
)
def test_every_item_that_was_written_is_one_record_with_its_images(
    dynamodb: Any,
    s3: Any,
    make_table: MakeTable,
    mark: Mark,
    write: Callable[[Writes], None],
    expected: dict[str, tuple[str | None, str | None]],
) -> None:
    table_arn = make_table()
    writes = Writes(dynamodb, table_arn)
    for n in range(1, 5):
        writes.put(f"old-{n}", str(n))
    from_s = mark()
    write(writes)
    to_s = mark()
    for n in range(1, 5):  # what comes after the window is not in it
        writes.put(f"old-{n}", "later")
    writes.put("later", "1")
    records = exported_changes(s3, incremental(dynamodb, table_arn, from_s, to_s))
    assert images(records) == expected
    times_us = [int(record["Metadata"]["WriteTimestampMicros"]["N"]) for record in records]
    assert all(from_s * 1_000_000 <= time_us < to_s * 1_000_000 for time_us in times_us)


def _random_write(chance: random.Random, writes: Writes, keys: list[str]) -> None:
    """One write of any kind, to up to three different items."""
    one, two, three = chance.sample(keys, 3)
    value = str(chance.randrange(3))
    chance.choice(
        [
            lambda: writes.put(one, value),
            lambda: writes.update(one, value),
            lambda: writes.delete(one),
            lambda: writes.batch({one: value, two: "b"}, (three,)),
            lambda: writes.transact((one, value), (two, "t"), three),
        ]
    )()


def _by_key(items: list[Item]) -> dict[str, Item]:
    return {each["id"]["S"]: each for each in items}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_base_and_increments_replayed_are_the_table_at_every_moment(
    dynamodb: Any, s3: Any, make_table: MakeTable, mark: Mark, seed: int
) -> None:
    chance = random.Random(seed)
    table_arn = make_table()
    writes = Writes(dynamodb, table_arn)
    keys = [f"key-{n}" for n in range(8)]
    marks, tables = [], []
    for _ in range(5):
        for _ in range(chance.randrange(8)):
            _random_write(chance, writes, keys)
        marks.append(mark())
        tables.append(_by_key(dynamodb.scan(TableName=writes.table)["Items"]))

    def as_of(moment_s: int) -> dict[str, Item]:
        started = start_export(dynamodb, table_arn, ExportTime=moment_s)
        return _by_key(exported_items(s3, until_ended(dynamodb, started["ExportArn"])))

    replayed = as_of(marks[0])
    assert replayed == tables[0]
    for (from_s, to_s), table in zip(itertools.pairwise(marks), tables[1:], strict=True):
        for record in exported_changes(s3, incremental(dynamodb, table_arn, from_s, to_s)):
            key = record["Keys"]["id"]["S"]
            assert replayed.pop(key, None) == record.get("OldImage")
            if "NewImage" in record:
                replayed[key] = record["NewImage"]
        assert replayed == table == as_of(to_s)
