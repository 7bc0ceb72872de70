"""CREATING and FINISHING against moto: tables made from definitions, interruptions, strangers, what is put on last."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.backup.autoscaling import capture_autoscaling
from chalicelib.backup.capture import capture_table
from chalicelib.backup.definition import (
    Attribute,
    Autoscaling,
    ScalingPolicy,
    TableDefinition,
    encode_definition,
)
from chalicelib.restore.model import Job, Kind, Shard, Status, Table
from chalicelib.restore.new_table import FINISHED, OWNER_TAG
from chalicelib.restore.phases.creating import create_target
from chalicelib.restore.phases.finishing import finish_target
from chalicelib.restore.work import Ended, Invocation, Surroundings, Yielded
from tests.functional.restore.faults import Killed, client_error
from tests.functional.restore.world import BUCKET, START_MS, Faulty, ManualClock

REGION = "eu-west-1"
KEY = "native-exports/2026-11-21/orders/table.json"
INDEXES = {
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by_sk",
            "KeySchema": [{"AttributeName": "sk", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
            "ProvisionedThroughput": {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
        }
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "local",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}
TRACKING = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBWriteCapacityUtilization"},
}
WRITES = "dynamodb:table:WriteCapacityUnits"


@cache
def client(service: str) -> Any:
    """Made once: moto answers whichever client asks, and making one costs more than most tests."""
    return boto3.client(service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")


class Stage:
    """A definition of `orders` in the bucket, and one restore that makes it again under another name."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.hook: Callable[[str, dict[str, Any]], None] = lambda name, request: None
        self.calls: list[str] = []
        self.dynamodb, self.s3, self.autoscaling = map(client, ("dynamodb", "s3", "application-autoscaling"))
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.dynamodb.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "at")],
            ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
            Tags=[{"Key": "team", "Value": "sales"}],
            DeletionProtectionEnabled=True,
            **INDEXES,
        )
        self.dynamodb.update_time_to_live(
            TableName="orders", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
        )
        self.dynamodb.update_continuous_backups(
            TableName="orders", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        place = {"ServiceNamespace": "dynamodb", "ResourceId": "table/orders", "ScalableDimension": WRITES}
        self.autoscaling.register_scalable_target(**place, MinCapacity=5, MaxCapacity=50)
        self.autoscaling.put_scaling_policy(
            **place,
            PolicyName="DynamoDBWriteCapacityUtilization:table/orders",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=TRACKING,
        )
        self.table = Table(source="orders", target="again", number=0, item_count=0, definition_key=KEY, is_new=True)
        self.write(self.captured())

    def captured(self) -> TableDefinition:
        return capture_table(self.dynamodb, "orders", START_MS, lambda: self.autoscaling).definition

    def write(self, definition: TableDefinition) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=KEY, Body=encode_definition(definition))

    def surroundings(self) -> Surroundings:
        def hook(name: str, request: dict[str, Any]) -> None:
            self.calls.append(name)
            self.hook(name, request)

        return cast(
            Surroundings,
            _Around(
                dynamodb=Faulty(self.dynamodb, hook),
                s3=self.s3,
                clock=self.clock,
                sleep=self.clock.sleep,
                autoscaling=lambda: Faulty(self.autoscaling, hook),
            ),
        )

    def run(self, perform: Any, restore_id: str = "restore-1", time_ms: int = 240_000) -> Ended | Yielded:
        job = Job(
            restore_id=restore_id,
            status=Status.CREATING,
            created_at_ms=0,
            moved_at_ms=START_MS,
            bucket=BUCKET,
            exports_prefix="native-exports",
            backup_date="2026-11-21",
            dry_run=False,
            clear_existing_data=False,
            safety_backup=False,
            max_workers=5,
            table_count=1,
            targets=["again"],
            requested_by="tests",
        )
        shard = Shard(sk="SHARD#create#0000#000000", kind=Kind.CREATE, source="orders", number=0)
        run = Invocation(self.clock() + time_ms, self.clock() + time_ms + 30_000, save=lambda checkpoint: None)
        answer: Ended | Yielded = perform(self.surroundings(), run, job, self.table, shard)
        return answer

    def described(self) -> dict[str, Any]:
        table: dict[str, Any] = self.dynamodb.describe_table(TableName="again")["Table"]
        return table

    def exists(self) -> bool:
        return "again" in self.dynamodb.list_tables()["TableNames"]


class _Around:
    """The part of Surroundings that making a table needs."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with mock_aws():
        yield Stage()


def succeeded(answer: Ended | Yielded) -> bool:
    return isinstance(answer, Ended) and answer.failure is None


def failing(operation: str, *errors: BaseException) -> Callable[[str, dict[str, Any]], None]:
    """Raises one after another at the calls of an operation, then nothing."""
    left = list(errors)

    def hook(name: str, request: dict[str, Any]) -> None:
        if name == operation and left:
            raise left.pop(0)

    return hook


def test_a_missing_table_is_made_as_it_was_and_can_be_captured_again_as_the_same(stage):
    assert succeeded(stage.run(create_target))
    assert stage.run(finish_target) == Ended()
    made = capture_table(stage.dynamodb, "again", START_MS, lambda: stage.autoscaling).definition
    was = stage.captured()
    (scaling,) = was.autoscaling
    (policy,) = scaling.policies
    renamed = msgspec.structs.replace(policy, policy_name="DynamoDBWriteCapacityUtilization:table/again")
    assert made == msgspec.structs.replace(
        was,
        table_name="again",
        table_arn=made.table_arn,
        tags={"team": "sales", OWNER_TAG: f"restore-1{FINISHED}"},
        autoscaling=(msgspec.structs.replace(scaling, policies=(renamed,)),),
    )
    assert made.deletion_protection
    assert made.point_in_time_recovery
    assert made.time_to_live_attribute == "expires"


def test_before_the_load_nothing_is_in_its_way(stage):
    stage.run(create_target)
    found = stage.described()
    assert not found["DeletionProtectionEnabled"]
    ttl = stage.dynamodb.describe_time_to_live(TableName="again")["TimeToLiveDescription"]
    assert ttl["TimeToLiveStatus"] == "DISABLED"
    assert [index["IndexName"] for index in found["GlobalSecondaryIndexes"]] == ["by_sk"]


def test_killed_after_the_call_it_finds_its_own_table(stage):
    def kill_after_creation(name: str, request: dict[str, Any]) -> None:
        if name == "describe_table" and stage.exists():
            raise Killed

    stage.hook = kill_after_creation
    with pytest.raises(Killed):
        stage.run(create_target)
    stage.hook = lambda name, request: None
    stage.calls.clear()
    assert succeeded(stage.run(create_target))
    assert "create_table" not in stage.calls


def test_a_table_that_describe_does_not_know_yet_is_not_made_twice(stage):
    stage.run(create_target)
    missing = client_error("ResourceNotFoundException", "DescribeTable")
    stage.hook = failing("describe_table", missing, missing)
    assert succeeded(stage.run(create_target))


@pytest.mark.parametrize("tags", [[], [{"Key": OWNER_TAG, "Value": "another restore"}]])
def test_a_table_that_appeared_meanwhile_is_a_strangers_and_stays_as_it_is(stage, tags):
    stage.dynamodb.create_table(
        TableName="again",
        KeySchema=[{"AttributeName": "other", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "other", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        Tags=tags,
    )
    before = stage.described()
    answer = stage.run(create_target)
    assert isinstance(answer, Ended)
    assert "did not make" in (answer.failure or "")
    assert stage.described() == before


def test_a_tag_that_is_listed_late_is_waited_for(stage):
    stage.run(create_target)
    real = stage.dynamodb.list_tags_of_resource
    answers = iter([{"Tags": []}, {"Tags": [{"Key": "team", "Value": "sales"}], "NextToken": "t"}, {"Tags": []}])
    stage.dynamodb = _Patched(stage.dynamodb, list_tags_of_resource=lambda **request: next(answers, None) or real(
        **{name: value for name, value in request.items() if name != "NextToken"}))  # fmt: skip
    assert succeeded(stage.run(create_target))


class _Patched:
    def __init__(self, client: Any, **calls: Any) -> None:
        self._client = client
        self.__dict__.update(calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_table_that_takes_its_time_is_waited_for_until_the_soft_stop(stage):
    stage.run(create_target)
    real = stage.dynamodb.describe_table
    creating = {"Table": {**real(TableName="again")["Table"], "TableStatus": "CREATING"}}
    stage.dynamodb = _Patched(stage.dynamodb, describe_table=lambda **request: creating)
    begun_ms = stage.clock()
    assert stage.run(create_target, time_ms=10_000) == Yielded(progressed=True)
    assert 10_000 <= stage.clock() - begun_ms <= 11_000


def test_a_table_that_is_never_there_is_given_up_after_hours_and_not_before(stage):
    stage.run(create_target)
    made_at = datetime.fromtimestamp(stage.clock() / 1000, UTC)
    creating = {"Table": {**stage.described(), "TableStatus": "CREATING", "CreationDateTime": made_at}}
    stage.dynamodb = _Patched(stage.dynamodb, describe_table=lambda **request: creating)
    stage.clock.now_ms += 6 * 3_600_000 - 20_000
    assert stage.run(create_target, time_ms=10_000) == Yielded(progressed=True)
    answer = stage.run(create_target, time_ms=30_000)
    assert isinstance(answer, Ended)
    assert answer.failure is not None
    assert answer.failure.startswith("again was made and is still CREATING six hours later; nothing was loaded")


def test_the_last_of_many_tables_has_as_much_time_as_the_first(stage):
    stage.clock.now_ms += 7 * 3_600_000  # CREATING began as long ago
    assert succeeded(stage.run(create_target))


def test_a_target_that_is_being_deleted_is_a_failure(stage):
    stage.run(create_target)
    deleting = {"Table": {**stage.described(), "TableStatus": "DELETING"}}
    stage.dynamodb = _Patched(stage.dynamodb, describe_table=lambda **request: deleting)
    assert stage.run(create_target) == Ended(failure="again is DELETING, and cannot be restored into")


def test_too_many_tables_being_made_at_once_is_tried_again_later(stage):
    stage.hook = failing("create_table", client_error("LimitExceededException", "CreateTable"))
    answer = stage.run(create_target)
    assert isinstance(answer, Yielded)
    assert answer.pause_ms > 0
    assert succeeded(stage.run(create_target))


def test_a_denied_creation_says_so(stage):
    stage.hook = failing("create_table", client_error("AccessDeniedException", "CreateTable"))
    answer = stage.run(create_target)
    assert isinstance(answer, Ended)
    assert answer.failure == "again could not be made: AccessDeniedException: AccessDeniedException"


def test_an_outage_is_the_workers_to_wait_for(stage):
    stage.hook = failing("create_table", client_error("InternalServerError", "CreateTable", 500))
    with pytest.raises(ClientError):
        stage.run(create_target)


def test_a_hostile_definition_makes_no_table(stage):
    stage.write(msgspec.structs.replace(stage.captured(), billing_mode="FREE"))
    answer = stage.run(create_target)
    assert isinstance(answer, Ended)
    assert "its billing_mode is none of" in (answer.failure or "")
    stage.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"{}")
    answer = stage.run(create_target)
    assert isinstance(answer, Ended)
    assert "is not a table definition" in (answer.failure or "")
    assert not stage.exists()


def test_values_that_no_request_can_have_are_told_without_showing_them(stage):
    attributes = (*stage.captured().attributes[1:], Attribute("", "S"))
    index = {
        "IndexName": "bad",
        "KeySchema": [{"AttributeName": "", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
        "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    }
    good = stage.captured()
    stage.write(
        msgspec.structs.replace(
            good,
            attributes=(*good.attributes[:1], *attributes),
            global_secondary_indexes=[index],
            local_secondary_indexes=[],
        )
    )
    said = "again could not be made: its definition has a value that AWS does not take"
    assert stage.run(create_target) == Ended(failure=said)
    stage.write(msgspec.structs.replace(good, time_to_live_attribute=""))
    stage.run(create_target)
    answer = stage.run(finish_target)
    assert isinstance(answer, Ended)
    assert "does not take: turn on TTL by ''" in (answer.failure or "")


# --- finishing -------------------------------------------------------------------------------------------------------


def test_finishing_again_changes_nothing(stage):
    stage.run(create_target)
    stage.run(finish_target)
    stage.calls.clear()
    assert stage.run(finish_target) == Ended()
    assert not {"update_time_to_live", "update_continuous_backups", "update_table"} & set(stage.calls)


def test_a_target_that_was_there_before_is_left_as_it_is(stage):
    stage.run(create_target)
    stage.table = msgspec.structs.replace(stage.table, is_new=False)
    assert stage.run(finish_target) == Ended()
    assert not stage.described()["DeletionProtectionEnabled"]


STEPS = {
    "update_time_to_live": "turn on TTL by 'expires'",
    "update_continuous_backups": "turn on point-in-time recovery",
    "register_scalable_target": "set up auto scaling of the table",
    "put_scaling_policy": "set up auto scaling of the table",
    "update_table": "turn on deletion protection",
}


@pytest.mark.parametrize(("operation", "by_hand"), STEPS.items(), ids=STEPS)
def test_a_step_that_fails_is_told_and_keeps_no_other_from_being_done(stage, operation, by_hand):
    stage.run(create_target)
    stage.hook = failing(operation, client_error("AccessDeniedException", operation))
    answer = stage.run(finish_target)
    assert isinstance(answer, Ended)
    assert answer.failure is not None
    assert answer.failure.count("AccessDeniedException") == 2  # code and message
    assert f"AccessDeniedException: {by_hand}" in answer.failure
    done = [name for name in STEPS if name in stage.calls]
    assert len(done) == (4 if operation == "register_scalable_target" else 5)
    stage.hook = lambda name, request: None
    assert stage.run(finish_target) == Ended()


@pytest.mark.parametrize("operation", STEPS)
def test_a_kill_at_any_step_leaves_what_the_next_attempt_finishes(stage, operation):
    stage.run(create_target)
    stage.hook = failing(operation, Killed())
    with pytest.raises(Killed):
        stage.run(finish_target)
    stage.hook = lambda name, request: None
    assert stage.run(finish_target) == Ended()
    assert stage.described()["DeletionProtectionEnabled"]
    policies = stage.autoscaling.describe_scaling_policies(ServiceNamespace="dynamodb", ResourceId="table/again")
    assert len(policies["ScalingPolicies"]) == 1


def test_a_tag_that_may_not_be_set_is_a_warning_because_every_setting_is_on(stage):
    stage.run(create_target)
    stage.hook = failing("tag_resource", client_error("AccessDeniedException", "TagResource"))
    answer = stage.run(finish_target)
    assert isinstance(answer, Ended)
    assert answer.failure is None
    (note,) = answer.notes
    assert (note.level, OWNER_TAG in note.text, "AccessDenied" in note.text) == ("warning", True, True)
    assert stage.described()["DeletionProtectionEnabled"]


def test_a_table_that_is_gone_before_its_tag_is_not_said_to_have_its_settings(stage):
    stage.run(create_target)
    stage.hook = failing("tag_resource", client_error("ResourceNotFoundException", "TagResource"))
    with pytest.raises(ClientError):
        stage.run(finish_target)


@pytest.mark.parametrize("operation", ["update_table", "tag_resource"])
def test_a_table_that_is_still_changing_is_waited_for(stage, operation):
    stage.run(create_target)
    stage.hook = failing(operation, client_error("ResourceInUseException", operation))
    answer = stage.run(finish_target)
    assert isinstance(answer, Yielded)
    assert answer.pause_ms > 0
    assert stage.run(finish_target) == Ended()


def test_at_the_soft_stop_nothing_more_is_begun(stage):
    stage.run(create_target)
    stage.calls.clear()
    assert stage.run(finish_target, time_ms=0) == Yielded(progressed=True)
    assert stage.calls == []


OTHER_METRIC = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}}
SCALINGS = {
    "another dimension": Autoscaling(dimension="ecs:service:DesiredCount", min_capacity=1, max_capacity=2),
    "an index's without index": Autoscaling(
        dimension="dynamodb:index:ReadCapacityUnits", min_capacity=1, max_capacity=2
    ),
    "limits": Autoscaling(dimension=WRITES, min_capacity=3, max_capacity=2),
    "metric": Autoscaling(
        dimension=WRITES,
        min_capacity=1,
        max_capacity=2,
        policies=(ScalingPolicy(policy_name="p", target_tracking={**TRACKING, **OTHER_METRIC}),),
    ),
}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_scaling_that_no_table_can_have_is_told_and_never_asked_for(stage, scaling):
    stage.write(msgspec.structs.replace(stage.captured(), autoscaling=(scaling,)))
    stage.run(create_target)
    answer = stage.run(finish_target)
    assert isinstance(answer, Ended)
    assert "set up auto scaling of the table" in (answer.failure or "")
    assert "register_scalable_target" not in stage.calls
    assert stage.described()["DeletionProtectionEnabled"]


def test_an_index_is_scaled_too(stage):
    scaling = Autoscaling(
        dimension="dynamodb:index:WriteCapacityUnits", index_name="by_sk", min_capacity=1, max_capacity=9
    )
    stage.write(msgspec.structs.replace(stage.captured(), autoscaling=(scaling,)))
    stage.run(create_target)
    assert stage.run(finish_target) == Ended()
    assert capture_autoscaling(lambda: stage.autoscaling, stage.described()) == (scaling,)
