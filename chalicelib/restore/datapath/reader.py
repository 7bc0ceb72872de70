"""One data file of an export, from S3, as batches of raw lines.

What it promises: memory stays flat whatever the file (or a gzip bomb) holds; every byte comes from
the object that was checked (If-Match on its pinned ETag); and whoever reads to the end either has
every line of it or an error. Lines are bytes and are not parsed here.

A slice of a file is read from byte 0 too, but lines before it are only counted. It stops at its own end, where nothing
is known of the object's MD5: the last slice, which reads all of the object, checks that for all of them.

Where the pinned ETag proves the MD5 (`DataFile.is_proven_by_etag`), only who verifies a file computes it a second time
(docs/decisions/0020).
"""

import base64
import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import msgspec

from chalicelib.aws import Client
from chalicelib.errors import DataFileDamaged
from chalicelib.restore.datapath.batches import BATCH_LINES, Batch, LineFilter, Picked, batched, picked_batches
from chalicelib.restore.datapath.data_file import DataFile
from chalicelib.restore.datapath.inflate import inflated
from chalicelib.restore.datapath.line_split import LineSplitter
from chalicelib.restore.datapath.object_stream import ObjectStream
from chalicelib.retry import Backoff

__all__ = ["BATCH_LINES", "Batch", "DataFile", "DataFileFindings", "DataFileReader", "LineFilter", "Picked"]
__all__ += ["verify_data_file"]


class DataFileFindings(msgspec.Struct, frozen=True):
    """What reading a file, or its slice, to the end showed: `damage` is None or the reason; never item content.

    The counts are those of the slice's own lines; where there is damage, those up to it.
    """

    damage: str | None
    line_count: int
    uncompressed_bytes: int


class DataFileReader:
    """Reads one data file, or a slice of it. Raises:

    * DataFileDamaged: missing, changed since it was pinned, forbidden, truncated, not gzip, or with
      another MD5 or number of lines than the manifest says. Reading again does not help.
    * Unavailable: S3 failed several times in a row without a byte of progress.
    * OutOfTime: `retry`'s deadline has passed.

    MD5, gzip's CRC and the line count are known only at the end, after most batches were handed out:
    whoever must know before writing calls `verify_data_file` first. A slice that ends before the file does
    (not `DataFile.is_read_to_the_end`) is not checked for them at all. `computes_md5`: also where the ETag proves it.
    """

    def __init__(self, s3: Client, bucket: str, file: DataFile, *, retry: Backoff, computes_md5: bool = False) -> None:
        self._file = file
        self._computes_md5 = computes_md5 or not file.is_proven_by_etag
        self._s3 = s3
        self._bucket = bucket
        self._retry = retry

    def batches(self, from_line: int = 0) -> Generator[Batch]:
        """Batches from line `from_line` of the file on, each of at most 25 lines and 15 MB of request body.

        Where batches begin depends on the file alone, as long as `from_line` is the beginning of a
        batch: a checkpoint stays valid over restarts. Going on inflates from byte 0 and skips lines,
        so all checks of the end still cover the whole file. Closing the iterator closes the stream.
        """
        with closing(self._blocks(from_line)) as blocks:
            yield from batched(blocks, self._begin(from_line))

    def matches(self, line_filter: LineFilter, from_line: int = 0) -> Generator[Batch]:
        """The same, with only those lines in the batches that `line_filter` wants: at most 25 and 15 MB again, out of
        up to 100,000 that a batch covers. There are batches without a line, so that progress moves on."""
        with closing(self._blocks(from_line)) as blocks:
            yield from picked_batches(blocks, line_filter, self._begin(from_line))

    def line_blocks(self, from_line: int = 0) -> Generator[list[bytes]]:
        """All lines, in lists of one inflated block each; raises at the end what `batches` raises."""
        with closing(self._blocks(from_line)) as blocks:
            for lines in blocks:
                yield [line[:-1] for line in lines]

    def _begin(self, from_line: int) -> int:
        return max(from_line, self._file.first_line)

    def _blocks(self, from_line: int) -> Generator[list[bytes]]:
        """Lines with their newlines."""
        file, line = self._file, self._begin(from_line)
        if line >= file.end and not file.is_read_to_the_end:
            return
        digest = hashlib.md5(usedforsecurity=False) if self._computes_md5 else None
        splitter = LineSplitter(file)
        with ObjectStream(self._s3, self._bucket, file, retry=self._retry, digest=digest) as compressed:
            for lines in splitter.blocks(inflated(compressed, file), line):
                line += len(lines)
                if line >= file.end and not file.is_read_to_the_end:
                    yield lines[: file.end - line or None]
                    return
                yield lines
        if digest is not None and base64.b64encode(digest.digest()).decode() != file.md5:
            raise file.damaged("its MD5 is not the manifest's")
        if splitter.count != file.item_count:
            raise file.damaged(f"it has {splitter.count} lines, the manifest says {file.item_count}")


def verify_data_file(
    s3: Client,
    bucket: str,
    file: DataFile,
    *,
    observe: Callable[[int, Sequence[bytes]], None] | None = None,
    retry: Backoff,
) -> DataFileFindings:
    """Reads `file`, or its slice, to the end and says what is wrong with it instead of raising it.

    `observe(first_line, lines)` is given every line once, in order and without its newline, in lists of one inflated
    block each; nothing is known yet of what comes after them. Transient failures (Unavailable, OutOfTime) are
    raised: they say nothing about the file.
    """
    damage = None
    line_count = uncompressed_bytes = 0
    try:
        for lines in DataFileReader(s3, bucket, file, retry=retry, computes_md5=True).line_blocks():
            if observe is not None:
                observe(file.first_line + line_count, lines)
            uncompressed_bytes += sum(map(len, lines)) + len(lines)
            line_count += len(lines)
    except DataFileDamaged as error:
        damage = error.reason
    return DataFileFindings(damage, line_count, uncompressed_bytes)
