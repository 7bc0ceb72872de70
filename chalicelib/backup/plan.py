"""The plan of a backup set, and of each of its exports: with which parameters, or why there can be none. Pure."""

import hashlib
from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec

from chalicelib.backup import layout
from chalicelib.backup.capture import CapturedTable
from chalicelib.backup.catalog import KIND
from chalicelib.backup.manifest import BaseLink, ExportType
from chalicelib.backup.rows import ExportParameters, SetRow
from chalicelib.backup.states import SetState
from chalicelib.backup.timing import requested_export_time, usable_export_time
from chalicelib.backup.windows import FullExport, Window, next_windows
from chalicelib.selection import Chosen
from chalicelib.settings import Settings


class Failure(msgspec.Struct, frozen=True):
    """Why an export failed: AWS' code or one of ours, and what the operator can do."""

    code: str
    message: str


class PlannedExports(msgspec.Struct, frozen=True):
    """A table's exports, in the order of their windows, and what they build on. `why_full`: of a full export where an
    increment was wanted."""

    parameters: tuple[ExportParameters, ...]
    base: tuple[BaseLink, ...] = ()
    why_full: str | None = None


def plan_set(
    settings: Settings,
    backup_date: str,
    chosen: Chosen,
    now_ms: int,
    *,
    by_hand: bool,
    export_type: ExportType | None = None,
) -> SetRow:
    """A set asked for by hand shows now, whatever the schedule's settings say. `export_type`: None is what the strategy
    wants of the schedule's set on its day, and a full export by hand."""
    return SetRow(
        backup_date=backup_date,
        status=SetState.OPEN,
        environment=settings.environment,
        s3_bucket=settings.backup_bucket,
        exports_prefix=settings.s3_exports_prefix,
        started_at_ms=now_ms,
        by_hand=by_hand,
        export_type=export_type or ("FULL_EXPORT" if by_hand else _export_type_of_the_day(settings, backup_date)),
        requested_time_ms=None if by_hand else requested_export_time(now_ms, settings.as_of),
        tables=list(chosen.tables),
        unmatched=list(chosen.unmatched),
        open_kind=KIND,
    )


def _export_type_of_the_day(settings: Settings, backup_date: str) -> ExportType:
    full_export_day = settings.full_export_day
    if full_export_day is None or date.fromisoformat(backup_date).weekday() == full_export_day:
        return "FULL_EXPORT"
    return "INCREMENTAL_EXPORT"


def plan_exports(
    settings: Settings, set_row: SetRow, captured: CapturedTable, chain: Sequence[BaseLink] = ()
) -> PlannedExports | Failure:
    """Of a table as it was described a moment ago. `chain`: the exports that its newest one is restored from."""
    if not captured.definition.point_in_time_recovery:
        return recovery_is_off(captured.definition.table_name)
    if set_row.export_type == "FULL_EXPORT":
        return PlannedExports((_full(settings, set_row, captured),))
    windows = _windows(set_row, captured, chain)
    if isinstance(windows, FullExport):
        return PlannedExports((_full(settings, set_row, captured),), why_full=windows.why)
    parameters = tuple(_parameters(settings, set_row, captured, window=window) for window in windows)
    return PlannedExports(parameters, tuple(chain))


def _windows(set_row: SetRow, captured: CapturedTable, chain: Sequence[BaseLink]) -> tuple[Window, ...] | FullExport:
    of_table = f"{captured.definition.table_arn}/export/"
    if not all((link.export_arn or "").startswith(of_table) for link in chain):
        return FullExport("its last export is of a table of that name in another account or region")
    return next_windows(chain, captured.window, set_row.requested_time_ms)


def _full(settings: Settings, set_row: SetRow, captured: CapturedTable) -> ExportParameters:
    export_time_ms = usable_export_time(set_row.requested_time_ms, captured.window)
    return _parameters(settings, set_row, captured, export_time_ms=export_time_ms)


def _parameters(settings: Settings, set_row: SetRow, captured: CapturedTable, **what: Any) -> ExportParameters:
    table_name = captured.definition.table_name
    parameters = ExportParameters(
        table_arn=captured.definition.table_arn,
        s3_bucket=set_row.s3_bucket,
        s3_prefix=layout.export_prefix(set_row.exports_prefix, set_row.backup_date, table_name),
        client_token="",
        requested_time_ms=set_row.requested_time_ms,
        s3_bucket_owner=settings.backup_bucket_owner,
        s3_sse_kms_key_id=settings.s3_sse_kms_key_id,
        **what,
    )
    return with_token(set_row.backup_date, parameters)


def with_token(backup_date: str, parameters: ExportParameters, attempt: int = 1) -> ExportParameters:
    return msgspec.structs.replace(parameters, client_token=client_token(backup_date, parameters, attempt))


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
        f"point-in-time recovery is off for table {table_name}, and exports need it; set ENABLE_PITR=true, or enable "
        f"it: aws dynamodb update-continuous-backups --table-name {table_name} "
        "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
    )
