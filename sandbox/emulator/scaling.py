"""Application Auto Scaling, which ministack 1.5.33 lacks: what is registered is kept and told, and nothing is scaled.

It is put among ministack's own services, so that signatures and IAM are ministack's. The four operations are those that
backups and restores of tables with provisioned capacity need.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

SERVICE = "application-autoscaling"
_TARGET_PREFIX = "AnyScaleFrontendService"
_JSON = {"Content-Type": "application/x-amz-json-1.1"}
_MOST = 50  # of a page

Request = Mapping[str, Any]
Answer = tuple[int, dict[str, str], bytes]
Place = tuple[str, str, str, str]  # account and region, namespace, resource, dimension


class Refusal(Exception):
    """`code` is the exception's name on the wire, always with HTTP status 400."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Scaling:
    """The scalable targets and policies of all accounts and regions. `here` names the caller's: `account:region`."""

    def __init__(self, here: Callable[[], str]) -> None:
        self._here = here
        self._targets: dict[Place, dict[str, Any]] = {}
        self._policies: dict[tuple[Place, str], dict[str, Any]] = {}

    def reset(self) -> None:
        self._targets.clear()
        self._policies.clear()

    def answer(self, operation: str, request: Request) -> dict[str, Any]:
        """Raises Refusal."""
        calls = {
            "RegisterScalableTarget": self._register,
            "DescribeScalableTargets": self._describe_targets,
            "PutScalingPolicy": self._put_policy,
            "DescribeScalingPolicies": self._describe_policies,
        }
        if operation not in calls:
            raise Refusal("UnknownOperationException", f"the sandbox has no {operation}")
        return calls[operation](request)

    def _register(self, request: Request) -> dict[str, Any]:
        place = self._place(request)
        known = self._targets.get(place, {})
        limits = {name: request.get(name, known.get(name)) for name in ("MinCapacity", "MaxCapacity")}
        if None in limits.values():
            raise Refusal("ValidationException", "MinCapacity and MaxCapacity are required for a new scalable target")
        if limits["MinCapacity"] > limits["MaxCapacity"]:
            raise Refusal("ValidationException", "Maximum capacity cannot be less than minimum capacity")
        self._targets[place] = {**_named(place), **limits}
        region, account = reversed(place[0].split(":"))
        return {"ScalableTargetARN": f"arn:aws:{SERVICE}:{region}:{account}:scalable-target/{uuid.uuid4().hex}"}

    def _put_policy(self, request: Request) -> dict[str, Any]:
        place = self._place(request)
        if place not in self._targets:
            raise Refusal("ObjectNotFoundException", f"No scalable target registered for {place[1:]}")
        name = request["PolicyName"]
        kept = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration")
        self._policies[place, name] = {**_named(place), **{each: request[each] for each in kept if each in request}}
        region, account = reversed(place[0].split(":"))
        return {
            "PolicyARN": f"arn:aws:autoscaling:{region}:{account}:scalingPolicy:resource/{place[2]}:policyName/{name}",
            "Alarms": [],
        }

    def _describe_targets(self, request: Request) -> dict[str, Any]:
        asked = request.get("ResourceIds")
        found = [
            target
            for place, target in self._targets.items()
            if self._is_asked(place, request) and (asked is None or place[2] in asked)
        ]
        return _page("ScalableTargets", found, request)

    def _describe_policies(self, request: Request) -> dict[str, Any]:
        asked = request.get("ResourceId")
        found = [
            policy
            for (place, _), policy in self._policies.items()
            if self._is_asked(place, request) and asked in (None, place[2])
        ]
        return _page("ScalingPolicies", found, request)

    def _place(self, request: Request) -> Place:
        return self._here(), request["ServiceNamespace"], request["ResourceId"], request["ScalableDimension"]

    def _is_asked(self, place: Place, request: Request) -> bool:
        is_ours = place[:2] == (self._here(), request["ServiceNamespace"])
        return is_ours and request.get("ScalableDimension") in (None, place[3])


def _named(place: Place) -> dict[str, Any]:
    return {"ServiceNamespace": place[1], "ResourceId": place[2], "ScalableDimension": place[3], "CreationTime": 0}


def _page(name: str, found: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    begin = int(request.get("NextToken", 0))
    end = begin + min(_MOST, int(request.get("MaxResults", _MOST)))
    more = {"NextToken": str(end)} if end < len(found) else {}
    return {name: found[begin:end], **more}


def install() -> Callable[[], None]:
    """Puts the service into ministack, in this process; what forgets everything that it knows."""
    from ministack import app
    from ministack.core import iam_actions, router
    from ministack.core.responses import get_account_id, get_region

    scaling = Scaling(lambda: f"{get_account_id()}:{get_region()}")

    async def handle(method: str, path: str, headers: Mapping[str, str], body: bytes, query: object) -> Answer:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            return 200, dict(_JSON), json.dumps(scaling.answer(operation, json.loads(body or b"{}"))).encode()
        except Refusal as refusal:
            said = {"__type": refusal.code, "Message": str(refusal)}
            return 400, dict(_JSON), json.dumps(said).encode()

    router.SERVICE_PATTERNS[SERVICE] = {"target_prefixes": [_TARGET_PREFIX]}
    iam_actions.SERVICE_TO_IAM_NAMESPACE[SERVICE] = SERVICE
    app.SERVICE_HANDLERS[SERVICE] = handle
    return scaling.reset
