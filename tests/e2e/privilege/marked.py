"""Tables whose items carry unmistakable marks: wherever a mark turns up, item content is where it must not be."""

import secrets
from typing import Any

Item = dict[str, dict[str, Any]]

# Made anew for every run, so that no mark can stand in this repository's own text, and none can be a coincidence.
KEY_MARK = f"keymark{secrets.token_hex(8)}"
VALUE_MARK = f"valuemark{secrets.token_hex(8)}"
NAME_MARK = f"namemark{secrets.token_hex(8)}"
NESTED_MARK = f"nestedmark{secrets.token_hex(8)}"
REFUSED_MARK = f"refusedmark{secrets.token_hex(8)}"
NO_ITEM_MARK = f"noitemmark{secrets.token_hex(8)}"
NUMBER_MARK = str(10**24 + secrets.randbelow(10**24))
BINARY_MARK = secrets.token_bytes(24)
BINARY_KEY_MARK = secrets.token_bytes(24)

ORDERS = "marked-orders"
DEVICES = "marked-devices"  # has all a table can have: provisioned capacity that is scaled, an index, TTL, tags
INDEX = "by-note"
EXPIRY = "expires_at"
UNPROTECTED = "marked-unprotected"  # no point-in-time recovery: its export fails
# Named as a ledger: clearing must refuse it, whatever the request says.
LEDGER_OF_ANOTHER_STAGE = "tablevault-other-ledger"
BACKED_UP = (ORDERS, UNPROTECTED, "tag:team=platform")  # the last one is DEVICES

# More than CLEARING scans in one page, so that it writes a checkpoint with a scan position.
ORDER_COUNT = 1_050


def create_tables(dynamodb: Any) -> None:
    keys = {ORDERS: "S", DEVICES: "B", UNPROTECTED: "S", LEDGER_OF_ANOTHER_STAGE: "B"}
    for name, key_type in keys.items():
        definition: dict[str, Any] = {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": key_type}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        }
        if name == DEVICES:
            _furnish(definition)
        dynamodb.create_table(TableName=name, **definition)
        if name in (ORDERS, DEVICES):
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )


def _furnish(definition: dict[str, Any]) -> None:
    capacity = {"ReadCapacityUnits": 10, "WriteCapacityUnits": 10}
    definition["AttributeDefinitions"].append({"AttributeName": "note", "AttributeType": "S"})
    definition |= {
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": capacity,
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": [{"AttributeName": "note", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
                "ProvisionedThroughput": capacity,
            }
        ],
        "Tags": [{"Key": "team", "Value": "platform"}],
        "DeletionProtectionEnabled": True,
    }


def furnish_devices(dynamodb: Any, scaling: Any) -> None:
    """What is put on a table that exists: TTL, and the scaling of its write capacity."""
    specification = {"Enabled": True, "AttributeName": EXPIRY}
    dynamodb.update_time_to_live(TableName=DEVICES, TimeToLiveSpecification=specification)
    place = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": f"table/{DEVICES}",
        "ScalableDimension": "dynamodb:table:WriteCapacityUnits",
    }
    scaling.register_scalable_target(**place, MinCapacity=10, MaxCapacity=40_000)
    scaling.put_scaling_policy(
        **place,
        PolicyName=f"$table/{DEVICES}-scaling-policy",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 70.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBWriteCapacityUtilization"},
        },
    )


def orders() -> list[Item]:
    return [
        {
            "id": {"S": f"{KEY_MARK}-{number:05d}"},
            "note": {"S": f"before {VALUE_MARK} after"},
            NAME_MARK: {"BOOL": True},
            "number": {"N": NUMBER_MARK},
            "bytes": {"B": BINARY_MARK},
            "deep": {"M": {"list": {"L": [{"S": NESTED_MARK}, {"NS": [NUMBER_MARK]}, {"BS": [BINARY_MARK]}]}}},
        }
        for number in range(ORDER_COUNT)
    ]


def devices() -> list[Item]:
    return [{"id": {"B": BINARY_KEY_MARK + bytes([number])}, "note": {"S": VALUE_MARK}} for number in range(3)]


def refused_lines() -> list[bytes]:
    """Lines of a data file that DynamoDB refuses, each for another reason, and lines that are no items at all.

    DynamoDB's own reason for the first repeats the number it was sent.
    """
    key = f'"id":{{"S":"{REFUSED_MARK}'
    too_large = "x" * (400 * 1024)
    return [
        f'{{"Item":{{{key}-1"}},"n":{{"N":"{REFUSED_MARK}"}}}}}}'.encode(),
        f'{{"Item":{{"note":{{"S":"without a key {REFUSED_MARK}"}}}}}}'.encode(),
        f'{{"Item":{{"id":{{"N":"{NUMBER_MARK}"}},"note":{{"S":"{REFUSED_MARK}"}}}}}}'.encode(),
        f'{{"Item":{{{key}-2"}},"large":{{"S":"{too_large}"}}}}}}'.encode(),
        f'{{"Item":{{{key}-3"}},"{NAME_MARK}":{{"{REFUSED_MARK}":"1"}}}}}}'.encode(),
        f"this is no item: {NO_ITEM_MARK}".encode(),
        f'{{"Item":{{{key}-4'.encode() + b'\xff\xfe"}}}',
    ]


def marks() -> dict[str, bytes]:
    """What to look for, by name."""
    texts = {
        "a key": KEY_MARK,
        "a value": VALUE_MARK,
        "an attribute's name": NAME_MARK,
        "a nested value": NESTED_MARK,
        "a refused item": REFUSED_MARK,
        "a line that is no item": NO_ITEM_MARK,
        "a number": NUMBER_MARK,
    }
    found = {name: text.encode() for name, text in texts.items()}
    return found | {"a binary value": BINARY_MARK, "a binary key": BINARY_KEY_MARK}
