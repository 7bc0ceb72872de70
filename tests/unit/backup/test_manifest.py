"""manifest.json: what may be acted on, and what is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.assembly import assemble
from chalicelib.backup.chain import links_of
from chalicelib.backup.layout import BACKUP_DATE, SummaryKey, parse_summary_key, summary_key
from chalicelib.backup.manifest import MOST_LINKS, SCHEMA_VERSION, BaseLink, Manifest, decode_manifest, encode_manifest
from chalicelib.backup.rows import ExportParameters, ExportRow, SetRecord, SetRow
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
        tables=["orders", "broken"],
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
    return SetRecord(set_row, [broken, orders])


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
    (orders,), (broken,) = found.exports_of("orders"), found.exports_of("broken")
    running = msgspec.structs.replace(broken, status=ExportState.IN_PROGRESS)
    assert not SetRecord(found.set, [orders, running]).is_decided
    assert not SetRecord(found.set, [orders]).is_decided
    assert not SetRecord(found.set, [orders], {"broken": "cannot be read"}).is_decided


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
        (manifest(schema_version=SCHEMA_VERSION + 1), "newer tablevault"),
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


def link(day: int = 20, **changes: Any) -> BaseLink:
    """A full export of the day before the set's."""
    export = f"p/2026-11-{day:02d}/orders/AWSDynamoDB/017952228{day}000-0123abcd"
    made = BaseLink(
        backup_date=f"2026-11-{day:02d}",
        export_type="FULL_EXPORT",
        export_format="DYNAMODB_JSON",
        export_arn="arn/export/0",
        export_time=f"2026-11-{day:02d}T01:00:00.500Z",
        item_count=20,
        size_bytes=1_000,
        data_files=4,
        manifest_summary_key=f"{export}/manifest-summary.json",
        manifest_files_key=f"{export}/manifest-files.json",
        manifest_files_md5="FjvgqIxwymKf1RbbqtrZag==",
    )
    return msgspec.structs.replace(made, **changes)


OTHER_EXPORT = link().manifest_files_key.replace("0123abcd", "0123abce")


def increment(**changes: Any) -> Manifest:
    times = {"export_time": None, "export_from": "2026-11-20T01:00:00.000Z", "export_to": "2026-11-21T01:00:00.000Z"}
    return orders(**{"export_type": "INCREMENTAL_EXPORT", "base": (link(),), **times, **changes})


def test_a_set_of_increments_says_alone_what_it_builds_on():
    content = encode_manifest(increment())
    document = json.loads(content)["tables"][0]
    assert (document["from"], document["to"]) == ("2026-11-20T01:00:00.000Z", "2026-11-21T01:00:00.000Z")
    assert [each["export_type"] for each in document["base"]] == ["FULL_EXPORT"]
    assert "export_from" not in document
    found = decoded(content)
    assert found == increment()
    (base, own) = links_of(found.tables[0])
    assert base == link()
    assert (own.backup_date, own.export_from, own.item_count) == (DATE, "2026-11-20T01:00:00.000Z", 7)


def test_a_set_of_the_first_schema_version_is_read():
    document = json.loads(encode_manifest(manifest(schema_version=1)))
    for table in document["tables"]:
        for name in ("base", "from", "to"):
            del table[name]
    assert decoded(json.dumps(document).encode()) == manifest(schema_version=1)


def test_an_export_in_another_format_does_not_make_the_whole_set_unreadable():
    assert decoded(encode_manifest(orders(export_format="ION"))).tables[0].export_format == "ION"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (orders(base=(link(),)), "full export, which builds on no other one"),
        (increment(base=(link(backup_date="2026-11-19"),)), "outside of where it stands: p/2026-11-19/orders/"),
        (increment(base=(link(backup_date="2026-11-20/../x"),)), "cannot be a set's name"),
        (increment(base=(link(manifest_files_md5="x"),)), "base link 1 of orders has no MD5"),
        (increment(base=(link(manifest_files_key=link(19).manifest_files_key),)), "manifest_files_key of base link 1"),
        (increment(base=(link(manifest_summary_key="q/x"),)), "manifest_summary_key of base link 1"),
        (increment(base=(link(), link())), "names an export twice"),
        (increment(base=(link(item_count=-1),)), "item_count"),
        (increment(base=(link(data_files=2**63),)), "data_files"),
        (increment(base=(link(manifest_files_key=OTHER_EXPORT),)), "manifest_files_key of base link 1"),
        (increment(base=(link(export_format="ION\n" * 900),)), "base link 1 of orders is in ION.{200,400}no format"),
        (increment(manifest_files_md5=None), "has no MD5"),
        (increment(manifest_files_key=link().manifest_files_key), "outside"),
    ],
)
def test_a_base_that_cannot_be_trusted_is_refused(bad, said):
    with pytest.raises(ManifestInvalid, match=said):
        decoded(encode_manifest(bad))


def test_a_chain_of_more_links_than_are_taken_is_refused():
    links = tuple(
        link(
            backup_date=DATE,
            manifest_summary_key=f"{ROOT}/AWSDynamoDB/{number}/manifest-summary.json",
            manifest_files_key=f"{ROOT}/AWSDynamoDB/{number}/manifest-files.json",
        )
        for number in range(MOST_LINKS)
    )
    assert len(links_of(decoded(encode_manifest(increment(base=links[1:]))).tables[0])) == MOST_LINKS
    with pytest.raises(ManifestInvalid, match="base"):
        decoded(encode_manifest(increment(base=links)))


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
