"""docs/schemas: up to date, portable, and of one mind with the code: what is written is valid, what is taken is valid,
and what a schema can refuse it does refuse."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given

from chalicelib.backup.definition import decode_definition, encode_definition
from chalicelib.backup.manifest import decode_manifest, encode_manifest
from chalicelib.errors import ExportInvalid, ManifestInvalid
from tests.schemas import DIALECT, FOLDER, SCHEMAS, Json, definition_schema, encoded, manifest_schema
from tests.unit.backup.documents import (
    DATE,
    DEFINITIONS,
    PREFIX,
    a_definition,
    a_failed_table,
    a_full_table,
    a_manifest,
    an_increment,
    manifests,
)

OF_MANIFESTS = jsonschema_rs.Draft202012Validator(manifest_schema())
OF_DEFINITIONS = jsonschema_rs.Draft202012Validator(definition_schema())
Path = tuple[str | int, ...]


def is_taken(content: bytes) -> bool:
    try:
        decode_manifest(content, key="manifest.json", exports_prefix=PREFIX, backup_date=DATE)
    except ManifestInvalid:
        return False
    return True


def is_taken_definition(content: bytes) -> bool:
    try:
        decode_definition(content, "table.json")
    except ExportInvalid:
        return False
    return True


# --- the schemas themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_the_repository_is_the_one_of_the_types(name):
    assert (FOLDER / name).read_text() == encoded(SCHEMAS[name]()), "run: make schemas"


def test_there_is_no_other_schema():
    assert {path.name for path in FOLDER.iterdir()} == set(SCHEMAS)


def nodes(schema: Any) -> Iterator[Json]:
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from nodes(each)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_its_dialect_and_reads_alike_everywhere(name):
    schema = SCHEMAS[name]()
    assert schema["$schema"] == DIALECT
    assert jsonschema_rs.meta.is_valid(schema)
    found = list(nodes(schema))
    assert not any("$id" in each for each in found)
    patterns = [each["pattern"] for each in found if isinstance(each.get("pattern"), str)]
    assert patterns
    assert not any(python in pattern for pattern in patterns for python in (r"\A", r"\Z", r"\d", r"\w", "(?"))
    texts = [each["description"] for each in found if isinstance(each.get("description"), str)]
    assert texts
    assert not any("\n" in text or "  " in text for text in texts)


# --- what is written -------------------------------------------------------------------------------------------------


@given(manifests())
def test_every_manifest_that_is_written_is_valid(manifest):
    content = encode_manifest(manifest)
    assert is_taken(content)
    OF_MANIFESTS.validate(json.loads(content))


@given(DEFINITIONS)
def test_every_definition_that_is_written_is_valid(definition):
    content = encode_definition(definition)
    assert is_taken_definition(content)
    OF_DEFINITIONS.validate(json.loads(content))


# --- what is taken ---------------------------------------------------------------------------------------------------

WHOLE = a_manifest(a_full_table("orders"), an_increment("users"), a_failed_table("carts"), unmatched=("tag:x=y",))
WHOLE_DOCUMENT: Json = json.loads(encode_manifest(WHOLE))
DEFINITION_DOCUMENT: Json = json.loads(encode_definition(a_definition(tags={"a": "b"}, stream={"StreamEnabled": True})))
_NUMBERS = [0, 1, 2, 3, -1, 5.0, 0.5, 2**62, 2**63]
_WORDS = ["COMPLETE", "COMPLETED", "FAILED", "FULL_EXPORT", "INCREMENTAL_EXPORT", "ION", "CSV", "HASH", "RANGE", "S"]
_TEXTS = ["", "x", "orders", "orders\n", DATE, f"{DATE}\n", "S\n"]
ANYTHING: list[Any] = [None, True, [], {}, [1], *_NUMBERS, *_WORDS, *_TEXTS]


def paths(document: Any, above: Path = ()) -> list[Path]:
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path for name, each in inner for path in ((*above, name), *paths(each, (*above, name)))]


def without(document: Json, path: Path) -> Json:
    """The document without what stands there."""
    changed, at = copy.deepcopy(document), path[-1]
    del _above(changed, path)[at]
    return changed


def changed_at(document: Json, path: Path, value: Any) -> Json:
    changed = copy.deepcopy(document)
    _above(changed, path)[path[-1]] = value
    return changed


def _above(document: Any, path: Path) -> Any:
    for name in path[:-1]:
        document = document[name]
    return document


def variants(document: Json) -> Iterator[Json]:
    for path in paths(document):
        yield from (changed_at(document, path, value) for value in ANYTHING)
        yield without(document, path)


def test_every_manifest_that_is_taken_is_valid():
    """Of all with one thing in them changed."""
    whole = json.loads(encode_manifest(a_manifest(a_full_table("orders"))))
    taken = [each for each in (*variants(WHOLE_DOCUMENT), *variants(whole)) if is_taken(json.dumps(each).encode())]
    assert len(taken) > 500
    assert [each for each in taken if not OF_MANIFESTS.is_valid(each)] == []


def test_every_definition_that_is_taken_is_valid():
    taken = [each for each in variants(DEFINITION_DOCUMENT) if is_taken_definition(json.dumps(each).encode())]
    assert len(taken) > 100
    assert [each for each in taken if not OF_DEFINITIONS.is_valid(each)] == []


# --- what is refused -------------------------------------------------------------------------------------------------

BROKEN_MANIFESTS: list[tuple[Path, Any]] = [
    (("schema_version",), 0),
    (("schema_version",), WHOLE.schema_version + 1),
    (("revision",), -1),
    (("backup_date",), f"{DATE}/.."),
    (("backup_date",), f"{DATE}T010203"),
    (("status",), "DONE"),
    (("status",), "COMPLETE"),  # although carts failed
    (("total_size_mb",), -0.5),
    (("total_items_exported",), 2**62 + 1),
    (("tables",), {}),
    (("tables", 0, "table_name"), "or"),
    (("tables", 0, "table_name"), "orders/.."),
    (("tables", 0, "status"), "OK"),
    (("tables", 0, "item_count"), 1.5),
    (("tables", 0, "export_format"), "CSV"),
    (("tables", 0, "manifest_files_md5"), None),
    (("tables", 0, "manifest_files_md5"), "FjvgqIxwymKf1RbbqtrZag="),
    (("tables", 0, "manifest_files_md5"), "FjvgqIxwymKf1RbbqtrZag==\n"),
    (("tables", 0, "manifest_files_key"), f"{PREFIX}/{DATE}/orders/AWSDynamoDB/01-0a/manifest-summary.json"),
    (("tables", 0, "manifest_summary_key"), f"{PREFIX}/{DATE}/orders/AWSDynamoDB/../manifest-summary.json"),
    (("tables", 0, "manifest_summary_key"), None),
    (("tables", 0, "definition_key"), None),
    (("tables", 0, "definition_key"), f"{PREFIX}/{DATE}/orders/other.json"),
    (("tables", 0, "base"), WHOLE_DOCUMENT["tables"][1]["base"]),
    (("tables", 1, "export_type"), "FULL_EXPORT"),  # and has a base
    (("tables", 1, "base"), WHOLE_DOCUMENT["tables"][1]["base"] * 100),
    (("tables", 1, "base", 0, "backup_date"), "2026-11"),
    (("tables", 1, "base", 0, "export_type"), "OTHER"),
    (("tables", 1, "base", 0, "export_format"), "CSV"),
    (("tables", 1, "base", 0, "manifest_files_md5"), "x"),
    (("tables", 1, "base", 0, "manifest_files_key"), "x"),
    (("tables", 1, "base", 0, "data_files"), -1),
    (("tables", 2, "table_name"), ""),
    (("unmatched",), [1]),
]
BROKEN_DEFINITIONS: list[tuple[Path, Any]] = [
    (("schema_version",), 0),
    (("schema_version",), 2),
    (("table_name",), "or"),
    (("table_name",), "orders\n"),
    (("keys",), []),
    (("keys",), [{"attribute_name": "pk", "key_type": "RANGE"}]),
    (("keys",), [*DEFINITION_DOCUMENT["keys"], {"attribute_name": "x", "key_type": "RANGE"}]),
    (("keys", 0), {"key_type": "HASH"}),
    (("keys", 0, "key_type"), "RANGE"),
    (("keys", 0, "attribute_name"), ""),
    (("keys", 1, "key_type"), "HASH"),
    (("keys", 1, "attribute_name"), "k" * 256),
    (("keys", 1, "attribute_name"), 1),
    (("attributes", 0, "attribute_type"), "SS"),
    (("attributes", 0, "attribute_type"), "S\n"),
    (("provisioned_throughput",), {"ReadCapacityUnits": "5"}),
    (("deletion_protection",), "yes"),
    (("tags",), {"a": 1}),
    (("autoscaling",), [{"dimension": "x"}]),
]


@pytest.mark.parametrize(("path", "value"), BROKEN_MANIFESTS, ids=str)
def test_a_broken_manifest_is_neither_taken_nor_valid(path, value):
    document = changed_at(WHOLE_DOCUMENT, path, value)
    assert not is_taken(json.dumps(document).encode())
    assert not OF_MANIFESTS.is_valid(document)


@pytest.mark.parametrize(("path", "value"), BROKEN_DEFINITIONS, ids=str)
def test_a_broken_definition_is_neither_taken_nor_valid(path, value):
    document = changed_at(DEFINITION_DOCUMENT, path, value)
    assert not is_taken_definition(json.dumps(document).encode())
    assert not OF_DEFINITIONS.is_valid(document)


def test_what_may_be_left_out_of_a_document_may_be_left_out_by_its_schema_too():
    """One thing at a time: all but what only a sum or another field misses."""
    lists = {path for path in paths(WHOLE_DOCUMENT) if isinstance(path[-1], int)}
    for path in set(paths(WHOLE_DOCUMENT)) - lists:
        document = without(WHOLE_DOCUMENT, path)
        is_summed = path[-1] == "item_count" and len(path) == 3
        assert is_summed or is_taken(json.dumps(document).encode()) == OF_MANIFESTS.is_valid(document), path
    for path in paths(DEFINITION_DOCUMENT):
        document = without(DEFINITION_DOCUMENT, path)
        is_defined = path[:1] != ("attributes",) or len(path) > 2
        assert not is_defined or is_taken_definition(json.dumps(document).encode()) == OF_DEFINITIONS.is_valid(document)
