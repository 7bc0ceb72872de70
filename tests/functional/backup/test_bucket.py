"""The bucket and its key: what cannot work is said once, clearly, before any table is asked about; what may pass is no
reason to stop; and our own objects are put as the exports are."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.errors import Unavailable
from tests.fake_exports import refusal
from tests.functional.backup.world import BUCKET, DATE, PREFIX, TABLES, World

OWNER = "123456789012"
KEY = "alias/backups"


def head_bucket_error(status: int, region: str | None = None) -> ClientError:
    """As botocore makes it of an answer to HEAD, which has no body:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html"""
    headers = {"x-amz-bucket-region": region} if region else {}
    texts = {301: "Moved Permanently", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}
    response: Any = {
        "Error": {"Code": str(status), "Message": texts.get(status, "Service Unavailable")},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(response, "HeadBucket")


def always(request: dict[str, Any]) -> bool:
    return True


UNUSABLE: dict[str, tuple[ClientError, dict[str, str], str, str]] = {
    "missing": (head_bucket_error(404), {}, "NoSuchBucket", "does not exist; create it, or correct the name"),
    "denied": (
        head_bucket_error(403, "us-east-1"),
        {},
        "AccessDenied",
        "no s3:ListBucket on it, or the bucket's policy does not let the role in, or it is another account's, which "
        "BACKUP_BUCKET_OWNER must then name",
    ),
    "another owner's": (
        head_bucket_error(403, "us-east-1"),
        {"BACKUP_BUCKET_OWNER": OWNER},
        "AccessDenied",
        f"it is not of the account {OWNER} that BACKUP_BUCKET_OWNER names, or ",
    ),
    "another region's": (
        head_bucket_error(301, "eu-west-1"),
        {},
        "BucketInAnotherRegion",
        "is in eu-west-1, and this stage in us-east-1",
    ),
    "another region's, and denied": (
        head_bucket_error(403, "eu-west-1"),
        {},
        "BucketInAnotherRegion",
        "set BACKUP_BUCKET to a bucket in us-east-1",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_bucket_that_cannot_be_used_fails_every_table_before_one_is_asked_about(aws, case):
    error, environ, code, text = UNUSABLE[case]
    world = World(TABLES, **environ)
    calls: list[tuple[str, dict[str, Any]]] = []

    def before(name, request):
        calls.append((name, request))
        if name == "head_bucket":
            raise error

    world.before = before
    result = world.service.start_scheduled()
    assert (result["statusCode"], result["failed_exports"]) == (500, len(TABLES))
    for table_name in TABLES:
        row = world.export_row(table_name)
        assert (row["status"], row["failure_code"]) == ("FAILED", code)
        assert f"the bucket {BUCKET} of BACKUP_BUCKET" in row["failure_message"]
        assert text in row["failure_message"]
    asked = [request for name, request in calls if name == "head_bucket"]
    owner = environ.get("BACKUP_BUCKET_OWNER")
    assert asked == [{"Bucket": BUCKET, **({"ExpectedBucketOwner": owner} if owner else {})}]
    assert not {name for name, _ in calls} & {"describe_table", "export_table_to_point_in_time"}


def test_a_real_bucket_of_another_region_is_refused_and_its_set_is_finished(aws):
    world = World(BACKUP_BUCKET="tablevault-elsewhere")
    world.s3.create_bucket(Bucket="tablevault-elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert world.service.start_scheduled()["statusCode"] == 500
    assert "is in eu-west-1, and this stage in us-east-1" in world.export_row("orders")["failure_message"]
    assert world.set_row()["status"] == "PARTIAL"
    assert not world.is_open()


def test_a_set_without_a_bucket_is_finished_when_there_is_one_and_the_next_set_is_whole(world):
    world.s3.delete_bucket(Bucket=BUCKET)
    assert world.service.start_scheduled()["statusCode"] == 500
    assert world.is_open()
    world.s3.create_bucket(Bucket=BUCKET)
    world.reconcile_a_minute_later()
    assert world.manifest().status == "PARTIAL"
    world.clock.advance(24 * 3600 * 1000)
    assert world.service.start_scheduled()["statusCode"] == 200


@pytest.mark.parametrize(
    "error",
    [
        head_bucket_error(400),
        head_bucket_error(503),
        refusal("ExpiredToken", "HeadBucket"),
        EndpointConnectionError(endpoint_url="http://nowhere"),
    ],
    ids=["no reason given", "no service", "old credentials", "no answer"],
)
def test_what_may_pass_stops_nothing(world, error):
    world.refuse("head_bucket", error, when=always)
    world.service.start_scheduled()
    assert set(world.statuses().values()) == {"IN_PROGRESS"}


def test_the_bucket_is_asked_about_once_however_many_tables_there_are(aws):
    world = World(tuple(f"table-{number}" for number in range(12)))
    world.watch()
    world.service.start_scheduled()
    assert world.calls.count("head_bucket") == 1


def test_our_own_objects_are_put_as_the_exports_are(aws):
    world = World(("orders",), S3_SSE_KMS_KEY_ID=KEY, BACKUP_BUCKET_OWNER=OWNER)
    puts = {}

    def before(name, request):
        if name == "put_object":
            puts[request["Key"]] = request

    world.before = before
    world.finished_set()
    assert puts.keys() == {f"{PREFIX}/{DATE}/orders/table.json", f"{PREFIX}/{DATE}/manifest.json"}
    for key, request in puts.items():
        assert request["ExpectedBucketOwner"] == OWNER
        stored = world.s3.head_object(Bucket=BUCKET, Key=key)
        assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", KEY)


def test_without_a_key_of_ours_the_bucket_decides(world):
    puts = []

    def before(name, request):
        if name == "put_object":
            puts.append(request.keys() & {"ServerSideEncryption", "SSEKMSKeyId", "ExpectedBucketOwner"})

    world.before = before
    world.finished_set()
    assert puts == [set()] * 3


# Of PutObject: S3 names KMS' own errors, or the action of KMS that is denied.
KEY_ERRORS = [
    ("KMS.DisabledException", "arn:aws:kms:us-east-1:123456789012:key/1 is disabled."),
    ("KMS.NotFoundException", "Invalid keyId alias/backups"),
    ("AccessDenied", "User: role is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:key/1"),
]


@pytest.mark.parametrize(("code", "message"), KEY_ERRORS)
def test_a_key_that_cannot_be_used_is_named_with_what_to_grant(aws, code, message):
    world = World(S3_SSE_KMS_KEY_ID=KEY)
    error = refusal(code, "PutObject", message)
    world.refuse("put_object", error, when=lambda request: "/orders/" in request["Key"])
    world.service.start_scheduled()
    row = world.export_row("orders")
    assert (row["status"], row["failure_code"]) == ("FAILED", code)
    assert message in row["failure_message"]
    assert f"the key {KEY} cannot be used: grant kms:GenerateDataKey and kms:Decrypt" in row["failure_message"]
    assert world.statuses()["catalog"] == "IN_PROGRESS"


@pytest.mark.parametrize(("code", "message"), [*KEY_ERRORS, ("AccessDenied", "Access Denied")])
def test_a_manifest_that_cannot_be_put_says_why_and_is_put_once_it_can(aws, code, message):
    world = World(S3_SSE_KMS_KEY_ID=KEY)
    world.service.start_scheduled()
    error = refusal(code, "PutObject", message)
    world.refuse("put_object", error, when=lambda request: request["Key"].endswith("/manifest.json"))
    first, last = world.dynamodb.complete_all()
    world.send(first)
    with pytest.raises(Unavailable) as raised:
        world.send(last)
    assert f"{PREFIX}/{DATE}/manifest.json cannot be put into {BUCKET}: {code}: {message}; " in raised.value.message
    assert ("s3:PutObjectAcl" if message == "Access Denied" else "kms:Decrypt") in raised.value.message
    world.mend()
    world.reconcile_a_minute_later()
    assert world.manifest().status == "COMPLETE"


@pytest.mark.parametrize("code", ["KMS.ThrottlingException", "KMS.KMSInternalException"])
def test_a_key_that_is_only_busy_is_tried_again(aws, code):
    world = World(S3_SSE_KMS_KEY_ID=KEY)
    world.refuse("put_object", refusal(code, "PutObject"), when=lambda request: "/orders/" in request["Key"])
    world.service.start_scheduled()
    assert world.statuses() == {"orders": "PENDING", "catalog": "IN_PROGRESS"}
    world.mend()
    world.reconcile_a_minute_later()
    assert set(world.statuses().values()) == {"IN_PROGRESS"}


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("ValidationException", "User is not authorized to use the KMS key", f"the key {KEY} cannot be used"),
        ("AccessDeniedException", "not authorized to perform: kms:GenerateDataKey", "kms:Decrypt to this function's"),
        ("ValidationException", "Access denied to the S3 bucket", "BACKUP_BUCKET_OWNER must name the account"),
        ("AccessDeniedException", "not authorized to perform: s3:PutObjectAcl", "s3:PutObject, s3:PutObjectAcl"),
    ],
)
def test_an_export_refused_for_its_key_or_bucket_says_what_to_grant(aws, code, message, advice):
    world = World(S3_SSE_KMS_KEY_ID=KEY)
    error = refusal(code, "ExportTableToPointInTime", message)
    world.refuse("export_table_to_point_in_time", error, when=lambda request: "orders" in request["TableArn"])
    world.service.start_scheduled()
    row = world.export_row("orders")
    assert (row["status"], row["failure_code"]) == ("FAILED", code)
    assert message in row["failure_message"]
    assert advice in row["failure_message"]


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("S3AccessDenied", "Access Denied (Service: Amazon S3; Status Code: 403)", "BACKUP_BUCKET_OWNER must name"),
        ("UNKNOWN", "The ciphertext refers to a KMS key that is disabled", f"the key {KEY} cannot be used"),
    ],
)
def test_an_export_that_failed_for_its_key_or_bucket_is_not_tried_again_and_says_what_to_grant(
    aws, code, message, advice
):
    world = World(("orders",), S3_SSE_KMS_KEY_ID=KEY)
    world.service.start_scheduled()
    (export,) = world.dynamodb.running()
    world.dynamodb.fail(export, code, message)
    world.reconcile_a_minute_later()
    (table,) = world.manifest().tables
    assert (table.status, table.failure_code) == ("FAILED", code)
    assert str(table.failure_message).startswith(f"{message}; ")
    assert advice in str(table.failure_message)
