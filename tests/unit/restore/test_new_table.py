"""CreateTable's request from a definition: what it has, and what of a hostile one never reaches AWS."""

import json
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.backup.definition import Attribute, Autoscaling, KeyAttribute, TableDefinition
from chalicelib.errors import ExportInvalid
from chalicelib.restore.new_table import OWNER_TAG, create_table_request, creation_notes, definition_faults
from tests.hostile.properties import assert_showable

KEY = "arn:aws:kms:eu-west-1:123456789012:key/0f0f"
BY_SK: dict[str, Any] = {
    "IndexName": "by_sk",
    "KeySchema": [{"AttributeName": "sk", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]},
    "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 2},
}
LOCAL: dict[str, Any] = {
    "IndexName": "local",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}
PROVISIONED = TableDefinition(
    table_name="orders",
    table_arn="arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
    captured_at="2026-11-21T01:00:20.000Z",
    keys=(KeyAttribute("pk", "HASH"), KeyAttribute("sk", "RANGE")),
    attributes=(Attribute("pk", "S"), Attribute("sk", "N"), Attribute("at", "S"), Attribute("unused", "S")),
    billing_mode="PROVISIONED",
    provisioned_throughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
    global_secondary_indexes=[BY_SK],
    local_secondary_indexes=[LOCAL],
    stream={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    encryption={"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": KEY},
    table_class="STANDARD_INFREQUENT_ACCESS",
    deletion_protection=True,
    tags={"team": "sales", "aws:cloudformation:stack-name": "x", OWNER_TAG: "an earlier one"},
    autoscaling=(),
)


def defined(**changes: Any) -> TableDefinition:
    return msgspec.structs.replace(PROVISIONED, **changes)


def request(**changes: Any) -> dict[str, Any]:
    return create_table_request(defined(**changes), "orders_again", "restore-1")


def test_a_provisioned_table_is_made_as_it_was():
    assert request() == {
        "TableName": "orders_again",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "N"},
            {"AttributeName": "at", "AttributeType": "S"},
        ],
        "BillingMode": "PROVISIONED",
        "TableClass": "STANDARD_INFREQUENT_ACCESS",
        "DeletionProtectionEnabled": False,
        "Tags": [{"Key": "team", "Value": "sales"}, {"Key": OWNER_TAG, "Value": "restore-1"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
        "LocalSecondaryIndexes": [LOCAL],
        "GlobalSecondaryIndexes": [BY_SK],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        "SSESpecification": {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY},
    }


def test_an_on_demand_table_has_no_capacity_and_keeps_its_limits():
    made = request(
        billing_mode="PAY_PER_REQUEST",
        provisioned_throughput=None,
        on_demand_throughput={"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": 100},
    )
    assert made["OnDemandThroughput"] == {"MaxWriteRequestUnits": 100}
    assert "ProvisionedThroughput" not in made
    assert "ProvisionedThroughput" not in made["GlobalSecondaryIndexes"][0]


def test_what_the_table_did_not_have_is_not_asked_for():
    made = request(global_secondary_indexes=[], local_secondary_indexes=[], stream=None, encryption=None, tags={})
    assert not made.keys() & {"GlobalSecondaryIndexes", "LocalSecondaryIndexes", "StreamSpecification"}
    assert "SSESpecification" not in made
    assert made["Tags"] == [{"Key": OWNER_TAG, "Value": "restore-1"}]
    assert "StreamSpecification" not in request(stream={"StreamEnabled": False})


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "billing": ({"billing_mode": "FREE"}, "billing_mode"),
    "class": ({"table_class": "GOLD"}, "table_class"),
    "no capacity": ({"provisioned_throughput": None}, "provisioned_throughput"),
    "no units": ({"provisioned_throughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 1}}, "provisioned"),
    "endless units": ({"provisioned_throughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 2**62}}, "provisioned"),
    "stream": ({"stream": {"StreamEnabled": True, "StreamViewType": ["NEW_IMAGE"]}}, "stream"),
    "key": ({"encryption": {"Status": "ENABLED", "KMSMasterKeyArn": "arn:aws:s3:::bucket"}}, "KMS"),
    "key's type": ({"encryption": {"Status": "ENABLED", "KMSMasterKeyArn": 7}}, "KMS"),
    "index name": ({"global_secondary_indexes": [{**BY_SK, "IndexName": "\x1b[2J"}]}, "no name of its own"),
    "same index name": ({"global_secondary_indexes": [BY_SK, BY_SK]}, "no name of its own"),
    "index without keys": ({"global_secondary_indexes": [{**BY_SK, "KeySchema": []}]}, "keys of index by_sk"),
    "index of no attribute": (
        {"global_secondary_indexes": [{**BY_SK, "KeySchema": [{"AttributeName": "x", "KeyType": "HASH"}]}]},
        "keys of index by_sk",
    ),
    "index of no hash": (
        {"global_secondary_indexes": [{**BY_SK, "KeySchema": [{"AttributeName": "sk", "KeyType": "RANGE"}]}]},
        "keys of index by_sk",
    ),
    "keys of another type": ({"global_secondary_indexes": [{**BY_SK, "KeySchema": ["sk"]}]}, "keys of index by_sk"),
    "no projection": ({"local_secondary_indexes": [{**LOCAL, "Projection": None}]}, "projection of index local"),
    "empty projection": (
        {"local_secondary_indexes": [{**LOCAL, "Projection": {"ProjectionType": "INCLUDE"}}]},
        "projection of index local",
    ),
    "index capacity": (
        {"global_secondary_indexes": [{**BY_SK, "ProvisionedThroughput": {}}]},
        "ProvisionedThroughput of index by_sk",
    ),
    "many indexes": ({"global_secondary_indexes": [BY_SK] * 101}, "more than 100 indexes"),
    "long tag": ({"tags": {"a": "x" * 257}}, "tag"),
    "many tags": ({"tags": {f"t{number}": "" for number in range(50)}}, "50 tags"),
}


@pytest.mark.parametrize(("changes", "said"), FAULTS.values(), ids=FAULTS)
def test_a_definition_no_table_can_be_made_from_is_named_and_never_asked_for(changes, said):
    found = definition_faults(defined(**changes))
    assert found
    assert all(said in fault for fault in found)
    with pytest.raises(ExportInvalid, match="cannot be made from its definition"):
        request(**changes)


def test_every_fault_is_named_at_once():
    changes = {"billing_mode": "FREE", "table_class": "GOLD", "tags": {"a": "x" * 257}}
    assert len(definition_faults(defined(**changes))) == 3


def test_notes_say_what_will_not_be_as_it_was():
    assert creation_notes(defined(tags={}), "eu-west-1") == []
    levels = {note.level: note.text for note in creation_notes(defined(tags={}), "us-east-1")}
    assert "its KMS key is in eu-west-1" in levels["blocker"]
    unknown = creation_notes(defined(autoscaling=None), "eu-west-1")
    assert [note.level for note in unknown] == ["warning", "warning"]
    assert "set auto scaling up by hand" in unknown[0].text
    assert "1 tags that only AWS may set" in unknown[1].text
    scaled = (Autoscaling(dimension="dynamodb:table:WriteCapacityUnits", min_capacity=1, max_capacity=2),)
    assert creation_notes(defined(autoscaling=scaled, tags={}), "eu-west-1") == []


# --- hostile definitions ---------------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["HASH", "sk", "ALL", "INCLUDE"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["IndexName", "Projection", "ProjectionType", "AttributeName", "KeyType"]),
            inner,
        )
    ),
    max_leaves=8,
)
_indexes = st.lists(
    st.fixed_dictionaries({}, optional={name: _json | st.just(value) for name, value in BY_SK.items()}), max_size=2
)


@settings(max_examples=200)
@given(
    _indexes,
    _indexes,
    st.none() | st.dictionaries(st.sampled_from(["StreamEnabled", "StreamViewType"]), _json),
    st.none() | st.dictionaries(st.sampled_from(["Status", "KMSMasterKeyArn"]), _json),
    st.sampled_from(["PROVISIONED", "PAY_PER_REQUEST", ""]),
)
def test_any_definition_is_refused_in_printable_words_or_makes_a_request_botocore_accepts(
    globals_, locals_, stream, encryption, billing_mode
):
    hostile = defined(
        global_secondary_indexes=globals_,
        local_secondary_indexes=locals_,
        stream=stream,
        encryption=encryption,
        billing_mode=billing_mode,
    )
    faults = definition_faults(hostile)
    for fault in faults:
        assert_showable(fault)
    if faults:
        return
    made = create_table_request(hostile, "orders", "r")
    json.dumps(made)
    shape = botocore.session.get_session().get_service_model("dynamodb").operation_model("CreateTable").input_shape
    report = ParamValidator().validate(made, shape)
    assert not report.has_errors(), report.generate_report()
