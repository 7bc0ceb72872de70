"""AWS in this process, for all that a benchmark does not measure: the ledger, the queue, manifests and listings.

The simulation's in-memory services, called directly: no virtual clock, no faults, no delay. A call costs some
microseconds, against hundreds in moto, so that the figures are the service's and not a fake's.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.response import StreamingBody

from chalicelib.aws import Clients
from sandbox.resources import LEDGER_DEFINITION
from tests.simulation.aws.dynamodb import Answer, DynamoDB, Request, Table
from tests.simulation.aws.s3 import S3, StoredObject

LEDGER = "tablevault-benchmark-ledger"
REGION = "eu-west-1"
Effect = Callable[[Request], Answer]
_PLAIN_CONDITIONS = ("pk = :pk", "pk = :pk AND begins_with(sk, :sk)")


def nothing_set_up(request: Request) -> Answer:
    """What AWS says of a table that has no tags, no TTL, no Kinesis stream, no recovery and no autoscaling."""
    return {
        "Tags": [],
        "TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"},
        "KinesisDataStreamDestinations": [],
        "ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED"},
        "ScalableTargets": [],
    }


class InMemoryDynamoDB(DynamoDB):
    """With the ledger's table, and answers to what a worker asks about a target."""

    list_tags_of_resource = staticmethod(nothing_set_up)
    describe_time_to_live = staticmethod(nothing_set_up)
    describe_kinesis_streaming_destination = staticmethod(nothing_set_up)
    describe_continuous_backups = staticmethod(nothing_set_up)

    def __init__(self) -> None:
        super().__init__(now_ms, lambda follow: follow())
        self.create_table(LEDGER, **LEDGER_DEFINITION)

    def describe_table(self, request: Request) -> Answer:
        return {"Table": dict(self.table(request["TableName"], "DescribeTable").description)}


class IndexedDynamoDB(InMemoryDynamoDB):
    """Whose queries take the time of what they find, not of the whole partition, which may be 100,000 rows."""

    def __init__(self) -> None:
        super().__init__()
        self._sorted: dict[tuple[str, str], list[tuple[Any, ...]]] = {}

    def query(self, request: Request) -> Answer:
        is_plain = request["KeyConditionExpression"] in _PLAIN_CONDITIONS and request.get("ScanIndexForward", True)
        if "IndexName" in request or not is_plain:
            return super().query(request)
        table = self.table(request["TableName"], "Query")
        values = request["ExpressionAttributeValues"]
        pk, prefix = values[":pk"]["S"], values.get(":sk", {}).get("S", "")
        rows = table.partitions[pk]
        keys = self._keys(table, pk)
        begin = bisect_left(keys, (pk, prefix))
        if "ExclusiveStartKey" in request:
            begin = max(begin, bisect_right(keys, (pk, request["ExclusiveStartKey"]["sk"]["S"])))
        end = bisect_left(keys, (pk, f"{prefix}\U0010ffff"))
        size = min(self.page_items, request.get("Limit", self.page_items))
        found = [(key, rows[key]) for key in keys[begin : min(end, begin + size + 1)]]
        rest = {name: value for name, value in request.items() if name != "ExclusiveStartKey"}
        return self._page(table, rest, found, table.keys)

    def _put(self, table: Table, key: tuple[Any, ...], new: Any) -> None:
        if (new is None) == (key in table.items):  # a row comes or goes
            self._sorted.pop((table.name, key[0]), None)
        super()._put(table, key, new)

    def _keys(self, table: Table, pk: str) -> list[tuple[Any, ...]]:
        place = (table.name, pk)
        if place not in self._sorted:
            self._sorted[place] = sorted(table.partitions[pk])
        return self._sorted[place]


class Queue:
    """SQS: what was sent, until it is taken."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def get_queue_url(self, request: Request) -> Answer:
        return {"QueueUrl": f"https://sqs.invalid/{request['QueueName']}"}

    def send_message(self, request: Request) -> Answer:
        self.bodies.append(request["MessageBody"])
        return {"MessageId": str(len(self.bodies))}

    def take(self) -> list[str]:
        taken, self.bodies = self.bodies, []
        return taken


@dataclass(frozen=True)
class StoredFile:
    """An object whose content stays on disk."""

    path: Path
    etag: str
    size_bytes: int

    @property
    def body(self) -> bytes:
        return self.path.read_bytes()


class Bucket(S3):
    """One bucket in memory. Listings take the time of their page, not of the whole bucket."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._sorted: list[str] = []

    def load(self, folder: Path) -> None:
        """The objects below `folder`, of each its content only when it is asked for."""
        for etag_path in folder.rglob("*.etag"):
            path = etag_path.with_suffix("")
            key = str(path.relative_to(folder))
            self.objects[key] = StoredFile(path, etag_path.read_text(), path.stat().st_size)  # type: ignore[assignment]

    def list_objects_v2(self, request: Request) -> Answer:
        if request.get("Delimiter"):
            return super().list_objects_v2(request)
        if len(self._sorted) != len(self.objects):
            self._sorted = sorted(self.objects)
        prefix, after = request["Prefix"], request.get("ContinuationToken")
        begin = bisect_left(self._sorted, f"{after}\0" if after else prefix)
        end = bisect_left(self._sorted, f"{prefix}\U0010ffff")
        page = self._sorted[begin : min(end, begin + self.page_keys)]
        answer: Answer = {
            "Contents": [{"Key": key, "Size": size_of(self.objects[key]), "ETag": self._etag(key)} for key in page],
            "IsTruncated": begin + len(page) < end,
        }
        return answer | ({"NextContinuationToken": page[-1]} if answer["IsTruncated"] else {})

    def _etag(self, key: str) -> str:
        return f'"{self.objects[key].etag}"'


def size_of(stored: StoredObject | StoredFile) -> int:
    return stored.size_bytes if isinstance(stored, StoredFile) else len(stored.body)


class DirectClient:
    """A boto3 client whose calls are a service's methods. `before_call` is told of each, by its name."""

    def __init__(self, service: Any, before_call: Callable[[str], None] = lambda operation: None) -> None:
        self._service = service
        self._before_call = before_call

    def __getattr__(self, operation: str) -> Callable[..., Answer]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        effect: Effect = getattr(self._service, operation)

        def call(**request: Any) -> Answer:
            self._before_call(operation)
            return effect(request)

        return call


class DirectS3(DirectClient):
    def get_object(self, **request: Any) -> Answer:
        self._before_call("get_object")
        answer: Answer = self._service.get_object(request)
        return {**answer, "Body": StreamingBody(_Stream(answer["Body"]), len(answer["Body"]))}

    def get_paginator(self, operation: str) -> Any:
        def pages(**request: Any) -> Iterator[Answer]:
            while True:
                answer = getattr(self, operation)(**request)
                yield answer
                if "NextContinuationToken" not in answer:
                    return
                request = {**request, "ContinuationToken": answer["NextContinuationToken"]}

        return SimpleNamespace(paginate=pages)


class Autoscaling:
    """Application Auto Scaling, of which no table makes use."""

    describe_scalable_targets = staticmethod(nothing_set_up)


class _Stream:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    def read(self, amount: int | None = None) -> bytes:
        end = len(self._content) if amount is None else self._at + amount
        block = bytes(self._content[self._at : end])
        self._at += len(block)
        return block

    def close(self) -> None:
        """Nothing is open."""


class SplitClient:
    """A real client for the named calls and for all that is not one (`meta`, events, credentials); the other calls
    are the direct client's."""

    def __init__(self, real: Any, direct: DirectClient, real_calls: frozenset[str]) -> None:
        self._real = real
        self._direct = direct
        self._real_calls = real_calls

    def __getattr__(self, name: str) -> Any:
        is_call = not name.startswith("_") and callable(getattr(self._real, name, None))
        if is_call and name not in self._real_calls and name not in ("can_paginate", "close"):
            return getattr(self._direct, name)
        return getattr(self._real, name)


class GivenClients(Clients):
    def __init__(self, by_service: dict[str, Any]) -> None:
        super().__init__()
        self._by_service.update(by_service)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
