"""The API while a large restore runs: how long POST /restores and GET /restores/{id} take.

`python -m benchmarks.api <shards> <requests>` measures and prints every time in milliseconds. The real app behind
Chalice's local gateway, with authorizer and routes; the ledger, in memory, holds a restore in LOADING with that many
shards, on 64 workers. Every call to DynamoDB, S3 and SQS takes 5 ms.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import msgspec
from chalice.config import Config
from chalice.local import LocalGateway

from benchmarks.aws import IndexedDynamoDB
from benchmarks.child import found_by_module
from benchmarks.figures import Figures, Size, Table, Target, percentile
from benchmarks.sets import DATE, PREFIX, TABLE, SetSpec, prepared
from benchmarks.world import ENVIRON, World, loaded_bucket
from chalicelib.ledger import Update
from chalicelib.restore.model import FileCheckpoint, Kind, PlannedFile, Shard, Stage, Status
from chalicelib.restore.records import job_key, shard_sk, table_key
from chalicelib.restore.slots import slot_key
from chalicelib.services import services
from sandbox.resources import ApiToken

_SHARDS, _REQUESTS = 100_000, 200
_WORKERS = 64
_CALL_MS = 5
_MOST_POST_MS = 1_000
_TOKEN = ApiToken("benchmark", "tv_benchmark-0123456789abcdef")


def measure(size: Size) -> Figures:
    shards, requests = (100, 2) if size.is_tiny else (_SHARDS, _REQUESTS)
    prepared(_spec())  # made now, outside of what is measured
    runs: dict[str, dict[str, Any]] = found_by_module("benchmarks.api", shards, requests)
    rows = [
        (name, *(f"{percentile(run['ms'], percent):.0f}" for percent in (50, 99)), f"{run['calls']:.0f}")
        for name, run in runs.items()
    ]
    p99_ms = percentile(runs["POST /restores"]["ms"], 99)
    return Figures(
        title="API",
        tables=[Table(("request", "p50, ms", "p99, ms", "calls to AWS"), rows)],
        targets=[Target("POST /restores, p99", "< 1 s", f"{p99_ms / 1000:.2f} s", p99_ms < _MOST_POST_MS)],
        notes=[
            f"{requests} requests of each kind in turn, in a warm process; the ledger holds a restore with {shards:,}"
            f" shards, {_WORKERS} of them open. Each call to DynamoDB, S3 and SQS takes {_CALL_MS} ms, slept.",
            "API Gateway, the network and a cold start are not in it.",
        ],
        raw=runs,
    )


class _Latency:
    """What every call to AWS takes, while it is on; and how many there were."""

    def __init__(self) -> None:
        self.calls = 0
        self._is_on = False

    def __call__(self, operation: str) -> None:
        if self._is_on:
            self.calls += 1
            time.sleep(_CALL_MS / 1000)

    @contextmanager
    def on(self) -> Iterator[None]:
        self._is_on = True
        yield
        self._is_on = False


class _Ssm:
    def get_parameter(self, **_: Any) -> Any:
        return {"Parameter": {"Value": json.dumps([_TOKEN.stored()])}}


class _Api:
    """The app over a world; the processes' services are the world's."""

    def __init__(self) -> None:
        os.environ.update(ENVIRON)
        app = import_module("app").app
        self.latency = _Latency()
        dynamodb = IndexedDynamoDB()
        self.world = World(
            loaded_bucket(prepared(_spec()).bucket), dynamodb=dynamodb, before_call=self.latency, services=services()
        )
        self.world.services._clients._by_service["ssm"] = _Ssm()
        self._gateway = LocalGateway(app, Config())

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, wanted: int = 200
    ) -> tuple[float, Any]:
        """Milliseconds and the answer's document. RuntimeError unless it has the wanted status."""
        headers = {"Authorization": f"Bearer {_TOKEN.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with self.latency.on():
            began_s = time.perf_counter()
            answer = self._gateway.handle_request(method, path, headers, data)
            took_ms = (time.perf_counter() - began_s) * 1000
        if answer["statusCode"] != wanted:
            raise RuntimeError(f"{method} {path}: {answer['statusCode']} {answer['body']}")
        return took_ms, json.loads(answer["body"])


def main(shards: int, requests: int) -> None:
    api = _Api()
    restore_id = _large_restore(api.world, shards)
    figures: dict[str, dict[str, Any]] = {}
    for number in range(-2, requests):  # the first two only warm up
        for name, (took_ms, _), calls in _round(api, restore_id, number):
            figure = figures.setdefault(name, {"ms": [], "calls": 0})
            if number >= 0:
                figure["ms"].append(took_ms)
                figure["calls"] = calls
    sys.stdout.write(json.dumps(figures))


def _round(api: _Api, restore_id: str, number: int) -> Iterator[tuple[str, tuple[float, Any], int]]:
    body = {"backup_date": "latest", "target_tables": {TABLE: f"copy-{number % 97}"}, "max_workers": 8}
    before = api.latency.calls
    accepted = api.request("POST", "/restores", body, wanted=202)
    yield "POST /restores", accepted, api.latency.calls - before
    for name, path in (
        ("GET /restores/{id}", f"/restores/{restore_id}"),
        ("GET /restores", "/restores"),
    ):
        before = api.latency.calls
        yield name, api.request("GET", path), api.latency.calls - before
    # Ended again, so that each request finds the ledger as the one before it did, and no lock in its way.
    api.world.services.desk.cancel(str(accepted[1]["restore_id"]))
    api.world.work()


def _large_restore(world: World, shards: int) -> str:
    """A restore whose planning and checking are over, and whose rows are then multiplied."""
    world.create_target()
    restore_id = world.ask(max_workers=_WORKERS)
    world.queue.take()
    records = world.services.records
    job, table = records.job(restore_id), records.tables(restore_id)[0]
    assert job
    name = f"{PREFIX}/{DATE}/{TABLE}/AWSDynamoDB/01795136400000-0000000a/data/{'a' * 26}.json.gz"
    files = [PlannedFile(name, f"{'0' * 32}-1", 100_000, f"{'A' * 22}==", 1_000, False)] * 8
    checkpoints = [FileCheckpoint(line=500, written=500)] * 8
    records.put_shards(
        job,
        (
            Shard(
                sk=shard_sk(Kind.LOAD, table.number, number),
                kind=Kind.LOAD,
                source=TABLE,
                number=number,
                stage=Stage.CHECKED,
                files=msgspec.json.encode(files).decode(),
                checkpoint=msgspec.json.encode(checkpoints).decode(),
            )
            for number in range(shards)
        ),
    )
    counts = {"planning_ended": 1, "checking_total": shards + 1, "checking_ended": shards + 1, "loading_total": shards}
    world.services.ledger.write(Update(table_key(restore_id, table.number), set=counts))
    world.services.ledger.write(Update(job_key(restore_id), set={"status": Status.LOADING.value}))
    world.services.slots.wake_free(restore_id, _WORKERS, hop=0, now_ms=world.services.clock())
    world.queue.take()
    for number in range(min(_WORKERS, shards)):
        held = {"shard": shard_sk(Kind.LOAD, table.number, number), "state": "BUSY", "busy_until_ms": 2**45}
        world.services.ledger.write(Update(slot_key(restore_id, number), set=held))
    return restore_id


def _spec() -> SetSpec:
    return SetSpec(items=100, line_bytes=500, files=4)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
