"""No unused permission: what a whole run asked for needs every part of every policy, and without any one statement
something that an operator sees goes wrong."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.privilege.probes import PROBES, Probe
from tests.e2e.privilege.stand import Stand
from tests.e2e.privilege.whole_run import WholeRun
from tests.unit.policies.documents import POLICY_BY_FUNCTION, Document, Part, parts, policy_of, statements, without
from tests.unit.policies.documents import decide as decide_request

pytestmark = pytest.mark.e2e

# What real AWS asks for and the emulator does not; tests/unit/policies checks that it is there, and how wide.
NOT_ENFORCED = {
    "SetAlarmsOfScaling": "the emulator's scaling sets no alarms; AWS sets a policy's alarms with its caller's rights: "
    "https://docs.aws.amazon.com/autoscaling/application/userguide/security_iam_id-based-policy-examples.html",
    "WriteLogs": "the emulator writes a function's logs itself; on AWS the function's role does",
    "ReceiveMessages": "the emulator polls queues itself; on AWS the event source mapping uses the function's role",
}
NOT_ASKED_FOR = {
    "s3:PutObjectAcl": "DynamoDB exports with the caller's rights; the emulator's engine writes as root",
    "s3:AbortMultipartUpload": "the same; https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/"
    "S3DataExport_Requesting.html names all three",
}
# A part that another statement grants too, and what it is there for all the same.
ALSO_GRANTED = {
    Part("restore_shards", "UseLedger", "Action", "dynamodb:PutItem"): (
        "WriteTargets",
        "as BatchWriteItem: missing_only puts item by item",
    ),
    Part("restore_shards", "UseLedger", "Action", "dynamodb:BatchWriteItem"): (
        "WriteTargets",
        "WriteTargets takes in every table; whoever narrows it to the account's own must not lose the ledger",
    ),
}
Decision = dict[str, Any]
ENFORCED = [part for part in statements() if part.sid not in NOT_ENFORCED]


def decide(document: Document, asked: Decision) -> str:
    """What IAM says to a recorded request under this policy."""
    return decide_request(document, asked["action"], asked["resource"], asked["context"])


def is_needed(part: Part, requests: list[Decision]) -> bool:
    """Whether a request of the function would be decided otherwise without the part."""
    less = without(part)
    return any(decide(less, each) != str(each["decision"]) for each in requests)


def test_nothing_was_denied_that_the_service_needs(stand: Stand, whole: WholeRun) -> None:
    """The refusals of a whole run are those of ledgers as targets. (And, while lines that are no JSON are sent at all,
    a batch with one: the emulator cannot say which table it is for.)"""
    refused = {(each["action"], each["resource"].rsplit("/", 1)[-1]) for each in whole.decisions if _is_refusal(each)}
    assert refused - {("dynamodb:BatchWriteItem", "*")} == {
        ("dynamodb:Scan", "tablevault-other-ledger"),
        ("dynamodb:BatchGetItem", "tablevault-other-ledger"),
        ("dynamodb:CreateTable", "tablevault-new-ledger"),
    }


def _is_refusal(decision: Decision) -> bool:
    return str(decision["decision"]) != "Allow"


def test_the_recorded_decisions_are_those_of_the_policies(stand: Stand, whole: WholeRun) -> None:
    """Else, weighing them here with a part left out would say nothing about the roles there."""
    document_by_role = {stand.role(function): policy_of(function) for function in POLICY_BY_FUNCTION}
    assert {each["role"] for each in whole.decisions} == document_by_role.keys()
    for each in whole.decisions:
        assert decide(document_by_role[each["role"]], each) == each["decision"], each


def test_every_action_and_resource_is_asked_for(stand: Stand, whole: WholeRun) -> None:
    unused = []
    roles = {function: stand.role(function) for function in POLICY_BY_FUNCTION}
    for part in parts():
        if part.sid in NOT_ENFORCED or part.value in NOT_ASKED_FOR or part in ALSO_GRANTED:
            continue
        if not is_needed(part, [each for each in whole.decisions if each["role"] == roles[part.function]]):
            unused.append(str(part))
    assert not unused, f"nothing needs {', '.join(unused)}"


@pytest.mark.parametrize("part", ALSO_GRANTED, ids=str)
def test_what_is_granted_twice_is_asked_for(stand: Stand, whole: WholeRun, part: Part) -> None:
    other_sid, _ = ALSO_GRANTED[part]
    asked = [each for each in whole.decisions if each["role"] == stand.role(part.function)]
    alone = without(Part(part.function, other_sid))
    neither = without(part, alone)
    assert any(decide(alone, each) == "Allow" != decide(neither, each) for each in asked)


def test_every_enforced_statement_has_a_probe() -> None:
    assert {(part.function, part.sid) for part in ENFORCED} == PROBES.keys()


@pytest.fixture(scope="module")
def paused(stand: Stand, whole: WholeRun) -> Iterator[None]:
    """Workers run only when a probe calls them."""
    with stand.paused_workers():
        yield


@pytest.mark.usefixtures("paused")
@pytest.mark.parametrize("part", ENFORCED, ids=str)
def test_without_a_statement_something_fails(stand: Stand, whole: WholeRun, part: Part) -> None:
    stand.take_decisions()
    with stand.policy(part.function, without(part)):
        trouble = PROBES[part.function, part.sid](whole)
    assert trouble, f"nothing goes wrong without {part}"
    role = stand.role(part.function)
    decided = [each for each in stand.take_decisions() if each["role"] == role]
    # Decided otherwise than the whole policy would: nothing kept the old one, and this is what it was needed for.
    whys = [each for each in decided if decide(policy_of(part.function), each) != each["decision"]]
    assert whys, f"{trouble}, but not because of {part}"


@pytest.mark.thorough  # each probe fails above for the very statement that is missing
@pytest.mark.usefixtures("paused")
@pytest.mark.parametrize("probe", dict.fromkeys(PROBES.values()), ids=lambda probe: probe.__name__)
def test_with_every_statement_put_back_all_is_well(whole: WholeRun, probe: Probe) -> None:
    assert probe(whole) is None
