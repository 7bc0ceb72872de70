"""S3 in memory: conditional writes and reads, ranges, listings by page, and events for what was created."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.aws.dynamodb import Answer, Request, error


@dataclass(frozen=True)
class StoredObject:
    body: bytes
    etag: str


def stored(body: bytes, etag: str | None = None) -> StoredObject:
    return StoredObject(body, etag or hashlib.md5(body, usedforsecurity=False).hexdigest())


class S3:
    """One bucket. `on_create(key)` is told of every object written."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.objects: dict[str, StoredObject] = {}
        self.on_create: Callable[[str], None] = lambda key: None
        self.page_keys = 1000

    def put(self, key: str, body: bytes, etag: str | None = None) -> StoredObject:
        self.objects[key] = written = stored(body, etag)
        self.on_create(key)
        return written

    def put_object(self, request: Request) -> Answer:
        self._check_bucket(request, "PutObject")
        standing = self.objects.get(request["Key"])
        if request.get("IfNoneMatch") == "*" and standing is not None:
            raise error("PreconditionFailed", "PutObject", status=412)
        wanted = request.get("IfMatch")
        if wanted is not None and (standing is None or wanted.strip('"') != standing.etag):
            raise error("PreconditionFailed" if standing else "NoSuchKey", "PutObject", status=412 if standing else 404)
        body = request["Body"]
        content = body.read() if hasattr(body, "read") else bytes(body)
        return {"ETag": f'"{self.put(request["Key"], content).etag}"'}

    def get_object(self, request: Request) -> Answer:
        """`Body` is the bytes; the client makes a stream of them."""
        self._check_bucket(request, "GetObject")
        found = self.objects.get(request["Key"])
        if found is None:
            raise error("NoSuchKey", "GetObject", status=404)
        if "IfMatch" in request and request["IfMatch"].strip('"') != found.etag:
            raise error("PreconditionFailed", "GetObject", status=412)
        body, extent = found.body, {}
        if "Range" in request:
            begin, _, end = request["Range"].removeprefix("bytes=").partition("-")
            last = int(end) if end else len(body) - 1
            extent = {"ContentRange": f"bytes {begin}-{min(last, len(body) - 1)}/{len(body)}"}
            body = body[int(begin) : last + 1]
        return {"Body": body, "ETag": f'"{found.etag}"', "ContentLength": len(body), **extent}

    def list_objects_v2(self, request: Request) -> Answer:
        self._check_bucket(request, "ListObjectsV2")
        prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter")
        after = request.get("ContinuationToken", "")
        entries: dict[str, dict[str, Any] | None] = {}
        for key in sorted(self.objects):
            if not key.startswith(prefix):
                continue
            folder = key[len(prefix) :].partition(delimiter)[0] if delimiter else ""
            if delimiter and len(prefix) + len(folder) < len(key):
                entries[f"{prefix}{folder}{delimiter}"] = None
            else:
                each = self.objects[key]
                entries[key] = {"Key": key, "Size": len(each.body), "ETag": f'"{each.etag}"'}
        names = [name for name in entries if name > after]
        size = min(self.page_keys, request.get("MaxKeys", self.page_keys))
        page = names[:size]
        answer: Answer = {
            "Contents": [entry for name in page if (entry := entries[name]) is not None],
            "CommonPrefixes": [{"Prefix": name} for name in page if entries[name] is None],
            "IsTruncated": len(names) > size,
        }
        if len(names) > size:
            answer["NextContinuationToken"] = page[-1]
        return answer

    def _check_bucket(self, request: Request, operation: str) -> None:
        if request["Bucket"] != self.bucket:
            raise error("NoSuchBucket", operation, status=404)
