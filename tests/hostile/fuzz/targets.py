"""What is fuzzed: bytes in, a property that holds or an assertion. And the seeds, made here and stored nowhere."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition, encode_definition
from chalicelib.backup.manifest import BACKUP_TYPE, Manifest, ManifestTable, encode_manifest
from tests.hostile import properties
from tests.hostile.documents import FRAGMENTS, MD5, SUMMARY, file_record
from tests.hostile.properties import DATE, FILES_KEY, FOLDER, MANIFEST_KEY, ROOT, SUMMARY_KEY

_MOST_ITEMS = 50


@dataclass(frozen=True)
class Target:
    check: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _manifest() -> bytes:
    orders = ManifestTable(
        table_name="orders",
        status="COMPLETED",
        item_count=3,
        manifest_summary_key=SUMMARY_KEY,
        manifest_files_key=FILES_KEY,
        manifest_files_md5=MD5,
        definition_key=f"{ROOT}/orders/table.json",
    )
    users = ManifestTable(table_name="users", status="FAILED", failure_code="Code", failure_message="why")
    manifest = Manifest(
        schema_version=1, revision=1, backup_date=DATE, environment="e", backup_type=BACKUP_TYPE, status="PARTIAL",
        s3_bucket="b", manifest_s3_key=MANIFEST_KEY, total_tables_processed=2, successful_exports=1, failed_exports=1,
        total_items_exported=3, total_size_mb=0.5, started_at="", completed_at="", tables=(orders, users),
    )  # fmt: skip
    return encode_manifest(manifest)


def _definition() -> bytes:
    definition = TableDefinition(
        table_name="orders",
        table_arn="arn",
        captured_at="",
        keys=(KeyAttribute("id", "HASH"), KeyAttribute("n", "RANGE")),
        attributes=(Attribute("id", "S"), Attribute("n", "N")),
        billing_mode="PAY_PER_REQUEST",
        stream={"StreamEnabled": True},
    )
    return encode_definition(definition)


def _file_list() -> bytes:
    records = (file_record(dataFileS3Key=f"{FOLDER}/data/{number}.json.gz") for number in range(2))
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


_LINES = (
    b'{"Item":{"pk":{"S":"a\\"}}\\u00e9"},"b":{"B":"AAE="},"l":{"L":[{"N":"1"},{"NULL":true}]}}}\n'
    b'{"Item":{"a":{"S":"first"}},"Item":{"a":{"S":"second"}}}\n'
    b'{ "Item" : {"m":{"M":{"Item":{"BS":["AAE="]}}}} }\n'
    b'{"Item":{"a":{"S":"\xc3\xa9"}}}},{"DeleteRequest":{"Key":{}}},{"PutRequest":{"Item":{}}}\n'
)


def _data_file(content: bytes) -> None:
    """The first byte says how many items are claimed, and whether the rest is gzip or what goes into it: few changes
    of a gzip stream get past its checksums."""
    if not content:
        return
    claimed, is_text = content[0] % _MOST_ITEMS, content[0] >= 128
    properties.data_file(gzip.compress(content[1:], 1, mtime=0) if is_text else content[1:], claimed)


def _data_lines(content: bytes) -> None:
    """As they stand, or each byte for a part of a request."""
    properties.data_lines(content)
    properties.data_lines(b"".join(FRAGMENTS[byte % len(FRAGMENTS)] for byte in content[:200]))


TARGETS: dict[str, Target] = {
    "manifest": Target(properties.manifest, (_manifest(),)),
    "file_list": Target(properties.file_list, (_file_list(),)),
    "summary": Target(properties.summary, (json.dumps(SUMMARY).encode(),)),
    "definition": Target(properties.definition, (_definition(),)),
    "data_file": Target(
        _data_file,
        (
            b"\x03" + gzip.compress(_LINES, mtime=0),
            b"\x06" + gzip.compress(_LINES, mtime=0) * 2,
            bytes([150 + 3]) + _LINES,
            bytes([200]) + b"\n" * 300,
        ),
    ),
    "data_lines": Target(_data_lines, (_LINES, *_LINES.splitlines(), bytes(range(len(FRAGMENTS))))),
}


def _any(content: bytes) -> None:
    """All of them in one process: the first byte chooses."""
    if content:
        list(TARGETS.values())[content[0] % len(TARGETS)].check(content[1:])


ALL = Target(
    _any, tuple(bytes([number]) + seed for number, target in enumerate(TARGETS.values()) for seed in target.seeds)
)
