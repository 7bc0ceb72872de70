"""Whether the exports of a set can go into its bucket at all: asked once per run, before any table is."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup.plan import Failure

_MISSING = frozenset({"404", "NoSuchBucket"})
_DENIED = frozenset({"403", "AccessDenied", "Forbidden"})


def why_unusable(s3: Client, bucket: str, owner: str | None) -> Failure | None:
    """Why no export can go into the bucket until somebody changes something; None also where S3 did not say, since
    each table's own calls then tell. One HeadBucket, which needs s3:ListBucket on the bucket
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html). `owner`: an account's number."""
    expected = {"ExpectedBucketOwner": owner} if owner else {}
    try:
        answer: Mapping[str, Any] = s3.head_bucket(Bucket=bucket, **expected)
        code = None
    except ClientError as error:
        answer, code = error.response, error_code(error)
    except BotoCoreError:
        return None
    region = _region_of(answer)
    # Of a bucket elsewhere S3 may say 403 or 301, with its region: what is to be done is the same.
    if region and region != s3.meta.region_name:
        return _in_another_region(bucket, region, s3.meta.region_name)
    if code in _MISSING:
        return _missing(bucket)
    return _denied(bucket, owner) if code in _DENIED else None


def _region_of(answer: Mapping[str, Any]) -> str | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    said = answer.get("BucketRegion") or headers.get("x-amz-bucket-region")
    return None if said is None else str(said)


def _in_another_region(bucket: str, region: str, ours: str) -> Failure:
    return Failure(
        "BucketInAnotherRegion",
        f"the bucket {bucket} of BACKUP_BUCKET is in {region}, and this stage in {ours}: S3 sends the event of an "
        f"export that ended to no function in another region; set BACKUP_BUCKET to a bucket in {ours}, and let S3 "
        f"replicate it where a copy in {region} is wanted",
    )


def _missing(bucket: str) -> Failure:
    return Failure(
        "NoSuchBucket", f"the bucket {bucket} of BACKUP_BUCKET does not exist; create it, or correct the name"
    )


def _denied(bucket: str, owner: str | None) -> Failure:
    reasons = ["this function's role has no s3:ListBucket on it", "the bucket's policy does not let the role in"]
    if owner:
        reasons.insert(0, f"it is not of the account {owner} that BACKUP_BUCKET_OWNER names")
    else:
        reasons.append("it is another account's, which BACKUP_BUCKET_OWNER must then name")
    return Failure("AccessDenied", f"the bucket {bucket} of BACKUP_BUCKET may not be used: {', or '.join(reasons)}")
