"""The simulation's DynamoDB answers as moto's does, to everything the service's ledger writes and reads."""

from random import Random
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Attr
from boto3.dynamodb.types import TypeSerializer
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.ledger import Check, ConditionFailed, Delete, Key, Ledger, Put, Update, absent, present
from chalicelib.ledger.writes import plain_row
from sandbox.resources import LEDGER_DEFINITION
from tests.simulation.aws.dynamodb import DynamoDB
from tests.simulation.aws.expressions import condition
from tests.simulation.aws.rows import plain_row_at_once

_TABLE = "tablevault-simulated-ledger"


class Direct:
    """A simulated service as a client whose calls take no time and never fail."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:
        return lambda **request: getattr(self._service, operation)(request)


@pytest.fixture
def both(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        real = boto3.client("dynamodb", aws_access_key_id="test", aws_secret_access_key="test")
        real.create_table(TableName=_TABLE, **LEDGER_DEFINITION)
        simulated = DynamoDB(lambda: 0, lambda follow: follow())
        simulated.create_table(_TABLE, **LEDGER_DEFINITION)
        yield [Ledger(client, _TABLE, sleep=lambda seconds: None) for client in (real, Direct(simulated))]


def _condition(random: Random) -> Any:
    number, name = random.randrange(4), random.choice(("n", "status", "kind"))
    return random.choice(
        (
            None,
            absent(),
            present(),
            Attr("n").eq(number),
            Attr("n").lte(number),
            Attr("n").gt(number) & Attr("status").eq("A"),
            Attr("status").is_in(["A", "B"]),
            Attr(name).not_exists() | Attr("n").eq(number),
            ~Attr("status").eq("A"),
        )
    )


def _key(random: Random) -> Key:
    return Key(f"P#{random.randrange(2)}", f"S#{random.randrange(4)}")


def _write(random: Random, key: Key) -> Any:
    chosen = random.randrange(4)
    if chosen == 0:
        row = {
            "n": random.randrange(4),
            "status": random.choice("ABC"),
            "kind": "K",
            "sort_name": key.sk,
            "x": [1, {"y": 2}],
        }
        return Put(key, row, _condition(random))
    if chosen == 1:
        return Delete(key, _condition(random))
    if chosen == 2:
        return Check(key, _condition(random) or present())
    changes = {"n": random.randrange(4), "open_kind": "O", "opened_at_ms": random.randrange(9)}
    added: dict[str, int | set[int]] = {"total": 2, "seen": {random.randrange(20)}}
    return Update(key, set=changes, add=added, remove=["status"], condition=_condition(random))


def _outcome(ask: Any, ledger: Ledger) -> Any:
    try:
        return ask(ledger)
    except ConditionFailed as failed:
        return ("failed", failed.failed, failed.rows)
    except ClientError as error:
        return ("error", error.response["Error"]["Code"])


def _questions(random: Random) -> list[Any]:
    key = _key(random)
    write = _write(random, key)
    keys = [Key("P#0", f"S#{number}") for number in random.sample(range(4), 3)]
    writes = [_write(random, each) for each in keys]
    prefix, where = random.choice(("", "S#", "S#1")), _condition(random)
    return [
        lambda ledger: ledger.transact([write]) if isinstance(write, Check) else ledger.write(write),
        lambda ledger: ledger.transact(writes),
        lambda ledger: ledger.get(key),
        lambda ledger: sorted(map(str, ledger.get_many(keys))),
        lambda ledger: list(ledger.query(key.pk, prefix, where=where)),
        lambda ledger: list(ledger.query(key.pk, "S#", start_after="S#1", page_size=2)),
        lambda ledger: ledger.list_page("K", limit=3, before="S#3"),
    ]


def test_a_thousand_writes_and_reads_have_the_same_outcome(both):
    random = Random(11)
    moto, simulated = both
    outcomes = set()
    for _ in range(140):
        for ask in _questions(random):
            outcome = _outcome(ask, moto)
            assert _outcome(ask, simulated) == outcome
            outcomes.add(str(outcome)[:9])
    assert {"('failed'", "None", "[]"} <= outcomes


def test_rows_read_at_once_are_the_same():
    random = Random(3)
    for _ in range(300):
        row = {name: _value(random) for name in "abcd"}
        item = {name: TypeSerializer().serialize(value) for name, value in row.items()}
        assert plain_row_at_once(item) == plain_row(item) == row


def _value(random: Random, depth: int = 0) -> Any:
    match random.randrange(7 if depth < 3 else 4):
        case 0:
            return random.randrange(-(10**15), 10**15)
        case 1:
            return random.choice(("", "x", "1"))
        case 2:
            return random.random() < 0.5
        case 3:
            return None
        case 4:
            return [_value(random, depth + 1) for _ in range(random.randrange(4))]
    return {name: _value(random, depth + 1) for name in random.sample("xyz", random.randrange(3))}


@pytest.mark.parametrize("text", ["a = ", "size(a) = :b", "a = :b AND", "a ~ :b", "a BETWEEN :b AND :c", "(a = :b"])
def test_an_expression_it_cannot_read_is_an_error(text):
    with pytest.raises((ValueError, KeyError)):
        condition(text)({"a": {"S": "x"}}, {}, {":b": {"S": "x"}, ":c": {"S": "x"}, "": {"S": "x"}})
