"""From gzip to text, a block at a time: memory stays flat whatever the stream holds."""

from collections.abc import Iterator
from typing import Any

from isal import isal_zlib

from chalicelib.restore.datapath.data_file import DataFile

_BLOCK_BYTES = 256 * 1024
_GZIP_WINDOW_BITS = 31  # zlib's code for: a gzip header and trailer are expected and checked

# An export is one gzip member. More are taken, but not millions of tiny ones: each costs as much as 20 KB of data.
_MEMBERS_TAKEN = 1_000
_LEAST_MEMBER_BYTES = 1_024

_GzipError: Any = isal_zlib.error  # isal's type information calls it an instance


def inflated(compressed: Iterator[bytes], file: DataFile) -> Iterator[bytes]:
    """Inflates any number of gzip members, never more than one block at once. Raises DataFileDamaged for `file` when
    it is not gzip, or truncated; CRC and size of a member are checked at its end."""
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
                    raise file.damaged("it is made of too many tiny gzip members")
            block, data = _decompress(member, data, file)
            # A full block may leave more inside of the decompressor although all input is consumed.
            more_inside = not member.eof and len(block) == _BLOCK_BYTES
            if block:
                yield block
    if not member.eof:
        raise file.damaged("its gzip stream is truncated")


def _decompress(member: Any, data: bytes, file: DataFile) -> tuple[bytes, bytes]:
    """Up to one block, and what is left of `data`."""
    try:
        block = member.decompress(data, _BLOCK_BYTES)
    except _GzipError as error:
        raise file.damaged(f"it is not valid gzip ({error})") from error
    rest = member.unused_data if member.eof else member.unconsumed_tail
    if data and not block and not member.eof and len(rest) == len(data):  # it would never end
        raise file.damaged("it is not valid gzip (the decompressor does not move on)")
    return block, rest
