"""What DynamoDB says of exports into a set's place that are not complete in the bucket.

It is asked in addition, and need not know: it tells of the exports of its own account for 90 days, of a table that was
deleted perhaps nothing, and a copied bucket's exports are another account's
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html). Then nothing runs, as
far as anybody can tell. An error that passes is raised: it says nothing.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import DENIED, Client, error_code, error_text
from chalicelib.backup.failures import may_pass
from chalicelib.backup.running import started_at_ms
from chalicelib.errors import Unavailable

logger = logging.getLogger("tablevault")

KNOWN_FOR_MS = 90 * 24 * 3600 * 1000
_PAGE = 25
_MOST_LISTED = 100
_MOST_DESCRIBED = 25


def exports_into(
    dynamodb: Client, table_arn: str, place: tuple[str, str], since_ms: int, is_ours: Callable[[], bool]
) -> list[Mapping[str, Any]]:
    """Descriptions of the table's exports into `place`, bucket and prefix, that began since then, newest first; of many
    the newest. `is_ours`: whether that ARN is of a table there is in this account and region.

    Raises botocore's errors that may pass, and Unavailable where the right to ask is missing.
    """
    table_name = table_arn.rsplit("/", 1)[-1]
    try:
        found = []
        for number, export_arn in enumerate(_listed(dynamodb, table_arn, since_ms)):
            if number >= _MOST_DESCRIBED:
                break
            export = dynamodb.describe_export(ExportArn=export_arn)["ExportDescription"]
            if (export.get("S3Bucket"), str(export.get("S3Prefix", "")).strip("/")) == place:
                found.append(export)
        return found
    except ClientError as error:
        if may_pass(error):
            raise
        if error_code(error) in DENIED and is_ours():
            hint = "grant dynamodb:ListExports and dynamodb:DescribeExport to this function's role"
            table_name = table_arn.rsplit("/", 1)[-1]
            raise Unavailable(
                f"which exports of {table_name} run is not known ({error_text(error)}): {hint}"
            ) from error
        fields = {"table": table_arn.rsplit("/", 1)[-1], "error": error_text(error)}
        logger.info("DynamoDB tells nothing of running exports", extra=fields)
        return []


def _listed(dynamodb: Client, table_arn: str, since_ms: int) -> Iterator[str]:
    request: dict[str, Any] = {"TableArn": table_arn, "MaxResults": _PAGE}
    for _ in range(_MOST_LISTED // _PAGE):
        answer = dynamodb.list_exports(**request)
        for export in answer.get("ExportSummaries", []):
            if started_at_ms(export["ExportArn"]) < since_ms:
                return  # exports are listed newest first
            yield str(export["ExportArn"])
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]
