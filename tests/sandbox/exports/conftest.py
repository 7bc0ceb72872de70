"""One emulator for all tests of a module; tables and prefixes keep the tests apart."""

import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from sandbox.exports.administration import advance_clock

from .emulator import Emulator

HOUR_S = 3600


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(tmp_path_factory.mktemp("ministack")))
        environment.delenv("AWS_PROFILE", raising=False)
        for name, value in {"BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}.items():
            environment.setenv(name, value)
        running = Emulator()
        yield running
        running.close()


@pytest.fixture(scope="session")
def dynamodb(emulator: Emulator) -> Any:
    return emulator.client("dynamodb")


@pytest.fixture(scope="session")
def s3(emulator: Emulator) -> Any:
    client = emulator.client("s3")
    client.create_bucket(Bucket="backups")
    return client


@pytest.fixture
def make_table(dynamodb: Any) -> Callable[..., str]:
    def make(*, items: int = 0, recovery: bool = True, key_type: str = "S") -> str:
        name = f"table-{uuid.uuid4().hex[:8]}"
        arn: str = dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": key_type}],
            BillingMode="PAY_PER_REQUEST",
        )["TableDescription"]["TableArn"]
        for n in range(items):
            dynamodb.put_item(TableName=name, Item={"n": {"N": str(n)}, "id": {"S": f"k{n}"}})
        if recovery:
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )
        return arn

    return make


@pytest.fixture
def advance(emulator: Emulator) -> Iterator[Callable[[float], int]]:
    """Moves the time of exports on by seconds and gives it in milliseconds; for the next test it is as it was."""
    yield partial(advance_clock, emulator.endpoint_url)
    emulator.clock.reset()


@pytest.fixture
def mark(advance: Callable[[float], int]) -> Callable[[], int]:
    """Lets an hour pass and gives a moment in whole seconds since the epoch: what was written is before it, and what
    is written next is after it."""

    def pass_time() -> int:
        moment_s = advance(HOUR_S) // 1000 + 1
        advance(2)
        return moment_s

    return pass_time


@pytest.fixture
def held(emulator: Emulator) -> Iterator[threading.Event]:
    """Exports stay IN_PROGRESS until the test sets this."""
    emulator.writer.free.clear()
    yield emulator.writer.free
    emulator.writer.free.set()
