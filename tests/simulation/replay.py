"""What sets come to, and what they should: read from the bucket's files as anybody could, and from a log of all that
was written to the tables. Knows nothing of the service."""

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec

from tests.simulation.aws.s3 import StoredObject
from tests.simulation.chains import Item

_EXPORTS = "native-exports/"
Document = dict[str, Any]
Items = dict[str, Item]


class ItemLog:
    """Every write to the tables, as who wrote it knows it. Times are epoch milliseconds."""

    def __init__(self) -> None:
        self._writes: dict[str, list[tuple[int, str | None, Item | None]]] = {}

    def begin(self, table: str, at_ms: int, items: list[Item]) -> None:
        """The table is made, with these items, and has none of those of before."""
        writes = self._writes.setdefault(table, [])
        writes.append((at_ms, None, None))
        writes += [(at_ms, item["id"]["S"], item) for item in items]

    def add(self, table: str, at_ms: int, name: str, item: Item | None) -> None:
        self._writes[table].append((at_ms, name, item))

    def items_before(self, table: str, moment_ms: int) -> Items:
        items: Items = {}
        for at_ms, name, item in self._writes[table]:
            if at_ms >= moment_ms:
                break
            if name is None:
                items.clear()
            elif item is None:
                items.pop(name, None)
            else:
                items[name] = msgspec.to_builtins(item)
        return items


def manifests(objects: Mapping[str, StoredObject]) -> dict[str, Document]:
    """By the sets' names, oldest first."""
    keys = sorted(key for key in objects if key.startswith(_EXPORTS) and key.endswith("/manifest.json"))
    return {key.split("/")[1]: json.loads(objects[key].body) for key in keys}


def links(table: Document) -> list[Document]:
    """The exports that a table of a set is restored from; its own is the last."""
    return [*table.get("base", []), table]


def window_of(link: Document) -> tuple[int, int]:
    """From when to when an export tells what there was, in epoch milliseconds; a full one has all up to its moment."""
    if link["export_type"] == "FULL_EXPORT":
        return 0, _ms(link["export_time"])
    return _ms(link["from"]), _ms(link["to"])


def gap_of(table: Document) -> str | None:
    """What is wrong with the order of a table's exports."""
    chain = links(table)
    if [link["export_type"] == "FULL_EXPORT" for link in chain] != [True, *[False] * (len(chain) - 1)]:
        return f"is made of {[link['export_type'] for link in chain]}"
    windows = [window_of(link) for link in chain]
    for (_, reached_ms), (from_ms, to_ms) in pairwise(windows):
        if from_ms > reached_ms or to_ms <= reached_ms:
            return f"has {reached_ms} to {from_ms} in no export, or {to_ms} is not later"
    return None


def replay(objects: Mapping[str, StoredObject], table: Document) -> Items:
    """The table as its exports' files have it, one after another."""
    items: Items = {}
    for link in links(table):
        for line in _lines(objects, link["manifest_files_key"]):
            if "Item" in line:
                items[line["Item"]["id"]["S"]] = line["Item"]
            elif "NewImage" in line:
                items[line["Keys"]["id"]["S"]] = line["NewImage"]
            else:
                items.pop(line["Keys"]["id"]["S"], None)
    return items


def _lines(objects: Mapping[str, StoredObject], files_key: str) -> Iterator[Document]:
    for record in objects[files_key].body.splitlines():
        for line in gzip.decompress(objects[json.loads(record)["dataFileS3Key"]].body).splitlines():
            yield json.loads(line)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
