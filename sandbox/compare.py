"""Tables compared item by item: what a table held at one moment, and every way it differs now."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.exports.snapshot import scan_items

Client = Any  # a boto3 client; its methods are made at run time
Snapshot = Mapping[str, str]  # an item's key to the whole item, both as canonical JSON


@dataclass(frozen=True)
class Difference:
    missing: int
    changed: int
    unexpected: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.unexpected)

    def __str__(self) -> str:
        return f"{self.missing} missing, {self.changed} changed, {self.unexpected} unexpected"


def snapshot(dynamodb: Client, table_name: str, key_names: Sequence[str]) -> Snapshot:
    """Every item, read consistently, in the exact form DynamoDB gives it on the wire."""
    found = {}
    for item in scan_items(dynamodb, table_name):
        found[canonical({name: item[name] for name in key_names})] = canonical(item)
    return found


def compare(before: Snapshot, now: Snapshot) -> Difference:
    return Difference(
        missing=len(before.keys() - now.keys()),
        changed=sum(1 for key in before.keys() & now.keys() if before[key] != now[key]),
        unexpected=len(now.keys() - before.keys()),
    )


def canonical(value: Any) -> str:
    """An item or a key as JSON with names sorted, and sets too: DynamoDB's have no order. Bytes, where a client gives
    them."""
    return json.dumps(_sorted_sets(value), sort_keys=True, default=bytes.hex)


def _sorted_sets(value: Any) -> Any:
    if isinstance(value, list):
        return [_sorted_sets(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        name: sorted(entry) if name in ("SS", "NS", "BS") and isinstance(entry, list) else _sorted_sets(entry)
        for name, entry in value.items()
    }
