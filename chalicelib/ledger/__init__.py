"""The ledger: one DynamoDB table, the only place where progress is decided.

Owns how a row is read, written conditionally and moved in transactions; which rows there are is owned by
`backup.catalog` and `restore.records`. Every read is strongly consistent unless it goes through an index.

Keys: `pk`, `sk`. Index `by_kind` (`kind`, `sort_name`) lists sets and restores, newest first; the sparse
index `open_work` (`open_kind`, `opened_at_ms`) holds only what is not finished, so that a sweep with nothing
to do is one query.
Finished work carries `expires_at_s`, the table's TTL attribute.
"""

from chalicelib.ledger.table import KIND_INDEX, OPEN_INDEX, Ledger, decode
from chalicelib.ledger.writes import (
    Check,
    ConditionFailed,
    Delete,
    Key,
    Put,
    Row,
    Update,
    Write,
    absent,
    present,
)

__all__ = [
    "KIND_INDEX",
    "OPEN_INDEX",
    "Check",
    "ConditionFailed",
    "Delete",
    "Key",
    "Ledger",
    "Put",
    "Row",
    "Update",
    "Write",
    "absent",
    "decode",
    "present",
]
