"""The request that makes a table anew from its definition: pure, and wary of the definition, which comes from a bucket.

Only what is known here goes into the request, and only as CreateTable allows it. Global indexes are made with the
table, not after the load (docs/decisions). TTL, point-in-time recovery, deletion protection and autoscaling are put on
after the load (`phases.finishing`).
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.backup.definition import TableDefinition
from chalicelib.errors import ExportInvalid
from chalicelib.restore.model import Note, blocker, warning

# On the table from its creation on: that it is there and by whom it was made cannot come apart.
OWNER_TAG = "tablevault:restore_id"
FINISHED = " finished"  # after the restore's id, once all settings are put on
_INDEX_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}\Z")
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(?:key|alias)/[A-Za-z0-9/_-]{1,256}\Z")
_STREAM_VIEWS = ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES")
_BILLING_MODES = ("PROVISIONED", "PAY_PER_REQUEST")
_TABLE_CLASSES = ("STANDARD", "STANDARD_INFREQUENT_ACCESS")
_PROJECTIONS = ("ALL", "KEYS_ONLY", "INCLUDE")
_CAPACITIES = ("ReadCapacityUnits", "WriteCapacityUnits")
_MAXIMA = ("MaxReadRequestUnits", "MaxWriteRequestUnits")
_MOST_UNITS = 10**9
_MOST_INDEXES = 100
_MOST_TAGS = 50
_RESERVED = "aws:"


def create_table_request(definition: TableDefinition, table_name: str, restore_id: str) -> dict[str, Any]:
    """The arguments of CreateTable for a table of this name. Raises ExportInvalid with all of `definition_faults`."""
    faults = definition_faults(definition)
    if faults:
        raise ExportInvalid(f"{definition.table_name} cannot be made from its definition: {'; '.join(faults)}")
    is_provisioned = definition.billing_mode == "PROVISIONED"
    request: dict[str, Any] = {
        "TableName": table_name,
        "KeySchema": [{"AttributeName": key.attribute_name, "KeyType": key.key_type} for key in definition.keys],
        "AttributeDefinitions": _attributes(definition),
        "BillingMode": definition.billing_mode,
        "TableClass": definition.table_class,
        "DeletionProtectionEnabled": False,
        "Tags": _tags(definition, restore_id),
    }
    optional = {
        **_throughput(is_provisioned, definition.provisioned_throughput, definition.on_demand_throughput),
        "LocalSecondaryIndexes": [_index(index) for index in definition.local_secondary_indexes],
        "GlobalSecondaryIndexes": [
            _global_index(index, is_provisioned) for index in definition.global_secondary_indexes
        ],
        "StreamSpecification": _stream(definition),
        "SSESpecification": _encryption(definition),
    }
    return request | {name: value for name, value in optional.items() if value}


def creation_notes(definition: TableDefinition, region: str) -> list[Note]:
    """What CHECKING says of a table that is to be made in a region: a blocker for each fault, and warnings of what will
    not be as it was."""
    name = definition.table_name
    notes = [blocker(f"{name} cannot be made from its definition: {fault}") for fault in definition_faults(definition)]
    key = _KEY_ARN.match(str((definition.encryption or {}).get("KMSMasterKeyArn", "")))
    if key and key[1] != region:
        text = f"its KMS key is in {key[1]}: make the table by hand in {region}, with a key of that region"
        notes.append(blocker(f"{name} cannot be made from its definition: {text}"))
    if definition.autoscaling is None and definition.billing_mode == "PROVISIONED":
        text = "whether its capacity was scaled is not known: set auto scaling up by hand"
        notes.append(warning(f"{name} will be made with the capacity it had when its backup began; {text}"))
    lost = sorted(tag for tag in definition.tags if tag.lower().startswith(_RESERVED))
    if lost:
        notes.append(warning(f"{name} will be made without {len(lost)} tags that only AWS may set ({lost[0][:128]!r})"))
    return notes


def definition_faults(definition: TableDefinition) -> list[str]:
    """All that keeps a table from being made from a definition; each in one printable line."""
    return list(_faults(definition))


def _faults(definition: TableDefinition) -> Iterator[str]:
    if definition.billing_mode not in _BILLING_MODES:
        yield f"its billing_mode is none of {', '.join(_BILLING_MODES)}"
    if definition.table_class not in _TABLE_CLASSES:
        yield f"its table_class is none of {', '.join(_TABLE_CLASSES)}"
    is_provisioned = definition.billing_mode == "PROVISIONED"
    if is_provisioned and not _are_units(definition.provisioned_throughput, _CAPACITIES):
        yield "its provisioned_throughput is not two numbers of units"
    yield from _index_faults(definition, is_provisioned)
    stream = definition.stream or {}
    if stream.get("StreamEnabled") is True and stream.get("StreamViewType") not in _STREAM_VIEWS:
        yield f"the view of its stream is none of {', '.join(_STREAM_VIEWS)}"
    key = (definition.encryption or {}).get("KMSMasterKeyArn")
    if key is not None and not (isinstance(key, str) and _KEY_ARN.match(key)):
        yield "the key of its encryption is no KMS key's ARN"
    yield from _tag_faults(definition)


def _index_faults(definition: TableDefinition, is_provisioned: bool) -> Iterator[str]:
    types = [attribute.attribute_name for attribute in definition.attributes]
    indexes = [*definition.local_secondary_indexes, *definition.global_secondary_indexes]
    if len(indexes) > _MOST_INDEXES:
        yield f"it has more than {_MOST_INDEXES} indexes"
        return
    names = [index.get("IndexName") for index in indexes]
    for number, index in enumerate(indexes):
        is_global = number >= len(definition.local_secondary_indexes)
        name = index.get("IndexName")
        if not (isinstance(name, str) and _INDEX_NAME.match(name)) or names.count(name) > 1:
            yield f"index {number + 1} has no name of its own that an index can have"
        elif not _are_index_keys(index.get("KeySchema"), types):
            yield f"the keys of index {name} are none that an index can have"
        elif not _is_projection(index.get("Projection")):
            yield f"the projection of index {name} is none"
        elif is_global and is_provisioned and not _are_units(index.get("ProvisionedThroughput"), _CAPACITIES):
            yield f"the ProvisionedThroughput of index {name} is not two numbers of units"


def _are_index_keys(keys: Any, types: Sequence[str]) -> bool:
    """Each of one type; a global index may have several of a role:
    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GlobalSecondaryIndex.html"""
    if not isinstance(keys, list) or not 1 <= len(keys) <= 8 or not all(isinstance(key, dict) for key in keys):
        return False
    names, roles = [key.get("AttributeName") for key in keys], [key.get("KeyType") for key in keys]
    hashes = roles.count("HASH")
    is_ordered = roles == ["HASH"] * hashes + ["RANGE"] * (len(roles) - hashes)
    is_each_typed = all(isinstance(name, str) and types.count(name) == 1 for name in names)
    return hashes >= 1 and is_ordered and is_each_typed and len(set(names)) == len(names)


def _is_projection(projection: Any) -> bool:
    if not isinstance(projection, dict) or projection.get("ProjectionType") not in _PROJECTIONS:
        return False
    names = projection.get("NonKeyAttributes", [])
    is_list = isinstance(names, list) and all(isinstance(name, str) and 1 <= len(name) <= 255 for name in names)
    return is_list and bool(names) == (projection["ProjectionType"] == "INCLUDE")


def _are_units(values: Any, names: Sequence[str]) -> bool:
    return isinstance(values, dict) and all(_is_unit(values.get(name)) for name in names)


def _is_unit(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST_UNITS


def _tag_faults(definition: TableDefinition) -> Iterator[str]:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Tagging.html"""
    tags = {key: value for key, value in definition.tags.items() if not key.lower().startswith(_RESERVED)}
    if len({*tags, OWNER_TAG}) > _MOST_TAGS:
        yield f"it has {len(tags)} tags, and there must be room for {OWNER_TAG} among {_MOST_TAGS}"
    if any(not 1 <= len(key) <= 128 or len(value) > 256 for key, value in tags.items()):
        yield "a tag of it is longer than tags can be"


# --- parts of the request --------------------------------------------------------------------------------------------


def _attributes(definition: TableDefinition) -> list[dict[str, str]]:
    """Those that are keys; CreateTable refuses all others."""
    indexes = [*definition.local_secondary_indexes, *definition.global_secondary_indexes]
    used = {key.attribute_name for key in definition.keys}
    used |= {key["AttributeName"] for index in indexes for key in index["KeySchema"]}
    return [
        {"AttributeName": each.attribute_name, "AttributeType": each.attribute_type}
        for each in definition.attributes
        if each.attribute_name in used
    ]


def _index(index: Mapping[str, Any]) -> dict[str, Any]:
    keys = [{"AttributeName": key["AttributeName"], "KeyType": key["KeyType"]} for key in index["KeySchema"]]
    projection = {"ProjectionType": index["Projection"]["ProjectionType"]}
    if projection["ProjectionType"] == "INCLUDE":
        projection["NonKeyAttributes"] = index["Projection"]["NonKeyAttributes"]
    return {"IndexName": index["IndexName"], "KeySchema": keys, "Projection": projection}


def _global_index(index: Mapping[str, Any], is_provisioned: bool) -> dict[str, Any]:
    throughput = _throughput(is_provisioned, index.get("ProvisionedThroughput"), index.get("OnDemandThroughput"))
    return _index(index) | throughput


def _throughput(is_provisioned: bool, capacity: Any, maxima: Any) -> dict[str, Any]:
    if is_provisioned:
        return {"ProvisionedThroughput": {name: capacity[name] for name in _CAPACITIES}}
    limits = {name: maxima[name] for name in _MAXIMA if isinstance(maxima, dict) and _is_unit(maxima.get(name))}
    return {"OnDemandThroughput": limits} if limits else {}


def _stream(definition: TableDefinition) -> dict[str, Any] | None:
    if not definition.stream or definition.stream.get("StreamEnabled") is not True:
        return None
    return {"StreamEnabled": True, "StreamViewType": definition.stream["StreamViewType"]}


def _encryption(definition: TableDefinition) -> dict[str, Any] | None:
    """A table that was encrypted with DynamoDB's own key has no description of it, and needs none."""
    if not definition.encryption or definition.encryption.get("Status") not in ("ENABLED", "ENABLING", "UPDATING"):
        return None
    key = definition.encryption.get("KMSMasterKeyArn")
    return {"Enabled": True, "SSEType": "KMS"} | ({"KMSMasterKeyId": key} if key else {})


def _tags(definition: TableDefinition, restore_id: str) -> list[dict[str, str]]:
    kept = {key: value for key, value in definition.tags.items() if not key.lower().startswith(_RESERVED)}
    return [{"Key": key, "Value": value} for key, value in (kept | {OWNER_TAG: restore_id}).items()]
