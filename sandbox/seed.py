"""The demo's tables and their items: different keys, all ten attribute types, one table of several data files, and
an empty one. The same items at every run."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

Client = Any  # a boto3 client; its methods are made at run time
Item = dict[str, Any]

_SEED = 20261121
_BATCH = 25
_THREADS = 4
ORDERS = 21_000


@dataclass(frozen=True)
class DemoTable:
    """A table to make. `keys`: (attribute, type, role)."""

    name: str
    keys: tuple[tuple[str, str, str], ...]
    about: str

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.keys)


TABLES = (
    DemoTable("demo-orders", (("customer", "S", "HASH"), ("placed_at", "N", "RANGE")), "a composite key"),
    DemoTable("demo-catalog", (("sku", "N", "HASH"),), "a number as key, all ten attribute types"),
    DemoTable("demo-devices", (("serial", "B", "HASH"), ("metric", "S", "RANGE")), "a binary key"),
    DemoTable("demo-archive", (("id", "S", "HASH"),), "empty"),
)


def create_tables(dynamodb: Client) -> None:
    """Makes the tables, with point-in-time recovery, which native exports need."""
    for table in TABLES:
        dynamodb.create_table(
            TableName=table.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind, _ in table.keys],
            KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in table.keys],
        )
        dynamodb.update_continuous_backups(
            TableName=table.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )


def items_of(table_name: str) -> Iterator[Item]:
    """The items of one demo table, as botocore takes them."""
    chance = random.Random(f"{_SEED} {table_name}")
    return {"demo-orders": _orders, "demo-catalog": _catalog, "demo-devices": _devices}.get(table_name, _nothing)(
        chance
    )


def put_items(dynamodb: Client, table_name: str, items: Iterator[Item] | Sequence[Item]) -> int:
    return _write_batches(dynamodb, table_name, ({"PutRequest": {"Item": item}} for item in items))


def delete_items(dynamodb: Client, table_name: str, keys: Sequence[Item]) -> int:
    return _write_batches(dynamodb, table_name, ({"DeleteRequest": {"Key": key}} for key in keys))


def _write_batches(dynamodb: Client, table_name: str, requests: Iterator[Item]) -> int:
    batches: list[list[Item]] = [[]]
    for request in requests:
        if len(batches[-1]) == _BATCH:
            batches.append([])
        batches[-1].append(request)

    def write(batch: list[Item]) -> None:
        pending = {table_name: batch} if batch else {}
        while pending:
            pending = dynamodb.batch_write_item(RequestItems=pending).get("UnprocessedItems", {})

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(write, batches))
    return sum(len(batch) for batch in batches)


def _orders(chance: random.Random) -> Iterator[Item]:
    """Many small, flat items: the emulator checks every attribute in Python, and the catalog has the rich ones."""
    for number in range(ORDERS):
        yield {
            "customer": {"S": f"customer-{number % 3_000:05d}"},
            "placed_at": {"N": str(1_700_000_000 + number * 61)},
            "state": {"S": chance.choice(("placed", "paid", "packed", "shipped", "Grüße", "改行\u2028行"))},
            "total": {"N": f"{chance.randrange(100, 90_000) / 100:.2f}"},
        }


def _catalog(chance: random.Random) -> Iterator[Item]:
    """Every attribute type, at its edges."""
    for sku in range(900):
        yield {
            "sku": {"N": str(sku)},
            "name": {"S": f"thing {sku} \N{SNOWMAN}"},
            "price": {"N": "0.12345678901234567890123456789012345678"},
            "weight_kg": {"N": str(chance.uniform(0.001, 90))[:12]},
            "thumbnail": {"B": chance.randbytes(150)},
            "is_sold": {"BOOL": chance.random() < 0.5},
            "successor": {"NULL": True},
            "tags": {"SS": sorted({chance.choice("abcdefgh") for _ in range(3)} | {"thing"})},
            "sizes": {"NS": [str(size) for size in range(1 + sku % 5)]},
            "hashes": {"BS": [bytes([sku % 256, 0]), bytes([sku % 256, 1, 255])]},
            "history": {"L": [{"N": "-1E-100"}, {"S": ""}, {"L": []}, {"M": {"deep": {"BS": [b"\x00", b"\xff"]}}}]},
            "details": {"M": {"empty": {"M": {}}, "bytes": {"B": b""}, "": {"S": "a name may be empty inside a map"}}},
        }


def _devices(chance: random.Random) -> Iterator[Item]:
    for number in range(400):
        for metric in ("temperature", "uptime"):
            yield {
                "serial": {"B": number.to_bytes(4, "big") + b"\x00\xff"},
                "metric": {"S": metric},
                "value": {"N": str(chance.randrange(-40, 9_000))},
            }


def _nothing(chance: random.Random) -> Iterator[Item]:
    return iter(())
