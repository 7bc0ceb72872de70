"""One data file of an export, from S3, as batches of raw lines.

What it promises: memory stays flat whatever the file (or a gzip bomb) holds; every byte comes from
the object that was checked (If-Match on its pinned ETag); and whoever reads to the end either has
every line of it or an error. Lines are bytes and are not parsed here, except to check their shape.
"""

import base64
import hashlib
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from isal import isal_zlib
from urllib3.exceptions import HTTPError

from chalicelib.aws import THROTTLED, TRANSIENT, Client, error_code
from chalicelib.errors import DataFileDamaged, OutOfTime, Unavailable
from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.retry import Backoff

BATCH_LINES = 25  # BatchWriteItem's limit
BATCH_BODY_BYTES = 15_000_000  # its request may have 16 MB; the rest is room for the envelope
LINE_OVERHEAD_BYTES = len(b'{"PutRequest":},')
LINE_LIMIT_BYTES = 16_000_000  # an item has at most 400 KB: such a line is damage, or hostile

_BLOCK_BYTES = 256 * 1024
_FAILURES_IN_A_ROW = 8
_GZIP_WINDOW_BITS = 31  # zlib's code for: a gzip header and trailer are expected and checked
_POSITIONS_KEPT = 10

# An export is one gzip member. More are taken, but not millions of tiny ones: each costs as much as 20 KB of data.
_MEMBERS_TAKEN = 1_000
_LEAST_MEMBER_BYTES = 1_024

_GzipError: Any = isal_zlib.error  # isal's type information calls it an instance

# The S3 connection idles while the target throttles, and may then be reset, time out, or just end.
# OSError also covers what ssl and sockets raise past botocore and urllib3.
_CONNECTION_FAILURES = (BotoCoreError, HTTPError, HTTPException, OSError)


@dataclass(frozen=True)
class DataFile:
    """A data file as it was checked: `etag` without quotes, `md5` base64, of the compressed object."""

    key: str
    etag: str
    size_bytes: int
    md5: str
    item_count: int


@dataclass(frozen=True)
class Batch:
    """What is to be done with `line_count` consecutive lines of one file from `first_line` on, counted from 0: `lines`,
    without their newlines, which stand at `places` of the file. The others among them were not asked for."""

    first_line: int
    line_count: int
    lines: tuple[bytes, ...]
    places: Sequence[int]

    @classmethod
    def of(cls, first_line: int, lines: tuple[bytes, ...]) -> "Batch":
        """Of consecutive lines, all of which were asked for."""
        return cls(first_line, len(lines), lines, range(first_line, first_line + len(lines)))


@dataclass(frozen=True)
class DataFileFindings:
    """What reading a file to its end showed: `damage` is None or the reason; never item content.

    `bad_lines` counts lines that are no `{"Item": {...}}` object; `first_bad_lines` are where the
    first few stand, counted from 0. Where there is damage, the counts are those up to it.
    """

    damage: str | None
    line_count: int
    uncompressed_bytes: int
    bad_lines: int = 0
    first_bad_lines: tuple[int, ...] = ()


class DataFileReader:
    """Reads one data file. Raises:

    * DataFileDamaged: missing, changed since it was pinned, forbidden, truncated, not gzip, or with
      another MD5 or number of lines than the manifest says. Reading again does not help.
    * Unavailable: S3 failed several times in a row without a byte of progress.
    * OutOfTime: `retry`'s deadline has passed.

    MD5, gzip's CRC and the line count are known only at the end, after most batches were handed out:
    whoever must know before writing calls `verify_data_file` first.
    """

    def __init__(self, s3: Client, bucket: str, file: DataFile, *, retry: Backoff) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._file = file
        self._retry = retry

    def batches(self, first_line: int = 0) -> Generator[Batch]:
        """Batches from line `first_line` on, each of at most 25 lines and 15 MB of request body.

        Where batches begin depends on the file alone, as long as `first_line` is the beginning of a
        batch: a checkpoint stays valid over restarts. Going on inflates from byte 0 and skips lines,
        so all checks of the end still cover the whole file. Closing the iterator closes the stream.
        """
        with closing(self.line_blocks()) as blocks:
            yield from _batched(_skip(blocks, first_line), first_line)

    def line_blocks(self) -> Generator[list[bytes]]:
        """All lines, in lists of one inflated block each; raises at the end what `batches` raises."""
        digest = hashlib.md5(usedforsecurity=False)
        line_count = 0
        with closing(self._compressed(digest)) as compressed:
            for lines in self._split(self._inflate(compressed)):
                line_count += len(lines)
                if line_count > self._file.item_count:  # at once: it may be a gzip bomb of newlines
                    raise self._damaged(f"it has more lines than the manifest says, {self._file.item_count}")
                yield lines
        if base64.b64encode(digest.digest()).decode() != self._file.md5:
            raise self._damaged("its MD5 is not the manifest's")
        if line_count != self._file.item_count:
            raise self._damaged(f"it has {line_count} lines, the manifest says {self._file.item_count}")

    def _split(self, inflated: Iterator[bytes]) -> Iterator[list[bytes]]:
        """Splits on byte 0x0A only: str.splitlines would also split inside of strings (U+2028)."""
        begun: list[bytes] = []  # parts of a line that has begun; joined once, so a long one costs no square
        begun_bytes = 0
        for block in inflated:
            head, newline, rest = block.partition(b"\n")
            begun.append(head)
            begun_bytes += len(head)
            if begun_bytes > LINE_LIMIT_BYTES:
                raise self._damaged(f"it has a line longer than {LINE_LIMIT_BYTES} bytes")
            if newline:
                *lines, tail = rest.split(b"\n")
                yield [b"".join(begun), *lines]
                begun, begun_bytes = [tail], len(tail)
        if begun_bytes:
            raise self._damaged("its last line does not end with a newline")

    def _inflate(self, compressed: Iterator[bytes]) -> Iterator[bytes]:
        """Inflates any number of gzip members, never more than one block at once."""
        member: Any = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
        members, read_bytes = 1, 0
        for data in compressed:
            read_bytes += len(data)
            more_inside = False
            while data or more_inside:
                if member.eof:
                    member = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
                    members += 1
                    if members > _MEMBERS_TAKEN + read_bytes // _LEAST_MEMBER_BYTES:
                        raise self._damaged("it is made of too many tiny gzip members")
                inflated, data = self._decompress(member, data)
                # A full block may leave more inside of the decompressor although all input is consumed.
                more_inside = not member.eof and len(inflated) == _BLOCK_BYTES
                if inflated:
                    yield inflated
        if not member.eof:
            raise self._damaged("its gzip stream is truncated")

    def _decompress(self, member: Any, data: bytes) -> tuple[bytes, bytes]:
        """Up to one block, and what is left of `data`."""
        try:
            inflated = member.decompress(data, _BLOCK_BYTES)
        except _GzipError as error:
            raise self._damaged(f"it is not valid gzip ({error})") from error
        rest = member.unused_data if member.eof else member.unconsumed_tail
        if data and not inflated and not member.eof and len(rest) == len(data):  # it would never end
            raise self._damaged("it is not valid gzip (the decompressor does not move on)")
        return inflated, rest

    def _compressed(self, digest: Any) -> Generator[bytes]:
        """The object's bytes, over as many connections as it takes; feeds `digest`.

        A stream ends early in two ways: with an error, or cleanly, as if the object ended there. The
        second shows only against the known size. Either way the next connection begins at the offset
        reached, on the same ETag, so the caller sees one uninterrupted stream.
        """
        offset = 0
        failures = 0
        body: Any = None
        try:
            while offset < self._file.size_bytes:
                if self._retry.remaining_ms() <= 0:
                    raise OutOfTime(f"data file {self._file.key}: time is up at byte {offset}")
                try:
                    body = body or self._open(offset)
                    block = body.read(min(_BLOCK_BYTES, self._file.size_bytes - offset))
                    if not block:
                        raise HTTPException("the stream ended early")
                except _CONNECTION_FAILURES as error:
                    _close(body)
                    body = None
                    self._wait(failures, offset, error)
                    failures += 1
                else:
                    failures = 0
                    offset += len(block)
                    digest.update(block)
                    yield block
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
                raise self._damaged(f"it is {size_bytes} bytes, {self._file.size_bytes} expected")
            raise HTTPException(f"S3 answered from byte {begin}, asked for {offset}")
        return answer["Body"]

    def _read_error(self, error: ClientError) -> Exception:
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in THROTTLED or code in TRANSIENT or status >= 500 or code == "ExpiredToken":
            return HTTPException(f"S3 answered {code}")
        if status == 404:
            return self._damaged(f"it is missing ({code})")
        if status == 412:
            return self._damaged("it has changed since it was checked: its ETag is another one")
        if status == 403:
            return self._damaged(f"reading it is refused ({code}): allow s3:GetObject, and kms:Decrypt if encrypted")
        return self._damaged(f"S3 refuses to give it ({code})")

    def _wait(self, failures: int, offset: int, error: Exception) -> None:
        what = f"data file {self._file.key}: reading failed at byte {offset} ({type(error).__name__}: {error})"
        if failures + 1 >= _FAILURES_IN_A_ROW:
            raise Unavailable(f"{what}, {failures + 1} times in a row") from error
        if not self._retry.wait(failures):
            raise OutOfTime(f"{what}, and time is up") from error

    def _damaged(self, reason: str) -> DataFileDamaged:
        return DataFileDamaged(self._file.key, reason)


def verify_data_file(s3: Client, bucket: str, file: DataFile, *, parse_lines: bool, retry: Backoff) -> DataFileFindings:
    """Reads `file` to its end and says what is wrong with it instead of raising it.

    Transient failures (Unavailable, OutOfTime) are raised: they say nothing about the file.
    """
    damage = None
    line_count = uncompressed_bytes = bad_lines = 0
    first_bad_lines: list[int] = []
    try:
        for lines in DataFileReader(s3, bucket, file, retry=retry).line_blocks():
            uncompressed_bytes += sum(map(len, lines)) + len(lines)
            if parse_lines:
                bad = [line_count + i for i, line in enumerate(lines) if not is_item_line(line)]
                bad_lines += len(bad)
                first_bad_lines += bad[: _POSITIONS_KEPT - len(first_bad_lines)]
            line_count += len(lines)
    except DataFileDamaged as error:
        damage = error.reason
    return DataFileFindings(damage, line_count, uncompressed_bytes, bad_lines, tuple(first_bad_lines))


def _skip(blocks: Iterator[list[bytes]], count: int) -> Iterator[list[bytes]]:
    for lines in blocks:
        skipped = min(count, len(lines))
        count -= skipped
        yield lines[skipped:]


def _batched(blocks: Iterator[list[bytes]], first_line: int) -> Iterator[Batch]:
    """Greedy: a batch ends at 25 lines, or where the next line would make its body too large."""
    held: list[bytes] = []
    for lines in blocks:
        held += lines
        held_bytes = _body_bytes(held)
        begin = 0
        while len(held) - begin >= BATCH_LINES or held_bytes > BATCH_BODY_BYTES:
            batch = Batch.of(first_line + begin, _next_batch(held, begin))
            held_bytes -= _body_bytes(batch.lines)
            begin += len(batch.lines)
            yield batch
        first_line += begin
        held = held[begin:]
    if held:
        yield Batch.of(first_line, tuple(held))


def _next_batch(lines: list[bytes], begin: int) -> tuple[bytes, ...]:
    """The lines from `begin` on that make one batch; at least one, even if it is too large by itself."""
    batch = lines[begin : begin + BATCH_LINES]
    while len(batch) > 1 and _body_bytes(batch) > BATCH_BODY_BYTES:
        batch.pop()
    return tuple(batch)


def _body_bytes(lines: Sequence[bytes]) -> int:
    return sum(map(len, lines)) + len(lines) * LINE_OVERHEAD_BYTES


def _extent(answer: Any) -> tuple[int, int]:
    """Where the answer's bytes begin, and the whole object's size."""
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.get("ContentRange") or "")
    if content_range:
        return int(content_range[1]), int(content_range[2])
    return 0, int(answer["ContentLength"])


def _close(body: Any) -> None:
    if body is not None:
        body.close()
