"""When AWS behind the API is in trouble: no crash, no internals; who may try again is told so, and when."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from chalicelib.api.authorizer import authorize
from chalicelib.aws import Clients
from chalicelib.services import services
from chalicelib.tokens import TokenStore
from tests.functional.api.gateway import OPERATOR, assert_problem
from tests.functional.api.test_access import GUARDED, ROUTES
from tests.functional.restore.world import DATE

SECRET_TEXT = "internals-of-aws"


def refusal(code, status=400):
    response = {"Error": {"Code": code, "Message": SECRET_TEXT}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")


PASSES = {
    "throttled": refusal("ProvisionedThroughputExceededException"),
    "throttled as a whole": refusal("ThrottlingException"),
    "S3 is slow": refusal("SlowDown", 503),
    "a failure of AWS": refusal("InternalServerError", 500),
    "an unknown failure of AWS": refusal("SomethingNew", 502),
    "no connection": EndpointConnectionError(endpoint_url=f"https://{SECRET_TEXT}"),
    "no answer": ReadTimeoutError(endpoint_url=f"https://{SECRET_TEXT}"),
    "no connection in time": ConnectTimeoutError(endpoint_url=f"https://{SECRET_TEXT}"),
    "half an answer": ResponseStreamingError(error=SECRET_TEXT),
    "credentials about to be renewed": refusal("ExpiredTokenException"),
}
STAYS = {
    "denied": refusal("AccessDeniedException"),
    "gone": refusal("ResourceNotFoundException"),
    "refused": refusal("ValidationException"),
    "a call of ours that is none": ParamValidationError(report=SECRET_TEXT),
    "a defect": KeyError(SECRET_TEXT),
}


def failing(error, *operations):
    def hook(name, request):
        if name in operations:
            raise error

    return hook


LEDGER_CALLS = ("get_item", "query", "put_item", "update_item", "batch_write_item", "transact_write_items")
S3_CALLS = ("get_object", "list_objects_v2", "put_object", "head_object")


@pytest.fixture
def outage(api):
    """`outage(error, *operations)`: from here on these calls of the API's process fail."""
    api.world.services = api.world.new_process()
    process = services()
    process.__dict__.update(_clients=api.world.services._clients)
    for made in ("ledger", "backups", "records", "slots", "surroundings", "conductor", "desk"):
        process.__dict__.pop(made, None)

    def begin(error, *operations):
        api.world.hook = failing(error, *operations)

    return begin


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("what", PASSES)
def test_what_passes_by_itself_is_503_with_the_time_to_wait(api, outage, what):
    outage(PASSES[what], *LEDGER_CALLS)
    for method, path in (("GET", "/restores"), ("GET", "/backups"), ("POST", "/restores"), ("POST", "/backups")):
        answer = api.call(method, path)
        assert_problem(answer, 503, "try_again")
        assert int(answer.headers["Retry-After"]) > 0
        assert SECRET_TEXT not in answer.text
    assert SECRET_TEXT in api.records()[-1]["exception"]


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("what", STAYS)
def test_what_somebody_must_mend_is_500_without_internals(api, outage, what):
    outage(STAYS[what], *LEDGER_CALLS)
    answer = api.call("GET", "/restores")
    assert_problem(answer, 500, "internal_error")
    assert SECRET_TEXT not in answer.text
    assert SECRET_TEXT in api.records()[-1]["exception"]


@pytest.mark.usefixtures("backed_up")
def test_trouble_of_s3_is_503_where_s3_is_needed(api, outage):
    outage(refusal("SlowDown", 503), "get_object")
    assert_problem(api.call("GET", f"/backups/{DATE}"), 503, "try_again")
    assert_problem(api.call("POST", "/restores", {"backup_date": DATE}), 503, "try_again")
    assert api.call("GET", "/restores").status == 200
    assert api.world.open_work() == []


# --- the parameter with the tokens -----------------------------------------------------------------------------


def unreadable(api, error):
    def read():
        raise error

    services().token_store = TokenStore(read, api.world.clock)


UNREADABLE = {
    "no such parameter": refusal("ParameterNotFound"),
    "denied": refusal("AccessDeniedException"),
    "throttled": refusal("ThrottlingException"),
    "a failure of AWS": refusal("InternalServerError", 500),
    "no connection": EndpointConnectionError(endpoint_url=f"https://{SECRET_TEXT}"),
    "no answer": ReadTimeoutError(endpoint_url=f"https://{SECRET_TEXT}"),
    "an answer without a value": KeyError("Parameter"),
    "a defect": RecursionError(),
    "no memory": MemoryError(),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_while_the_tokens_cannot_be_read_every_route_is_503_for_everyone(api, what):
    unreadable(api, UNREADABLE[what])
    for token in (OPERATOR, "Bearer tv_nobody-0123456789abcdef", "nonsense", ""):
        for method, path in ROUTES:
            answer = api.call(method, path, b"{ not even JSON", token=token)
            assert_problem(answer, 503, "tokens_unavailable")
            assert answer.headers["Retry-After"] == "60"
            assert SECRET_TEXT not in answer.text
    assert {api.call(method, path, token=None).status for method, path in ROUTES} == {401}
    assert api.call("GET", "/health").status == 200
    assert api.world.open_work() == []


def test_the_context_of_that_time_opens_no_route_even_without_its_mark(api):
    """Twice shut: it holds no scope, either."""
    unreadable(api, refusal("ThrottlingException"))
    arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef/api/GET/restores"
    event = {"type": "TOKEN", "authorizationToken": f"Bearer {OPERATOR.token}", "methodArn": arn}
    policy = authorize(event, None)
    assert (policy["context"], policy["principalId"]) == ({"scopes": "", "tokens": "unavailable"}, "unknown")
    for method, path, _ in GUARDED:
        context = {name: value for name, value in policy["context"].items() if name != "tokens"}
        request = {
            "requestContext": {"httpMethod": method, "resourcePath": template(path), "authorizer": context},
            "headers": {},
            "pathParameters": {"restore_id": "x", "backup_date": "x"},
            "multiValueQueryStringParameters": None,
            "stageVariables": None,
            "body": None,
        }
        assert api.app(request, None)["statusCode"] == 403


def template(path):
    return path.replace("r-20261121T010000Z-0123abcd", "{restore_id}").replace("2026-11-21", "{backup_date}")


def test_the_authorizer_is_done_before_its_function_is_ended(monkeypatch):
    """Parameter Store hangs: all tries and the pauses between them fit into the function's time."""
    monkeypatch.undo()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    config = Clients().get("ssm").meta.config
    functions = json.loads((Path(__file__).parents[3] / ".chalice/config.json").read_text())["lambda_functions"]
    tries = config.retries["total_max_attempts"]
    longest_s = tries * (config.connect_timeout + config.read_timeout) + sum(2**n for n in range(tries - 1))
    assert longest_s < functions["authorize"]["lambda_timeout"] - 2
