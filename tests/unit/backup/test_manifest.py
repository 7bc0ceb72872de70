"""manifest.json: what may be acted on, and what is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.assembly import assemble
from chalicelib.backup.layout import BACKUP_DATE, SummaryKey, parse_summary_key, summary_key
from chalicelib.backup.manifest import Manifest, decode_manifest, encode_manifest
from chalicelib.backup.rows import ExportParameters, ExportRow, PlannedExport, SetRecord, SetRow
from chalicelib.backup.states import ExportState, SetState
from chalicelib.errors import ManifestInvalid

DATE = "2026-11-21"
KEY = f"p/{DATE}/manifest.json"
ROOT = f"p/{DATE}/orders"


def record(*, revision: int = 1, late: bool = False) -> SetRecord:
    parameters = ExportParameters(
        table_arn="arn", s3_bucket="b", s3_prefix=ROOT, client_token="t", requested_time_ms=3_600_000
    )
    set_row = SetRow(
        backup_date=DATE,
        status=SetState.OPEN,
        environment="tests",
        s3_bucket="b",
        exports_prefix="p",
        started_at_ms=7_200_000,
        revision=revision,
        tables=[PlannedExport(table_name="orders", parameters=parameters), PlannedExport(table_name="broken")],
    )
    orders = ExportRow(
        backup_date=DATE,
        table_name="orders",
        status=ExportState.COMPLETED,
        parameters=parameters,
        export_arn="arn/export/1",
        ended_at_ms=7_500_000,
        export_time="1970-01-01T01:00:00.000Z",
        item_count=7,
        size_bytes=1_234_567,
        data_files=4,
        manifest_summary_key=f"{ROOT}/AWSDynamoDB/01795222820000-0123abcd/manifest-summary.json",
        manifest_files_key=f"{ROOT}/AWSDynamoDB/01795222820000-0123abcd/manifest-files.json",
        manifest_files_md5="FjvgqIxwymKf1RbbqtrZag==",
        definition_key=f"{ROOT}/table.json",
        late=late,
    )
    broken = ExportRow(
        backup_date=DATE,
        table_name="broken",
        status=ExportState.FAILED,
        ended_at_ms=7_300_000,
        failure_code="Code",
        failure_message="why",
    )
    return SetRecord(set_row, {"broken": broken, "orders": orders})


def manifest(**changes: Any) -> Manifest:
    return msgspec.structs.replace(assemble(record()), **changes)


def decoded(content: bytes) -> Manifest:
    return decode_manifest(content, key=KEY, exports_prefix="p", backup_date=DATE)


def test_a_manifest_is_made_of_its_rows_alone_and_names_what_failed():
    made = assemble(record())
    assert encode_manifest(made) == encode_manifest(assemble(record()))
    assert (made.status, made.total_items_exported, made.total_size_mb) == ("PARTIAL", 7, 1.234567)
    assert (made.started_at, made.completed_at) == ("1970-01-01T02:00:00.000Z", "1970-01-01T02:05:00.000Z")
    assert [table.table_name for table in made.tables] == ["orders", "broken"]
    assert made.tables[0].requested_time == "1970-01-01T01:00:00.000Z"
    assert (made.tables[1].failure_code, made.tables[1].failure_message) == ("Code", "why")
    assert decoded(encode_manifest(made)) == made


def test_a_set_is_decided_only_when_every_table_has_ended_and_can_be_read():
    found = record()
    assert found.is_decided
    running = msgspec.structs.replace(found.exports["broken"], status=ExportState.IN_PROGRESS)
    assert not SetRecord(found.set, {**found.exports, "broken": running}).is_decided
    assert not SetRecord(found.set, {"orders": found.exports["orders"]}).is_decided
    without = {"orders": found.exports["orders"]}
    assert not SetRecord(found.set, without, {"broken": "cannot be read"}).is_decided


@pytest.mark.parametrize(
    ("revision", "late", "torn"), [(1, False, False), (2, True, False), (2, False, True), (1, True, True)]
)
def test_rows_read_while_a_late_export_was_recorded_contradict_each_other(revision, late, torn):
    assert record(revision=revision, late=late).is_torn == torn


def orders(**changes: Any) -> Manifest:
    made = assemble(record())
    return msgspec.structs.replace(made, tables=(msgspec.structs.replace(made.tables[0], **changes), made.tables[1]))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (manifest(schema_version=2), "newer tablevault"),
        (manifest(schema_version=0), "never existed"),
        (manifest(backup_date="2026-11-20"), "of the set"),
        (manifest(status="COMPLETE"), "although broken failed"),
        (manifest(tables=(assemble(record()).tables[0],) * 2), "twice"),
        (orders(manifest_files_key="p/2026-11-20/orders/x"), "outside"),
        (orders(manifest_files_key=f"{ROOT}/../x"), "outside"),
        (orders(definition_key=None), "has no definition_key"),
        (orders(item_count=-1), "item_count"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(bad, said):
    with pytest.raises(ManifestInvalid, match=said):
        decoded(encode_manifest(bad))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_manifest_and_no_other_error(content):
    with pytest.raises(ManifestInvalid):
        decoded(content)


@pytest.mark.parametrize(
    "content", [b'{"schema_version":1,"x":' + b"[" * 100_000, b'{"schema_version":1,"x":"\xff"}', b"\xff"]
)
def test_hostile_bytes_are_no_manifest_and_no_other_error(content):
    with pytest.raises(ManifestInvalid):
        decoded(content)


def test_a_summarys_key_is_made_and_read_alike():
    key = summary_key("p/q", DATE, "my.table_1-x", "01795222820000-0123abcd")
    assert parse_summary_key("p/q", key) == SummaryKey(DATE, "my.table_1-x", "01795222820000-0123abcd")
    assert parse_summary_key("p", key) is None
    assert parse_summary_key("p/q", key + "x") is None


def test_names_of_sets_are_ascii():
    assert BACKUP_DATE.match("2026-11-21T010203Z")
    assert not BACKUP_DATE.match("٢٠٢٦-11-21")
    assert not BACKUP_DATE.match("2026-11-21\n")
