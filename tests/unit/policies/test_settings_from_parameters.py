"""What the README has operators add to every policy for SSM_PARAMETER_PATH: it is what reading the settings needs, and
nothing beside it."""

import copy
import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import SettingsInvalid
from chalicelib.parameters import load
from chalicelib.retry import Backoff
from sandbox.sandbox import REPOSITORY
from tests.unit.policies.documents import ACCOUNT, POLICY_BY_FUNCTION, REGION, Document, decide, policy_of

PATH = "/test/stg/infra"
ENVIRON = {"SSM_PARAMETER_PATH": PATH, "BACKUP_BUCKET": "backups", "ENVIRONMENT": "stg"}


def documented() -> list[Document]:
    """The statements as the README has them."""
    section = (REPOSITORY / "README.md").read_text().partition("**From Parameter Store.**")[2]
    [block] = re.findall(r"```json\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    statements: list[Document] = json.loads(f"[{block}]")
    return statements


def with_documented(function: str, *, but: str = "") -> Document:
    document = copy.deepcopy(policy_of(function))
    document["Statement"] += [each for each in documented() if each["Sid"] != but]
    return document


def arn(name: str) -> str:
    return f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}"


class Store:
    """Parameter Store behind a policy. What it authorizes is what AWS does: the path as it was sent, and each name:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html"""

    def __init__(self, document: Document) -> None:
        self._document = document

    def _authorize(self, action: str, resource: str) -> None:
        if decide(self._document, action, resource) != "Allow":
            error = {"Code": "AccessDeniedException", "Message": f"not authorized: {action} on {resource}"}
            raise ClientError({"Error": error}, action)

    def get_parameters_by_path(self, Path: str, WithDecryption: bool, **_: Any) -> Any:
        self._authorize("ssm:GetParametersByPath", arn(Path))
        assert not WithDecryption
        return {"Parameters": [{"Name": f"{PATH}/ORDERS_TABLE_NAME", "Type": "SecureString", "Value": "sealed"}]}

    def get_parameters(self, Names: list[str], **_: Any) -> Any:
        for name in Names:
            self._authorize("ssm:GetParameters", arn(name))
        return {"Parameters": [{"Name": name, "Value": "orders-stg"} for name in Names]}


def read(document: Document, path: str = PATH) -> str:
    """The tables that a function with this policy finds."""
    environ = {**ENVIRON, "SSM_PARAMETER_PATH": path}
    backoff = Backoff(lambda: 0, lambda seconds: None, lambda: 0.0, deadline_ms=0)
    return str(load(environ, lambda: Store(document), backoff).dynamodb_tables)


@pytest.mark.parametrize("function", POLICY_BY_FUNCTION)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
def test_with_the_documented_statements_a_function_reads_its_settings(function, path):
    assert read(with_documented(function), path) == "orders-stg"


@pytest.mark.parametrize("function", POLICY_BY_FUNCTION)
@pytest.mark.parametrize("statement", documented(), ids=lambda each: each["Sid"])
def test_without_any_one_of_them_it_does_not_and_says_which_permission_it_lacks(function, statement):
    with pytest.raises(SettingsInvalid) as raised:
        read(with_documented(function, but=statement["Sid"]))
    [fault] = raised.value.faults
    [action] = statement["Action"]
    assert fault.path == "SSM_PARAMETER_PATH"
    assert f"needs {action} on parameter{statement['Resource'].partition('parameter')[2]}" in fault.message


@pytest.mark.parametrize("function", POLICY_BY_FUNCTION)
def test_they_open_no_other_path_and_no_other_way(function):
    document = with_documented(function)
    beside = [
        ("ssm:GetParametersByPath", "/test/stg"),
        ("ssm:GetParametersByPath", "/test/stg/infra2"),
        ("ssm:GetParametersByPath", "/test/prod/infra"),
        ("ssm:GetParameters", "/test/stg/BACKUP_BUCKET"),
        ("ssm:GetParameter", f"{PATH}/DATABASE_PASSWORD"),
        ("ssm:PutParameter", f"{PATH}/BACKUP_BUCKET"),
    ]
    assert not [asked for asked in beside if decide(document, asked[0], arn(asked[1])) == "Allow"]


def test_no_shipped_policy_has_them():
    """No shipped stage has a path; a statement that nothing uses is a right nobody asked for."""
    granted = [function for function in POLICY_BY_FUNCTION if "GetParametersByPath" in json.dumps(policy_of(function))]
    assert not granted
