"""A table as DynamoDB describes it now: its definition, and the times an export of it can show."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from chalicelib.aws import Client
from chalicelib.backup.autoscaling import capture_autoscaling
from chalicelib.backup.definition import TableDefinition, capture_definition
from chalicelib.backup.timing import RecoveryWindow
from chalicelib.clock import epoch_ms, iso


class CapturedTable(msgspec.Struct, frozen=True):
    definition: TableDefinition
    window: RecoveryWindow


def capture_table(
    dynamodb: Client, table_name: str, now_ms: int, autoscaling: Callable[[], Client] | None = None
) -> CapturedTable:
    """Asks DynamoDB four things about a table. Raises botocore's ClientError for the first one refused.

    `autoscaling` makes the client of application-autoscaling, asked only about tables with provisioned capacity.
    """
    table = dynamodb.describe_table(TableName=table_name)["Table"]
    backups = dynamodb.describe_continuous_backups(TableName=table_name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    window = RecoveryWindow(_moment_ms(recovery, "EarliestRestorable"), _moment_ms(recovery, "LatestRestorable"))
    scaling = capture_autoscaling(autoscaling, table)
    return CapturedTable(capture_definition(dynamodb, table, backups, iso(now_ms), scaling), window)


def _moment_ms(recovery: Mapping[str, Any], name: str) -> int | None:
    moment = recovery.get(f"{name}DateTime")
    return None if moment is None else epoch_ms(moment)
