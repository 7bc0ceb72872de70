"""In-memory AWS for functional tests: dummy credentials, no way to a real endpoint, and an empty ledger."""

import socket

import boto3
import pytest
from moto import mock_aws

from chalicelib.ledger import Ledger
from sandbox.resources import LEDGER_DEFINITION

REGION = "eu-west-1"
LEDGER_TABLE = "tablevault-tests-ledger"
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def _no_real_aws(monkeypatch):
    """Credentials nobody accepts, none of the user's configuration, and connections to this machine only."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    connect = socket.socket.connect

    def connect_here_only(self, address):
        if isinstance(address, tuple) and address[0] not in _LOOPBACK:
            raise AssertionError(f"a test wants to connect to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here_only)


@pytest.fixture
def aws():
    with mock_aws():
        yield


@pytest.fixture
def dynamodb(aws):
    return boto3.client("dynamodb", region_name=REGION)


@pytest.fixture
def ledger(dynamodb):
    """An empty ledger that never sleeps."""
    dynamodb.create_table(TableName=LEDGER_TABLE, **LEDGER_DEFINITION)
    return Ledger(dynamodb, LEDGER_TABLE, sleep=lambda seconds: None)
