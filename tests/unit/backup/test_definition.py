"""table.json: captured from DynamoDB's descriptions, and read with care."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.definition import capture_definition, decode_definition, encode_definition
from chalicelib.errors import ExportInvalid

PROVISIONED: dict[str, Any] = {
    "TableName": "orders",
    "TableArn": "arn:aws:dynamodb:r:123456789012:table/orders",
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "N"},
    ],
    "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6, "NumberOfDecreasesToday": 1},
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by_sk",
            "IndexStatus": "ACTIVE",
            "KeySchema": [{"AttributeName": "sk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]},
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 2, "NumberOfDecreasesToday": 0},
            "IndexSizeBytes": 1,
        }
    ],
    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    "SSEDescription": {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": "arn:key"},
    "TableClassSummary": {"TableClass": "STANDARD_INFREQUENT_ACCESS"},
    "DeletionProtectionEnabled": True,
}
BACKUPS = {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 7}}


class Described:
    def describe_time_to_live(self, **_: Any) -> dict[str, Any]:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}}

    def list_tags_of_resource(self, NextToken: str = "", **_: Any) -> dict[str, Any]:
        if NextToken:
            return {"Tags": [{"Key": "b", "Value": "2"}]}
        return {"Tags": [{"Key": "a", "Value": "1"}], "NextToken": "more"}


def test_all_that_makes_a_table_is_captured_and_survives_the_bucket():
    captured = capture_definition(Described(), PROVISIONED, BACKUPS, "2026-11-21T01:00:20.000Z")
    found = decode_definition(encode_definition(captured), "table.json")
    assert found == captured
    assert [(key.attribute_name, key.key_type) for key in found.keys] == [("pk", "HASH"), ("sk", "RANGE")]
    assert [(each.attribute_name, each.attribute_type) for each in found.attributes] == [("pk", "S"), ("sk", "N")]
    assert found.billing_mode == "PROVISIONED"  # DescribeTable does not say so of tables that always were
    assert found.provisioned_throughput == {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6}
    assert found.global_secondary_indexes == [
        {
            "IndexName": "by_sk",
            "KeySchema": [{"AttributeName": "sk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]},
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 2},
        }
    ]
    assert found.stream == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    assert found.encryption is not None
    assert found.encryption["KMSMasterKeyArn"] == "arn:key"
    assert found.table_class == "STANDARD_INFREQUENT_ACCESS"
    assert found.time_to_live_attribute == "expires"
    assert (found.point_in_time_recovery, found.recovery_period_days) == (True, 7)
    assert found.deletion_protection
    assert found.tags == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"schema_version": 2}', "table.json"),
        (b"", "not a table definition"),
        (b"[" * 100_000, "not a table definition"),
        (b"\xff", "not a table definition"),
    ],
)
def test_what_is_no_definition_is_invalid_and_named(content, said):
    with pytest.raises(ExportInvalid, match=said):
        decode_definition(content, "table.json")


def test_a_newer_schema_and_a_table_without_keys_are_refused():
    captured = encode_definition(capture_definition(Described(), PROVISIONED, BACKUPS, "2026-11-21T01:00:20.000Z"))
    with pytest.raises(ExportInvalid, match="newer tablevault"):
        decode_definition(captured.replace(b'"schema_version": 1', b'"schema_version": 2'), "table.json")
    keyless = encode_definition(capture_definition(Described(), {**PROVISIONED, "KeySchema": []}, BACKUPS, ""))
    with pytest.raises(ExportInvalid, match="without keys"):
        decode_definition(keyless, "table.json")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_definition_and_no_other_error(content):
    with pytest.raises(ExportInvalid):
        decode_definition(content, "table.json")
