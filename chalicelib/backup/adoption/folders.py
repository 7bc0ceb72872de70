"""What stands in the bucket of a set's exports: names of folders, and what the exports in them say of themselves.

Whoever may write into the bucket chooses these names: they are taken apart by `layout` alone, bounded in number, and
what fits no table or no export is passed over.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup import layout
from chalicelib.backup.definition import TableDefinition, read_definition
from chalicelib.backup.documents import DocumentInvalid, read_document, shown
from chalicelib.backup.export_files import Summary, parse_summary
from chalicelib.errors import ExportInvalid
from chalicelib.selection import TABLE_NAME

MOST_EXPORTS = 80  # of one table in one set: with its set's row and checks, one transaction takes them
_MOST_TABLES = 10_000
_LARGEST_SUMMARY_BYTES = 1024 * 1024
_GONE = frozenset({"NoSuchKey", "404", "NotFound"})
_TABLE_ARN = re.compile(r"arn:aws[a-z-]{0,20}:dynamodb:[a-z0-9-]{1,40}:\d{12}:table/([a-zA-Z0-9_.-]{3,255})", re.ASCII)


class Folders(NamedTuple):
    s3: Client
    bucket: str
    exports_prefix: str

    def tables(self, backup_date: str) -> list[str]:
        """Names of folders that can be a table's, sorted. Raises ExportInvalid when there are too many."""
        start = layout.set_prefix(self.exports_prefix, backup_date)
        found = list(islice((name for name in self._below(start) if TABLE_NAME.match(name)), _MOST_TABLES + 1))
        if len(found) > _MOST_TABLES:
            raise ExportInvalid(f"{start} has more than {_MOST_TABLES} folders, more than an account has tables")
        return sorted(found)

    def summary_keys(self, backup_date: str, table_name: str) -> list[layout.SummaryKey]:
        """Of the table's exports in this set, the newest first, whether their summaries are written yet or not; of many
        the newest ones."""
        start = f"{layout.export_prefix(self.exports_prefix, backup_date, table_name)}/AWSDynamoDB/"
        keys = (f"{start}{name}/{layout.SUMMARY_NAME}" for name in self._below(start))
        parsed = (layout.parse_summary_key(self.exports_prefix, key) for key in keys)
        found = sorted((each for each in parsed if each is not None), key=lambda each: each.export_id, reverse=True)
        return found[:MOST_EXPORTS]

    def summary(self, said: layout.SummaryKey) -> Summary | None:
        """What the export says of itself; None while it is not written. Raises ExportInvalid where it is of another
        table or export than the folder it stands in: the account and region may be any, of a copied bucket they are."""
        key = self.key_of(said)
        try:
            content = read_document(self.s3.get_object(Bucket=self.bucket, Key=key), _LARGEST_SUMMARY_BYTES)
        except ClientError as error:
            if error_code(error) in _GONE:
                return None
            raise
        except DocumentInvalid as error:
            raise ExportInvalid(f"{key} {error}") from None
        summary = parse_summary(content, key=key)
        match = _TABLE_ARN.fullmatch(summary.table_arn)
        is_of_folder = match is not None and match[1] == said.table_name
        if not is_of_folder or summary.export_arn != f"{summary.table_arn}/export/{said.export_id}":
            raise ExportInvalid(f"{key} is of another table or export: {shown(summary.export_arn)}")
        return summary

    def key_of(self, said: layout.SummaryKey) -> str:
        return layout.summary_key(self.exports_prefix, said.backup_date, said.table_name, said.export_id)

    def definition(self, backup_date: str, table_name: str) -> TableDefinition | None:
        """None where there is none. Raises ExportInvalid."""
        key = layout.definition_key(self.exports_prefix, backup_date, table_name)
        try:
            return read_definition(self.s3, self.bucket, key)
        except ClientError as error:
            if error_code(error) in _GONE:
                return None
            raise

    def _below(self, start: str) -> Iterator[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start, Delimiter="/")
        for page in pages:
            for common in page.get("CommonPrefixes", []):
                yield common["Prefix"].removeprefix(start).rstrip("/")
