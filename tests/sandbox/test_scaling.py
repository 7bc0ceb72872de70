"""What the sandbox's Application Auto Scaling keeps and tells; its way through IAM is in tests/e2e/privilege."""

from typing import Any

import pytest

from sandbox.emulator.scaling import Refusal, Scaling

WRITES = "dynamodb:table:WriteCapacityUnits"
PLACE = {"ServiceNamespace": "dynamodb", "ResourceId": "table/orders", "ScalableDimension": WRITES}
POLICY = {"PolicyName": "p", "PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": {}}


@pytest.fixture
def scaling() -> Scaling:
    return Scaling(lambda: "000000000000:us-east-1")


def register(scaling: Scaling, **more: Any) -> dict[str, Any]:
    return scaling.answer("RegisterScalableTarget", {**PLACE, "MinCapacity": 1, "MaxCapacity": 9, **more})


def described(scaling: Scaling, **more: Any) -> list[dict[str, Any]]:
    asked = {"ServiceNamespace": "dynamodb", **more}
    return list(scaling.answer("DescribeScalableTargets", asked)["ScalableTargets"])


def test_what_is_registered_is_described_and_registering_again_sets_its_limits(scaling: Scaling) -> None:
    arn = register(scaling)["ScalableTargetARN"]
    assert arn.startswith("arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/")
    scaling.answer("RegisterScalableTarget", {**PLACE, "MaxCapacity": 20})
    [target] = described(scaling, ResourceIds=["table/orders"])
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == ("table/orders", 1, 20)


def test_only_what_is_asked_for_is_described(scaling: Scaling) -> None:
    register(scaling)
    assert described(scaling, ResourceIds=["table/others"]) == []
    assert described(scaling, ScalableDimension="dynamodb:table:ReadCapacityUnits") == []
    assert scaling.answer("DescribeScalableTargets", {"ServiceNamespace": "ecs"})["ScalableTargets"] == []
    scaling.reset()
    assert described(scaling) == []


def test_a_listing_goes_on_by_its_token(scaling: Scaling) -> None:
    for number in range(60):
        register(scaling, ResourceId=f"table/t-{number:02d}")
    first = scaling.answer("DescribeScalableTargets", {"ServiceNamespace": "dynamodb"})
    rest = scaling.answer("DescribeScalableTargets", {"ServiceNamespace": "dynamodb", "NextToken": first["NextToken"]})
    assert (len(first["ScalableTargets"]), len(rest["ScalableTargets"])) == (50, 10)
    assert "NextToken" not in rest


def test_a_policy_needs_a_target(scaling: Scaling) -> None:
    with pytest.raises(Refusal) as refusal:
        scaling.answer("PutScalingPolicy", {**PLACE, **POLICY})
    assert refusal.value.code == "ObjectNotFoundException"
    register(scaling)
    scaling.answer("PutScalingPolicy", {**PLACE, **POLICY})
    asked = {"ServiceNamespace": "dynamodb", "ResourceId": "table/orders"}
    [policy] = scaling.answer("DescribeScalingPolicies", asked)["ScalingPolicies"]
    assert (policy["PolicyName"], policy["ScalableDimension"]) == ("p", WRITES)


@pytest.mark.parametrize("limits", [{"MinCapacity": 10}, {"MaxCapacity": None}])
def test_limits_that_are_none_are_refused(scaling: Scaling, limits: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refusal:
        register(scaling, **limits)
    assert refusal.value.code == "ValidationException"


def test_an_operation_that_it_lacks_is_refused(scaling: Scaling) -> None:
    with pytest.raises(Refusal):
        scaling.answer("DeleteScalingPolicy", PLACE)
