"""The bytes of a data file, from S3, as one stream over as many connections as it takes."""

import re
from http.client import HTTPException
from io import RawIOBase
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from chalicelib.aws import THROTTLED, TRANSIENT, Client, error_code
from chalicelib.errors import OutOfTime, Unavailable
from chalicelib.restore.datapath.data_file import DataFile
from chalicelib.retry import Backoff

# Of a read that fails all it had brought is lost.
_MOST_READ_BYTES = 512 * 1024
_READ_BYTES_AFTER_A_FAILURE = 64 * 1024
_FAILURES_IN_A_ROW = 8

# The S3 connection idles while the target throttles, and may then be reset, time out, or just end.
# OSError also covers what ssl and sockets raise past botocore and urllib3.
_CONNECTION_FAILURES = (BotoCoreError, HTTPError, HTTPException, OSError)


class ObjectStream(RawIOBase):
    """Reads one object, whose ETag and size are pinned, as a file that is read once. `digest`, if there is one, is fed.
    Raises what `DataFileReader` raises.

    A stream of S3's ends early in two ways: with an error, or cleanly, as if the object ended there. The second shows
    only against the known size. Either way the next connection begins at the offset reached, on the same ETag, so the
    caller sees one uninterrupted stream.
    """

    def __init__(self, s3: Client, bucket: str, file: DataFile, *, retry: Backoff, digest: Any = None) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._file = file
        self._retry = retry
        self._digest = digest
        self._offset = 0
        self._most_bytes = _MOST_READ_BYTES
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads as much as `buffer` takes, or less; nothing only at the object's end."""
        wanted_bytes = min(len(buffer), self._most_bytes, self._file.size_bytes - self._offset)
        if not wanted_bytes:
            return 0
        read = self._read(wanted_bytes)
        buffer[: len(read)] = read
        self._offset += len(read)
        if self._digest is not None:
            self._digest.update(read)
        return len(read)

    def close(self) -> None:
        self._close_body()
        super().close()

    def _read(self, wanted_bytes: int) -> bytes:
        failures = 0
        while True:
            if self._retry.remaining_ms() <= 0:
                raise OutOfTime(f"data file {self._file.key}: time is up at byte {self._offset}")
            try:
                self._body = self._body or self._open()
                read: bytes = self._body.read(wanted_bytes)
                if not read:
                    raise HTTPException("the stream ended early")
            except _CONNECTION_FAILURES as error:
                self._close_body()
                self._wait(failures, error)
                failures += 1
                self._most_bytes = _READ_BYTES_AFTER_A_FAILURE
                wanted_bytes = min(wanted_bytes, self._most_bytes)
            else:
                return read

    def _open(self) -> Any:
        offset = self._offset
        arguments = {"Bucket": self._bucket, "Key": self._file.key, "IfMatch": f'"{self._file.etag}"'}
        if offset:
            arguments["Range"] = f"bytes={offset}-"
        try:
            answer = self._s3.get_object(**arguments)
        except ClientError as error:
            raise self._read_error(error) from error
        begin, size_bytes = _extent(answer)
        if (begin, size_bytes) != (offset, self._file.size_bytes):
            answer["Body"].close()
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

    def _close_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _wait(self, failures: int, error: Exception) -> None:
        what = f"data file {self._file.key}: reading failed at byte {self._offset} ({type(error).__name__}: {error})"
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
