"""What the two kinds of lines become in requests: as raw JSON, and as boto3 takes it.

Replication of legacy global tables (version 2017.11.29) keeps its notes in attributes of the items themselves, which
exports have too; they are left out, for in another table they would be lies
(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_upgrade.html).
"""

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

import msgspec

from chalicelib.restore.datapath.byte_search import finder
from chalicelib.restore.datapath.item_line import are_item_lines, is_item_line, raw_item
from chalicelib.restore.datapath.raw_batch import attributes, put_request
from chalicelib.restore.datapath.record_line import Record, record_of
from chalicelib.restore.model import LineKind

_REPLICATION_PREFIX = "aws:rep:"
_is_replicated = finder(_REPLICATION_PREFIX.encode())
Document = dict[str, Any]


class Lines(Protocol):
    """One kind of lines. `head` and `separator` stand before the first entry, and between entries, of a BatchWriteItem
    request's list; entries themselves are raw JSON."""

    head: bytes
    separator: bytes

    def entries(self, lines: Sequence[bytes]) -> Sequence[bytes] | None:
        """One entry per line; None if they may not go into a request unparsed: then one of them is malformed."""

    def removals(self, entries: Sequence[bytes]) -> Set[int]:
        """The indexes of the entries that delete."""

    def raw_put(self, line: bytes) -> bytes | None:
        """The item in JSON that a line puts; None if it removes one. ValueError, without content: it is malformed."""

    def documents(self, line: bytes) -> tuple[Document | None, Document]:
        """The item that a line puts, None if it removes one, and where its key is found. ValueError as above."""

    def write_request(self, line: bytes) -> Document:
        """boto3's WriteRequest of a line, binaries decoded. ValueError as above."""


def lines_of(kind: LineKind) -> Lines:
    return ItemLines() if kind is LineKind.ITEM else RecordLines()


class ItemLines:
    """Of full exports. An entry is a line as it stands."""

    head = b'{"PutRequest":'
    separator = b'},{"PutRequest":'

    def entries(self, lines: Sequence[bytes]) -> Sequence[bytes] | None:
        joined = b"".join(lines)
        if not are_item_lines(lines, joined):
            return None
        if not _is_replicated(joined):
            return lines
        try:
            return [b'{"Item":%b}' % _unreplicated(raw_item(line)) for line in lines]
        except ValueError:
            return None

    def removals(self, entries: Sequence[bytes]) -> Set[int]:
        return frozenset()

    def raw_put(self, line: bytes) -> bytes | None:
        if not is_item_line(line):
            raise _not_an_item()
        return _unreplicated(raw_item(line))

    def documents(self, line: bytes) -> tuple[Document | None, Document]:
        raw = self.raw_put(line)
        assert raw is not None
        item = _loaded(raw)
        return item, item

    def write_request(self, line: bytes) -> Document:
        request = put_request(line)
        _drop_replication(request["PutRequest"]["Item"])
        return request


class RecordLines:
    """Of incremental exports: the new image is put, or the key is deleted where there is none."""

    head = b"{"
    separator = b"},{"

    def entries(self, lines: Sequence[bytes]) -> Sequence[bytes] | None:
        entries = []
        for line in lines:
            record = record_of(line)
            if record is None:
                return None
            if record.NewImage is msgspec.UNSET:
                entries.append(b'"DeleteRequest":{"Key":%b}' % bytes(record.Keys))
                continue
            try:
                entries.append(b'"PutRequest":{"Item":%b}' % _unreplicated(bytes(record.NewImage)))
            except ValueError:
                return None
        return entries

    def removals(self, entries: Sequence[bytes]) -> Set[int]:
        return {index for index, entry in enumerate(entries) if entry.startswith(b'"DeleteRequest"')}

    def raw_put(self, line: bytes) -> bytes | None:
        image = _record(line).NewImage
        return None if image is msgspec.UNSET else _unreplicated(bytes(image))

    def documents(self, line: bytes) -> tuple[Document | None, Document]:
        raw = self.raw_put(line)
        return None if raw is None else _loaded(raw), _loaded(bytes(_record(line).Keys))

    def write_request(self, line: bytes) -> Document:
        record = _record(line)
        try:
            if record.NewImage is msgspec.UNSET:
                return {"DeleteRequest": {"Key": attributes(json.loads(bytes(record.Keys)))}}
            item = attributes(json.loads(_unreplicated(bytes(record.NewImage))))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _not_a_record() from None
        return {"PutRequest": {"Item": item}}


def _record(line: bytes) -> Record:
    record = record_of(line)
    if record is None:
        raise _not_a_record()
    return record


def _unreplicated(item: bytes) -> bytes:
    """The item, written anew if it has attributes of replication. Numbers and binaries are texts in DynamoDB JSON,
    so they come out as they went in. ValueError, without content: JSON that Python cannot take apart, or write."""
    if not _is_replicated(item):
        return item
    document = _loaded(item)
    _drop_replication(document)
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        raise _not_an_item() from None


def _drop_replication(item: Document) -> None:
    for name in [name for name in item if name.startswith(_REPLICATION_PREFIX)]:
        del item[name]


def _loaded(raw: bytes) -> Document:
    try:
        document: Document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _not_an_item() from None
    return document


def key_of(document: Mapping[str, Any], key_names: Sequence[str]) -> Document | None:
    """The primary key in an item or in a record's keys; None if it is not whole."""
    if not all(name in document for name in key_names):
        return None
    return {name: document[name] for name in key_names}


def _not_an_item() -> ValueError:
    return ValueError("the line is not an item in DynamoDB JSON")


def _not_a_record() -> ValueError:
    return ValueError("the line is not a record of an incremental export")
