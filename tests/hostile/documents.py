"""Valid documents with arbitrary legal content, and what can be done to them."""

import base64
import json
import string
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, BaseLink, Manifest, ManifestTable
from tests.hostile.properties import DATA_KEY, DATE, FILES_KEY, MANIFEST_KEY, PREFIX, ROOT

MD5 = "FjvgqIxwymKf1RbbqtrZag=="
ETAG = "7deb4078f238dd87d6af0538152c04e9-1"
COUNTS = st.integers(0, 2**40)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TABLE_NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=3, max_size=255)
EXPORT_IDS = st.from_regex(r"\d{14}-[0-9a-f]{8}", fullmatch=True).filter(str.isascii)
NUMBERS = st.integers(-(10**6), 10**6).map(str)
BASE64 = st.binary(max_size=6).map(lambda data: base64.b64encode(data).decode())


@st.composite
def base_links(draw: st.DrawFn, name: str, day: int) -> BaseLink:
    backup_date = f"2026-11-{day:02d}"
    folder = f"{PREFIX}/{backup_date}/{name}/AWSDynamoDB/{draw(EXPORT_IDS)}"
    return BaseLink(
        backup_date=backup_date,
        export_type=draw(st.sampled_from(["FULL_EXPORT", "INCREMENTAL_EXPORT"])),
        export_format=draw(st.sampled_from(["DYNAMODB_JSON", "ION"])),
        export_arn=draw(TEXTS),
        item_count=draw(COUNTS),
        size_bytes=draw(COUNTS),
        data_files=draw(COUNTS),
        manifest_summary_key=f"{folder}/manifest-summary.json",
        manifest_files_key=f"{folder}/manifest-files.json",
        manifest_files_md5=MD5,
        export_time=draw(st.none() | TEXTS),
        export_from=draw(st.none() | TEXTS),
        export_to=draw(st.none() | TEXTS),
    )


@st.composite
def manifest_tables(draw: st.DrawFn, name: str) -> ManifestTable:
    if draw(st.integers(0, 3)) == 0:
        return ManifestTable(table_name=name, status="FAILED", failure_code=draw(TEXTS), failure_message=draw(TEXTS))
    folder = f"{ROOT}/{name}/AWSDynamoDB/{draw(EXPORT_IDS)}"
    days = draw(st.lists(st.integers(1, 20), max_size=3, unique=True))
    return ManifestTable(
        table_name=name,
        status="COMPLETED",
        export_type="INCREMENTAL_EXPORT" if days else "FULL_EXPORT",
        export_from=draw(st.none() | TEXTS),
        export_to=draw(st.none() | TEXTS),
        base=tuple(draw(base_links(name, day)) for day in days),
        table_arn=draw(TEXTS),
        export_arn=draw(TEXTS),
        requested_time=draw(st.none() | TEXTS),
        export_time=draw(TEXTS),
        item_count=draw(COUNTS),
        billed_size_bytes=draw(COUNTS),
        size_bytes=draw(COUNTS),
        data_files=draw(COUNTS),
        manifest_summary_key=f"{folder}/manifest-summary.json",
        manifest_files_key=f"{folder}/manifest-files.json",
        manifest_files_md5=MD5,
        definition_key=f"{ROOT}/{name}/table.json",
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    names = draw(st.lists(TABLE_NAMES, max_size=4, unique=True))
    tables = tuple(draw(manifest_tables(name)) for name in names)
    failed = sum(table.status == "FAILED" for table in tables)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        revision=draw(COUNTS),
        backup_date=DATE,
        environment=draw(TEXTS),
        backup_type=BACKUP_TYPE,
        status="PARTIAL" if failed else "COMPLETE",
        s3_bucket=draw(TEXTS),
        manifest_s3_key=MANIFEST_KEY,
        total_tables_processed=len(tables),
        successful_exports=len(tables) - failed,
        failed_exports=failed,
        total_items_exported=sum(table.item_count for table in tables),
        total_size_mb=draw(st.floats(0, 1e12)),
        started_at=draw(TEXTS),
        completed_at=draw(TEXTS),
        tables=tables,
    )


@st.composite
def definitions(draw: st.DrawFn) -> TableDefinition:
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=1,
                          max_size=2, unique=True))  # fmt: skip
    anything = st.dictionaries(TEXTS, TEXTS | st.booleans() | COUNTS, max_size=3)
    return TableDefinition(
        table_name=draw(TABLE_NAMES),
        table_arn=draw(TEXTS),
        captured_at=draw(TEXTS),
        keys=tuple(KeyAttribute(name, role) for name, role in zip(names, ("HASH", "RANGE"), strict=False)),
        attributes=tuple(Attribute(name, draw(st.sampled_from(["S", "N", "B"]))) for name in names),
        billing_mode=draw(TEXTS),
        global_secondary_indexes=draw(st.lists(anything, max_size=2)),
        stream=draw(st.none() | anything),
        tags=draw(st.dictionaries(TEXTS, TEXTS, max_size=3)),
    )


def file_record(**changes: Any) -> dict[str, Any]:
    return {"itemCount": 3, "md5Checksum": MD5, "etag": ETAG, "dataFileS3Key": DATA_KEY, **changes}


SUMMARY: dict[str, Any] = {
    "version": "2020-06-30",
    "exportArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/export/01795222820000-0123abcd",
    "startTime": "2026-11-21T01:00:20.000Z",
    "endTime": "2026-11-21T01:06:20.000Z",
    "tableArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
    "tableId": "00000000-0000-4000-8000-000000000000",
    "exportTime": "2026-11-21T01:00:20.000Z",
    "s3Bucket": "b",
    "s3Prefix": None,
    "s3SseAlgorithm": "AES256",
    "s3SseKmsKeyId": None,
    "manifestFilesS3Key": FILES_KEY,
    "billedSizeBytes": 0,
    "itemCount": 3,
    "outputFormat": "DYNAMODB_JSON",
}

# --- items -----------------------------------------------------------------------------------------------------------

_scalars = st.one_of(
    TEXTS.map(lambda text: {"S": text}),
    NUMBERS.map(lambda number: {"N": number}),
    BASE64.map(lambda text: {"B": text}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: {"SS": texts}),
    st.lists(BASE64, min_size=1, max_size=3).map(lambda texts: {"BS": texts}),
)
ATTRIBUTE_VALUES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda members: {"L": members})
        | st.dictionaries(TEXTS, inner, max_size=3).map(lambda members: {"M": members})
    ),
    max_leaves=6,
)
ITEMS = st.dictionaries(TEXTS, ATTRIBUTE_VALUES, max_size=5)


@st.composite
def item_lines(draw: st.DrawFn) -> bytes:
    """As AWS writes them, and as other tools do: with blanks, with escapes."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r")]))
    return json.dumps({"Item": draw(ITEMS)}, separators=separators, ensure_ascii=draw(st.booleans())).encode()


# What requests are made of, and what could tear one apart.
FRAGMENTS = [
    b'{"Item":{', b'"pk":{"S":"a"}', b"}", b"}}", b"},", b"},{", b'"PutRequest":', b'"DeleteRequest":{"Key":{',
    b'"Item":', b"]", b"[", b"{", b",", b'"', b"\\", b'"other":[', b"\xff", b"\r", b" ", b"\\u0022", b"null",
    b"1", b":", b"\n",
]  # fmt: skip

# --- what is done to a document --------------------------------------------------------------------------------------

_WRONG: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 2**64, 10**30, 1e308, "", "x" * 5_000, "..", "\x00", "\n", "\u202e",
    "\x1b[2J", [], {}, [[]], {"": {}}, "COMPLETED", "FAILED", "S", "orders", "orders-evil", "../orders",
]  # fmt: skip


class Repeated(dict[str, Any]):
    """A JSON object in which one name stands a second time, with another value."""

    def __init__(self, node: dict[str, Any], name: str, value: Any) -> None:
        super().__init__(node)
        self.twice = (name, value)


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> bytes:
    """A valid document with fields dropped, replaced or repeated anywhere, then perhaps with bytes changed or cut."""
    for _ in range(draw(st.integers(0, 3))):
        document = _changed(draw, document)
    content = encoded(document)
    for _ in range(draw(st.integers(0, 2))):
        if content:
            at = draw(st.integers(0, len(content) - 1))
            content = content[:at] + draw(st.binary(min_size=0, max_size=2)) + content[at + 1 :]
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 0 else content


def _changed(draw: st.DrawFn, node: Any) -> Any:
    if isinstance(node, list) and node:
        at = draw(st.integers(0, len(node) - 1))
        doubled = [node[at]] * draw(st.integers(0, 2))
        return [*node[:at], *(doubled or [_changed(draw, node[at])]), *node[at + 1 :]]
    if not isinstance(node, dict) or not node:
        return draw(st.sampled_from(_WRONG))
    name = draw(st.sampled_from(sorted(node)))
    changes: list[Callable[[], Any]] = [
        lambda: {other: value for other, value in node.items() if other != name},
        lambda: {**node, name: draw(st.sampled_from(_WRONG))},
        lambda: {**node, name: _changed(draw, node[name])},
        lambda: Repeated(node, name, draw(st.sampled_from(_WRONG))),
    ]
    return draw(st.sampled_from(changes))()


def encoded(node: Any) -> bytes:
    return _text(node).encode("utf-8", "surrogatepass")


def _text(node: Any) -> str:
    if isinstance(node, dict):
        pairs = [*node.items(), *([node.twice] if isinstance(node, Repeated) else [])]
        return "{" + ",".join(f"{json.dumps(name)}:{_text(value)}" for name, value in pairs) + "}"
    if isinstance(node, list):
        return "[" + ",".join(_text(member) for member in node) + "]"
    return json.dumps(node)
