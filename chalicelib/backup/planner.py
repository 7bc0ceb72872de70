"""Describing a table and planning its exports: steps 3 and 4 of starting a set (chalicelib/backup/starter.py)."""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.capture import CapturedTable, capture_table
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.continuing import Chain
from chalicelib.backup.definition import encode_definition
from chalicelib.backup.objects import SetObjects
from chalicelib.backup.plan import Failure, PlannedExports, plan_exports
from chalicelib.backup.rows import ExportRow, SetRow
from chalicelib.backup.states import ExportState
from chalicelib.clock import Clock
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")


class TablePlanner(NamedTuple):
    """`autoscaling` makes the client of application-autoscaling; None does not ask it."""

    settings: Settings
    catalog: Catalog
    dynamodb: Client
    objects: SetObjects
    clock: Clock
    autoscaling: Callable[[], Client] | None

    def plan(self, set_row: SetRow, chains: Mapping[str, Chain], row: ExportRow) -> list[ExportRow] | Failure:
        """The rows to start, with their parameters, after the table's definition was written. Raises botocore's
        errors."""
        captured = self._capture(row.table_name)
        if row.parameters is not None:
            self._put_definition(set_row, captured)
            return [row]
        notes = []
        if self.settings.enable_pitr and not captured.definition.point_in_time_recovery:
            captured = self._with_recovery(row.table_name)
            notes.append("point-in-time recovery was off, and was switched on")
        planned = plan_exports(self.settings, set_row, captured, chains.get(row.table_name, ()))
        if isinstance(planned, Failure):
            return planned
        self._put_definition(set_row, captured)
        return self._decided(row, planned, notes)

    def _decided(self, row: ExportRow, planned: PlannedExports, notes: list[str]) -> list[ExportRow]:
        if planned.why_full:
            notes = [*notes, f"a full export was made instead of an increment: {planned.why_full}"]
        for note in notes:
            fields = {"backup_date": row.backup_date, "table": row.table_name, "note": note}
            logger.warning("export planned otherwise than asked for", extra=fields)
        # Another run that planned it first decides: its parameters are the ones its tokens go with.
        self.catalog.plan(row, planned.parameters, planned.base, notes)
        rows = self.catalog.exports_of(row.backup_date, row.table_name)
        return [each for each in rows if each.status is ExportState.PENDING and each.parameters is not None]

    def _capture(self, table_name: str) -> CapturedTable:
        return capture_table(self.dynamodb, table_name, self.clock(), self.autoscaling)

    def _with_recovery(self, table_name: str) -> CapturedTable:
        """The table once point-in-time recovery is on, which it stays if the program stops here: it is asked for."""
        specification = {"PointInTimeRecoveryEnabled": True}
        self.dynamodb.update_continuous_backups(TableName=table_name, PointInTimeRecoverySpecification=specification)
        return self._capture(table_name)

    def _put_definition(self, set_row: SetRow, captured: CapturedTable) -> None:
        definition = captured.definition
        key = layout.definition_key(set_row.exports_prefix, set_row.backup_date, definition.table_name)
        self.objects.put_json(set_row.s3_bucket, key, encode_definition(definition))
