"""What must hold for any bytes that stand in the place of one of the bucket's documents: the reader gives a typed
result that can be acted on, or raises one error of ours whose message may be shown. Used by hypothesis and atheris.
"""

import base64
import gzip
import hashlib
import io
import json
import zlib
from typing import Any

import msgspec
from botocore.response import StreamingBody

from chalicelib.backup import layout
from chalicelib.backup.chain import links_of, missing_links
from chalicelib.backup.definition import TableDefinition, decode_definition, encode_definition
from chalicelib.backup.export_files import FileEntry, Summary, parse_summary, read_file_list
from chalicelib.backup.manifest import Manifest, decode_manifest, encode_manifest, to_json_object
from chalicelib.errors import DataFileDamaged, ExportInvalid, ManifestInvalid
from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.restore.datapath.raw_batch import batch_body, put_request
from chalicelib.restore.datapath.reader import DataFile, DataFileReader
from chalicelib.restore.phases.checking import definition_keys
from chalicelib.retry import Backoff
from chalicelib.selection import TABLE_NAME
from tests.faults import FakeTime

PREFIX = "native-exports"
DATE = "2026-11-21"
ROOT = f"{PREFIX}/{DATE}"
MANIFEST_KEY = f"{ROOT}/manifest.json"
FOLDER = f"{ROOT}/orders/AWSDynamoDB/01795222820000-0123abcd"
SUMMARY_KEY = f"{FOLDER}/manifest-summary.json"
FILES_KEY = f"{FOLDER}/manifest-files.json"
DEFINITION_KEY = f"{ROOT}/orders/table.json"
DATA_KEY = f"{FOLDER}/data/aaaaaaaaaaaaaaaaaaaaaaaaaa.json.gz"

_LONGEST_MESSAGE = 2_000
_MOST_COUNT = 2**62


def manifest(content: bytes) -> Manifest | None:
    try:
        found = decode_manifest(content, key=MANIFEST_KEY, exports_prefix=PREFIX, backup_date=DATE)
    except ManifestInvalid as error:
        assert_showable(error.message)
        return None
    names = [table.table_name for table in found.tables]
    assert all(TABLE_NAME.fullmatch(name) for name in names)
    assert len(set(names)) == len(names)
    for table in found.tables:
        assert 0 <= table.item_count <= _MOST_COUNT
        if table.status == "COMPLETED":
            for key in (table.manifest_summary_key, table.manifest_files_key, table.definition_key):
                assert key is not None
                assert_inside(key, f"{ROOT}/{table.table_name}/")
            for link in table.base:
                for key in (link.manifest_summary_key, link.manifest_files_key):
                    assert_inside(key, f"{PREFIX}/{link.backup_date}/{table.table_name}/")
            assert all(links_of(table))
            for text in missing_links(table):
                assert_showable(text)
    assert decode_manifest(encode_manifest(found), key="k", exports_prefix=PREFIX, backup_date=DATE) == found
    msgspec.json.encode(to_json_object(found))
    return found


def file_list(content: bytes, chunk_bytes: int = 64) -> list[FileEntry] | None:
    chunks = (content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes))
    try:
        entries = list(read_file_list(chunks, key=FILES_KEY, md5=None))
    except ExportInvalid as error:
        assert_showable(error.message)
        return None
    for entry in entries:
        assert_inside(entry.key, f"{FOLDER}/data/")
        assert 0 <= entry.item_count <= _MOST_COUNT
        assert len(base64.b64decode(entry.md5, validate=True)) == 16
    kept_aside = {layout.rejected_key("r", "orders", entry.key, 0) for entry in entries}
    assert len(kept_aside) == len({entry.key for entry in entries}) == len(entries)
    return entries


def summary(content: bytes) -> Summary | None:
    try:
        found = parse_summary(content, key=SUMMARY_KEY)
    except ExportInvalid as error:
        assert_showable(error.message)
        return None
    assert found.manifest_files_s3_key == FILES_KEY
    assert 0 <= found.item_count <= _MOST_COUNT
    return found


def definition(content: bytes) -> TableDefinition | None:
    try:
        found = decode_definition(content, DEFINITION_KEY)
    except ExportInvalid as error:
        assert_showable(error.message)
        return None
    assert TABLE_NAME.fullmatch(found.table_name)
    keys = definition_keys(found)
    assert [role for role, _, _ in keys] in (["HASH"], ["HASH", "RANGE"])
    assert {kind for _, _, kind in keys} <= {"S", "N", "B"}
    assert decode_definition(encode_definition(found), DEFINITION_KEY) == found
    return found


def data_file(content: bytes, item_count: int) -> list[bytes] | None:
    """Python's own gzip is the reference: what is read is what it reads."""
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    file = DataFile(DATA_KEY, "e", len(content), md5, item_count)
    time = FakeTime()
    retry = Backoff(time.clock, time.sleep, time.random, time.now_ms + 60_000)
    lines: list[bytes] = []
    try:
        for batch in DataFileReader(OneObject(content), "bucket", file, retry=retry).batches():
            assert batch.first_line == len(lines)
            lines += [line[:-1] for line in batch.lines]
    except DataFileDamaged as error:
        assert len(lines) <= item_count
        assert_showable(error.message)
        return None
    assert len(lines) == item_count
    try:
        text = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise AssertionError(f"read as whole although {error}") from error
    assert b"".join(line + b"\n" for line in lines) == text
    return lines


def data_lines(content: bytes) -> list[bytes]:
    """The lines that may go out as they stand: whatever they are, the request made of them is exactly one put of
    one item for each of them, into one table."""
    lines = content.split(b"\n")
    kept = [line for line in lines if is_item_line(line)]
    for line in lines:
        try:
            put_request(line)
        except ValueError:  # its message is constant
            continue
        assert line in kept
    body = batch_body("orders", kept)
    if kept:
        ((top, tables),) = _pairs(body)
        ((table, requests),) = tables
        assert (top, table) == ("RequestItems", "orders")
        assert len(requests) == len(kept)
        for request, line in zip(requests, kept, strict=True):
            ((put, ((name, item),)),) = request
            assert (put, name) == ("PutRequest", "Item")
            assert isinstance(item, _Pairs)
            assert [("Item", item)] == _pairs(line)
    return kept


class OneObject:
    """S3 with one object in it, which nobody changes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_object(self, **request: Any) -> dict[str, Any]:
        assert "Range" not in request, "the stream never broke"
        return {"Body": StreamingBody(io.BytesIO(self._data), len(self._data)), "ContentLength": len(self._data)}


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its names, in order, also those that stand twice."""


def _pairs(text: bytes) -> Any:
    return json.loads(text.decode("utf-8"), object_pairs_hook=_Pairs, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def assert_inside(key: str, folder: str) -> None:
    assert key.startswith(folder)
    assert len(key.encode()) <= 1_024
    assert key.isascii()
    assert key.isprintable()
    assert not {"", ".", ".."} & set(key.split("/"))
    assert not set("%\\ ") & set(key)


def assert_showable(message: str) -> None:
    assert len(message) <= _LONGEST_MESSAGE
    assert message.isprintable(), message
