"""S3 in memory: conditional writes and reads, ranges, listings by page, versions, removals, and events for what was
created."""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.aws.dynamodb import Answer, Request, error

_NO_VERSION = "null"  # of what was written while the bucket was not versioned
_MOST_DELETED = 1000
_LAST = "\U0010ffff"


@dataclass(frozen=True)
class StoredObject:
    body: bytes
    etag: str
    version_id: str = _NO_VERSION


@dataclass(frozen=True)
class Version:
    """One that is not current, or a delete marker, whose `content` is None."""

    version_id: str
    content: StoredObject | None


def stored(body: bytes, etag: str | None = None) -> StoredObject:
    return StoredObject(body, etag or hashlib.md5(body, usedforsecurity=False).hexdigest())


class Objects(dict[str, StoredObject]):
    """The current ones by their keys, and the keys in order."""

    def __init__(self) -> None:
        super().__init__()
        self._in_order: list[str] | None = []

    def __setitem__(self, key: str, value: StoredObject) -> None:
        if key not in self:
            self._in_order = None
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._in_order = None
        super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        self._in_order = None
        return super().pop(key, *default)

    def in_order(self) -> list[str]:
        if self._in_order is None:
            self._in_order = sorted(self)
        return self._in_order


class S3:
    """One bucket. `on_create(key)` is told of every object written, `on_remove(key)` of every one that is no longer
    current. While `is_denied`, nobody may do anything with it."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.objects = Objects()
        self.older: dict[str, list[Version]] = {}  # newest first
        self.is_versioned = False
        self.is_denied = False
        self.on_create: Callable[[str], None] = lambda key: None
        self.on_remove: Callable[[str], None] = lambda key: None
        self.page_keys = 1000
        self._versions = 0

    def put(self, key: str, body: bytes, etag: str | None = None) -> StoredObject:
        written = replace(stored(body, etag), version_id=self._new_version())
        standing = self.objects.get(key)
        if standing is not None and standing.version_id != written.version_id:
            self._keep(key, Version(standing.version_id, standing))
        self.objects[key] = written
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
        written = self.put(request["Key"], content)
        return {"ETag": f'"{written.etag}"', **_version(written.version_id)}

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

    def head_object(self, request: Request) -> Answer:
        self._check_bucket(request, "HeadObject", has_body=False)
        found = self.objects.get(request["Key"])
        if found is None:
            raise error("404", "HeadObject", "Not Found", status=404)
        return {"ETag": f'"{found.etag}"', "ContentLength": len(found.body)}

    def head_bucket(self, request: Request) -> Answer:
        """Its refusals have no body, so their code is the status:
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html"""
        self._check_bucket(request, "HeadBucket", has_body=False)
        return {"BucketRegion": "eu-west-1"}

    # --- listings --------------------------------------------------------------------------------------------

    def list_objects_v2(self, request: Request) -> Answer:
        self._check_bucket(request, "ListObjectsV2")
        prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter")
        after = str(request.get("ContinuationToken", request.get("StartAfter", "")))
        size = min(self.page_keys, request.get("MaxKeys", self.page_keys))
        contents: list[dict[str, Any]] = []
        folders: list[dict[str, str]] = []
        last, more = "", {}
        for name in self._names(prefix, delimiter, after):
            if len(contents) + len(folders) == size:
                more = {"NextContinuationToken": last}
                break
            last = name
            each = self.objects.get(name)
            if each is None or (delimiter and delimiter in name[len(prefix) :]):
                folders.append({"Prefix": name})
            else:
                contents.append({"Key": name, "Size": len(each.body), "ETag": f'"{each.etag}"'})
        parts = {"Contents": contents, "CommonPrefixes": folders}
        return {"IsTruncated": bool(more), **more, **{name: part for name, part in parts.items() if part}}

    def _names(self, prefix: str, delimiter: str | None, after: str) -> Iterator[str]:
        """Keys, and in place of those with the delimiter what stands before it, each once."""
        keys = self.objects.in_order()
        at = bisect_left(keys, prefix)
        while at < len(keys) and keys[at].startswith(prefix):
            name, found = keys[at], -1
            if delimiter:
                found = name.find(delimiter, len(prefix))
            if found >= 0 and delimiter:
                name = name[: found + len(delimiter)]
                at = bisect_left(keys, name + _LAST, at)
            else:
                at += 1
            if name > after:
                yield name

    def list_object_versions(self, request: Request) -> Answer:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html"""
        self._check_bucket(request, "ListObjectVersions")
        size = min(self.page_keys, request.get("MaxKeys", self.page_keys))
        answer: Answer = {"Versions": [], "DeleteMarkers": [], "IsTruncated": False}
        last: tuple[str, str] | None = None
        listed = 0
        for key, version, is_latest in self._versions_after(request):
            if listed == size:
                assert last is not None
                answer |= {"IsTruncated": True, "NextKeyMarker": last[0], "NextVersionIdMarker": last[1]}
                break
            listed, last = listed + 1, (key, version.version_id)
            entry = {"Key": key, "VersionId": version.version_id, "IsLatest": is_latest}
            if version.content is None:
                answer["DeleteMarkers"].append(entry)
            else:
                size_bytes = len(version.content.body)
                answer["Versions"].append({**entry, "Size": size_bytes, "ETag": f'"{version.content.etag}"'})
        return {name: value for name, value in answer.items() if value != []}

    def _versions_after(self, request: Request) -> Iterator[tuple[str, Version, bool]]:
        """By key, then newest first, those after the marker, also where the one that it names is gone by now."""
        prefix, key_marker = request.get("Prefix", ""), request.get("KeyMarker", "")
        version_marker = request.get("VersionIdMarker", "")
        keys = sorted({*self.objects.in_order(), *self.older}) if self.older else self.objects.in_order()
        for at in range(bisect_left(keys, max(prefix, key_marker)), len(keys)):
            key = keys[at]
            if not key.startswith(prefix):
                return
            for number, version in enumerate(self.versions_of(key)):
                is_older = bool(version_marker) and _age(version.version_id) < _age(version_marker)
                if key > key_marker or (key == key_marker and is_older):
                    yield key, version, number == 0

    def versions_of(self, key: str) -> list[Version]:
        """All there are of a key, newest first."""
        current = self.objects.get(key)
        return [*([Version(current.version_id, current)] if current else []), *self.older.get(key, [])]

    # --- removals --------------------------------------------------------------------------------------------

    def delete_object(self, request: Request) -> Answer:
        self._check_bucket(request, "DeleteObject")
        return self._delete(request["Key"], request.get("VersionId"))

    def delete_objects(self, request: Request) -> Answer:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html"""
        self._check_bucket(request, "DeleteObjects")
        asked = request["Delete"]["Objects"]
        if not 1 <= len(asked) <= _MOST_DELETED:
            raise error("MalformedXML", "DeleteObjects", "The XML you provided was not well-formed")
        deleted = []
        for each in asked:
            answer = self._delete(each["Key"], each.get("VersionId"))
            if "DeleteMarker" in answer and "VersionId" not in each:
                answer = {"DeleteMarker": True, "DeleteMarkerVersionId": answer["VersionId"]}
            deleted.append({**each, **answer})
        return {} if request["Delete"].get("Quiet") else {"Deleted": deleted}

    def _delete(self, key: str, version_id: str | None) -> Answer:
        """What is not there is deleted too."""
        if version_id is None:
            return self._delete_current(key)
        current = self.objects.get(key)
        if current is not None and current.version_id == version_id:
            self._drop(key)
        else:
            older = self.older.get(key, [])
            was_marker = any(each.version_id == version_id and each.content is None for each in older)
            older[:] = [each for each in older if each.version_id != version_id]
            if was_marker:
                self._promote(key)
                return {"VersionId": version_id, "DeleteMarker": True}
        self._promote(key)
        return _version(version_id)

    def _delete_current(self, key: str) -> Answer:
        if not self.is_versioned:
            self._drop(key)
            return {}
        current = self.objects.get(key)
        if current is not None:
            self._drop(key)
            self._keep(key, Version(current.version_id, current))
        marker = Version(self._new_version(), None)
        self._keep(key, marker)
        return {"DeleteMarker": True, "VersionId": marker.version_id}

    def _drop(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            self.on_remove(key)

    def _keep(self, key: str, version: Version) -> None:
        self.older.setdefault(key, []).insert(0, version)

    def _promote(self, key: str) -> None:
        """The newest version that is left is the current one, unless it is a delete marker."""
        older = self.older.get(key, [])
        if key not in self.objects and older and older[0].content is not None:
            self.objects[key] = older.pop(0).content  # type: ignore[assignment]  # looked at the line before
        if not older:
            self.older.pop(key, None)

    def _new_version(self) -> str:
        if not self.is_versioned:
            return _NO_VERSION
        self._versions += 1
        return f"v{self._versions:09d}"

    def _check_bucket(self, request: Request, operation: str, *, has_body: bool = True) -> None:
        if request["Bucket"] != self.bucket:
            raise error("NoSuchBucket" if has_body else "404", operation, status=404)
        if self.is_denied:
            raise error("AccessDenied" if has_body else "403", operation, "Access Denied", status=403)


def _version(version_id: str) -> Answer:
    """As answers have it: those of a bucket that is not versioned have none."""
    return {} if version_id == _NO_VERSION else {"VersionId": version_id}


def _age(version_id: str) -> str:
    """Newer ones are greater; what has no version is from before there were any."""
    return "" if version_id == _NO_VERSION else version_id
