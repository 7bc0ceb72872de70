"""The functions' policies taken apart, and weighed as IAM weighs them, by the emulator's evaluation."""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from sandbox.sandbox import REPOSITORY

Document = dict[str, Any]
ACCOUNT = "000000000000"
REGION = "us-east-1"
CONFIG: dict[str, Any] = json.loads((REPOSITORY / ".chalice" / "config.json").read_text())
POLICY_BY_FUNCTION: dict[str, str] = {
    function: values["iam_policy_file"] for function, values in CONFIG["lambda_functions"].items()
}


@cache
def policy_text(function: str) -> str:
    return (REPOSITORY / ".chalice" / POLICY_BY_FUNCTION[function]).read_text()


def policy_of(function: str) -> Document:
    document: Document = json.loads(policy_text(function))
    return document


@dataclass(frozen=True)
class Part:
    """A part of a policy: a whole statement, or one action or one resource of it."""

    function: str
    sid: str
    element: str | None = None
    value: str | None = None

    def __str__(self) -> str:
        return f"{self.function}/{self.sid}" + (f"/{self.value}" if self.value else "")


def statements() -> list[Part]:
    return [Part(function, each["Sid"]) for function in POLICY_BY_FUNCTION for each in policy_of(function)["Statement"]]


def parts() -> Iterator[Part]:
    """Every statement, and every action and resource where it has several."""
    for function in POLICY_BY_FUNCTION:
        for statement in policy_of(function)["Statement"]:
            yield Part(function, statement["Sid"])
            for element in ("Action", "Resource"):
                values = as_list(statement[element])
                if len(values) > 1:
                    yield from (Part(function, statement["Sid"], element, value) for value in values)


def without(part: Part, document: Document | None = None) -> Document:
    """The function's policy, or `document`, without the part."""
    document = copy.deepcopy(document or policy_of(part.function))
    kept = []
    for statement in document["Statement"]:
        if statement["Sid"] == part.sid:
            if part.element is None:
                continue
            statement[part.element] = [each for each in as_list(statement[part.element]) if each != part.value]
        kept.append(statement)
    return {**document, "Statement": kept}


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def decide(document: Document, action: str, resource: str, context: Mapping[str, Any] | None = None) -> str:
    """`Allow`, `Deny` or `ImplicitDeny`: what IAM says to a request of a role with this policy alone."""
    asked = EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/tested/tested",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        service_context=dict(context or {}),
    )
    return str(evaluate(asked, [_parsed(json.dumps(document))]).decision)


@cache
def _parsed(text: str) -> list[Any]:
    return list(parse_policy_document(text))


def allows(function: str, action: str, resource: str, **context: str) -> bool:
    """`context`: condition keys, with `_` for `:`."""
    keys = {name.replace("_", ":", 1): value for name, value in context.items()}
    return decide(policy_of(function), action, resource, keys) == "Allow"
