"""The operations that the raw write path sends as JSON, as the simulated client takes them, and their answers back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.restore.datapath.raw_batch import attributes, plain

Document = dict[str, Any]
RawById = dict[int, Any]  # what was sent, by the identity of what was made of it


@dataclass(frozen=True)
class RawOperation:
    name: str
    given: Callable[[Document], tuple[Document, RawById]]
    answered: Callable[[Document, RawById], Document]


def _batch_write_given(document: Document) -> tuple[Document, RawById]:
    ((table, raw),) = document["RequestItems"].items()
    raw_by_id: RawById = {}
    writes = []
    for entry in raw:
        ((verb, body),) = entry.items()
        writes.append({verb: {name: attributes(item) for name, item in body.items()}})
        raw_by_id[id(writes[-1])] = entry
    return {**document, "RequestItems": {table: writes}}, raw_by_id


def _batch_write_answered(answer: Document, raw_by_id: RawById) -> Document:
    left = answer["UnprocessedItems"]
    return {**answer, "UnprocessedItems": {name: [raw_by_id[id(write)] for write in left[name]] for name in left}}


def _put_given(document: Document) -> tuple[Document, RawById]:
    return {**document, "Item": attributes(document["Item"])}, {}


def _batch_get_given(document: Document) -> tuple[Document, RawById]:
    ((table, asked),) = document["RequestItems"].items()
    return {**document, "RequestItems": {table: {**asked, "Keys": [attributes(key) for key in asked["Keys"]]}}}, {}


def _batch_get_answered(answer: Document, _: RawById) -> Document:
    items = {name: [plain(item) for item in found] for name, found in answer["Responses"].items()}
    left = {
        name: {**asked, "Keys": [plain(key) for key in asked["Keys"]]}
        for name, asked in answer["UnprocessedKeys"].items()
    }
    return {**answer, "Responses": items, "UnprocessedKeys": left}


RAW_OPERATIONS = {
    "BatchWriteItem": RawOperation("batch_write_item", _batch_write_given, _batch_write_answered),
    "PutItem": RawOperation("put_item", _put_given, lambda answer, _: answer),
    "BatchGetItem": RawOperation("batch_get_item", _batch_get_given, _batch_get_answered),
}
