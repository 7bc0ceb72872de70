"""Data files: bombs, many members, long headers, and files that lie about themselves. Bounded in memory and time, and
what is read as whole is what Python's own gzip reads."""

import gzip
import itertools
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import DataFileDamaged
from tests.hostile import properties
from tests.unit.test_reader import OneObject, damage, file_of, reader_of, verified

TEXT = b'{"Item":{"pk":{"S":"a"}}}\n' * 3


def member(
    content: bytes = b"", *, flags: int = 0, fields: bytes = b"", crc: int | None = None, size: int | None = None
):
    """One gzip member with whatever in its header and trailer (RFC 1952)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    trailer = struct.pack("<II", zlib.crc32(content) if crc is None else crc, len(content) if size is None else size)
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\x00\x00\x00\x00\x00\xff" + fields
    return head + deflate.compress(content) + deflate.flush() + trailer


EXTRA = struct.pack("<H", 65_535) + b"e" * 65_535
NAME = b"n" * 300_000 + b"\x00"


@pytest.mark.parametrize(
    "data",
    [
        member(TEXT, flags=0x04, fields=EXTRA),
        member(TEXT, flags=0x08, fields=NAME),
        member(TEXT, flags=0x1C, fields=EXTRA + NAME[-1_000:] * 2),
        b"".join(member(TEXT[at : at + 1]) for at in range(len(TEXT))),
        member() * 500 + member(TEXT) + member() * 500,
        member(TEXT) + b"\x00" * 100,
    ],
    ids=["extra", "name", "all", "a member per byte", "empty members around", "padding"],
)
def test_odd_but_valid_files_are_read(data):
    assert properties.data_file(data, 3) == TEXT.splitlines()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (member(TEXT, crc=1), "not valid gzip"),
        (member(TEXT, size=1), "not valid gzip"),
        (member(TEXT)[:-1], "truncated"),
        (member(TEXT) + member(TEXT)[:5], "truncated"),
        (member(TEXT) + b"garbage beyond a header", "not valid gzip"),
        (member(TEXT, flags=0x08, fields=b"n" * 100_000), "gzip"),
        (member(TEXT, flags=0x08, fields=b"n" * 3_000_000 + b"\x00"), "not valid gzip"),
        (member(TEXT, flags=0x08, fields=b"n" * 3_000_000), "not valid gzip"),
        (member(TEXT, flags=0x02, fields=b"\x00\x00"), "not valid gzip"),
        (b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\xff\xff", "truncated"),
        (zlib.compress(TEXT), "not valid gzip"),
        (b"\x1f\x8b\x00" + member(TEXT)[3:], "not valid gzip"),
    ],
)
def test_damaged_files_are_named(data, reason):
    assert reason in damage(data, 3)
    assert properties.data_file(data, 3) is None


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_any_change_of_a_file_is_found_or_is_none(contents, data):
    stream = bytearray(b"".join(member(content) for content in contents) or member())
    for _ in range(data.draw(st.integers(0, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(stream[: data.draw(st.integers(0, len(stream)))])
    for content in (bytes(stream), cut):
        properties.data_file(content, b"".join(contents).count(b"\n"))


# --- bombs ------------------------------------------------------------------------------------------------------------


def inflated_bytes(data: bytes, item_count: int) -> tuple[str, int, int]:
    """Why a file is damaged, how much of it was handed out until then, and the peak of memory."""
    given_bytes = 0
    tracemalloc.start()
    try:
        for block in reader_of(OneObject(data), file_of(data, item_count)).line_blocks():
            given_bytes += sum(map(len, block)) + len(block)
    except DataFileDamaged as error:
        return error.reason, given_bytes, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    raise AssertionError("it was read to its end")


def bomb(piece: bytes, times: int) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(deflate.compress(piece) for _ in range(times)), deflate.flush()])


def test_a_bomb_of_newlines_stops_where_there_are_too_many_lines():
    reason, given_bytes, peak_bytes = inflated_bytes(bomb(b"\n" * 1_000_000, 100), 1_000)
    assert reason == "it has more lines than the manifest says, 1000"
    assert given_bytes == 0
    assert peak_bytes < 8_000_000


def test_a_bomb_without_a_newline_stops_at_the_longest_line():
    reason, given_bytes, peak_bytes = inflated_bytes(bomb(b"x" * 1_000_000, 100), 1_000)
    assert "line longer than 16000000 bytes" in reason
    assert given_bytes == 0
    assert peak_bytes < 24_000_000


def test_a_bomb_of_items_stops_where_there_are_too_many():
    reason, given_bytes, peak_bytes = inflated_bytes(bomb(TEXT * 10_000, 100), 30_000)
    assert "more lines" in reason
    assert given_bytes <= 30_000 * 26
    assert peak_bytes < 12_000_000


def test_a_million_empty_members_are_passed_over_in_no_memory():
    reason, given_bytes, peak_bytes = inflated_bytes(member() * 1_000_000, 1)
    assert reason == "it has 0 lines, the manifest says 1"
    assert given_bytes == 0
    assert peak_bytes < 4_000_000


def test_a_checked_file_tells_a_bomb_without_reading_it_to_its_end():
    found = verified(bomb(b"\n" * 1_000_000, 100), 5)
    assert found.damage == "it has more lines than the manifest says, 5"
    assert (found.line_count, found.uncompressed_bytes) == (0, 0)


def test_a_member_of_ordinary_size_may_stand_any_number_of_times():
    noise = [b"%d\n" % number * 2_000 for number in range(1_500)]
    data = b"".join(gzip.compress(each, 0) for each in noise)
    blocks = reader_of(OneObject(data), file_of(data, 3_000_000)).line_blocks()
    assert sum(len(block) for block in itertools.islice(blocks, 10_000)) == 3_000_000
