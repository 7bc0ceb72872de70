"""What increments continue: per table, the chain of its newest export that completed, as sets in the bucket tell it.

The bucket is asked, as by a restore, so chains go on when the ledger is lost. Sets that are still open have no
manifest; what completed in them stands in the ledger, and counts: else it would be exported, and paid for, once more.
"""

import logging
from collections.abc import Iterable, Iterator

from chalicelib.aws import Client
from chalicelib.backup.assembly import table_of
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.chain import links_of, missing_links
from chalicelib.backup.manifest import BaseLink, ManifestTable
from chalicelib.backup.reading import find_manifest, set_names
from chalicelib.backup.rows import SetRow
from chalicelib.errors import ManifestInvalid, TablevaultError

logger = logging.getLogger("tablevault")

Chain = tuple[BaseLink, ...]
# Beyond that a table's last export is older than a week of full exports, also with sets made by hand in between.
_MOST_SETS_LOOKED_AT = 60


class Chains:
    def __init__(self, catalog: Catalog, s3: Client) -> None:
        self._catalog = catalog
        self._s3 = s3

    def before(self, set_row: SetRow) -> dict[str, Chain]:
        """By table of `set_row` that has one. Reads older sets, newest first, until each has. Raises botocore's
        errors."""
        chains: dict[str, Chain] = {}
        left = set(set_row.tables)
        passed_over: list[str] = []
        for table in self._older(set_row, passed_over):
            if table.table_name in left and table.status == "COMPLETED" and not missing_links(table):
                chains[table.table_name] = links_of(table)
                left.discard(table.table_name)
            if not left:
                break
        if passed_over and not chains:  # most likely a permission: each day would cost what a full export does
            fields = {"backup_date": set_row.backup_date, "error": passed_over[0], "count": len(passed_over)}
            logger.error("no older backup can be read, so full exports are made instead of increments", extra=fields)
        return chains

    def _older(self, set_row: SetRow, passed_over: list[str]) -> Iterator[ManifestTable]:
        open_dates = set(self._catalog.open_dates())
        in_bucket = set_names(self._s3, set_row.s3_bucket, set_row.exports_prefix)
        names = sorted({name for name in (*in_bucket, *open_dates) if name < set_row.backup_date}, reverse=True)
        for name in names[:_MOST_SETS_LOOKED_AT]:
            try:
                yield from self._tables(set_row, name, is_open=name in open_dates)
            except TablevaultError as error:
                passed_over.append(error.message)
                fields = {"backup_date": name, "error": error.message}
                logger.warning("backup is passed over in looking for what to continue", extra=fields)

    def _tables(self, set_row: SetRow, name: str, *, is_open: bool) -> Iterable[ManifestTable]:
        found = find_manifest(self._s3, set_row.s3_bucket, set_row.exports_prefix, name)
        if found is not None:
            return found[0].tables
        if not is_open:
            raise ManifestInvalid(f"{name} has no manifest")
        record = self._catalog.record(name)
        if (record.set.s3_bucket, record.set.exports_prefix) != (set_row.s3_bucket, set_row.exports_prefix):
            return []
        return [table_of(record, table_name) for table_name in record.set.tables if record.has_completed(table_name)]
