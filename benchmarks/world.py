"""A restore on the deployed code, in this process: the real services with AWS around them, and Lambda's part played by
a loop that hands queue messages to the worker."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.aws import (
    LEDGER,
    REGION,
    Autoscaling,
    Bucket,
    DirectClient,
    DirectS3,
    GivenClients,
    InMemoryDynamoDB,
    Queue,
    SplitClient,
)
from benchmarks.sets import BUCKET, TABLE
from chalicelib import entry
from chalicelib.aws import Clients
from chalicelib.ledger import Ledger
from chalicelib.restore.requests import parse_restore_request
from chalicelib.services import Services
from chalicelib.settings import read_settings
from tests.simulation.aws.dynamodb import DynamoDB

ENVIRON = {
    "BACKUP_BUCKET": BUCKET,
    "ENVIRONMENT": "benchmark",
    "DYNAMODB_TABLES": f'["{TABLE}"]',
    "LEDGER_TABLE": LEDGER,
    "RESTORE_QUEUE": "tablevault-benchmark-restore",
    "RESTORE_DEAD_LETTER_QUEUE": "tablevault-benchmark-restore-dead-letter",
    "RESTORE_MAX_CONCURRENCY": "64",
    "API_TOKENS_PARAMETER": "/tablevault/benchmark/api-tokens",
}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
# What goes over the socket; everything else a worker asks of DynamoDB about a target is answered in memory.
WRITES = frozenset({"batch_write_item", "put_item", "update_item", "delete_item", "transact_write_items"})
_NOWHERE = "http://127.0.0.1:9"  # the discard port: where nothing answers
_REMAINING_MS = 300_000
_MOST_INVOCATIONS = 200


@dataclass(frozen=True)
class Moment:
    """When a restore's status moved: wall clock and CPU time of the process, in seconds."""

    status: str
    wall_s: float
    cpu_s: float


class World:
    """`stand_in_url`: where the target's writes and the data files' reads go; without it they too stay in memory.
    `s3`, `dynamodb`: in place of those of this module; `services`: whose clients these become. `before_call` is told
    of each call that stays in memory."""

    def __init__(
        self,
        bucket: Bucket,
        stand_in_url: str | None = None,
        *,
        s3: DirectS3 | None = None,
        dynamodb: DynamoDB | None = None,
        services: Services | None = None,
        before_call: Callable[[str], None] = lambda operation: None,
    ) -> None:
        logging.getLogger("tablevault").setLevel(logging.ERROR)  # what the worker logs would fill the terminal
        self.bucket = bucket
        self.queue = Queue()
        self.dynamodb = dynamodb or InMemoryDynamoDB()
        self.moments: list[Moment] = []
        self.on_move: Callable[[str], None] = lambda status: None
        self.dynamodb.on_write = self._wrote
        ledger_client = DirectClient(self.dynamodb, before_call)
        direct_s3 = s3 or DirectS3(bucket, before_call)
        os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=stand_in_url or _NOWHERE)
        real = Clients()  # made as the service makes them, but for their endpoint
        over_the_socket = WRITES if stand_in_url else frozenset[str]()
        clients = {
            "dynamodb": SplitClient(real.get("dynamodb"), ledger_client, over_the_socket),
            "s3": _SplitS3(real.get("s3"), direct_s3) if stand_in_url else direct_s3,
            "sqs": DirectClient(self.queue, before_call),
            "application-autoscaling": DirectClient(Autoscaling(), before_call),
        }
        settings = read_settings(ENVIRON)
        self.services = services or Services(settings)
        self.services._clients = GivenClients(clients)
        # Set before anything asks for it: the target's client is not the ledger's here.
        self.services.__dict__["ledger"] = Ledger(ledger_client, settings.ledger_table)

    def create_target(self, name: str = TABLE, **description: Any) -> None:
        self.dynamodb.create_table(
            name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            **description,
        )

    def ask(self, **body: Any) -> str:
        """POST /restores: the id of the accepted restore."""
        return self.services.desk.accept(parse_restore_request(body), "benchmark").restore_id

    def work(self) -> None:
        """Invocations of the worker, one after another, until no message is left."""
        for number in range(_MOST_INVOCATIONS):
            bodies = self.queue.take()
            if not bodies:
                return
            for body in bodies:
                record = {"messageId": str(number), "body": body}
                entry.restore_shards(self.services, record, _context())
        raise RuntimeError("the restore does not come to an end")

    def restore(self, items: int, **body: Any) -> None:
        """A whole restore, in one worker. Raises RuntimeError unless it is COMPLETED with every item written: a figure
        of anything else would not be a restore's."""
        restore_id = self.ask(**body)
        self.work()
        records = self.services.records
        job, tables = records.job(restore_id), records.tables(restore_id)
        written = sum(table.written for table in tables)
        if job is None or job.status != "COMPLETED" or written != items:
            notes = [note.text for table in tables for note in records.notes(restore_id, table.number)]
            state = f"{job.status} ({job.reason})" if job else "gone"
            raise RuntimeError(f"the restore is {state}, {written} of {items} items are written; {notes}")

    def took(self, status: str) -> tuple[float, float]:
        """Wall and CPU seconds from the restore's move to `status` until it moved on."""
        begin = next(index for index, moment in enumerate(self.moments) if moment.status == status)
        begun, ended = self.moments[begin], self.moments[begin + 1]
        return ended.wall_s - begun.wall_s, ended.cpu_s - begun.cpu_s

    def _wrote(self, table: Any, key: tuple[Any, ...], old: Any, new: Any) -> None:
        if table.name != LEDGER or key[1] != "JOB" or new is None:
            return
        status = str(new["status"]["S"])
        if old is None or old["status"]["S"] != status:
            self.moments.append(Moment(status, time.perf_counter(), time.process_time()))
            self.on_move(status)


class _SplitS3:
    """Data files come from the stand-in, over the real client; all other objects from memory."""

    def __init__(self, real: Any, direct: DirectS3) -> None:
        self._real = real
        self._direct = direct

    def get_object(self, **request: Any) -> Any:
        client = self._real if "/data/" in request["Key"] else self._direct
        return client.get_object(**request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._direct, name)


def loaded_bucket(folder: Path) -> Bucket:
    bucket = Bucket(BUCKET)
    bucket.load(folder)
    return bucket


def _context() -> Any:
    deadline_s = time.monotonic() + _REMAINING_MS / 1000
    return SimpleNamespace(get_remaining_time_in_millis=lambda: round((deadline_s - time.monotonic()) * 1000))
