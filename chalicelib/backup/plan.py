"""The plan of a backup set: every table's export with its exact parameters, or why it cannot be exported. Pure."""

import hashlib
from collections.abc import Mapping

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.capture import CapturedTable
from chalicelib.backup.catalog import KIND
from chalicelib.backup.rows import ExportParameters, PlannedExport, SetRow
from chalicelib.backup.states import SetState
from chalicelib.backup.timing import requested_export_time, usable_export_time
from chalicelib.settings import Settings


class Failure(msgspec.Struct, frozen=True):
    """Why an export failed: AWS' code or one of ours, and what the operator can do."""

    code: str
    message: str


class Unknown(msgspec.Struct, frozen=True):
    """DynamoDB did not answer for now; the table is planned when its export is started."""


Found = CapturedTable | Failure | Unknown


def plan_set(
    settings: Settings, backup_date: str, found_by_table: Mapping[str, Found], now_ms: int, *, by_hand: bool
) -> SetRow:
    """Of what was found about each table. A set asked for by hand shows now, whatever the schedule's settings say."""
    requested_ms = None if by_hand else requested_export_time(now_ms, settings.as_of)
    return SetRow(
        backup_date=backup_date,
        status=SetState.OPEN,
        environment=settings.environment,
        s3_bucket=settings.backup_bucket,
        exports_prefix=settings.s3_exports_prefix,
        started_at_ms=now_ms,
        by_hand=by_hand,
        requested_time_ms=requested_ms,
        tables=[
            _planned(settings, backup_date, table_name, found, requested_ms)
            for table_name, found in found_by_table.items()
        ],
        open_kind=KIND,
    )


def _planned(
    settings: Settings, backup_date: str, table_name: str, found: Found, requested_ms: int | None
) -> PlannedExport:
    if isinstance(found, Failure):
        return PlannedExport(table_name=table_name, failure_code=found.code, failure_message=found.message)
    if isinstance(found, Unknown):
        return PlannedExport(table_name=table_name)
    parameters = plan_export(settings, backup_date, table_name, found, requested_ms)
    if isinstance(parameters, Failure):
        return PlannedExport(table_name=table_name, failure_code=parameters.code, failure_message=parameters.message)
    return PlannedExport(table_name=table_name, parameters=parameters)


def plan_export(
    settings: Settings, backup_date: str, table_name: str, captured: CapturedTable, requested_ms: int | None
) -> ExportParameters | Failure:
    if not captured.definition.point_in_time_recovery:
        return recovery_is_off(table_name)
    parameters = ExportParameters(
        table_arn=captured.definition.table_arn,
        s3_bucket=settings.backup_bucket,
        s3_prefix=layout.export_prefix(settings.s3_exports_prefix, backup_date, table_name),
        client_token="",
        requested_time_ms=requested_ms,
        export_time_ms=usable_export_time(requested_ms, captured.window),
        s3_bucket_owner=settings.backup_bucket_owner,
        s3_sse_kms_key_id=settings.s3_sse_kms_key_id,
    )
    return msgspec.structs.replace(parameters, client_token=client_token(backup_date, parameters))


def client_token(backup_date: str, parameters: ExportParameters, attempt: int = 1) -> str:
    """The same for the same export, so that asking twice starts it once (DynamoDB remembers a token for 8 hours).

    All parameters are in it: two stages that back one table up into two buckets on one day must not share a token,
    which DynamoDB would refuse as a conflict.
    """
    tokenless = msgspec.structs.replace(parameters, client_token="")
    text = msgspec.json.encode([backup_date, attempt, tokenless])
    return f"tablevault-{hashlib.sha256(text).hexdigest()[:32]}"


def recovery_is_off(table_name: str) -> Failure:
    return Failure(
        "PointInTimeRecoveryUnavailableException",
        f"point-in-time recovery is off for table {table_name}, and exports need it; enable it: aws dynamodb "
        f"update-continuous-backups --table-name {table_name} "
        "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
    )
