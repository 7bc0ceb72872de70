"""Parsing what exports write about themselves: real samples are read, hostile input is one kind of error."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.backup.export_files import FileEntry, md5_of, parse_summary, read_file_list, verify_checksum
from chalicelib.errors import ExportInvalid

SAMPLES = Path(__file__).parents[4] / "shared" / "export-samples" / "bucket"
ROOT = "p/AWSDynamoDB/01795222820000-0123abcd"
KEY = f"{ROOT}/manifest-files.json"
MD5 = "FjvgqIxwymKf1RbbqtrZag=="
needs_samples = pytest.mark.skipif(not SAMPLES.exists(), reason="the real exports are not on this machine")


def line(**changes) -> bytes:
    entry = {
        "itemCount": 3,
        "md5Checksum": MD5,
        "etag": "7deb4078f238dd87d6af0538152c04e9-1",
        "dataFileS3Key": f"{ROOT}/data/aaaaaaaaaaaaaaaaaaaaaaaaaa.json.gz",
    }
    return json.dumps({**entry, **changes}, separators=(",", ":")).encode() + b"\n"


def listed(content: bytes, *, chunk: int = 7, md5: str | None = None) -> list[FileEntry]:
    chunks = [content[start : start + chunk] for start in range(0, len(content), chunk)]
    return list(read_file_list(chunks, key=KEY, md5=md5))


def summary(**changes) -> bytes:
    document = {
        "version": "2020-06-30",
        "exportArn": "arn:aws:dynamodb:r:123456789012:table/orders/export/01795222820000-0123abcd",
        "startTime": "2026-11-21T01:00:20.000Z",
        "endTime": "2026-11-21T01:06:20.000Z",
        "tableArn": "arn:aws:dynamodb:r:123456789012:table/orders",
        "tableId": "x",
        "exportTime": "2026-11-21T01:00:20.000Z",
        "s3Bucket": "b",
        "s3Prefix": None,
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": KEY,
        "billedSizeBytes": 0,
        "itemCount": 3,
        "outputFormat": "DYNAMODB_JSON",
    }
    return json.dumps({**document, **changes}).encode()


SUMMARY_KEY = f"{ROOT}/manifest-summary.json"


def test_a_full_exports_summary_is_read_with_its_oddities():
    found = parse_summary(summary(), key=SUMMARY_KEY)
    assert (found.export_type, found.s3_prefix, found.version) == ("FULL_EXPORT", None, "2020-06-30")
    assert parse_summary(summary(version="2031-01-01", new={}), key=SUMMARY_KEY).version == "2031-01-01"
    assert parse_summary(summary(exportType="INCREMENTAL_EXPORT"), key=SUMMARY_KEY).export_type == "INCREMENTAL_EXPORT"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        summary(itemCount=-1),
        summary(itemCount="3"),
        summary(itemCount=10**30),
        summary(version=20200630),
        summary(billedSizeBytes=-1),
        summary(manifestFilesS3Key="p/AWSDynamoDB/other/manifest-files.json"),
        summary(s3Bucket=None),
    ],
    ids=range(14),
)
def test_a_bad_summary_is_invalid_and_named(content):
    with pytest.raises(ExportInvalid, match="manifest-summary"):
        parse_summary(content, key=SUMMARY_KEY)


@given(st.binary(max_size=300))
@example(b'{"version":"\\ud800"}')
def test_arbitrary_bytes_are_an_invalid_summary_and_no_other_error(content):
    with pytest.raises(ExportInvalid):
        parse_summary(content, key=SUMMARY_KEY)


@given(st.binary(max_size=300), st.integers(1, 50), st.none() | st.just(MD5))
def test_arbitrary_bytes_are_an_invalid_file_list_or_an_empty_one(content, chunk, md5):
    try:
        found = listed(content, chunk=chunk, md5=md5)
    except ExportInvalid:
        return
    assert found == []
    assert not content.strip(b"\n")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["itemCount", "md5Checksum", "etag", "dataFileS3Key"]), _values)
def test_a_line_with_any_value_anywhere_is_an_entry_inside_the_folder_or_invalid(name, value):
    try:
        (entry,) = listed(line(**{name: value}), chunk=1000)
    except ExportInvalid:
        return
    assert entry.key.startswith(f"{ROOT}/data/")
    assert entry.item_count >= 0


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, 10_000])
def test_entries_are_the_same_however_the_list_is_cut(chunk):
    lines = [line(dataFileS3Key=f"{ROOT}/data/{number}.json.gz", itemCount=number) for number in range(20)]
    content = b"".join(lines)
    found = listed(content, chunk=chunk, md5=md5_of(content))
    assert [(entry.key, entry.item_count) for entry in found] == [(f"{ROOT}/data/{n}.json.gz", n) for n in range(20)]
    assert found[0].etag == "7deb4078f238dd87d6af0538152c04e9-1"
    assert found[0].md5 == MD5


def test_a_last_line_without_a_newline_and_a_quoted_etag_are_read():
    assert listed(line(etag='"abc-1"').rstrip())[0].etag == "abc-1"


@pytest.mark.parametrize(
    "key",
    [
        "other/data/a.json.gz",
        f"{ROOT}/data/",
        f"{ROOT}/data/..",
        f"{ROOT}/data/../a.json.gz",
        f"{ROOT}/data/sub/a.json.gz",
        f"{ROOT}/data",
        f"/{ROOT}/data/a.json.gz",
        f"{ROOT}x/data/a.json.gz",
        "",
    ],
)
def test_a_key_outside_the_exports_own_folder_is_invalid(key):
    with pytest.raises(ExportInvalid, match="outside"):
        listed(line(dataFileS3Key=key))


@pytest.mark.parametrize(
    "changes",
    [{"itemCount": -1}, {"itemCount": 1.5}, {"md5Checksum": "x"}, {"md5Checksum": "é" * 24}, {"md5Checksum": "AAAA"}],
)
def test_a_bad_entry_is_invalid_and_its_line_named(changes):
    with pytest.raises(ExportInvalid, match="line 2"):
        listed(line() + line(dataFileS3Key=f"{ROOT}/data/b.json.gz", **changes))


INCREMENTAL_KEY = "p/AWSDynamoDB/data/aaaaaaaaaaaaaaaaaaaaaaaaaa.json.gz"


def test_an_incremental_export_has_its_data_files_beside_its_folder_and_nowhere_else():
    content = line(dataFileS3Key=INCREMENTAL_KEY)
    (entry,) = read_file_list([content], key=KEY, md5=md5_of(content), is_incremental=True)
    assert (entry.key, entry.item_count) == (INCREMENTAL_KEY, 3)
    with pytest.raises(ExportInvalid, match=r"outside of p/AWSDynamoDB/data/"):
        list(read_file_list([line()], key=KEY, md5=None, is_incremental=True))


def test_the_folder_that_increments_share_is_outside_of_a_full_exports():
    with pytest.raises(ExportInvalid, match="outside"):
        listed(line(dataFileS3Key=INCREMENTAL_KEY))


def test_a_data_file_in_ion_is_named_as_such():
    with pytest.raises(ExportInvalid, match="line 1 names a data file in Amazon Ion"):
        listed(line(dataFileS3Key=f"{ROOT}/data/aaaaaaaaaaaaaaaaaaaaaaaaaa.ion.gz"))


def test_a_file_named_twice_is_invalid_and_named():
    with pytest.raises(ExportInvalid, match=r"aaaaaaaa.* a second time"):
        listed(line() + line(itemCount=4))


def test_a_changed_or_truncated_list_is_invalid():
    content = line() + line(dataFileS3Key=f"{ROOT}/data/b.json.gz")
    whole = md5_of(content)
    assert len(listed(content, md5=whole)) == 2
    for damaged in (content[: len(line())], content.replace(b'"itemCount":3', b'"itemCount":4'), b""):
        with pytest.raises(ExportInvalid):
            listed(damaged, md5=whole)


def test_an_endless_line_is_invalid_before_it_fills_the_memory():
    read = []

    def endless():
        for number in range(10_000):
            read.append(number)
            yield b"x" * 1024

    with pytest.raises(ExportInvalid, match="more than"):
        list(read_file_list(endless(), key=KEY, md5=None))
    assert len(read) < 100


@given(st.binary(max_size=100))
def test_any_other_checksum_does_not_match(checksum):
    content = b"content"
    if checksum.strip() == md5_of(content).encode():
        return
    with pytest.raises(ExportInvalid):
        verify_checksum("x", content, checksum)


def test_a_checksum_may_have_blanks_around_it():
    verify_checksum("x", b"content", b" " + md5_of(b"content").encode() + b"\n")


@needs_samples
@pytest.mark.parametrize(("sample", "files", "items"), [("real-1", 4, 3), ("real-2", 1, 6)])
def test_real_exports_are_read_and_their_checksums_match(sample, files, items):
    (path,) = (SAMPLES / sample).rglob("manifest-summary.json")
    key = str(path.relative_to(SAMPLES / sample))
    verify_checksum(key, path.read_bytes(), path.with_suffix(".md5").read_bytes())
    found = parse_summary(path.read_bytes(), key=key)
    list_path = SAMPLES / sample / found.manifest_files_s3_key
    md5 = list_path.with_suffix(".md5").read_text().strip()
    entries = list(read_file_list([list_path.read_bytes()], key=found.manifest_files_s3_key, md5=md5))
    assert (len(entries), sum(entry.item_count for entry in entries)) == (files, items)
    assert found.item_count == items
    assert found.export_type == "FULL_EXPORT"


@needs_samples
def test_a_real_incremental_export_is_told_apart_and_its_file_list_read():
    (path,) = (SAMPLES / "real-6").rglob("manifest-summary.json")
    found = parse_summary(path.read_bytes(), key=str(path.relative_to(SAMPLES / "real-6")))
    assert (found.export_type, found.export_time) == ("INCREMENTAL_EXPORT", None)
    assert (found.export_from_time, found.export_to_time) == ("2026-01-14T10:35:00.000Z", "2026-01-14T10:50:00.000Z")
    list_path = SAMPLES / "real-6" / found.manifest_files_s3_key
    md5 = list_path.with_suffix(".md5").read_text().strip()
    chunks, key = [list_path.read_bytes()], found.manifest_files_s3_key
    entries = list(read_file_list(chunks, key=key, md5=md5, is_incremental=True))
    assert sum(entry.item_count for entry in entries) == found.item_count == 5
    assert all((SAMPLES / "real-6" / entry.key).exists() for entry in entries)
