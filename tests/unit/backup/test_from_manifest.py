"""Rows out of a manifest: whatever a set was, they give the same manifest again, and it can be acted on."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup import layout
from chalicelib.backup.adoption.from_manifest import export_rows_of, named_ms, set_row_of
from chalicelib.backup.assembly import assemble
from chalicelib.backup.chain import links_of
from chalicelib.backup.manifest import SCHEMA_VERSION, Manifest, decode_manifest, encode_manifest
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRecord, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.backup.windows import Window
from chalicelib.clock import iso
from tests.unit.backup.documents import DATE, MD5, NAMES, PREFIX, a_full_table, a_link, a_manifest, manifests

BUCKET = "bucket"
HOUR_MS = 3_600_000
START_MS = 1_795_222_820_000
TEXTS = st.text(max_size=20)


def rows_of(manifest: Manifest) -> SetRecord:
    rows = [row for table in manifest.tables for row in export_rows_of(manifest, table, BUCKET, PREFIX)]
    return SetRecord(set_row_of(manifest, BUCKET, PREFIX), rows)


@st.composite
def exports(draw, table_name: str, requested_ms: int | None) -> list[ExportRow]:
    """Of one table, as they stand once all have ended."""
    arn = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table_name}"
    is_full, parts = draw(st.booleans()), draw(st.integers(1, 3))
    base = () if is_full else (a_link(table_name, "2026-11-19", export_time=iso(START_MS)),)
    common: Any = {"table_arn": arn, "s3_bucket": BUCKET, "s3_prefix": f"{PREFIX}/{DATE}/{table_name}"}
    if draw(st.integers(0, 4)) == 0:  # it could not be described
        code, message = draw(TEXTS), draw(TEXTS)
        row = ExportRow(backup_date=DATE, table_name=table_name, status=ExportState.FAILED)
        return [msgspec.structs.replace(row, failure_code=code, failure_message=message, ended_at_ms=START_MS)]
    rows = []
    for part in range(1 if is_full else parts):
        begin_ms, end_ms = START_MS + part * HOUR_MS, START_MS + (part + 1) * HOUR_MS
        folder = f"{PREFIX}/{DATE}/{table_name}/AWSDynamoDB/{START_MS + part:014d}-0123abcd"
        has_failed = draw(st.integers(0, 5)) == 0
        counts = draw(st.tuples(*[st.integers(0, 2**40)] * 4))
        parameters = ExportParameters(
            **common,
            client_token="token",
            requested_time_ms=requested_ms,
            window=None if is_full else Window(begin_ms, end_ms),
        )
        row = ExportRow(
            backup_date=DATE,
            table_name=table_name,
            status=ExportState.FAILED if has_failed else ExportState.COMPLETED,
            part=part,
            parts=1 if is_full or part else parts,
            parameters=parameters,
            base=() if part else base,
            notes=() if part else tuple(draw(st.lists(TEXTS, max_size=2))),
            export_arn=f"{arn}/export/{START_MS + part:014d}-0123abcd",
            ended_at_ms=START_MS + draw(st.integers(1, HOUR_MS)),
            failure_code="Code" if has_failed else None,
            failure_message=draw(TEXTS) if has_failed else None,
            late=not has_failed and draw(st.booleans()),
        )
        facts = {
            "export_time": iso(begin_ms) if is_full else None,
            "export_from": None if is_full else iso(begin_ms),
            "export_to": None if is_full else iso(end_ms),
            **dict(zip(("item_count", "billed_size_bytes", "size_bytes", "data_files"), counts, strict=True)),
            "manifest_summary_key": f"{folder}/{layout.SUMMARY_NAME}",
            "manifest_files_key": f"{folder}/{layout.FILES_NAME}",
            "manifest_files_md5": MD5,
            "definition_key": layout.definition_key(PREFIX, DATE, table_name),
        }
        rows.append(row if has_failed else msgspec.structs.replace(row, **facts))
    return rows


@st.composite
def records(draw) -> SetRecord:
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=4))
    requested_ms = draw(st.none() | st.just(START_MS))
    rows = [row for name in names for row in draw(exports(name, requested_ms))]
    adopted_revisions = draw(st.integers(0, 3))
    return SetRecord(
        SetRow(
            backup_date=DATE,
            status=SetState.OPEN,
            environment=draw(TEXTS),
            s3_bucket=BUCKET,
            exports_prefix=PREFIX,
            started_at_ms=START_MS,
            tables=names,
            unmatched=draw(st.lists(TEXTS, max_size=2)),
            requested_time_ms=requested_ms,
            revision=1 + adopted_revisions + sum(row.late for row in rows),
            adopted_revisions=adopted_revisions,
        ),
        rows,
    )


def as_read(manifest: Manifest) -> Manifest:
    key = layout.manifest_key(PREFIX, manifest.backup_date)
    return decode_manifest(encode_manifest(manifest), key=key, exports_prefix=PREFIX, backup_date=manifest.backup_date)


@given(records())
def test_rows_of_a_manifest_give_the_same_manifest_again(record):
    manifest = as_read(assemble(record))
    rebuilt = rows_of(manifest)
    assert assemble(rebuilt) == manifest
    assert not rebuilt.is_torn
    assert rebuilt.is_decided
    assert not rebuilt.set.is_open
    assert rebuilt.set.tables == record.set.tables


@given(manifests())
def test_of_any_manifest_that_is_read_each_table_stays_what_it_was(manifest):
    rebuilt = rows_of(as_read(manifest))
    assert rebuilt.is_decided
    assert not rebuilt.is_torn
    for table in manifest.tables:
        assert rebuilt.has_completed(table.table_name) == (table.status == "COMPLETED")
        if table.status == "COMPLETED":
            rows = rebuilt.exports_of(table.table_name)
            keys = [link.manifest_files_key for link in (*rows[0].base, *links_of(table)[len(rows[0].base) :])]
            assert keys == [link.manifest_files_key for link in links_of(table)]
    if manifest.tables and manifest.status == "COMPLETE" and all(table.table_arn for table in manifest.tables):
        assert {table.export_format for table in assemble(rebuilt).tables if table.status == "COMPLETED"} <= {
            table.export_format for table in manifest.tables
        }


def test_the_links_of_the_set_itself_are_its_parts():
    own = a_link("orders", DATE, export_type="INCREMENTAL_EXPORT")
    base = (a_link("orders", "2026-11-19"), a_link("orders", "2026-11-20", export_type="INCREMENTAL_EXPORT"), own)
    table = a_full_table("orders", export_type="INCREMENTAL_EXPORT", base=base)
    rows = export_rows_of(a_manifest(table), table, BUCKET, PREFIX)
    assert [row.part for row in rows] == [0, 1]
    assert rows[0].parts == 2
    assert rows[0].base == base[:2]


def test_a_manifest_of_a_copied_bucket_is_of_the_bucket_that_it_was_read_from():
    manifest = a_manifest(a_full_table("orders"), s3_bucket="the-original")
    row = set_row_of(manifest, "the-copy", PREFIX)
    assert row.s3_bucket == "the-copy"
    (export,) = export_rows_of(manifest, manifest.tables[0], "the-copy", PREFIX)
    assert export.parameters is not None
    assert export.parameters.s3_bucket == "the-copy"


@pytest.mark.parametrize("revision", [0, 1, 7])
def test_a_revision_that_no_row_explains_is_no_contradiction(revision):
    record = rows_of(a_manifest(a_full_table("orders"), revision=revision))
    assert not record.is_torn
    assert record.set.revision == max(revision, 1)


def test_a_manifest_of_the_first_schema_version_is_written_again_in_this_one():
    manifest = a_manifest(a_full_table("orders"), schema_version=1)
    expected = msgspec.structs.replace(manifest, schema_version=SCHEMA_VERSION)
    assert assemble(rows_of(manifest)) == expected


@pytest.mark.parametrize("bad", ["", "yesterday", "2026-11-21T01:00:00", "9999-12-31T23:59:59-23:59", "-1"])
def test_times_that_are_none_are_those_of_the_name(bad):
    row = set_row_of(a_manifest(a_full_table("orders"), started_at=bad, completed_at=bad), BUCKET, PREFIX)
    assert iso(row.started_at_ms) == f"{DATE}T00:00:00.000Z"
    assert row.finished_at_ms == row.started_at_ms


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("2026-11-21T093001Z", "2026-11-21T09:30:01.000Z"),
        ("2026-99-99", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_the_moment_a_name_says(name, moment):
    assert iso(named_ms(name)) == moment
