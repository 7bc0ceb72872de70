import pytest
from moto import mock_aws

from tests.functional.restore.world import World


@pytest.fixture
def world(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # moto answers inside of botocore. Behind a proxy the raw write path leaves everything to botocore too, so no
    # test sends anything over a network; the raw path has tests of its own over HTTP.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with mock_aws():
        yield World()
