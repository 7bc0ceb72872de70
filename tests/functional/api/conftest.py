import importlib
import io
import json
import logging
from functools import cache

import boto3
import pytest
from moto import mock_aws

from chalicelib.services import services
from tests.functional.api.gateway import TOKENS, TOKENS_PARAMETER, Gateway
from tests.functional.restore.world import ENVIRON, NOT_IN_MOTO, World, numbered

make_client = boto3.client


@cache
def made_once(service, **settings):
    """Each client is made once: moto answers whichever asks, and making one costs more than most tests."""
    client = make_client(service, **settings)
    if service == "dynamodb":
        for name, call in NOT_IN_MOTO.items():
            setattr(client, name, call)
    return client


class SessionOfMadeOnce:
    """Of botocore's Session what chalicelib.aws uses."""

    create_client = staticmethod(made_once)


def make_clients_once(patch):
    patch.setattr(boto3, "client", made_once)
    patch.setattr("chalicelib.aws._session", SessionOfMadeOnce)


# In every item of these tests, and nowhere else.
ITEM_CONTENT = "the-customer's-secret"


@pytest.fixture(scope="session")
def app_module():
    """app.py reads its settings when it is imported. Its logger is process-wide, so it is put back at the end."""
    logger = logging.getLogger("tablevault")
    before = (list(logger.handlers), logger.level, list(logger.filters), logger.propagate)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRON.items():
            patch.setenv(name, value)
        module = importlib.import_module("app")
        logger.info("what writes records is made with the first one")
        yield module
    logger.handlers, level, logger.filters, logger.propagate = before
    logger.setLevel(level)


@pytest.fixture
def world(monkeypatch):
    """A bucket, a ledger, a queue and tokens; its services are the ones of this process, on its clock."""
    for name, value in {**ENVIRON, "API_TOKENS_PARAMETER": TOKENS_PARAMETER}.items():
        monkeypatch.setenv(name, value)
    # moto answers inside of botocore; behind a proxy the raw write path leaves everything to botocore too.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    make_clients_once(monkeypatch)
    services.cache_clear()
    with mock_aws():
        world = World()
        process = services()
        process.clock, process.sleep = world.clock, world.clock.sleep
        world.services = process
        yield world
    services.cache_clear()


@pytest.fixture
def api(app_module, world):
    """The gateway. Whatever a test does, no answer and no log line may hold a token or the content of an item."""
    log = io.StringIO()
    handler = logging.getLogger("tablevault").handlers[-1]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(log)
    gateway = Gateway(app_module.app, world, log)
    yield gateway
    handler.setStream(before)
    told = [log.getvalue(), *(answer.text + json.dumps(dict(answer.headers)) for answer in gateway.answers)]
    for secret in (ITEM_CONTENT, *(each for token in TOKENS for each in (token.token, token.stored()["sha256"]))):
        assert not [text for text in told if secret in text]


@pytest.fixture
def backed_up(world):
    """The table `orders`, with 3 items, and a complete set of `orders` with 8."""
    world.create_table("orders")
    world.put("orders", items(3))
    world.back_up({"orders": items(8)}, partitions=1)


def items(count: int) -> list[dict[str, object]]:
    return numbered(count, secret={"S": ITEM_CONTENT})
