"""schemathesis against the API by its own description: what is right is taken, what is wrong is refused, an answer that
is not described never comes, and no request makes a 500.

All checks of schemathesis are on. `positive_data_acceptance` alone lets a 422 pass: the description cannot say that two
sources may not go into one target, or which tables a stage has. `refused_for_its_meaning` says instead which faults a
request of the right form may have.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import BaseSchema, CheckContext, Response

from tests.attack.conftest import PARTIAL_DATE, SINGLE, UNFINISHED_DATE, UNTRUSTED_DATE, Target
from tests.functional.api.description import document
from tests.functional.api.gateway import OPERATOR, STRANGER
from tests.functional.restore.world import DATE

MEANINGS = (
    "is not among the asked tables",
    "would both be restored into",
    "must be left out with the backup_type",
    "is not selected by DYNAMODB_TABLES; this stage backs up",
    "is tablevault's own ledger",
    "was used for another request within the last 24 hours",
    "cannot be combined with clear_existing_data",
    "is for the restore after a dry run",
    "a dry run writes nothing",
    "are of one table",
    # Which keys a table has is its definition's to say.
    "lacks the key attribute",
    "is no key attribute",
    "and nothing else, such as",
    "is the same key as",
    "must be a string: it is",
    "must not be empty",
    "must have at most",
)
Case = schemathesis.Case[Any]

CONFIG: dict[str, Any] = {
    "base-url": "http://localhost",
    "seed": 20261121,
    "generation": {"deterministic": True, "database": "none"},
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]
        }
    },
}
CALLERS: dict[str, str | None] = {
    "operator": f"Bearer {OPERATOR.token}",
    **{token.name: f"Bearer {token.token}" for token in SINGLE},
    "no scope": f"Bearer {STRANGER.token}",
    "garbage": "Bearer tv_nobody-0123456789abcdef",
    "no token": None,
}
HELD = {token.name: set(token.scopes) for token in SINGLE}


@schemathesis.check
def refused_for_its_meaning(ctx: CheckContext, response: Response, case: Case) -> None:
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for error in response.json()["errors"]:
        assert any(meaning in error["message"] for meaning in MEANINGS), f"{error} although the request is as described"


class Door:
    """The WSGI app that schemathesis knows; behind it is the API of the module's world."""

    def __init__(self) -> None:
        self.leads_to: Callable[..., Iterable[bytes]] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        assert self.leads_to is not None
        return self.leads_to(environ, start_response)


door = Door()


@pytest.fixture(autouse=True, scope="module")
def opened(target: Target) -> Iterator[None]:
    door.leads_to = target.wsgi
    yield
    door.leads_to = None


def loaded(description: dict[str, Any], **generation: Any) -> BaseSchema:
    config: dict[str, Any] = copy.deepcopy(CONFIG)
    config["generation"] |= generation
    schema = schemathesis.openapi.from_dict(description, config=schemathesis.Config.from_dict(config))
    schema.app = door
    return schema


def narrowed() -> dict[str, Any]:
    """The description, with the names that are there for all names: requests of the right form then find something."""
    description = copy.deepcopy(document())
    dates = {"enum": [DATE, PARTIAL_DATE, UNFINISHED_DATE, UNTRUSTED_DATE]}
    taken = description["components"]["schemas"]["RestoreRequest"]["properties"]
    taken["backup_date"] = {"enum": ["latest", *dates["enum"]]}
    taken["tables"] |= {"items": {"enum": ["orders", "users"]}, "maxItems": 2}
    taken["target_tables"] = {
        "type": "object",
        "properties": {name: {"enum": ["orders", "users", "copy"]} for name in ("orders", "users")},
        "additionalProperties": False,
    }
    description["components"]["schemas"]["BackupRequest"]["properties"]["tables"] |= {"items": {"enum": ["orders"]}}
    description["paths"]["/backups/{backup_date}"]["get"]["parameters"][0]["schema"] = {"type": "string", **dates}
    return description


def as_caller(caller: str) -> dict[str, str]:
    authorization = CALLERS[caller]
    return {} if authorization is None else {"Authorization": authorization}


as_served = loaded(copy.deepcopy(document()), **{"max-examples": 25})
among_what_is_there = loaded(narrowed(), **{"max-examples": 25, "mode": "positive"})
for_others = loaded(copy.deepcopy(document()), **{"max-examples": 4})


@pytest.mark.parametrize("caller", ["operator"])  # else all its tests have one id, and xdist runs one of them
@as_served.parametrize()
def test_with_every_scope(case: Case, caller: str):
    case.call_and_validate(headers=as_caller(caller))


@pytest.mark.parametrize("caller", ["operator"])  # else all its tests have one id, and xdist runs one of them
@among_what_is_there.parametrize()
def test_with_every_scope_among_what_is_there(case: Case, caller: str, target: Target):
    if "restore_id" in case.path_parameters:
        drawn = str(case.path_parameters["restore_id"])
        known = sorted(set(target.restore_ids) - {"corrupt"})
        case.path_parameters["restore_id"] = target.restore_ids[known[crc32(drawn.encode()) % len(known)]]
    case.call_and_validate(headers=as_caller(caller))


@pytest.mark.parametrize("caller", [caller for caller in CALLERS if caller != "operator"])
@for_others.parametrize()
def test_with_less(case: Case, caller: str):
    response = case.call_and_validate(headers=as_caller(caller))
    (security,) = case.operation.definition.raw["security"] or [{"bearer": []}]
    if not set(security["bearer"]) <= HELD.get(caller, set()):
        # 405 and 415 are Chalice's own, in front of the route: they depend on method and media type alone.
        assert response.status_code in (401, 403, 405, 415)


def test_one_thing_after_another(target: Target):
    """Along the links of the description: a restore that was accepted is looked at and cancelled, a set looked at."""

    class Journey(loaded(narrowed(), mode="positive").as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": as_caller("operator")}

        def validate_response(self, response: Response, case: Case, *_: Any, **transport: Any) -> None:
            # Named as headers, too: else the check of ignored tokens takes this one for a made-up one.
            case.validate_response(
                response, headers=as_caller("operator"), transport_kwargs=transport, recorder=self.recorder
            )

    before = len(target.gateway.answers)
    Journey.run(
        settings=settings(max_examples=40, stateful_step_count=8, derandomize=True, deadline=None, database=None)
    )
    went = Counter(
        (method, len(path.split("?")[0].split("/")), answer.status)
        for (method, path), answer in zip(target.gateway.calls[before:], target.gateway.answers[before:], strict=True)
    )
    assert went["POST", 4, 202], "no accepted restore was cancelled"
    assert went["GET", 3, 200], "nothing that was accepted was looked at"
