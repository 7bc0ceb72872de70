"""The names that the settings give are those the policies take in: for every stage, and for the bare defaults. And no
more than those: what stands beside them is out of reach."""

from collections.abc import Iterator

import pytest

from chalicelib.restore.new_table import FINISHED, OWNER_TAG
from chalicelib.settings import Settings, read_settings
from sandbox.sandbox import REPOSITORY
from sandbox.stage import read_stage
from tests.unit.policies.documents import ACCOUNT, CONFIG, POLICY_BY_FUNCTION, REGION, allows, decide, policy_of

_DEFAULTS = {"ENVIRONMENT": "x", "BACKUP_BUCKET": "tablevault-x", "DYNAMODB_TABLES": '["orders"]'}
Asked = tuple[str, str, str]  # function, action, resource


class Names:
    """A stage's resources, as ARNs."""

    def __init__(self, stage: str, settings: Settings) -> None:
        self.stage = stage
        self.settings = settings
        self.bucket = f"arn:aws:s3:::{settings.backup_bucket}"
        self.exports = f"{self.bucket}/{settings.s3_exports_prefix}"
        self.ledger = self.table(settings.ledger_table)
        self.queue = self.queue_arn(settings.restore_queue)
        self.dead_letters = self.queue_arn(settings.restore_dead_letter_queue)
        self.tokens = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{settings.api_tokens_parameter}"

    def table(self, name: str) -> str:
        return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"

    def queue_arn(self, name: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def log_group(self, function: str) -> str:
        name = read_stage(REPOSITORY, self.stage).lambda_name(function)
        return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{name}"


def _stages() -> Iterator[Names]:
    yield Names("dev", read_settings(_DEFAULTS))
    for stage in CONFIG["stages"]:
        yield Names(stage, read_settings(read_stage(REPOSITORY, stage).environment))


STAGES = [pytest.param(names, id=f"{index}-{names.settings.ledger_table}") for index, names in enumerate(_stages())]


def needed(names: Names) -> Iterator[Asked]:
    """One request for every pattern in every policy."""
    for function in POLICY_BY_FUNCTION:
        group = names.log_group(function)
        yield function, "logs:CreateLogGroup", group
        yield function, "logs:CreateLogStream", group
        yield function, "logs:PutLogEvents", f"{group}:log-stream:2026/11/21/[$LATEST]0123456789abcdef"
        if function != "authorize":
            yield function, "dynamodb:GetItem", names.ledger
            yield function, "dynamodb:UpdateItem", names.ledger
    yield "authorize", "ssm:GetParameter", names.tokens
    for function in ("api_handler", "reconcile", "prune"):
        yield function, "dynamodb:Query", f"{names.ledger}/index/by_kind"
    for function in ("api_handler", "start_exports", "record_export", "reconcile", "prune"):
        yield function, "dynamodb:Query", f"{names.ledger}/index/open_work"
    for function in ("api_handler", "restore_shards", "reconcile"):
        yield function, "sqs:GetQueueUrl", names.queue
        yield function, "sqs:SendMessage", names.queue
    for function, queue in (("restore_shards", names.queue), ("record_dead_letter", names.dead_letters)):
        # What the event source mapping does with the function's role:
        # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            yield function, f"sqs:{action}", queue
    if names.settings.telling.topic:
        yield "reconcile", "sns:Publish", names.settings.telling.topic
    yield "reconcile", "events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    yield from _needed_in_the_bucket(names)
    yield from _needed_to_keep_and_remove(names)
    yield from _needed_of_tables(names)


def _needed_in_the_bucket(names: Names) -> Iterator[Asked]:
    manifest = f"{names.exports}/2026-11-21/manifest.json"
    export = f"{names.exports}/2026-11-21T010000Z/orders/AWSDynamoDB/01700000000000-abcdef01"
    keys = f"{names.bucket}/restores/r-1/keys.json"
    yield "api_handler", "s3:PutObject", keys
    yield "restore_shards", "s3:GetObject", keys
    for function in ("api_handler", "restore_shards"):
        yield function, "s3:GetObject", f"{names.exports}/2026-11-21/orders/table.json"
    for function in ("api_handler", "start_exports", "record_export", "reconcile", "restore_shards", "prune"):
        yield function, "s3:GetObject", manifest
        yield function, "s3:ListBucket", names.bucket
    for function in ("record_export", "reconcile", "restore_shards"):
        yield function, "s3:GetObject", f"{export}/manifest-summary.json"
        yield function, "s3:GetObject", f"{export}/manifest-files.md5"
    for function in ("record_export", "reconcile"):
        yield function, "s3:PutObject", manifest
    for function in ("api_handler", "start_exports", "reconcile"):
        # An export is written with its caller's rights, and needs these three:
        # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html
        for action in ("PutObject", "PutObjectAcl", "AbortMultipartUpload"):
            yield function, f"s3:{action}", f"{export}/_started"
            yield function, f"s3:{action}", f"{export}/data/abc.json.gz"
        yield function, "s3:PutObject", f"{names.exports}/2026-11-21/orders/table.json"
    yield "restore_shards", "s3:GetObject", f"{export}/data/abc.json.gz"
    increments = f"{names.exports}/2026-11-21/orders/AWSDynamoDB/data/abc.json.gz"
    yield "restore_shards", "s3:GetObject", increments
    for function in ("restore_shards", "reconcile"):
        yield function, "s3:PutObject", f"{names.bucket}/restores/r-1/receipt.json"
    for function in ("restore_shards", "record_dead_letter"):
        yield function, "s3:PutObject", f"{names.bucket}/quarantine/2026-11-21/abc.json"


def _needed_to_keep_and_remove(names: Names) -> Iterator[Asked]:
    of_set = f"{names.exports}/2026-11-21"
    for action in ("DeleteObject", "DeleteObjectVersion"):
        yield "prune", f"s3:{action}", f"{of_set}/manifest.json"
        yield "prune", f"s3:{action}", f"{of_set}/orders/AWSDynamoDB/01700000000000-abcdef01/data/abc.json.gz"
    yield "prune", "s3:ListBucketVersions", names.bucket
    for action in ("GetObject", "PutObject", "DeleteObject"):
        yield "api_handler", f"s3:{action}", f"{of_set}/keep.json"
    for function in ("record_export", "reconcile"):  # which adopt what they find
        yield function, "s3:GetObject", f"{of_set}/orders/table.json"
        yield function, "s3:PutObject", f"{of_set}/orders/table.json"
    backup = f"{names.table('orders')}/backup/01700000000000-abcdef01"
    yield "prune", "dynamodb:DeleteBackup", backup
    yield "reconcile", "dynamodb:DescribeBackup", backup
    yield "reconcile", "dynamodb:CreateBackup", names.table("orders")


def _needed_of_tables(names: Names) -> Iterator[Asked]:
    for entry in names.settings.dynamodb_tables.entries:
        table = names.table(entry.pattern)
        for function in ("api_handler", "start_exports", "record_export", "reconcile"):
            for action in ("DescribeTable", "DescribeContinuousBackups", "DescribeTimeToLive", "ListTagsOfResource"):
                yield function, f"dynamodb:{action}", table
        for function in ("api_handler", "start_exports", "reconcile"):
            yield function, "dynamodb:ExportTableToPointInTime", table
        for function in ("start_exports", "record_export", "reconcile"):
            yield function, "dynamodb:DescribeExport", f"{table}/export/01700000000000-abcdef01"
        for action in ("DescribeTable", "DescribeTimeToLive", "DescribeKinesisStreamingDestination"):
            yield "restore_shards", f"dynamodb:{action}", table
        for action in (
            "BatchWriteItem",
            "PutItem",
            "BatchGetItem",
            "Scan",
            "CreateBackup",
            "CreateTable",
            "TagResource",
        ):
            yield "restore_shards", f"dynamodb:{action}", table
        yield "restore_shards", "dynamodb:DescribeBackup", f"{table}/backup/01700000000000-abcdef01"
    yield from _needed_to_see_scaling()


def _needed_to_see_scaling() -> Iterator[Asked]:
    for function in ("api_handler", "start_exports", "record_export", "reconcile"):
        for action in ("DescribeScalableTargets", "DescribeScalingPolicies"):
            yield function, f"application-autoscaling:{action}", "*"
    yield "restore_shards", "application-autoscaling:DescribeScalableTargets", "*"
    # Alarms of target tracking are named after what is scaled:
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/AutoScaling.CLI.html
    alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:TargetTracking-table/orders-AlarmHigh-0123"
    for action in ("PutMetricAlarm", "DescribeAlarms"):
        yield "restore_shards", f"cloudwatch:{action}", alarm


def of_one_alone(names: Names) -> Iterator[Asked]:
    """What only one or two functions may do."""
    orders, manifest = names.table("orders"), f"{names.exports}/2026-11-21/manifest.json"
    for function in POLICY_BY_FUNCTION.keys() - {"prune"}:
        yield function, "s3:DeleteObject", manifest
        yield function, "s3:DeleteObjectVersion", manifest
        yield function, "dynamodb:DeleteBackup", f"{orders}/backup/01700000000000-abcdef01"
    for function in POLICY_BY_FUNCTION.keys() - {"reconcile"}:
        yield function, "sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:tablevault-dev"
        yield function, "events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    for function in POLICY_BY_FUNCTION.keys() - {"reconcile", "restore_shards"}:
        yield function, "dynamodb:CreateBackup", orders


def out_of_reach(names: Names) -> Iterator[Asked]:
    """What a pattern that is a little too wide would let through."""
    orders = names.table("orders")
    for function in POLICY_BY_FUNCTION:
        yield function, "sqs:SendMessage", names.dead_letters
        yield function, "dynamodb:Scan", names.ledger
        yield function, "dynamodb:DeleteItem", orders
        yield function, "dynamodb:GetItem", orders
        yield function, "dynamodb:Query", orders
        yield function, "sns:Publish", f"arn:aws:sns:{REGION}:{ACCOUNT}:elsewhere"
        yield function, "s3:DeleteObject", f"{names.bucket}/restores/r-1/receipt.json"
        yield function, "s3:GetObject", f"{names.bucket}/restores/r-1/rejected/orders/abc.jsonl"
        for action in ("UpdateTable", "UpdateTimeToLive", "UpdateContinuousBackups", "DeleteTable", "UntagResource"):
            yield function, f"dynamodb:{action}", orders
        yield function, "cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:too-many-errors"
        yield function, "cloudwatch:DeleteAlarms", "*"
        yield function, "iam:CreateServiceLinkedRole", "*"
        yield function, "s3:PutObject", f"{names.bucket}/elsewhere/abc"
        yield function, "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/tablevault/database-password"
        if function != "restore_shards":
            yield function, "sqs:ReceiveMessage", names.queue
            yield function, "dynamodb:BatchWriteItem", orders
            yield function, "dynamodb:PutItem", orders
            yield function, "dynamodb:BatchGetItem", orders
            yield function, "dynamodb:CreateTable", orders
            yield function, "dynamodb:TagResource", orders
            yield function, "s3:GetObject", f"{names.bucket}/restores/r-1/keys.json"
            yield function, "s3:GetObject", f"{names.exports}/2026-11-21/orders/AWSDynamoDB/1-a/data/abc.json.gz"
        if function != "record_dead_letter":
            yield function, "sqs:ReceiveMessage", names.dead_letters
        if function != "authorize":
            yield function, "ssm:GetParameter", names.tokens
        if function != "api_handler":  # its own log group's name is how the names of all others begin
            for other in POLICY_BY_FUNCTION.keys() - {function}:
                yield function, "logs:PutLogEvents", f"{names.log_group(other)}:log-stream:x"


@pytest.mark.parametrize("names", STAGES)
def test_what_a_function_needs_is_allowed_by_the_names_the_settings_give(names):
    denied = [asked for asked in needed(names) if not allows(*asked)]
    assert not denied


@pytest.mark.parametrize("names", STAGES)
def test_what_stands_beside_it_is_not(names):
    allowed = [asked for asked in (*of_one_alone(names), *out_of_reach(names)) if allows(*asked)]
    assert not allowed


@pytest.mark.parametrize("function", ["api_handler", "record_export", "restore_shards", "reconcile", "prune"])
def test_only_backups_can_be_listed(function):
    """A listing always names its prefix. A request for one object does not, and S3 asks for ListBucket then too:
    without it, an object that is not there would be "denied" instead of "not found"
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html). Hence `…IfExists`."""
    bucket = "arn:aws:s3:::tablevault-prod"
    assert allows(function, "s3:ListBucket", bucket, s3_prefix="native-exports/2026-11-21/")
    assert allows(function, "s3:ListBucket", bucket)
    for prefix in ("", "native", "restores/", "quarantine/"):
        assert not allows(function, "s3:ListBucket", bucket, s3_prefix=prefix)


@pytest.mark.parametrize("action", ["Scan", "BatchGetItem", "CreateTable"])
@pytest.mark.parametrize("ledger", ["tablevault-ledger", "tablevault-prod-ledger"])
def test_no_ledger_can_be_a_target_whatever_else_is_granted(ledger, action):
    """The API refuses its own ledger as a target; it does not know those of other stages in the same account. IAM can
    deny here what a worker does with targets alone: it writes rows of its own ledger, too."""
    document = policy_of("restore_shards")
    asked = f"dynamodb:{action}"
    document["Statement"].append({"Sid": "Everything", "Effect": "Allow", "Action": [asked], "Resource": "*"})
    assert decide(document, asked, f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{ledger}") == "Deny"
    assert decide(document, asked, f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/orders") == "Allow"


@pytest.mark.parametrize("action", ["UpdateTable", "UpdateTimeToLive", "UpdateContinuousBackups"])
def test_only_tables_that_a_restore_is_making_can_be_changed(action):
    """They carry its id as a tag from their creation on, and another one once they are finished. Where an account has
    attribute-based access control off, the tag is not seen, and FINISHING says what to do by hand:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/attribute-based-access-control.html"""
    document, table = policy_of("restore_shards"), f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/orders"
    tag, restore_id = f"aws:ResourceTag/{OWNER_TAG}".lower(), "r-20261121T010000Z-0123abcd"
    assert decide(document, f"dynamodb:{action}", table, {tag: restore_id}) == "Allow"
    assert decide(document, f"dynamodb:{action}", table, {tag: f"{restore_id}{FINISHED}"}) == "ImplicitDeny"
    assert decide(document, f"dynamodb:{action}", table, {tag: "ours"}) == "ImplicitDeny"
    assert decide(document, f"dynamodb:{action}", table, {"aws:resourcetag/owner": "r-1"}) == "ImplicitDeny"
    assert decide(document, f"dynamodb:{action}", table) == "ImplicitDeny"


@pytest.mark.parametrize("action", ["RegisterScalableTarget", "PutScalingPolicy"])
def test_only_tables_can_be_scaled(action):
    target = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/*"
    namespace = "application-autoscaling:service-namespace"
    asked = (policy_of("restore_shards"), f"application-autoscaling:{action}", target)
    assert decide(*asked, {namespace: "dynamodb"}) == "Allow"
    assert decide(*asked, {namespace: "ecs"}) == "ImplicitDeny"
