"""From gzip to text, a block at a time: memory stays flat whatever the stream holds."""

from collections.abc import Iterator
from typing import Any

from isal import igzip, isal_zlib

from chalicelib.restore.datapath.data_file import DataFile
from chalicelib.restore.datapath.object_stream import ObjectStream

# So large that threads rarely wait for each other, so small that it is still in the processor's cache when lines are
# cut out of it.
_BLOCK_BYTES = 256 * 1024

_IGzipFile: Any = igzip.IGzipFile  # its constructor has no types
# An OverflowError is a header that would fill igzip's buffer of half a megabyte.
_NOT_GZIP: tuple[Any, ...] = (isal_zlib.error, igzip.BadGzipFile, OverflowError)


def inflated(compressed: ObjectStream, file: DataFile) -> Iterator[bytes]:
    """Inflates any number of gzip members, never more than one block at once. Raises DataFileDamaged for `file` when
    it is not gzip, or truncated; CRC and size of a member are checked at its end."""
    text = _IGzipFile(fileobj=compressed, mode="rb")
    while True:
        try:
            block = text.read(_BLOCK_BYTES)
        except EOFError as error:
            raise file.damaged("its gzip stream is truncated") from error
        except _NOT_GZIP as error:
            raise file.damaged(f"it is not valid gzip ({error})") from error
        if not block:
            break
        yield block
    if not file.size_bytes:  # for igzip that is a stream of no members
        raise file.damaged("its gzip stream is truncated")
