"""The demo's own parts: its comparison must see every difference, and its seed must be what the README says."""

import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import boto3
import pytest
from moto import mock_aws

from sandbox import seed
from sandbox.api import Api
from sandbox.compare import compare, snapshot
from sandbox.isolation import emulator_client
from sandbox.narrator import Narrator, print_differences

BEFORE = {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        (BEFORE, (0, 0, 0)),
        ({"a": "1", "b": "2"}, (1, 0, 0)),
        ({**BEFORE, "b": "x"}, (0, 1, 0)),
        ({**BEFORE, "d": "4"}, (0, 0, 1)),
        ({}, (3, 0, 0)),
    ],
)
def test_every_difference_is_seen(now, counts):
    difference = compare(BEFORE, now)
    assert (difference.missing, difference.changed, difference.unexpected) == counts
    assert bool(difference) == (counts != (0, 0, 0))


def test_a_single_different_table_makes_the_demo_say_so(capsys):
    differences = print_differences(Narrator(time.monotonic()), {"t": BEFORE, "u": BEFORE}, {"t": BEFORE, "u": {}})
    assert [bool(difference) for difference in differences] == [False, True]
    assert "3 missing" in capsys.readouterr().out


def test_snapshots_compare_values_not_the_order_of_sets():
    with mock_aws():
        dynamodb = boto3.client("dynamodb", region_name="eu-west-1")
        dynamodb.create_table(
            TableName="typed",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )

        def snapshot_of(item):
            dynamodb.put_item(TableName="typed", Item={"id": {"S": "1"}, **item})
            return snapshot(dynamodb, "typed", ["id"])

        first = snapshot_of({"s": {"SS": ["a", "b"]}, "l": {"L": [{"N": "1"}, {"N": "2"}]}, "b": {"B": b"\x00"}})
        same = snapshot_of({"s": {"SS": ["b", "a"]}, "l": {"L": [{"N": "1"}, {"N": "2"}]}, "b": {"B": b"\x00"}})
        assert not compare(first, same)
        for other in (
            {"s": {"SS": ["a", "c"]}, "l": {"L": [{"N": "1"}, {"N": "2"}]}, "b": {"B": b"\x00"}},
            {"s": {"SS": ["a", "b"]}, "l": {"L": [{"N": "2"}, {"N": "1"}]}, "b": {"B": b"\x00"}},
            {"s": {"SS": ["a", "b"]}, "l": {"L": [{"N": "1"}, {"N": "2"}]}, "b": {"B": b"\x01"}},
        ):
            assert compare(first, snapshot_of(other)).changed == 1


def test_the_seed_is_the_same_at_every_run_and_has_what_the_demo_promises():
    for table in seed.TABLES:
        assert list(itertools.islice(seed.items_of(table.name), 50)) == list(
            itertools.islice(seed.items_of(table.name), 50)
        )
    orders = list(seed.items_of("demo-orders"))
    assert len(orders) > 20_000
    assert len({(order["customer"]["S"], order["placed_at"]["N"]) for order in orders}) == len(orders)
    types: set[str] = set()

    def gather(value):
        types.update(value)
        for kind, inside in value.items():
            for nested in inside.values() if kind == "M" else inside if kind == "L" else ():
                gather(nested)

    for item in itertools.islice(seed.items_of("demo-catalog"), 5):
        for value in item.values():
            gather(value)
    assert types == {"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"}
    assert list(seed.items_of("demo-archive")) == []
    assert {kind for table in seed.TABLES for _, kind, role in table.keys if role == "HASH"} == {"S", "N", "B"}


def test_the_demo_reaches_the_emulator_whatever_proxy_or_profile_the_user_has(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_PROFILE", "a-profile-that-is-not-there")
    with HTTPServer(("127.0.0.1", 0), HelloHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            assert Api(url, "token").call("GET", "/hello") == {"hello": "Bearer token"}
            assert emulator_client("dynamodb", url).meta.endpoint_url == url
        finally:
            server.shutdown()


class HelloHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"hello": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Keeps the test's output clean."""
