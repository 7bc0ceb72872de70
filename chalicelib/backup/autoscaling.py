"""What Application Auto Scaling does with a table's capacity, for its definition.

https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-dynamodb.html
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client
from chalicelib.backup.definition import Autoscaling, ScalingPolicy

_NAMESPACE = "dynamodb"
_TARGET_TRACKING = "TargetTrackingScaling"


def capture_autoscaling(
    autoscaling: Callable[[], Client] | None, described: Mapping[str, Any]
) -> tuple[Autoscaling, ...] | None:
    """Of the table that DescribeTable's `Table` describes. An on-demand table has no capacity that could be scaled.

    `autoscaling` makes the client of application-autoscaling. Nothing is raised, because no backup should fail for it:
    None where it cannot be known, for want of the permission or for any other failure. Needs
    application-autoscaling:DescribeScalableTargets and DescribeScalingPolicies.
    """
    if described.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        return ()
    if autoscaling is None:
        return None
    table = f"table/{described['TableName']}"
    indexes = [f"{table}/index/{index['IndexName']}" for index in described.get("GlobalSecondaryIndexes", [])]
    try:
        return _captured(autoscaling(), [table, *indexes])
    except (ClientError, BotoCoreError):
        return None


def _captured(client: Client, resources: Sequence[str]) -> tuple[Autoscaling, ...]:
    targets = list(_pages(client.describe_scalable_targets, "ScalableTargets", ResourceIds=list(resources)))
    scaled = dict.fromkeys(target["ResourceId"] for target in targets)
    policies = [
        policy
        for resource in scaled
        for policy in _pages(client.describe_scaling_policies, "ScalingPolicies", ResourceId=resource)
    ]
    return tuple(_autoscaling(target, policies) for target in targets)


def _pages(describe: Callable[..., dict[str, Any]], name: str, **request: Any) -> Iterator[dict[str, Any]]:
    request["ServiceNamespace"] = _NAMESPACE
    while True:
        answer = describe(**request)
        yield from answer.get(name, [])
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]


def _autoscaling(target: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> Autoscaling:
    place = (target["ResourceId"], target["ScalableDimension"])
    _, _, index_name = target["ResourceId"].partition("/index/")
    return Autoscaling(
        dimension=target["ScalableDimension"],
        index_name=index_name or None,
        min_capacity=int(target["MinCapacity"]),
        max_capacity=int(target["MaxCapacity"]),
        policies=tuple(
            ScalingPolicy(
                policy_name=policy["PolicyName"], target_tracking=policy["TargetTrackingScalingPolicyConfiguration"]
            )
            for policy in policies
            if (policy["ResourceId"], policy["ScalableDimension"]) == place and policy["PolicyType"] == _TARGET_TRACKING
        ),
    )
