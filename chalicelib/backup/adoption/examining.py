"""All that can be found of a set's tables, each as the rows it becomes. Reads; writes a table.json that is missing.

What completed is proven by its files, which are verified as they are when an export is recorded: the bucket alone is
enough. DynamoDB is asked only about tables of which the bucket has no complete full export.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.adoption.asking import KNOWN_FOR_MS, exports_into
from chalicelib.backup.adoption.definitions import Definitions
from chalicelib.backup.adoption.folders import Folders
from chalicelib.backup.adoption.from_manifest import moment_ms, named_ms
from chalicelib.backup.adoption.planning import (
    CompleteExport,
    FoundTable,
    Place,
    RunningExport,
    fits,
    open_set,
    parameters_of,
    rows_of_table,
)
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.continuing import Chain, Chains
from chalicelib.backup.definition import TableDefinition
from chalicelib.backup.export_files import Summary
from chalicelib.backup.plan import Failure
from chalicelib.backup.rows import ExportRow
from chalicelib.backup.running import started_at_ms, window_of
from chalicelib.backup.starter import in_parallel
from chalicelib.backup.verification import verify_export
from chalicelib.backup.windows import Window
from chalicelib.clock import Clock, epoch_ms, from_iso
from chalicelib.errors import ExportInvalid, ExportNotReadable
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

_BEFORE_THE_SET_MS = 2 * 24 * 3600 * 1000  # a set's name may show an hour of the day before its exports began


class Examiner:
    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        dynamodb: Client,
        s3: Client,
        clock: Clock,
        autoscaling: Callable[[], Client] | None = None,
    ) -> None:
        self._settings = settings
        self._dynamodb = dynamodb
        self._s3 = s3
        self._clock = clock
        self._chains = Chains(catalog, s3)
        self._definitions = Definitions(settings, dynamodb, s3, clock, autoscaling)
        self.folders = Folders(s3, settings.backup_bucket, settings.s3_exports_prefix)

    def place(self, backup_date: str) -> Place:
        settings = self._settings
        return Place(settings.backup_bucket, settings.s3_exports_prefix, backup_date, settings.environment)

    def rows_of(self, backup_date: str, table_names: Sequence[str]) -> dict[str, list[ExportRow]]:
        """By table; none for a folder in which no export ever began. Raises botocore's errors that may pass, and those
        of a missing permission: what could not be seen is not written down as lost."""
        found: dict[str, FoundTable] = {}

        def look(table_name: str) -> None:
            table = self._found(backup_date, table_name)
            if table is not None:
                found[table_name] = table

        in_parallel(look, table_names)
        place, now_ms = self.place(backup_date), self._clock()
        chains = self._chains_of(place, found)
        return {
            name: rows_of_table(place, table, chains.get(name, ()), now_ms) for name, table in sorted(found.items())
        }

    def full_row_of(self, said: layout.SummaryKey) -> ExportRow | None:
        """The row of this one export, if it is a complete full one. Raises ExportNotReadable while its files are not
        all there."""
        summary = self._summary(said)
        if not isinstance(summary, Summary) or summary.export_type != "FULL_EXPORT":
            return None
        definition = self._defined(said, summary.table_arn)
        if isinstance(definition, Failure):
            logger.warning("export is not adopted", extra=_fields(said, definition.message))
            return None
        try:
            complete = self._verified(said, summary)
        except ExportNotReadable:
            raise
        except ExportInvalid as error:
            logger.warning("export is not adopted", extra=_fields(said, error.message))
            return None
        found = FoundTable(table_name=said.table_name, complete=(complete,), definition=definition)
        return rows_of_table(self.place(said.backup_date), found, (), self._clock())[0]

    # --- one table -------------------------------------------------------------------------------------------

    def _found(self, backup_date: str, table_name: str) -> FoundTable | None:
        keys = self.folders.summary_keys(backup_date, table_name)
        try:
            definition = self.folders.definition(backup_date, table_name)
        except ExportInvalid as error:
            return FoundTable(table_name=table_name, failure=Failure("DefinitionInvalid", error.message))
        if not keys and definition is None:
            return None
        found = self._complete(FoundTable(table_name=table_name, definition=definition), keys)
        if any(each.window is None for each in found.complete):
            return found
        return self._with_running(backup_date, keys, found)

    def _complete(self, found: FoundTable, keys: Sequence[layout.SummaryKey]) -> FoundTable:
        """The full export that shows the latest moment, or else every increment."""
        summaries = [(key, self._summary(key)) for key in keys]
        said = [(key, summary) for key, summary in summaries if isinstance(summary, Summary)]
        failure = next((each for _, each in summaries if isinstance(each, Failure)), None)
        found = msgspec.structs.replace(found, failure=failure)
        full = [each for each in said if each[1].export_type == "FULL_EXPORT"]
        for key, summary in sorted(full, key=lambda each: moment_ms(each[1].export_time) or 0, reverse=True):
            found = self._taken(found, key, summary)
            if found.complete:
                return msgspec.structs.replace(found, failure=None, unused=len(keys) - 1)
        for key, summary in said:
            if summary.export_type == "INCREMENTAL_EXPORT":
                found = self._taken(found, key, summary)
        return found

    def _taken(self, found: FoundTable, key: layout.SummaryKey, summary: Summary) -> FoundTable:
        definition = self._definitions.ensured(key.backup_date, key.table_name, summary.table_arn, found.definition)
        if isinstance(definition, Failure):
            return msgspec.structs.replace(found, failure=found.failure or definition)
        found = msgspec.structs.replace(found, definition=definition)
        try:
            complete = self._verified(key, summary)
        except ExportInvalid as error:
            why = Failure("ExportNotReadable" if error.retryable else "ExportInvalid", error.message)
            return msgspec.structs.replace(found, failure=found.failure or why)
        return msgspec.structs.replace(found, complete=(*found.complete, complete))

    def _summary(self, said: layout.SummaryKey) -> Summary | Failure | None:
        try:
            return self.folders.summary(said)
        except ExportInvalid as error:
            return Failure("ExportInvalid", error.message)

    def _defined(self, said: layout.SummaryKey, table_arn: str) -> TableDefinition | Failure:
        try:
            standing = self.folders.definition(said.backup_date, said.table_name)
        except ExportInvalid as error:
            return Failure("DefinitionInvalid", error.message)
        return self._definitions.ensured(said.backup_date, said.table_name, table_arn, standing)

    def _verified(self, said: layout.SummaryKey, summary: Summary) -> CompleteExport:
        """Raises ExportInvalid, and ExportNotReadable while an object is missing."""
        place = self.place(said.backup_date)
        window = _window_of(summary) if summary.export_type == "INCREMENTAL_EXPORT" else None
        facts = verify_export(
            self._s3,
            place.bucket,
            summary_key=self.folders.key_of(said),
            definition_key=layout.definition_key(place.exports_prefix, said.backup_date, said.table_name),
            export_arn=summary.export_arn,
            table_arn=summary.table_arn,
            window=window,
        )
        ended_at_ms = moment_ms(summary.end_time)
        return CompleteExport(
            export_arn=summary.export_arn,
            table_arn=summary.table_arn,
            export_format=summary.output_format,
            window=window,
            ended_at_ms=started_at_ms(summary.export_arn) if ended_at_ms is None else ended_at_ms,
            facts=facts,
        )

    # --- what DynamoDB tells besides -------------------------------------------------------------------------

    def _with_running(
        self,
        backup_date: str,
        keys: Sequence[layout.SummaryKey],
        found: FoundTable,
    ) -> FoundTable:
        newest_ms = max([named_ms(backup_date), *(int(key.export_id[:14]) for key in keys)])
        if self._clock() - newest_ms > KNOWN_FOR_MS:
            return found
        arn = found.definition.table_arn if found.definition else self._definitions.arn_now(found.table_name)
        if arn is None:
            return found
        place = self.place(backup_date)
        prefix = layout.export_prefix(place.exports_prefix, backup_date, found.table_name)
        since_ms = named_ms(backup_date) - _BEFORE_THE_SET_MS
        known = {each.export_arn for each in found.complete}
        said = exports_into(
            self._dynamodb,
            arn,
            (place.bucket, prefix),
            since_ms,
            lambda: self._definitions.arn_now(found.table_name) == arn,
        )
        others = [each for each in said if each["ExportArn"] not in known]
        running = [each for each in others if each.get("ExportStatus") != "FAILED"]
        if running:
            return self._begun(place, found, arn, running)
        failed = next(iter(others), None)
        return msgspec.structs.replace(found, failure=_failure_of(failed)) if failed and not found.failure else found

    def _begun(self, place: Place, found: FoundTable, arn: str, said: Iterable[Mapping[str, Any]]) -> FoundTable:
        definition = self._definitions.ensured(place.backup_date, found.table_name, arn, found.definition)
        if isinstance(definition, Failure):
            return msgspec.structs.replace(found, failure=definition)
        running = tuple(self._running(place, found.table_name, export) for export in said)
        return msgspec.structs.replace(found, running=running, definition=definition)

    def _running(self, place: Place, table_name: str, export: Mapping[str, Any]) -> RunningExport:
        parameters = parameters_of(
            place, table_name, export["TableArn"], export.get("ExportFormat", "DYNAMODB_JSON"), window_of(export)
        )
        shows = None if parameters.window is not None else export.get("ExportTime")
        exact = msgspec.structs.replace(
            parameters,
            export_time_ms=None if shows is None else epoch_ms(shows),
            s3_bucket_owner=export.get("S3BucketOwner", self._settings.backup_bucket_owner),
            s3_sse_kms_key_id=export.get("S3SseKmsKeyId", self._settings.s3_sse_kms_key_id),
        )
        return RunningExport(str(export["ExportArn"]), exact)

    # --- what increments continue ----------------------------------------------------------------------------

    def _chains_of(self, place: Place, found: Mapping[str, FoundTable]) -> dict[str, Chain]:
        """By table the chain that its increments continue. The latest that there is fits but where an export was made
        beside the schedule's; then the latest that ends before they do is looked for."""
        incremental = {name: table for name, table in found.items() if table.windows}
        if not incremental:
            return {}
        chains = self._before(place, list(incremental), None)
        others = {name: table for name, table in incremental.items() if not fits(place, table, chains.get(name, ()))}
        if others:
            limit_ms = min(min(window.to_ms for window in table.windows) for table in others.values())
            earlier = self._before(place, list(others), limit_ms)
            chains |= {name: chain for name, chain in earlier.items() if fits(place, others[name], chain)}
        return chains

    def _before(self, place: Place, table_names: list[str], limit_ms: int | None) -> dict[str, Chain]:
        set_row = msgspec.structs.replace(open_set(place, [], self._clock()), requested_time_ms=limit_ms)
        return self._chains.before(set_row, table_names)


def _window_of(summary: Summary) -> Window:
    try:
        return Window(from_iso(summary.export_from_time or ""), from_iso(summary.export_to_time or ""))
    except (ValueError, OverflowError):
        raise ExportInvalid(f"{summary.manifest_files_s3_key} is of an increment that does not say its time") from None


def _failure_of(export: Mapping[str, Any]) -> Failure:
    message = str(export.get("FailureMessage", "DynamoDB gave no reason"))
    return Failure(str(export.get("FailureCode", "Unknown")), message)


def _fields(said: layout.SummaryKey, error: str) -> dict[str, str]:
    return {"backup_date": said.backup_date, "table": said.table_name, "export_id": said.export_id, "error": error}
