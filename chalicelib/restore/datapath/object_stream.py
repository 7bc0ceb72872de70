"""The bytes of a data file, from S3, as one stream over as many connections as it takes."""

import re
from collections.abc import Generator
from http.client import HTTPException
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from chalicelib.aws import THROTTLED, TRANSIENT, Client, error_code
from chalicelib.errors import OutOfTime, Unavailable
from chalicelib.restore.datapath.data_file import DataFile
from chalicelib.retry import Backoff

# A read costs as much as inflating what it brings, if it brings little; of one that fails all it had brought is lost.
_READ_BYTES = 256 * 1024
_READ_BYTES_AFTER_A_FAILURE = 64 * 1024
# What the decompressor cannot take at once it gives back, copied: a quarter of what it may put out keeps that rare.
# But it misreads some gzip headers that are cut in two, and the first block holds any that one may meet.
_FIRST_BLOCK_BYTES = 256 * 1024
_BLOCK_BYTES = 64 * 1024
_FAILURES_IN_A_ROW = 8

# The S3 connection idles while the target throttles, and may then be reset, time out, or just end.
# OSError also covers what ssl and sockets raise past botocore and urllib3.
_CONNECTION_FAILURES = (BotoCoreError, HTTPError, HTTPException, OSError)


class ObjectStream:
    """Reads one object, whose ETag and size are pinned. Raises what `DataFileReader` raises."""

    def __init__(self, s3: Client, bucket: str, file: DataFile, *, retry: Backoff) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._file = file
        self._retry = retry

    def blocks(self, digest: Any) -> Generator[bytes]:
        """The object's bytes, over as many connections as it takes; feeds `digest`.

        A stream ends early in two ways: with an error, or cleanly, as if the object ended there. The
        second shows only against the known size. Either way the next connection begins at the offset
        reached, on the same ETag, so the caller sees one uninterrupted stream.
        """
        offset = 0
        failures = 0
        read_bytes = _READ_BYTES
        body: Any = None
        try:
            while offset < self._file.size_bytes:
                if self._retry.remaining_ms() <= 0:
                    raise OutOfTime(f"data file {self._file.key}: time is up at byte {offset}")
                try:
                    body = body or self._open(offset)
                    read = body.read(min(read_bytes, self._file.size_bytes - offset))
                    if not read:
                        raise HTTPException("the stream ended early")
                except _CONNECTION_FAILURES as error:
                    _close(body)
                    body = None
                    self._wait(failures, offset, error)
                    failures += 1
                    read_bytes = _READ_BYTES_AFTER_A_FAILURE
                else:
                    failures = 0
                    block_bytes = _BLOCK_BYTES if offset else _FIRST_BLOCK_BYTES
                    offset += len(read)
                    digest.update(read)
                    for begin in range(0, len(read), block_bytes):
                        yield read[begin : begin + block_bytes]
        finally:
            _close(body)

    def _open(self, offset: int) -> Any:
        arguments = {"Bucket": self._bucket, "Key": self._file.key, "IfMatch": f'"{self._file.etag}"'}
        if offset:
            arguments["Range"] = f"bytes={offset}-"
        try:
            answer = self._s3.get_object(**arguments)
        except ClientError as error:
            raise self._read_error(error) from error
        begin, size_bytes = _extent(answer)
        if (begin, size_bytes) != (offset, self._file.size_bytes):
            _close(answer["Body"])
            if size_bytes != self._file.size_bytes:
                raise self._file.damaged(f"it is {size_bytes} bytes, {self._file.size_bytes} expected")
            raise HTTPException(f"S3 answered from byte {begin}, asked for {offset}")
        return answer["Body"]

    def _read_error(self, error: ClientError) -> Exception:
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in THROTTLED or code in TRANSIENT or status >= 500 or code == "ExpiredToken":
            return HTTPException(f"S3 answered {code}")
        if status == 404:
            return self._file.damaged(f"it is missing ({code})")
        if status == 412:
            return self._file.damaged("it has changed since it was checked: its ETag is another one")
        if status == 403:
            why = f"reading it is refused ({code}): allow s3:GetObject, and kms:Decrypt if encrypted"
            return self._file.damaged(why)
        return self._file.damaged(f"S3 refuses to give it ({code})")

    def _wait(self, failures: int, offset: int, error: Exception) -> None:
        what = f"data file {self._file.key}: reading failed at byte {offset} ({type(error).__name__}: {error})"
        if failures + 1 >= _FAILURES_IN_A_ROW:
            raise Unavailable(f"{what}, {failures + 1} times in a row") from error
        if not self._retry.wait(failures):
            raise OutOfTime(f"{what}, and time is up") from error


def _extent(answer: Any) -> tuple[int, int]:
    """Where the answer's bytes begin, and the whole object's size."""
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.get("ContentRange") or "")
    if content_range:
        return int(content_range[1]), int(content_range[2])
    return 0, int(answer["ContentLength"])


def _close(body: Any) -> None:
    if body is not None:
        body.close()
