"""Auto scaling as it stands in a table's definition."""

from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.backup.autoscaling import capture_autoscaling
from chalicelib.backup.definition import (
    Autoscaling,
    ScalingPolicy,
    capture_definition,
    decode_definition,
    encode_definition,
)
from tests.unit.backup.test_definition import BACKUPS, PROVISIONED, Described

WRITES = "dynamodb:table:WriteCapacityUnits"
TRACKING = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBWriteCapacityUtilization"},
}


class Scaling:
    """Application Auto Scaling with one target a page."""

    def __init__(self) -> None:
        self.targets = [
            {"ResourceId": "table/orders", "ScalableDimension": WRITES, "MinCapacity": 5, "MaxCapacity": 50},
            {
                "ResourceId": "table/orders/index/by_sk",
                "ScalableDimension": "dynamodb:index:ReadCapacityUnits",
                "MinCapacity": 1,
                "MaxCapacity": 2,
            },
        ]
        self.asked: list[list[str]] = []

    def describe_scalable_targets(self, ServiceNamespace: str, ResourceIds: list[str], NextToken: str = "0") -> Any:
        assert ServiceNamespace == "dynamodb"
        self.asked.append(ResourceIds)
        found = [target for target in self.targets if target["ResourceId"] in ResourceIds]
        at = int(NextToken)
        more = {"NextToken": str(at + 1)} if at + 1 < len(found) else {}
        return {"ScalableTargets": found[at : at + 1], **more}

    def describe_scaling_policies(self, ServiceNamespace: str, ResourceId: str) -> Any:
        if ResourceId != "table/orders":
            return {"ScalingPolicies": []}
        place = {"ResourceId": ResourceId, "ScalableDimension": WRITES}
        tracking = {"PolicyName": "keep", "PolicyType": "TargetTrackingScaling"}
        return {
            "ScalingPolicies": [
                {**place, **tracking, "TargetTrackingScalingPolicyConfiguration": TRACKING},
                {**place, "PolicyName": "steps", "PolicyType": "StepScaling"},
                {
                    **place,
                    **tracking,
                    "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
                    "TargetTrackingScalingPolicyConfiguration": TRACKING,
                },
            ]
        }


def refusing(error: Exception) -> Any:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            raise error

    return Refusing


def test_what_scales_the_table_and_its_indexes_is_captured_and_survives_the_bucket():
    scaling = Scaling()
    captured = capture_autoscaling(lambda: scaling, PROVISIONED)
    assert captured == (
        Autoscaling(
            dimension=WRITES,
            min_capacity=5,
            max_capacity=50,
            policies=(ScalingPolicy(policy_name="keep", target_tracking=TRACKING),),
        ),
        Autoscaling(dimension="dynamodb:index:ReadCapacityUnits", index_name="by_sk", min_capacity=1, max_capacity=2),
    )
    assert scaling.asked[0] == ["table/orders", "table/orders/index/by_sk"]
    definition = capture_definition(Described(), PROVISIONED, BACKUPS, "", captured)
    assert decode_definition(encode_definition(definition), "table.json") == definition


def test_a_table_that_is_not_scaled_has_none_and_an_on_demand_one_is_not_asked_about():
    scaling = Scaling()
    scaling.targets = []
    assert capture_autoscaling(lambda: scaling, PROVISIONED) == ()
    on_demand = {**PROVISIONED, "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}
    assert capture_autoscaling(refusing(AssertionError()), on_demand) == ()


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeScalableTargets"),
        EndpointConnectionError(endpoint_url="https://autoscaling"),
    ],
)
def test_where_it_cannot_be_seen_it_is_not_known_and_the_backup_goes_on(error):
    assert capture_autoscaling(refusing(error), PROVISIONED) is None
    assert capture_autoscaling(None, PROVISIONED) is None


def test_a_definition_of_before_has_it_not_known():
    definition = capture_definition(Described(), PROVISIONED, BACKUPS, "", ())
    old = msgspec.json.decode(encode_definition(definition))
    del old["autoscaling"]
    found = decode_definition(msgspec.json.encode(old), "table.json")
    assert found.autoscaling is None
    assert msgspec.structs.replace(found, autoscaling=()) == definition
