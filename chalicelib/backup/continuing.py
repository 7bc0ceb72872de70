"""What increments continue: per table, the chain of its newest export that completed, as sets in the bucket tell it.

The bucket is asked, as by a restore, so chains go on when the ledger is lost. Sets that are still open have no
manifest; what completed in them stands in the ledger, and counts: else it would be exported, and paid for, once more.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from datetime import date, timedelta

from chalicelib.aws import Client
from chalicelib.backup.assembly import table_of
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.chain import links_of, missing_links, reach_ms_of
from chalicelib.backup.manifest import BaseLink, ManifestTable
from chalicelib.backup.reading import find_manifest, set_names
from chalicelib.backup.rows import SetRow
from chalicelib.errors import ManifestInvalid, TablevaultError

logger = logging.getLogger("tablevault")

Chain = tuple[BaseLink, ...]
# What ends longer ago builds on a full export that is older still, and a week's age is too much already.
_LOOKED_BACK = timedelta(days=9)
# A set's name says when it was started, and not of when its exports are: those of a schedule show an hour of their own.
_NAMES_MISLEAD = timedelta(days=1)
_MOST_SETS_LOOKED_AT = 60


class Chains:
    def __init__(self, catalog: Catalog, s3: Client) -> None:
        self._catalog = catalog
        self._s3 = s3

    def before(self, set_row: SetRow, tables: Collection[str]) -> dict[str, Chain]:
        """By table the chain that goes on latest, but not beyond the moment that `set_row` shows; none for a table
        without, or where a set of it is being removed. Reads sets of the last nine days, newest first. Raises
        botocore's errors."""
        chains: dict[str, Chain] = {}
        passed_over: list[str] = []
        found_all_on: date | None = None
        for name, of_set in self._older(set_row, passed_over):
            day = _day(name)
            if found_all_on is not None and day < found_all_on - _NAMES_MISLEAD:
                break
            for table in of_set:
                if table.table_name in tables and table.status == "COMPLETED" and not missing_links(table):
                    _take_later(chains, table, set_row.requested_time_ms)
            if found_all_on is None and len(chains) == len(tables):
                found_all_on = day
        if passed_over and not chains:  # most likely a permission: each day would cost what a full export does
            fields = {"backup_date": set_row.backup_date, "error": passed_over[0], "count": len(passed_over)}
            logger.error("no older backup can be read, so full exports are made instead of increments", extra=fields)
        return self._that_stay(chains)

    def _that_stay(self, chains: dict[str, Chain]) -> dict[str, Chain]:
        gone = set(self._catalog.being_removed(link.backup_date for chain in chains.values() for link in chain))
        return {table: chain for table, chain in chains.items() if gone.isdisjoint(link.backup_date for link in chain)}

    def _older(self, set_row: SetRow, passed_over: list[str]) -> Iterator[tuple[str, Iterable[ManifestTable]]]:
        open_dates = set(self._catalog.open_dates())
        in_bucket = set_names(self._s3, set_row.s3_bucket, set_row.exports_prefix)
        oldest = (_day(set_row.backup_date) - _LOOKED_BACK).isoformat()
        names = sorted(
            {name for name in (*in_bucket, *open_dates) if oldest <= name < set_row.backup_date}, reverse=True
        )
        for name in names[:_MOST_SETS_LOOKED_AT]:
            try:
                yield name, self._tables(set_row, name, is_open=name in open_dates)
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


def _take_later(chains: dict[str, Chain], table: ManifestTable, limit_ms: int | None) -> None:
    chain = links_of(table)
    reach_ms = reach_ms_of(chain[-1])
    if reach_ms is None or (limit_ms is not None and reach_ms >= limit_ms):
        return
    standing = chains.get(table.table_name)
    if standing is None or reach_ms > (reach_ms_of(standing[-1]) or 0):
        chains[table.table_name] = chain


def _day(backup_date: str) -> date:
    return date.fromisoformat(backup_date[:10])
