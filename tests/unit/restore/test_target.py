"""Facts about targets and what is said of them."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition
from chalicelib.restore.model import Note
from chalicelib.restore.target import (
    capacity_notes,
    decode_facts,
    facts_of_definition,
    facts_of_table,
    ion_blocker,
    is_autoscaled,
    kinesis_notes,
    state_notes,
    survey_notes,
    time_to_live_attribute,
    time_to_live_notes,
)
from chalicelib.settings import RequestPrices

DESCRIBED: dict[str, Any] = {
    "TableName": "orders",
    "TableArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "N"},
    ],
    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
    "ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
    "WarmThroughput": {"ReadUnitsPerSecond": 12000, "WriteUnitsPerSecond": 9000, "Status": "ACTIVE"},
    "OnDemandThroughput": {"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": -1},
    "ItemCount": 7,
    "TableSizeBytes": 700,
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by_sk",
            "IndexStatus": "ACTIVE",
            "KeySchema": [{"AttributeName": "sk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]},
            "WarmThroughput": {"WriteUnitsPerSecond": 5000},
        }
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "local",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}


class Client:
    """Answers every call with what it was given, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return call


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "Call")


def texts(notes: list[Note]) -> str:
    return " | ".join(f"{note.level}: {note.text}" for note in notes)


def test_facts_of_a_table_that_is_there():
    found = facts_of_table(DESCRIBED, "expires")
    assert (found.region, found.key_names, found.is_on_demand, found.is_new) == (
        "eu-west-1",
        ("pk", "sk"),
        True,
        False,
    )
    assert (found.provisioned_write_units, found.warm_write_units_per_s, found.most_write_units_per_s) == (
        None,
        9000,
        None,
    )
    by_sk, local = found.indexes
    assert (by_sk.name, by_sk.is_local, by_sk.projected, by_sk.warm_write_units_per_s) == ("by_sk", False, ("a",), 5000)
    assert (local.is_local, local.projected) == (True, None)
    assert decode_facts(found.encode()) == found


def test_facts_of_a_table_that_will_be_made():
    definition = TableDefinition(
        table_name="orders",
        table_arn="arn",
        captured_at="",
        keys=(KeyAttribute("pk", "HASH"),),
        attributes=(Attribute("pk", "S"),),
        billing_mode="PROVISIONED",
        provisioned_throughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 20},
        time_to_live_attribute="expires",
    )
    found = facts_of_definition(definition, "orders_again", "eu-west-1")
    assert (found.table_name, found.is_new, found.is_on_demand, found.provisioned_write_units) == (
        "orders_again",
        True,
        False,
        20,
    )
    assert found.time_to_live_attribute == "expires"


def test_an_active_table_without_anything_special_needs_no_note():
    assert state_notes(DESCRIBED) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TableStatus": "UPDATING"}, "blocker: target table orders is UPDATING"),
        ({"Replicas": [{"RegionName": "us-east-1"}]}, "warning: orders is a global table: every write and delete also"),
        (
            {"StreamSpecification": {"StreamEnabled": True}, "LatestStreamArn": "arn:stream"},
            "list-event-source-mappings --event-source-arn arn:stream",
        ),
        ({"OnDemandThroughput": {"MaxWriteRequestUnits": 10}}, "warning: orders is limited to 10 write units"),
        (
            {"GlobalSecondaryIndexes": [{**DESCRIBED["GlobalSecondaryIndexes"][0], "IndexStatus": "CREATING"}]},
            "warning: index by_sk of orders is CREATING",
        ),
    ],
)
def test_what_every_write_would_set_off_is_said(change, said):
    assert said in texts(state_notes({**DESCRIBED, **change}))


def test_a_kinesis_stream_is_named_and_a_missing_permission_too():
    active = {"KinesisDataStreamDestinations": [{"StreamArn": "arn:k", "DestinationStatus": "ACTIVE"}]}
    off = {"KinesisDataStreamDestinations": [{"StreamArn": "arn:k", "DestinationStatus": "DISABLED"}]}
    assert "feeds arn:k" in texts(kinesis_notes(Client(active), "orders"))
    assert kinesis_notes(Client(off), "orders") == []
    assert "no permission" in texts(kinesis_notes(Client(refused("AccessDeniedException")), "orders"))
    assert kinesis_notes(Client(refused("UnknownOperationException")), "orders") == []
    with pytest.raises(ClientError):
        kinesis_notes(Client(refused("ThrottlingException")), "orders")


def test_expiring_items_are_counted_where_a_survey_was_made():
    on = Client({"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}})
    off = Client({"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}})
    assert time_to_live_attribute(on, "orders") == ("expires", [])
    assert time_to_live_attribute(off, "orders") == (None, [])
    attribute, notes = time_to_live_attribute(Client(refused("AccessDeniedException")), "orders")
    assert attribute is None
    assert "no permission" in texts(notes)
    found = facts_of_table(DESCRIBED, "expires")
    assert "the 12 items whose time has passed (by 'expires')" in texts(time_to_live_notes(found, 12))
    assert "items whose time has passed" in texts(time_to_live_notes(found, None))
    assert time_to_live_notes(found, 0) == []
    assert time_to_live_notes(facts_of_table(DESCRIBED), 12) == []


def test_provisioned_capacity_is_told_with_what_scales_it():
    provisioned = {**DESCRIBED, "BillingModeSummary": {}, "ProvisionedThroughput": {"WriteCapacityUnits": 25}}
    found = facts_of_table(provisioned)
    assert "25 provisioned write units" in texts(capacity_notes(found, None))
    assert "auto scaling will raise" in texts(capacity_notes(found, True))
    assert "set max_write_units" in texts(capacity_notes(found, False))
    assert capacity_notes(facts_of_table(DESCRIBED), None) == []
    assert is_autoscaled(Client({"ScalableTargets": [{}]}), "orders") is True
    assert is_autoscaled(Client({"ScalableTargets": []}), "orders") is False
    assert is_autoscaled(Client(refused("AccessDeniedException")), "orders") is None


def test_a_surveys_findings_are_warnings_with_their_first_lines_counted_from_one():
    notes = survey_notes("orders", {"too_large": 5, "not_items": 0}, {"too_large": [0, 7]})
    assert texts(notes) == "warning: 5 lines are items of more than 400 KB and will be rejected (first: 1, 8)"


def test_ion_is_refused_with_what_to_do():
    note = ion_blocker("orders")
    assert note.level == "blocker"
    assert "ImportTable" in note.text
    assert "DYNAMODB_JSON" in note.text


def test_facts_that_a_row_holds_are_read_as_they_were_written():
    text = (
        '{"table_name":"orders","region":"eu-west-1","key_names":["id"],"attribute_types":{"id":"S"},'
        '"prices":{"write_usd_per_million":0.6,"read_usd_per_million":0.1}}'
    )
    assert decode_facts(text).prices == RequestPrices(0.6, 0.1)
    assert decode_facts(decode_facts(text).encode()) == decode_facts(text)
