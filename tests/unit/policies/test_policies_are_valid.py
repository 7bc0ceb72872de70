"""What can be said of the policies without running anything: that AWS takes them, and that nothing in them is wide.

Actions, their resource types and which of them stand on `*` alone are those of the Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html (…list_amazons3.html,
…list_amazonsqs.html, …list_amazoncloudwatchlogs.html, …list_awssystemsmanager.html, …list_amazoncloudwatch.html,
…list_awsapplicationautoscaling.html)
"""

import ast
import re

import botocore.session
import pytest

from chalicelib.api.authorizer import authorize
from sandbox.sandbox import REPOSITORY
from tests.unit.policies.documents import CONFIG, POLICY_BY_FUNCTION, Part, as_list, policy_of, policy_text, statements

# Actions that are not called as the operation they allow.
NOT_OPERATIONS = {
    "s3:ListBucket": "ListObjectsV2",
    "s3:ListBucketVersions": "ListObjectVersions",
    "s3:DeleteObjectVersion": "DeleteObjects",  # with a version's id
    "dynamodb:ConditionCheckItem": "TransactWriteItems",  # a ConditionCheck in it
}
# Services that policies name otherwise than clients do.
CLIENT_OF = {"tag": "resourcegroupstaggingapi"}
# The types of resource an action takes; an ARN of another type grants nothing.
RESOURCE_TYPES = {
    "dynamodb": {
        "Query": {"table", "index"},
        "Scan": {"table", "index"},
        "DescribeExport": {"export"},
        "DescribeBackup": {"backup"},
        "DeleteBackup": {"backup"},
        "ListExports": {"any"},
        "ListBackups": {"any"},
        "ListTables": {"any"},
    },
    "tag": {"GetResources": {"any"}},
    "s3": {"ListBucket": {"bucket"}, "ListBucketVersions": {"bucket"}},
    "application-autoscaling": {"DescribeScalableTargets": {"any"}, "DescribeScalingPolicies": {"any"}},
}
DEFAULT_RESOURCE_TYPE = {
    "dynamodb": {"table"},
    "s3": {"object"},
    "sqs": {"queue"},
    "ssm": {"parameter"},
    "logs": {"log group"},
    "application-autoscaling": {"scalable target"},
    "cloudwatch": {"alarm"},
    "sns": {"topic"},
    "events": {"event bus"},
}
ARN_OF_TYPE = {
    "any": r"\*",
    "table": r"arn:aws:dynamodb:\*:\*:table/[\w*-]+",
    "index": r"arn:aws:dynamodb:\*:\*:table/[\w*-]+/index/\w+",
    "export": r"arn:aws:dynamodb:\*:\*:table/[\w*-]+/export/\*",
    "backup": r"arn:aws:dynamodb:\*:\*:table/[\w*-]+/backup/\*",
    "bucket": r"arn:aws:s3:::tablevault-\*",
    "object": r"arn:aws:s3:::tablevault-\*/[\w-]+/[\w/*.-]+",
    "queue": r"arn:aws:sqs:\*:\*:tablevault-\*[a-z-]+",
    "parameter": r"arn:aws:ssm:\*:\*:parameter/tablevault/\*[a-z-]+",
    "log group": r"arn:aws:logs:\*:\*:log-group:/aws/lambda/tablevault-[\w*-]+",
    # Scalable targets are told apart by conditions: a new one is authorized on this very ARN.
    "scalable target": r"arn:aws:application-autoscaling:\*:\*:scalable-target/\*",
    "topic": r"arn:aws:sns:\*:\*:tablevault-\*",
    "event bus": r"arn:aws:events:\*:\*:event-bus/default",
    "alarm": r"arn:aws:cloudwatch:\*:\*:alarm:TargetTracking-table/\*",
}
# Actions that AWS lets nobody narrow. ListBackups has no resource type at all. ListExports has had an optional one,
# the table, since lately: `table/*` would be no narrower, and denied wherever AWS still authorizes it on `*`.
ON_EVERYTHING = {
    "dynamodb:ListTables",
    "tag:GetResources",
    "dynamodb:ListExports",
    "dynamodb:ListBackups",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
}

MAY_DELETE = {
    ("api_handler", "UseLedger", "dynamodb:DeleteItem"): "gives locks back when another target is taken",
    ("api_handler", "UseLedger", "dynamodb:BatchWriteItem"): "writes a restore's rows, in batches",
    ("restore_shards", "UseLedger", "dynamodb:DeleteItem"): "gives locks back; drops shards of a plan that was cut off",
    ("restore_shards", "UseLedger", "dynamodb:BatchWriteItem"): "writes the planned shards, in batches",
    ("restore_shards", "WriteTargets", "dynamodb:BatchWriteItem"): "writes items, and deletes them when asked to clear",
    ("restore_shards", "ReceiveMessages", "sqs:DeleteMessage"): "the event source mapping removes what was handled",
    ("record_dead_letter", "ReceiveMessages", "sqs:DeleteMessage"): "the same for the dead-letter queue",
    ("reconcile", "UseLedger", "dynamodb:DeleteItem"): "gives the locks of ended restores back",
    ("start_exports", "UseLedger", "dynamodb:DeleteItem"): "makes failed exports of an adopted set anew",
    ("api_handler", "ReleaseShields", "s3:DeleteObject"): "takes the shield off a set; nothing else has that name",
    ("prune", "UseLedger", "dynamodb:DeleteItem"): "takes marks away, and rows of runs of on-demand backups",
    ("prune", "UseLedger", "dynamodb:BatchWriteItem"): "removes the rows of a set that is gone",
    ("prune", "RemoveBackups", "s3:DeleteObject"): "removes sets",
    ("prune", "RemoveBackups", "s3:DeleteObjectVersion"): "the same, in a bucket with versions",
    ("prune", "RemoveOnDemandBackups", "dynamodb:DeleteBackup"): "removes on-demand backups",
}
# Batches can delete, though their names do not say so; so can PartiQL.
_DELETES = re.compile(r"Delete|BatchWriteItem|PartiQL|Remove|Purge|Terminate", re.IGNORECASE)
_TABLE_DATA = ("GetItem", "BatchGetItem", "Query", "Scan", "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")
_LEDGERS = "arn:aws:dynamodb:*:*:table/tablevault-*ledger"


def statement_of(part):
    return next(each for each in policy_of(part.function)["Statement"] if each["Sid"] == part.sid)


ALL = [pytest.param(statement_of(part), id=str(part)) for part in statements()]


def test_every_function_has_one_policy_and_every_policy_a_function():
    tree = ast.parse((REPOSITORY / "app.py").read_text())
    handlers = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(each).startswith("app.") for each in node.decorator_list)
    ]
    assert sorted([*handlers, "api_handler", authorize.name]) == sorted(POLICY_BY_FUNCTION)
    files = {path.name for path in (REPOSITORY / ".chalice").glob("policy-*.json")}
    assert sorted(POLICY_BY_FUNCTION.values()) == sorted(files)
    assert CONFIG["autogen_policy"] is False


def test_no_stage_names_a_policy_of_its_own():
    """It would be one that no test reads."""
    for stage in CONFIG["stages"].values():
        assert "iam_policy_file" not in stage
        assert not any("iam_policy_file" in values for values in stage.get("lambda_functions", {}).values())


@pytest.mark.parametrize("function", POLICY_BY_FUNCTION)
def test_a_policy_has_the_form_iam_takes(function):
    document = policy_of(function)
    assert document.keys() == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    sids = [each["Sid"] for each in document["Statement"]]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    # The limit of all inline policies of a role, without white space:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len(re.sub(r"\s", "", policy_text(function))) <= 10_240


@pytest.mark.parametrize("statement", ALL)
def test_a_statement_has_the_form_iam_takes(statement):
    assert statement.keys() - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
    assert statement["Effect"] == ("Deny" if statement["Sid"].startswith("Never") else "Allow")
    for element in ("Action", "Resource"):
        values = as_list(statement[element])
        assert values
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("statement", ALL)
def test_every_action_is_one_of_its_service_by_its_full_name(statement):
    session = botocore.session.get_session()
    for action in statement["Action"]:
        assert "*" not in action
        assert "?" not in action
        service, name = action.split(":")
        assert (
            NOT_OPERATIONS.get(action, name)
            in session.get_service_model(CLIENT_OF.get(service, service)).operation_names
        )


def test_the_actions_that_are_no_operations_are_none():
    session = botocore.session.get_session()
    for action in NOT_OPERATIONS:
        service, name = action.split(":")
        assert name not in session.get_service_model(service).operation_names


@pytest.mark.parametrize("statement", ALL)
def test_every_resource_is_of_a_type_that_every_action_takes(statement):
    for action in statement["Action"]:
        service, name = action.split(":")
        types = RESOURCE_TYPES.get(service, {}).get(name) or DEFAULT_RESOURCE_TYPE[service]
        for resource in as_list(statement["Resource"]):
            assert any(re.fullmatch(ARN_OF_TYPE[each], resource) for each in types), f"{action} on {resource}"
            assert resource != "*" or action in ON_EVERYTHING


def test_rights_to_delete_are_only_where_they_are_needed():
    granted = {
        (part.function, part.sid, action)
        for part in statements()
        for action in statement_of(part)["Action"]
        if _DELETES.search(action) and statement_of(part)["Effect"] == "Allow"
    }
    assert granted == MAY_DELETE.keys()


@pytest.mark.parametrize("function", [function for function in POLICY_BY_FUNCTION if function != "restore_shards"])
def test_only_workers_touch_table_data(function):
    """The ledger apart, which holds no items. The API can have a table exported, but not see what was."""
    for part in statements():
        if part.function == function:
            statement = statement_of(part)
            actions = {action for action in statement["Action"] if action.removeprefix("dynamodb:") in _TABLE_DATA}
            resources = as_list(statement["Resource"])
            assert not actions or all(each.startswith(_LEDGERS) for each in resources)
            if "s3:GetObject" in statement["Action"]:
                assert all(re.search(r"/(manifest(-\*|\.json)|table\.json|keep\.json)$", each) for each in resources)


def test_no_right_is_needed_to_hand_out_rights():
    """Nobody may pass roles, write policies, or read what others may not."""
    services = {action.split(":")[0] for part in statements() for action in statement_of(part)["Action"]}
    aside = {"application-autoscaling", "cloudwatch", "tag", "sns", "events"}
    assert services == {"dynamodb", "s3", "sqs", "ssm", "logs", *aside}
    policies = {action for part in statements() for action in statement_of(part)["Action"] if "Policy" in action}
    assert policies == {"application-autoscaling:PutScalingPolicy"}  # a rule of when to scale, no policy of IAM's


def test_a_part_is_named_by_function_and_statement():
    assert str(Part("api_handler", "UseLedger", "Action", "dynamodb:Query")) == "api_handler/UseLedger/dynamodb:Query"
