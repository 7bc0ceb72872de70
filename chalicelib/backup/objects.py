"""How our own objects of a backup set, table.json and manifest.json, are put into the bucket: only into one of the
expected owner, and encrypted with the key that the exports beside them have."""

from typing import Any, NamedTuple

from chalicelib.aws import Client
from chalicelib.settings import Settings


class SetObjects(NamedTuple):
    """`bucket_owner`: an account's number; `kms_key_id`: an id, an ARN or an alias. None leaves both to the bucket."""

    s3: Client
    bucket_owner: str | None = None
    kms_key_id: str | None = None

    @classmethod
    def of(cls, settings: Settings, s3: Client) -> "SetObjects":
        return cls(s3, settings.backup_bucket_owner, settings.s3_sse_kms_key_id)

    def put_json(self, bucket: str, key: str, body: bytes, **condition: str) -> None:
        """`condition`: `IfMatch` or `IfNoneMatch`. Raises botocore's errors
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html)."""
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": body, "ContentType": "application/json"}
        if self.bucket_owner:
            request["ExpectedBucketOwner"] = self.bucket_owner
        if self.kms_key_id:
            request |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id}
        self.s3.put_object(**request, **condition)
