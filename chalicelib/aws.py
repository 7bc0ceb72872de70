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
# Reconcile tells people before it carries sets on: where nobody answers, a minute later is soon enough.
_CONFIG_OF_TELLING = _CONFIG_OF_SCALING
_CONFIG_OF_SERVICE = {
    "ssm": _CONFIG_OF_SSM,
    "application-autoscaling": _CONFIG_OF_SCALING,
    "sns": _CONFIG_OF_TELLING,
    "events": _CONFIG_OF_TELLING,
}


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
            if service == "dynamodb":
                client.meta.events.register(_ONCE, _give_up)
        return client


# botocore sends a call again that got no answer, or an error of the server's own. CreateBackup has no token: the first
# one may have made a backup all the same, and the second one would make another. What was refused made none.
_ONCE = "needs-retry.dynamodb.CreateBackup"


def _give_up(response: Any = None, caught_exception: Exception | None = None, operation: Any = None, **_: Any) -> None:
    """Called after each attempt: what it raises ends the call, whatever botocore wants."""
    if caught_exception is not None:
        raise caught_exception
    if response is not None and response[0].status_code >= 500:
        raise ClientError(response[1], operation.name)


def may_have_had_effect(error: Exception) -> bool:
    """Whether a call that ended with it may have done its work. An error of the client's side says that it did not."""
    return not isinstance(error, ClientError) or status_of(error) >= 500


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


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
    return error_code(error) in TRANSIENT or status_of(error) >= 500
