"""Clients of AWS, made when first asked for: timeouts, retries and pool size stand here and nowhere else.

They are botocore's, as boto3 makes them too, without what boto3 adds to the one of S3: importing its transfer manager,
which nothing here uses, is a tenth of a cold start. A client at module level would need a region at import, which
`chalice deploy` and the tests do not have.
"""

from functools import cache
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

Client = Any  # botocore makes a client's methods at run time; the checks are in the functional tests

# Three attempts and the waits between them end within 27 s: an endpoint that hangs is an error the code can handle,
# within the API's 29 s, and not a killed invocation.
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=5,
    max_pool_connections=50,
    retries={"mode": "standard", "total_max_attempts": 3},
    s3={"addressing_style": "path"},
)
# What Application Auto Scaling tells is worth having and not worth waiting for: a network may have no way to it.
_CONFIG_OF_SCALING = _CONFIG.merge(
    Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
)
# The authorizer, which alone reads parameters, has 10 s in all: a parameter store that hangs must be an error within.
_CONFIG_OF_SSM = _CONFIG.merge(
    Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2})
)
_CONFIG_OF_SERVICE = {"ssm": _CONFIG_OF_SSM, "application-autoscaling": _CONFIG_OF_SCALING}


@cache
def _session() -> Session:
    """One for the process: it keeps what it has read of the services' models."""
    return Session()


class Clients:
    """`Clients().get("s3")`: one client per service for the life of the process."""

    def __init__(self) -> None:
        self._by_service: dict[str, Client] = {}

    def get(self, service: str) -> Client:
        client = self._by_service.get(service)
        if client is None:
            config = _CONFIG_OF_SERVICE.get(service, _CONFIG)
            client = self._by_service[service] = _session().create_client(service, config=config)
        return client


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def error_text(error: ClientError) -> str:
    """`Code: message` of an AWS error, for the operator."""
    return f"{error_code(error)}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")


THROTTLED = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
    }
)
TRANSIENT = THROTTLED | frozenset(
    {
        "InternalServerError",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "TransactionInProgressException",
        "500",
        "503",
    }
)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})


def is_transient(error: ClientError) -> bool:
    """Whether the same call may succeed later without anybody changing anything."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error_code(error) in TRANSIENT or int(status) >= 500
