"""Writes one incremental export to S3 exactly as AWS does: of every item that changed in a window, how it stood before
and how it stands at its end. There is one record per item, whatever happened to it in between."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.aws import Client
from chalicelib.clock import Clock, system_clock
from sandbox.exports.layout import ExportFacts, Item, Window, change_line, new_export_id
from sandbox.exports.partitions import Partitions
from sandbox.exports.writer import RandomBytes, WrittenExport, write_partitions

# What AWS says of a handful of changes.
LEAST_BILLED_BYTES = 10_000_000


@dataclass(frozen=True)
class Insert:
    new: Item


@dataclass(frozen=True)
class Update:
    old: Item
    new: Item


@dataclass(frozen=True)
class Delete:
    """`old` holds the keys at least."""

    old: Item


Change = Insert | Update | Delete


def write_incremental_export(
    s3: Client,
    *,
    bucket: str,
    prefix: str | None,
    table_arn: str,
    records: Iterable[Change],
    key_names: Sequence[str],
    from_ms: int,
    to_ms: int,
    view: str = "NEW_AND_OLD_IMAGES",
    partitions: int = 4,
    export_id: str | None = None,
    now_ms: Clock = system_clock,
    table_id: str = "00000000-0000-4000-8000-000000000000",
    random_bytes: RandomBytes = secrets.token_bytes,
) -> WrittenExport:
    """Writes a whole export of `records` (items in AttributeValue form, `B` as bytes) into `bucket`.

    `key_names` is the partition key, then the sort key if the table has one. The window is from `from_ms`, inclusive,
    to `to_ms`, in whole seconds; every change is written down with another microsecond of it, in their order. `view`
    is `NEW_AND_OLD_IMAGES` or `NEW_IMAGE`. Raises botocore's ClientError when S3 refuses a call.
    """
    start_ms = now_ms() // 1000 * 1000  # AWS starts an incremental export at a whole second
    facts = ExportFacts(
        export_id=export_id or new_export_id(start_ms, random_bytes(4)),
        table_arn=table_arn,
        table_id=table_id,
        bucket=bucket,
        prefix=prefix,
        start_ms=start_ms,
        export_time_ms=to_ms,
        window=Window(from_ms // 1000 * 1000, to_ms // 1000 * 1000, view),
    )
    with Partitions(partitions) as spooled:
        for number, change in enumerate(records):
            old, new = _images(change)
            line = change_line(old=old, new=new, key_names=key_names, written_at_us=from_ms * 1000 + number, view=view)
            spooled.add(new or old or {}, key_names, line)
        spooled.seal()
        return write_partitions(
            s3, facts, spooled, now_ms=now_ms, billed_size_bytes=LEAST_BILLED_BYTES, random_bytes=random_bytes
        )


def _images(change: Change) -> tuple[Item | None, Item | None]:
    match change:
        case Insert(new):
            return None, new
        case Update(old, new):
            return old, new
        case Delete(old):
            return old, None
