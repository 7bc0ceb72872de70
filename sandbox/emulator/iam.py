"""Two corrections to how ministack 1.5.33 names the action and the resource of a call it authorizes.

The rules are those of the AWS service authorization reference: the batch calls of SQS are granted by the action
for one message, and a DynamoDB call that names its table, backup or export by ARN is authorized on that ARN.
Without them a least-privilege policy that is right on AWS is refused here.
"""

import json
from collections.abc import Mapping
from typing import Any

_SQS_BATCH_SUFFIX = "Batch"
# Which member of the request names the resource. ListExports, ListBackups and ListImports stand on `*` alone,
# whatever table they ask about, so they are absent: a policy that grants them on a table is wrong on AWS too.
_ARN_MEMBER_BY_OPERATION = {
    "ExportTableToPointInTime": "TableArn",
    "DescribeExport": "ExportArn",
    "ListTagsOfResource": "ResourceArn",
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
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return None
    arn = request.get(member) if isinstance(request, Mapping) else None
    return arn if isinstance(arn, str) and arn.startswith("arn:") else None


def install() -> None:
    """Puts the corrections into ministack, in this process; a second call changes nothing."""
    from ministack.core import iam_actions

    if getattr(iam_actions.extract_iam_action, "__module__", "") == __name__:
        return
    action_of, resource_of = iam_actions.extract_iam_action, iam_actions.extract_resource_arn

    def extract_iam_action(*args: Any, **kwargs: Any) -> str | None:
        return authorized_action(action_of(*args, **kwargs))

    def extract_resource_arn(
        service: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        arn = authorized_arn(headers.get("x-amz-target", ""), body) if service == "dynamodb" else None
        return arn or resource_of(service, method, path, headers, body, *args, **kwargs)

    # ministack imports both by name at each call, so replacing the module's attributes is enough.
    iam_actions.extract_iam_action = extract_iam_action
    iam_actions.extract_resource_arn = extract_resource_arn
