"""A data file of an export, or a slice of one, as it was checked."""

import base64
import binascii
import hashlib

import msgspec

from chalicelib.errors import DataFileDamaged


class DataFile(msgspec.Struct, frozen=True):
    """`etag` without quotes, `md5` base64, of the compressed object; `item_count` the whole object's.

    A slice is the lines from `first_line` to before `end_line` (None: to the end), counted from 0.
    """

    key: str
    etag: str
    size_bytes: int
    md5: str
    item_count: int
    first_line: int = 0
    end_line: int | None = None

    @property
    def end(self) -> int:
        """The line before which reading ends."""
        return self.item_count if self.end_line is None else min(self.end_line, self.item_count)

    @property
    def is_read_to_the_end(self) -> bool:
        """Whether reading it reads the object's last byte, so that MD5, CRC and line count are checked."""
        return self.end == self.item_count

    @property
    def is_proven_by_etag(self) -> bool:
        """Whether S3 says with the ETag that the object has this MD5, as it took it in itself: in one part, as exports
        are written, or as one put. An ETag under SSE-KMS, or of several parts, says nothing
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, ETag)."""
        try:
            digest = base64.b64decode(self.md5, validate=True)
        except binascii.Error:
            return False
        return self.etag in (digest.hex(), f"{hashlib.md5(digest, usedforsecurity=False).hexdigest()}-1")

    def damaged(self, reason: str) -> DataFileDamaged:
        return DataFileDamaged(self.key, reason)
