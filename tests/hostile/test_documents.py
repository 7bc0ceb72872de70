"""Manifest, file list, summary and table.json: what is valid comes back as it was written, everything else is refused
in one line that may be shown."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.backup import export_files
from chalicelib.backup.definition import encode_definition
from chalicelib.backup.documents import shown
from chalicelib.backup.manifest import encode_manifest
from chalicelib.errors import ExportInvalid
from tests.hostile import properties
from tests.hostile.documents import SUMMARY, damaged, definitions, encoded, file_record, manifests
from tests.hostile.properties import DATA_KEY, FILES_KEY, FOLDER, ROOT, assert_showable

fixed = settings(derandomize=True, deadline=None, max_examples=150)


@fixed
@given(manifests())
def test_any_valid_manifest_is_read_as_it_was_written(written):
    assert properties.manifest(encode_manifest(written)) == written


@fixed
@given(manifests().flatmap(lambda written: damaged(msgspec.to_builtins(written))))
def test_a_damaged_manifest_is_refused_or_can_be_trusted(content):
    properties.manifest(content)


@fixed
@given(definitions())
def test_any_valid_definition_is_read_as_it_was_written(written):
    assert properties.definition(encode_definition(written)) == written


@fixed
@given(definitions().flatmap(lambda written: damaged(msgspec.to_builtins(written))))
def test_a_damaged_definition_is_refused_or_can_be_used(content):
    properties.definition(content)


@fixed
@given(damaged(SUMMARY))
def test_a_damaged_summary_is_refused_or_can_be_used(content):
    properties.summary(content)


def numbered_record(number: int):
    return file_record(itemCount=number, dataFileS3Key=f"{FOLDER}/data/{number}.json.gz")


records = st.integers(0, 2**62).map(numbered_record)


@fixed
@given(st.lists(records, max_size=5, unique_by=lambda record: record["itemCount"]), st.integers(1, 400))
def test_any_valid_file_list_is_read_as_it_was_written(written, chunk_bytes):
    entries = properties.file_list(b"".join(encoded(record) + b"\n" for record in written), chunk_bytes)
    assert entries is not None
    found = [(entry.key, entry.item_count) for entry in entries]
    assert found == [(record["dataFileS3Key"], record["itemCount"]) for record in written]


@fixed
@given(st.lists(damaged(file_record()), max_size=3), st.integers(1, 400))
def test_a_damaged_file_list_is_refused_or_stays_inside(lines, chunk_bytes):
    properties.file_list(b"\n".join(lines), chunk_bytes)


# --- what one document can be made of, whichever it is ----------------------------------------------------------------

READERS = {name: getattr(properties, name) for name in ("manifest", "definition", "summary", "file_list")}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"schema_version":1,"version":"x","itemCount":1,"tables":' + b"[" * 200_000,
        b'{"schema_version":' + b"9" * 100_000 + b"}",
        b'{"itemCount":' + b"9" * 100_000 + b"}",
        b'{"status":"' + b"\\u001b[2J\\n" * 100_000 + b'","version":"\\ud800"}',
        b'{"schema_version":1,"status":"' + b"x" * 1_000_000 + b'"}',
    ],
    ids=range(11),
)
def test_hostile_bytes_are_refused_in_one_short_line(read, content):
    assert not read(content)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain", "plain"),
        ("a\nb\x1b[2J\x00", r"a\nb\x1b[2J\x00"),
        ("\u202egpj.exe \u2028\ud800", r"\u202egpj.exe \u2028\ud800"),
        ("x" * 201, "x" * 200 + "…"),
        ("\n" * 150, r"\n" * 100 + "…"),
    ],
)
def test_a_foreign_text_is_shown_in_one_short_line(text, said):
    assert shown(text) == said


# --- keys -------------------------------------------------------------------------------------------------------------

NAME = DATA_KEY.rsplit("/", 1)[1]
FOREIGN_DATA_KEYS = [
    f"{ROOT}/users/AWSDynamoDB/01795222820000-0123abcd/data/{NAME}",
    f"{ROOT}/orders-evil/AWSDynamoDB/01795222820000-0123abcd/data/{NAME}",
    f"{FOLDER}-evil/data/{NAME}",
    f"{FOLDER}/data-evil/{NAME}",
    f"{FOLDER}/data/../data/{NAME}",
    f"{FOLDER}/data/./{NAME}",
    f"{FOLDER}/data//{NAME}",
    f"{FOLDER}/data/sub/{NAME}",
    f"/{DATA_KEY}",
    f"s3://b/{DATA_KEY}",
    f"{FOLDER}/data/%2e%2e%2f{NAME}",
    f"{FOLDER}/data/..\\{NAME}",
    f"{FOLDER}/data/a\n.json.gz",
    f"{FOLDER}/data/a\r.json.gz",
    f"{FOLDER}/data/a\x00.json.gz",
    f"{FOLDER}/data/a b.json.gz",
    f"{FOLDER}/data/a\u2024\u2024.json.gz",  # one dot leaders
    f"{FOLDER}/data/\uff0e\uff0e\uff0f{NAME}",  # full width dots and slash
    f"{FOLDER}/data/\u202egz.nosj.json.gz",
    f"{FOLDER.replace('orders', chr(0x43E) + 'rders')}/data/{NAME}",  # a Cyrillic o
    f"{FOLDER}/data/{'a' * 1_024}.json.gz",
    f"{FOLDER}/data/.json.gz",
    f"{FOLDER}/data/a.json",
    f"{DATA_KEY}\n",
    f"{DATA_KEY}/",
    "",
    "x" * 10_000,
]


@pytest.mark.parametrize("key", FOREIGN_DATA_KEYS, ids=range(len(FOREIGN_DATA_KEYS)))
def test_a_file_list_names_its_own_data_files_only(key):
    content = encoded(file_record(dataFileS3Key=key)) + b"\n"
    with pytest.raises(ExportInvalid, match="outside of") as raised:
        list(export_files.read_file_list([content], key=FILES_KEY, md5=None))
    assert_showable(raised.value.message)


def test_a_million_lines_are_refused_where_they_become_too_many():
    taken = []

    def lines():
        for number in range(1_000):
            taken.append(number)
            yield b"".join(encoded(numbered_record(number * 1_000 + each)) + b"\n" for each in range(1_000))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_files, "MOST_DATA_FILES", 2_500)
        with pytest.raises(ExportInvalid, match="more than 2500 lines"):
            list(export_files.read_file_list(lines(), key=FILES_KEY, md5=None))
    assert len(taken) == 3


def test_a_file_list_of_newlines_is_refused_at_once():
    taken = []

    def newlines():
        for number in range(100):
            taken.append(number)
            yield b"\n" * 262_144

    with pytest.raises(ExportInvalid, match="more than 250000 lines"):
        list(export_files.read_file_list(newlines(), key=FILES_KEY, md5=None))
    assert len(taken) == 1


def test_a_long_line_is_refused_however_it_is_cut():
    long = json.dumps(file_record(etag="e" * 20_000)).encode() + b"\n"
    for chunks in ([long], [long[:10], long[10:]], [long[i : i + 7_000] for i in range(0, len(long), 7_000)]):
        with pytest.raises(ExportInvalid, match="more than 16384 bytes"):
            list(export_files.read_file_list(chunks, key=FILES_KEY, md5=None))


def test_a_repeated_name_counts_as_it_stands_last_and_is_checked_as_such():
    """So no second value stands behind the one that was checked."""
    record = encoded(file_record())[:-1]
    outside = record + b',"dataFileS3Key":"elsewhere"}\n'
    inside = record.replace(DATA_KEY.encode(), b"elsewhere") + b',"dataFileS3Key":"%s"}\n' % DATA_KEY.encode()
    assert properties.file_list(outside) is None
    assert [entry.key for entry in properties.file_list(inside) or []] == [DATA_KEY]
