"""FINISHING, of tables that this restore made: what would have been in the load's way is put on after it.

TTL (it would delete items that are yet to be compared), point-in-time recovery, autoscaling (it would lower the
capacity while nothing is written), and last deletion protection. Each step looks first and may be repeated. One that
fails does not keep the others from being done, and its failure says what to do by hand: the items are all there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.aws import Client, error_code, error_text, is_transient
from chalicelib.backup.definition import Autoscaling, ScalingPolicy, TableDefinition, read_definition
from chalicelib.errors import ExportInvalid
from chalicelib.restore.model import Job, Note, Shard, Table, warning
from chalicelib.restore.new_table import FINISHED, OWNER_TAG
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, outage_pause_ms

_NAMESPACE = "dynamodb"
_DIMENSIONS = frozenset(
    f"dynamodb:{what}:{unit}CapacityUnits" for what in ("table", "index") for unit in ("Read", "Write")
)
_METRICS = frozenset({"DynamoDBReadCapacityUtilization", "DynamoDBWriteCapacityUtilization"})
_TRACKING = ("TargetValue", "ScaleOutCooldown", "ScaleInCooldown", "DisableScaleIn")
_LONGEST_POLICY_NAME = 256
# What passes by itself: another change of the table is still under way.
_LATER = frozenset(
    {
        "ResourceInUseException",
        "LimitExceededException",
        "ContinuousBackupsUnavailableException",
        "ConcurrentUpdateException",
    }
)
Step = Callable[[], None]


def finish_target(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    """Ends with a failure that names every step that did not succeed; yields at the soft stop, and where a step has to
    wait for another change of the table to end."""
    if not table.is_new:
        return Ended()
    try:
        definition = read_definition(around.s3, job.bucket, table.definition_key)
    except ExportInvalid as error:
        return Ended(failure=f"{table.target} was loaded, but not finished as it was: {error.message}")
    try:
        return _finish(around, run, job, table, definition)
    except ClientError as error:
        if error_code(error) not in _LATER:
            raise
        return Yielded(reason=error_text(error), pause_ms=outage_pause_ms(shard))


def _finish(around: Surroundings, run: Invocation, job: Job, table: Table, definition: TableDefinition) -> Answer:
    failures = []
    for by_hand, step in _steps(around, table.target, definition):
        if around.clock() >= run.soft_stop_ms:
            return Yielded(progressed=True)
        problem = _problem(step)
        if problem is not None:
            failures.append(f"{problem}: {by_hand}")
    if failures:
        return Ended(failure=f"{table.target} was loaded, but some of its settings are missing: {'; '.join(failures)}")
    return Ended(notes=tuple(_mark_finished(around.dynamodb, table.target, job)))


def _mark_finished(dynamodb: Client, target: str, job: Job) -> list[Note]:
    """So that whoever restores into the table later need not wonder: a warning where it is refused, because every
    setting is on all the same. Needs dynamodb:TagResource."""
    tags = [{"Key": OWNER_TAG, "Value": f"{job.restore_id}{FINISHED}"}]
    arn = dynamodb.describe_table(TableName=target)["Table"]["TableArn"]
    try:
        dynamodb.tag_resource(ResourceArn=arn, Tags=tags)
    except ClientError as error:
        if is_transient(error) or error_code(error) in _LATER | {"ResourceNotFoundException"}:
            raise
        text = f"every setting of {target} is on, but its tag {OWNER_TAG} could not be set to {tags[0]['Value']!r}"
        return [warning(f"{text} ({error_text(error)}): set it, or later restores into it warn that it is unfinished")]
    return []


def _problem(step: Step) -> str | None:
    """Does a step; what is wrong if it cannot be done. Raises botocore's ClientError where it can be done later."""
    try:
        step()
    except ExportInvalid as error:
        return error.message
    except ParamValidationError:  # its text would show what the bucket holds
        return "the definition has a value that AWS does not take"
    except ClientError as error:
        if is_transient(error) or error_code(error) in _LATER:
            raise
        return error_text(error)
    return None


def _steps(around: Surroundings, target: str, definition: TableDefinition) -> Iterator[tuple[str, Step]]:
    """With what to do by hand where a step fails."""
    dynamodb = around.dynamodb
    attribute, days = definition.time_to_live_attribute, definition.recovery_period_days
    if attribute is not None:
        yield f"turn on TTL by {attribute[:100]!r}", partial(_expire, dynamodb, target, attribute)
    if definition.point_in_time_recovery:
        yield "turn on point-in-time recovery", partial(_recover, dynamodb, target, days)
    for scaling in definition.autoscaling or ():
        what = "an index" if scaling.index_name else "the table"
        by_hand = f"set up auto scaling of {what} ({scaling.dimension[:100]!r})"
        yield by_hand, partial(_scale, around.autoscaling, target, definition.table_name, scaling)
    if definition.deletion_protection:
        yield "turn on deletion protection", partial(_protect, dynamodb, target)


def _expire(dynamodb: Client, target: str, attribute: str) -> None:
    if _expires(dynamodb, target, attribute):
        return
    specification = {"Enabled": True, "AttributeName": attribute}
    try:
        dynamodb.update_time_to_live(TableName=target, TimeToLiveSpecification=specification)
    except ClientError as error:
        # The client sends a request again whose answer was lost, and DynamoDB refuses what is so already.
        if error_code(error) != "ValidationException" or not _expires(dynamodb, target, attribute):
            raise


def _expires(dynamodb: Client, target: str, attribute: str) -> bool:
    described = dynamodb.describe_time_to_live(TableName=target)["TimeToLiveDescription"]
    is_on = described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return is_on and described.get("AttributeName") == attribute


def _recover(dynamodb: Client, target: str, days: int | None) -> None:
    wanted: dict[str, Any] = {"PointInTimeRecoveryEnabled": True}
    if days is not None:
        wanted["RecoveryPeriodInDays"] = days
    backups = dynamodb.describe_continuous_backups(TableName=target)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    is_on = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
    if not is_on or days not in (None, recovery.get("RecoveryPeriodInDays")):
        dynamodb.update_continuous_backups(TableName=target, PointInTimeRecoverySpecification=wanted)


def _protect(dynamodb: Client, target: str) -> None:
    if not dynamodb.describe_table(TableName=target)["Table"].get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=target, DeletionProtectionEnabled=True)


def _scale(autoscaling: Callable[[], Client], target: str, source: str, scaling: Autoscaling) -> None:
    """What is registered already is registered again with the same numbers: both calls set, they do not add."""
    register, *policies = scaling_requests(target, source, scaling)
    autoscaling().register_scalable_target(**register)
    for policy in policies:
        autoscaling().put_scaling_policy(**policy)


def scaling_requests(target: str, source: str, scaling: Autoscaling) -> list[dict[str, Any]]:
    """RegisterScalableTarget's arguments, then PutScalingPolicy's for each policy. Raises ExportInvalid where the
    definition asks for what a table's capacity cannot have."""
    is_of_index = scaling.dimension.startswith("dynamodb:index:")
    numbers = (scaling.min_capacity, scaling.max_capacity)
    if scaling.dimension not in _DIMENSIONS or is_of_index != (scaling.index_name is not None):
        raise ExportInvalid("the definition scales what is no capacity of a table or an index")
    if not 1 <= numbers[0] <= numbers[1]:
        raise ExportInvalid("the definition scales between limits that are none")
    resource = f"table/{target}" + (f"/index/{scaling.index_name}" if scaling.index_name else "")
    place = {"ServiceNamespace": _NAMESPACE, "ResourceId": resource, "ScalableDimension": scaling.dimension}
    register = place | {"MinCapacity": numbers[0], "MaxCapacity": numbers[1]}
    return [register, *(place | _policy(target, source, policy) for policy in scaling.policies)]


def _policy(target: str, source: str, policy: ScalingPolicy) -> dict[str, Any]:
    tracking = policy.target_tracking
    specification = tracking.get("PredefinedMetricSpecification")
    metric = specification.get("PredefinedMetricType") if isinstance(specification, dict) else None
    if metric not in _METRICS or not isinstance(tracking.get("TargetValue"), int | float):
        raise ExportInvalid("a scaling policy tracks another metric than the capacity's use")
    kept = {name: tracking[name] for name in _TRACKING if isinstance(tracking.get(name), int | float)}
    name = policy.policy_name.replace(f"table/{source}", f"table/{target}")[:_LONGEST_POLICY_NAME]
    return {
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": kept
        | {"PredefinedMetricSpecification": {"PredefinedMetricType": metric}},
    }
