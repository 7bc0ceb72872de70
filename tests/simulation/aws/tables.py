"""Tables as such: made, described, tagged, given TTL, recovery and protection; and what scales their capacity.

A table takes a while to be made, and its tags a while more to be listed.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

from tests.simulation.aws.dynamodb import Answer, DynamoDB, Request, Table, error
from tests.simulation.aws.history import History

_MADE_AFTER_MS = (500, 4_000)
_TAGS_SHOWN_AFTER_MS = (0, 3_000)
_KEPT = ("KeySchema", "AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "TableClass")
Change = Callable[[Table, str], None]


class Tables:
    """`on_change(table, what)` is told of a table that is made, and of every setting that is put on one."""

    def __init__(self, dynamodb: DynamoDB, clock: Callable[[], int], random: Random) -> None:
        self._dynamodb = dynamodb
        self._clock = clock
        self._random = random
        self.on_change: Change = lambda table, what: None
        self.scaled: dict[tuple[str, str], dict[str, Any]] = {}
        self.policies: dict[tuple[str, str], dict[str, Any]] = {}

    def create_table(self, request: Request) -> Answer:
        name = request["TableName"]
        if name in self._dynamodb.tables:
            raise error("ResourceInUseException", "CreateTable", f"Table already exists: {name}")
        table = self._dynamodb.create_table(name, **{part: request[part] for part in _KEPT if part in request})
        now_ms = self._clock()
        table.has_recovery = False
        table.active_at_ms = now_ms + self._random.randrange(*_MADE_AFTER_MS)
        table.tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        table.tags_shown_at_ms = table.active_at_ms + self._random.randrange(*_TAGS_SHOWN_AFTER_MS)
        self.on_change(table, "made")
        return {"TableDescription": self._described(table)}

    def describe_table(self, request: Request) -> Answer:
        return {"Table": self._described(self._dynamodb.table(request["TableName"], "DescribeTable"))}

    def update_table(self, request: Request) -> Answer:
        table = self._active(request["TableName"], "UpdateTable")
        table.description["DeletionProtectionEnabled"] = request["DeletionProtectionEnabled"]
        self.on_change(table, "protection")
        return {"TableDescription": self._described(table)}

    def _described(self, table: Table) -> dict[str, Any]:
        status = "CREATING" if self._clock() < table.active_at_ms else "ACTIVE"
        made_at = datetime.fromtimestamp(table.active_at_ms / 1000, UTC)
        return {**table.description, "TableStatus": status, "CreationDateTime": made_at}

    def _active(self, name: str, operation: str) -> Table:
        table = self._dynamodb.table(name, operation)
        if self._clock() < table.active_at_ms:
            raise error("ResourceInUseException", operation, f"Table {name} is being created")
        return table

    # --- settings --------------------------------------------------------------------------------------------

    def list_tags_of_resource(self, request: Request) -> Answer:
        name = request["ResourceArn"].rsplit("/", 1)[-1]
        table = self._dynamodb.table(name, "ListTagsOfResource")
        shown = table.tags if self._clock() >= table.tags_shown_at_ms else {}
        return {"Tags": [{"Key": key, "Value": value} for key, value in shown.items()]}

    def tag_resource(self, request: Request) -> Answer:
        table = self._active(request["ResourceArn"].rsplit("/", 1)[-1], "TagResource")
        table.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        self.on_change(table, "tags")
        return {}

    def describe_time_to_live(self, request: Request) -> Answer:
        table = self._dynamodb.table(request["TableName"], "DescribeTimeToLive")
        if table.time_to_live is None:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        described = {"TimeToLiveStatus": "ENABLED", "AttributeName": table.time_to_live}
        return {"TimeToLiveDescription": described}

    def update_time_to_live(self, request: Request) -> Answer:
        """Refuses what is so already, as DynamoDB does."""
        table = self._active(request["TableName"], "UpdateTimeToLive")
        if table.time_to_live is not None:
            raise error("ValidationException", "UpdateTimeToLive", "TimeToLive is already enabled")
        table.time_to_live = request["TimeToLiveSpecification"]["AttributeName"]
        self.on_change(table, "time to live")
        return {"TimeToLiveSpecification": request["TimeToLiveSpecification"]}

    def update_continuous_backups(self, request: Request) -> Answer:
        table = self._active(request["TableName"], "UpdateContinuousBackups")
        wanted = request["PointInTimeRecoverySpecification"]
        if wanted["PointInTimeRecoveryEnabled"] and not table.has_recovery:
            table.recovery_since_ms, table.history = self._clock(), History()
        table.has_recovery = wanted["PointInTimeRecoveryEnabled"]
        table.recovery_days = wanted.get("RecoveryPeriodInDays", table.recovery_days)
        self.on_change(table, "recovery")
        return {"ContinuousBackupsDescription": {}}

    def describe_kinesis_streaming_destination(self, request: Request) -> Answer:
        return {"TableName": request["TableName"], "KinesisDataStreamDestinations": []}

    # --- application-autoscaling -----------------------------------------------------------------------------

    def describe_scalable_targets(self, request: Request) -> Answer:
        asked = request["ResourceIds"]
        return {"ScalableTargets": [target for (name, _), target in self.scaled.items() if name in asked]}

    def describe_scaling_policies(self, request: Request) -> Answer:
        return {"ScalingPolicies": []}

    def register_scalable_target(self, request: Request) -> Answer:
        self.scaled[request["ResourceId"], request["ScalableDimension"]] = dict(request)
        self._scaled(request)
        return {}

    def put_scaling_policy(self, request: Request) -> Answer:
        place = (request["ResourceId"], request["ScalableDimension"])
        if place not in self.scaled:
            raise error("ObjectNotFoundException", "PutScalingPolicy", "no scalable target is registered")
        self.policies[place] = dict(request)
        self._scaled(request)
        return {"PolicyARN": "arn:aws:autoscaling:simulated"}

    def _scaled(self, request: Request) -> None:
        name = request["ResourceId"].split("/")[1]
        self.on_change(self._dynamodb.table(name, "RegisterScalableTarget"), "scaling")
