"""Sets and exports of the bucket that the ledger does not have, adopted. Everything may be called again at any time,
also while another call runs.

Whoever can write into the bucket can have an export adopted. So a set that is known is given nothing but exports that
are complete and verified: what somebody left unfinished in its place cannot make it PARTIAL. The account and region of
an export may be any, since a copied bucket's exports are another account's; in the place of an export that failed only
one of the very same table is taken.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from chalicelib.aws import Client
from chalicelib.backup import layout
from chalicelib.backup.adoption.entries import Entries, with_revision
from chalicelib.backup.adoption.examining import Examiner
from chalicelib.backup.adoption.from_manifest import export_rows_of, set_row_of
from chalicelib.backup.adoption.planning import open_set
from chalicelib.backup.catalog import KIND, Catalog
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.reading import find_manifest
from chalicelib.backup.recorder import Outcome
from chalicelib.backup.rows import ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.clock import Clock
from chalicelib.errors import ExportInvalid, ExportNotReadable, ManifestInvalid, Unavailable
from chalicelib.ledger import Ledger
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

_TRIES = 8
ADOPTABLE = frozenset({Outcome.UNKNOWN_SET, Outcome.UNKNOWN_TABLE, Outcome.UNKNOWN_EXPORT})


class Adopter:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        dynamodb: Client,
        s3: Client,
        clock: Clock,
        autoscaling: Callable[[], Client] | None = None,
    ) -> None:
        """`autoscaling` makes the client of application-autoscaling; without one, definitions captured do not have
        it."""
        self._settings = settings
        self._s3 = s3
        self._catalog = Catalog(ledger)
        self._entries = Entries(self._catalog, ledger)
        self._examiner = Examiner(settings, self._catalog, dynamodb, s3, clock, autoscaling)
        self._clock = clock

    # --- an export whose event came --------------------------------------------------------------------------

    def adopt_export(self, said: layout.SummaryKey) -> Outcome:
        """An export that has no row of its own. Raises ExportNotReadable and botocore's errors, for the event to come
        again, and LedgerEntryCorrupt."""
        for _ in range(_TRIES):
            if self._entries.is_being_removed(said.backup_date):
                self._wait_for_retention(said.backup_date)
                return Outcome.SET_IS_REMOVED
            outcome = self._adopted(said)
            if outcome is not None:
                return outcome
        raise Unavailable(f"backup {said.backup_date} changes while an export is adopted into it; try again")

    def _wait_for_retention(self, backup_date: str) -> None:
        """A set that stays after all must get its export: nobody but the event tells of it."""
        if self._entries.may_stay(backup_date):
            raise Unavailable(f"retention decides right now whether backup {backup_date} goes; the event comes again")

    def _adopted(self, said: layout.SummaryKey) -> Outcome | None:
        """None where the ledger moved on meanwhile and has to be looked at again."""
        set_row = self._catalog.set_row(said.backup_date)
        if set_row is None:
            return self._into_new_set(said)
        if said.table_name not in set_row.tables:
            return self._into_known_set(set_row, said)
        return self._in_place_of_failed(set_row, said)

    def _into_new_set(self, said: layout.SummaryKey) -> Outcome | None:
        try:
            if self._examiner.folders.summary(said) is None:
                return Outcome.UNKNOWN_SET
            manifest = self.manifest(said.backup_date)
        except (ExportInvalid, ManifestInvalid) as error:
            _warn(said, error.message)
            return Outcome.UNKNOWN_SET
        if manifest is not None:
            self.adopt_manifest(manifest)
            return None
        return Outcome.ADOPTED if self.adopt_set(said.backup_date, waits_for=said.table_name) else None

    def _into_known_set(self, set_row: SetRow, said: layout.SummaryKey) -> Outcome | None:
        rows = self._examiner.rows_of(said.backup_date, [said.table_name]).get(said.table_name, [])
        _wait_for(rows, said.table_name)
        if any(row.status is ExportState.IN_PROGRESS for row in rows):
            raise ExportNotReadable(f"an export of {said.table_name} into {said.backup_date} is not complete yet")
        if not _are_complete(rows):
            _warn(said, next((row.failure_message for row in rows if row.failure_message), None) or "it is not there")
            return Outcome.UNKNOWN_TABLE
        return self._added(set_row, rows)

    def _in_place_of_failed(self, set_row: SetRow, said: layout.SummaryKey) -> Outcome | None:
        rows = self._catalog.exports_of(said.backup_date, said.table_name)
        if not rows or not all(row.has_ended for row in rows):
            return Outcome.UNKNOWN_EXPORT  # its own is still to come
        if len(rows) == rows[0].parts and _are_complete(rows):
            is_own = any(str(row.export_arn).endswith(f"/{said.export_id}") for row in rows)
            return Outcome.ALREADY_RECORDED if is_own else Outcome.ANOTHER_EXPORT
        row = self._examiner.full_row_of(said)
        known = next((each.parameters.table_arn for each in rows if each.parameters), None)
        if row is None or row.parameters is None or known not in (None, row.parameters.table_arn):
            return Outcome.UNKNOWN_EXPORT
        kept = msgspec.structs.replace(row, attempt=rows[0].attempt, late=rows[0].late)
        return self._added(set_row, [kept], over=rows[0])

    def _added(self, set_row: SetRow, rows: Sequence[ExportRow], over: ExportRow | None = None) -> Outcome | None:
        if not self._entries.add(set_row, rows, over):
            return None
        fields = {"backup_date": set_row.backup_date, "table": rows[0].table_name, "export_arn": rows[-1].export_arn}
        logger.info("export adopted", extra=fields)
        return Outcome.ADOPTED

    def is_being_removed(self, backup_date: str) -> bool:
        return self._entries.is_being_removed(backup_date)

    # --- a whole set -----------------------------------------------------------------------------------------

    def manifest(self, backup_date: str) -> Manifest | None:
        """Raises ManifestInvalid."""
        settings = self._settings
        found = find_manifest(self._s3, settings.backup_bucket, settings.s3_exports_prefix, backup_date)
        return None if found is None else found[0]

    def adopt_manifest(self, manifest: Manifest) -> bool:
        """A set that the ledger does not know, as its manifest has it; nobody is told of it again. It is open only
        where rows of it stand in the ledger that have not ended. False when it is known by now."""
        place = self._examiner.place(manifest.backup_date)
        of_tables = (export_rows_of(manifest, table, place.bucket, place.exports_prefix) for table in manifest.tables)
        self._entries.put_absent([row for rows in of_tables for row in rows])
        standing = self._entries.exports(manifest.backup_date)
        set_row = with_revision(set_row_of(manifest, place.bucket, place.exports_prefix), standing)
        if any(row.table_name in set_row.tables and not row.has_ended for row in standing):
            set_row = msgspec.structs.replace(set_row, status=SetState.OPEN, open_kind=KIND, finished_at_ms=None)
        return self._created(set_row)

    def adopt_set(self, backup_date: str, *, waits_for: str | None = None) -> bool:
        """A set without a manifest, of whatever stands in its place: it is open, and finished as any other. False when
        there is nothing of an export, or the set is known by now.

        Raises ExportNotReadable where the table `waits_for` has an export whose files are not all there, and DynamoDB
        does not know of it.
        """
        names = self._examiner.folders.tables(backup_date)
        rows = self._examiner.rows_of(backup_date, names)
        if waits_for is not None:
            _wait_for(rows.get(waits_for, []), waits_for)
        self._entries.put_absent([row for of_table in rows.values() for row in of_table])
        standing = self._entries.exports(backup_date)
        if not standing:
            return False
        set_row = open_set(self._examiner.place(backup_date), standing, self._clock())
        return self._created(with_revision(set_row, standing), standing)

    def _created(self, set_row: SetRow, rows: Sequence[ExportRow] = ()) -> bool:
        is_created = self._entries.create(set_row, rows)
        if is_created:
            fields = {"backup_date": set_row.backup_date, "status": set_row.status.value, "tables": len(set_row.tables)}
            logger.info("backup adopted", extra=fields)
        return is_created

    # --- what a finished set lacks ---------------------------------------------------------------------------

    def complete_from(self, record: SetRecord, manifest: Manifest) -> int:
        """Tables that the manifest has COMPLETED and the finished set's rows have not, brought into the ledger; how
        many. Those with an export that has not ended are left to it."""
        completed = [table for table in manifest.tables if table.status == "COMPLETED"]
        lacking = [table for table in completed if _lacks(record, table.table_name)]
        known = [table for table in completed if record.has_completed(table.table_name)]
        place = self._examiner.place(manifest.backup_date)
        said = set_row_of(manifest, place.bucket, place.exports_prefix)
        tables = list(dict.fromkeys([*record.set.tables, *(table.table_name for table in (*known, *lacking))]))
        status = said.status if set(tables) == set(said.tables) else SetState.PARTIAL
        # A run that stopped after the rows below left none lacking, and a set that does not say so.
        if not lacking and (tables, status) == (record.set.tables, record.set.status):
            return 0
        rows = [export_rows_of(manifest, table, place.bucket, place.exports_prefix) for table in lacking]
        self._entries.put_over_failed([row for of_table in rows for row in of_table])
        revision = max(said.revision, record.set.revision)
        wanted = msgspec.structs.replace(record.set, tables=tables, status=status, revision=revision)
        wanted = with_revision(wanted, self._entries.exports(manifest.backup_date))
        return len(lacking) if self._entries.bring_to(record.set, wanted) else 0

    def add_exports(self, record: SetRecord) -> int:
        """Exports in a finished set's place, of tables that it does not have, adopted where they are complete; how
        many tables."""
        names = [name for name in self._examiner.folders.tables(record.set.backup_date) if _is_new(record, name)]
        found: Mapping[str, list[ExportRow]] = self._examiner.rows_of(record.set.backup_date, names) if names else {}
        added = 0
        for rows in found.values():
            set_row = self._catalog.set_row(record.set.backup_date)
            if set_row is not None and rows[0].table_name not in set_row.tables and _are_complete(rows):
                added += self._added(set_row, rows) is not None
        return added


def _lacks(record: SetRecord, table_name: str) -> bool:
    if table_name in record.corrupt or record.has_completed(table_name):
        return False
    return all(row.has_ended for row in record.exports_of(table_name))


def _is_new(record: SetRecord, table_name: str) -> bool:
    return table_name not in record.set.tables and table_name not in record.corrupt


def _are_complete(rows: Sequence[ExportRow]) -> bool:
    return bool(rows) and all(row.status is ExportState.COMPLETED for row in rows)


def _wait_for(rows: Sequence[ExportRow], table_name: str) -> None:
    for row in rows:
        if row.failure_code == "ExportNotReadable":
            raise ExportNotReadable(f"the export of {table_name} cannot be adopted yet: {row.failure_message}")


def _warn(said: layout.SummaryKey, why: str) -> None:
    fields = {"backup_date": said.backup_date, "table": said.table_name, "export_id": said.export_id, "error": why}
    logger.warning("export is not adopted", extra=fields)
