"""The JSON Schemas of what stands in the bucket, made of the types that are read and written: `make schemas`.

A schema says what a type says, and of what is checked beyond it all that JSON Schema can say. What it cannot (totals,
keys below the set's own prefix, names that come twice, whether links follow each other) is named in `$comment`. A
document that is taken is always valid by its schema; one that is valid may still be refused.
https://json-schema.org/draft/2020-12
"""

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.backup import definition, layout, manifest
from chalicelib.backup.definition import TableDefinition
from chalicelib.backup.manifest import Manifest
from chalicelib.selection import TABLE_NAME
from chalicelib.validation import whole

FOLDER = Path(__file__).parents[1] / "docs/schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Json = dict[str, Any]

_DATE = whole(layout.BACKUP_DATE)
_TABLE_NAME = whole(TABLE_NAME)
_EXPORT_FOLDER = "/AWSDynamoDB/[0-9A-Za-z][0-9A-Za-z-]{0,63}/"


def _text(pattern: str, **more: Any) -> Json:
    return {"type": "string", "pattern": pattern, **more}


def _key(object_name: str) -> Json:
    return _text(f"{_EXPORT_FOLDER}{object_name.replace('.', '[.]')}$", maxLength=1024)


def _when(condition: Json, then: Json) -> Json:
    """A condition on fields that are there, unless it says otherwise."""
    return {"if": condition, "then": then}


def _key_attribute(role: str) -> Json:
    return {"$ref": "#/$defs/KeyAttribute", "properties": {"key_type": {"const": role}}}


_EXPORT = {
    "export_format": {"enum": ["DYNAMODB_JSON", "ION"]},
    "manifest_summary_key": _key(layout.SUMMARY_NAME),
    "manifest_files_key": _key(layout.FILES_NAME),
    "manifest_files_md5": _text("^[A-Za-z0-9+/]{22}==$"),
}
_LINK = {"properties": {**_EXPORT, "backup_date": _text(_DATE)}}
_COMPLETED = {
    "properties": {**_EXPORT, "definition_key": _text("/table[.]json$"), "base": {"items": _LINK}},
    "required": ["manifest_summary_key", "manifest_files_key", "manifest_files_md5", "definition_key"],
    **_when(
        {"properties": {"export_type": {"const": "FULL_EXPORT"}}},  # also where it is left out
        {"properties": {"base": {"maxItems": 0}}},
    ),
}
_MANIFEST: Json = {
    "title": "manifest.json of a tablevault backup set",
    "$comment": "Beyond this: the totals are those of the tables; no table and no export comes twice; every key stands"
    " below {prefix}/{backup_date}/{table_name}/, of a link with the link's backup_date; links follow each other.",
    "properties": {
        "schema_version": {"minimum": 1, "maximum": manifest.SCHEMA_VERSION},
        "backup_date": {"pattern": _DATE},
    },
    **_when(
        {"properties": {"status": {"const": "COMPLETE"}}},
        {"properties": {"tables": {"items": {"properties": {"status": {"const": "COMPLETED"}}}}}},
    ),
}
_MANIFEST_TABLE: Json = {
    "properties": {"table_name": {"pattern": _TABLE_NAME}},
    **_when({"properties": {"status": {"const": "COMPLETED"}}}, _COMPLETED),
}
_DEFINITION: Json = {
    "title": "table.json of a table in a tablevault backup set",
    "$comment": "Beyond this: the keys have different names, and each is exactly once among the attributes.",
    "properties": {
        "schema_version": {"minimum": 1, "maximum": definition.SCHEMA_VERSION},
        "table_name": {"pattern": _TABLE_NAME},
        "keys": {
            "minItems": 1,
            "maxItems": 2,
            "prefixItems": [_key_attribute("HASH"), _key_attribute("RANGE")],
            "items": False,  # those behind the first two: it would say nothing of these
        },
    },
}
_KEY_ATTRIBUTE: Json = {"properties": {"attribute_name": {"minLength": 1, "maxLength": 255}}}


def manifest_schema() -> Json:
    return _schema(Manifest, {"Manifest": _MANIFEST, "ManifestTable": _MANIFEST_TABLE})


def definition_schema() -> Json:
    return _schema(TableDefinition, {"TableDefinition": _DEFINITION, "KeyAttribute": _KEY_ATTRIBUTE})


SCHEMAS = {"manifest.schema.json": manifest_schema, "table.schema.json": definition_schema}


def encoded(schema: Json) -> str:
    return json.dumps(schema, indent=2) + "\n"


def _schema(of: type[msgspec.Struct], checked: dict[str, Json]) -> Json:
    """The type's own schema, with what is checked beyond it, as msgspec cannot know it."""
    defined = msgspec.json.schema(of)["$defs"]
    for name, more in checked.items():
        defined[name] = _merged(defined[name], more)
    root = _portable(defined.pop(of.__name__))
    return {"$schema": DIALECT, **root, "$defs": {name: _portable(each) for name, each in sorted(defined.items())}}


def _merged(schema: Json, more: Json) -> Json:
    merged = {**schema}
    for name, value in more.items():
        is_in_both = isinstance(value, dict) and name in schema
        merged[name] = _merged(schema[name], value) if is_in_both else value
    return merged


def _portable(schema: Any) -> Any:
    r"""Docstrings as one line of text, and patterns without Python's own `\A` and `\Z`."""
    if isinstance(schema, list):
        return [_portable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    portable = {name: _portable(value) for name, value in schema.items()}
    if isinstance(portable.get("pattern"), str):
        portable["pattern"] = portable["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    if isinstance(portable.get("description"), str):
        portable["description"] = " ".join(inspect.cleandoc(portable["description"]).split())
    return portable


def write() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in SCHEMAS.items():
        (FOLDER / name).write_text(encoded(make()))


if __name__ == "__main__":
    write()
