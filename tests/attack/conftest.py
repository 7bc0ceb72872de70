"""The API over a small world in which every answer can be had: restores and sets in every state, and damaged rows."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from chalice.app import Chalice
from moto import mock_aws

from chalicelib.ledger import Key, Ledger, Update
from chalicelib.services import services
from sandbox.resources import SCOPES, ApiToken, store_tokens
from tests.attack.wsgi import WsgiGateway
from tests.functional.api.conftest import ITEM_CONTENT, app_module, make_clients_once
from tests.functional.api.gateway import TOKENS, TOKENS_PARAMETER, Gateway
from tests.functional.conftest import REGION
from tests.functional.restore.world import BUCKET, DATE, ENVIRON, LEDGER, PREFIX, World, numbered

__all__ = ["app_module"]

PARTIAL_DATE, UNFINISHED_DATE, UNTRUSTED_DATE = "2026-11-19", "2026-11-18", "2026-11-17"
# One token for each scope, and nothing beyond it.
SINGLE = [
    ApiToken(f"only {scope}", f"tv_only-{number}-0123456789abcdef", (scope,)) for number, scope in enumerate(SCOPES)
]
ALL = [*TOKENS, *SINGLE]


@dataclass(frozen=True)
class Target:
    """The API, and the names of all that is there."""

    gateway: Gateway
    wsgi: WsgiGateway
    restore_ids: dict[str, str]
    backup_dates: dict[str, str]


@pytest.fixture(scope="module")
def target(app_module) -> Iterator[Target]:
    """Made once for a module. Whatever is sent, no answer and no log line may hold a token or an item."""
    with pytest.MonkeyPatch.context() as patch:
        yield from _target(app_module.app, patch)


def _target(app: Chalice, patch: pytest.MonkeyPatch) -> Iterator[Target]:
    environ = {**ENVIRON, "API_TOKENS_PARAMETER": TOKENS_PARAMETER, "HTTPS_PROXY": "http://127.0.0.1:9"}
    environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    for name, value in environ.items():
        patch.setenv(name, value)
    make_clients_once(patch)
    bits = Random(7)
    patch.setattr("chalicelib.restore.desk.secrets.token_hex", lambda count: bits.randbytes(count).hex())
    services.cache_clear()
    log = io.StringIO()
    handler = logging.getLogger("tablevault").handlers[-1]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(log)
    with mock_aws():
        world = World()
        process = services()
        process.clock, process.sleep = world.clock, world.clock.sleep
        world.services = process
        gateway = Gateway(app, world, log)
        store_tokens(gateway.ssm, TOKENS_PARAMETER, ALL)
        yield populated(gateway)
    services.cache_clear()
    handler.setStream(before)
    assert_nothing_told(gateway)


def assert_nothing_told(gateway: Gateway) -> None:
    told = [gateway.logged(), *(answer.text + json.dumps(dict(answer.headers)) for answer in gateway.answers)]
    secrets = [
        ITEM_CONTENT,
        *(each for token in ALL for each in (token.token, token.stored()["sha256"])),
    ]
    assert not [secret for secret in secrets for text in told if secret in text]
    for line in gateway.logged().split("\n"):
        assert not line or isinstance(json.loads(line), dict)


def populated(gateway: Gateway) -> Target:
    world = gateway.world
    items = numbered(3, secret={"S": ITEM_CONTENT})
    for name in ("orders", "users", "copy"):
        world.create_table(name)
    world.back_up({"orders": items, "users": items}, partitions=1)
    world.back_up({"orders": items}, date=PARTIAL_DATE, failed={"users": "recovery is off"}, partitions=1)
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{UNFINISHED_DATE}/orders/AWSDynamoDB/x/_started", Body=b"")
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{UNTRUSTED_DATE}/manifest.json", Body=b'{"schema_version": 9}')
    world.dynamodb.update_continuous_backups(
        TableName="orders", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    opened = world.services.backups.start_by_hand(None)["backup_date"]
    return Target(
        gateway,
        WsgiGateway(gateway),
        _restores(world),
        {
            "complete": DATE,
            "partial": PARTIAL_DATE,
            "unfinished": UNFINISHED_DATE,
            "untrusted": UNTRUSTED_DATE,
            "open": opened,
        },
    )


def _restores(world: World) -> dict[str, str]:
    """One restore in each state, by its name."""
    world.clock.sleep(1)
    made = {"completed": world.restore(backup_date=DATE, tables=["orders"])["restore_id"]}
    made["failed"] = world.restore(tables=["orders"], target_tables={"orders": "missing-target"})["restore_id"]
    made["cancelled"] = world.ask(tables=["orders"], dry_run=True)
    world.services.desk.cancel(made["cancelled"])
    world.settle(made["cancelled"])
    made["corrupt"] = world.ask(tables=["orders"], dry_run=True)
    job = Key(f"RESTORE#{made['corrupt']}", "JOB")
    Ledger(world.dynamodb, LEDGER).write(Update(job, set={"max_workers": "many"}))
    made["running"] = world.ask(tables=["users"], target_tables={"users": "copy"})
    return made
