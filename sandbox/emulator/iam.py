"""Corrections to how ministack 1.5.33 names the action, the resource and the conditions of a call it authorizes.

The rules are those of the AWS service authorization reference: the batch calls of SQS are granted by the action
for one message; a DynamoDB call that names its table, backup or export by ARN is authorized on that ARN; a table that
is made with tags needs TagResource too; and Application Auto Scaling's writes are authorized on all scalable targets,
and tell the namespace of what is scaled. Without them a least-privilege policy that is right on AWS is refused here, or
one that AWS refuses is let through.
"""

import json
from collections.abc import Mapping
from typing import Any

_SQS_BATCH_SUFFIX = "Batch"
_SCALING = "application-autoscaling"
_SCALING_WRITES = ("RegisterScalableTarget", "PutScalingPolicy")
# Which member of the request names the resource. ListExports, ListBackups and ListImports stand on `*` alone,
# whatever table they ask about, so they are absent: a policy that grants them on a table is wrong on AWS too.
_ARN_MEMBER_BY_OPERATION = {
    "ExportTableToPointInTime": "TableArn",
    "DescribeExport": "ExportArn",
    "ListTagsOfResource": "ResourceArn",
    "TagResource": "ResourceArn",
    "UntagResource": "ResourceArn",
    "DescribeImport": "ImportArn",
    "DescribeBackup": "BackupArn",
    "DeleteBackup": "BackupArn",
    "RestoreTableFromBackup": "BackupArn",
}


def authorized_action(action: str | None) -> str | None:
    """`sqs:SendMessageBatch` is granted by `sqs:SendMessage`, and so on; every other action is its own."""
    if action is not None and action.startswith("sqs:") and action.endswith(_SQS_BATCH_SUFFIX):
        return action.removesuffix(_SQS_BATCH_SUFFIX)
    return action


def authorized_arn(target: str, body: bytes) -> str | None:
    """The ARN a DynamoDB call is authorized on, where the request names it by ARN; else None.

    `target` is the X-Amz-Target header, `DynamoDB_20120810.DescribeExport`.
    """
    member = _ARN_MEMBER_BY_OPERATION.get(target.rsplit(".", 1)[-1])
    if member is None:
        return None
    arn = _read(body).get(member)
    return arn if isinstance(arn, str) and arn.startswith("arn:") else None


def tagging_checks(action: str, body: bytes, table_arn: str) -> list[tuple[str, str]]:
    """CreateTable with tags is two actions on the new table; the checks of any other call are none of ours.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html (under Tags)
    """
    if action != "dynamodb:CreateTable" or not _read(body).get("Tags"):
        return []
    return [(action, table_arn), ("dynamodb:TagResource", table_arn)]


def scaling_resource(target: str, region: str, account_id: str) -> str:
    """What a call of Application Auto Scaling is authorized on: reads on `*`, as they have no resource.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsapplicationautoscaling.html
    """
    is_write = target.rsplit(".", 1)[-1] in _SCALING_WRITES
    return f"arn:aws:{_SCALING}:{region}:{account_id}:scalable-target/*" if is_write else "*"


def scaling_context(body: bytes) -> dict[str, str]:
    namespace = _read(body).get("ServiceNamespace")
    return {f"{_SCALING}:service-namespace": namespace} if isinstance(namespace, str) else {}


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}
    return request if isinstance(request, Mapping) else {}


def install() -> None:
    """Puts the corrections into ministack, in this process; a second call changes nothing."""
    from ministack.core import iam_actions

    if getattr(iam_actions.extract_iam_action, "__module__", "") == __name__:
        return
    action_of, resource_of = iam_actions.extract_iam_action, iam_actions.extract_resource_arn
    checks_of, context_of = iam_actions.dynamodb_transaction_checks, iam_actions.request_tag_context

    def extract_iam_action(*args: Any, **kwargs: Any) -> str | None:
        return authorized_action(action_of(*args, **kwargs))

    def extract_resource_arn(
        service: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        query_params: Any,
        region: str,
        account_id: str,
    ) -> Any:
        target = headers.get("x-amz-target", "")
        if service == _SCALING:
            return scaling_resource(target, region, account_id)
        arn = authorized_arn(target, body) if service == "dynamodb" else None
        return arn or resource_of(service, method, path, headers, body, query_params, region, account_id)

    def dynamodb_transaction_checks(action: str, body: bytes, region: str, account_id: str) -> Any:
        tables = iam_actions.dynamodb_resource_arns(body, region, account_id)
        tagging = tagging_checks(action, body, tables[0]) if tables else []
        return tagging or checks_of(action, body, region, account_id)

    def request_tag_context(service: str, action: str, body: bytes, *args: Any) -> Any:
        more = scaling_context(body) if service == _SCALING else {}
        return {**context_of(service, action, body, *args), **more}

    # ministack imports them by name at each call, so replacing the module's attributes is enough.
    iam_actions.extract_iam_action = extract_iam_action
    iam_actions.extract_resource_arn = extract_resource_arn
    iam_actions.dynamodb_transaction_checks = dynamodb_transaction_checks
    iam_actions.request_tag_context = request_tag_context
