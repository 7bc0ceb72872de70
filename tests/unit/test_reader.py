import base64
import gzip
import hashlib
import io
import itertools
import json
import tracemalloc
from random import Random

import pytest
from botocore.response import StreamingBody
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.errors import DataFileDamaged, OutOfTime, Unavailable
from chalicelib.restore.datapath import batches as batches_module
from chalicelib.restore.datapath import inflate
from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.restore.datapath.reader import (
    Batch,
    DataFile,
    DataFileFindings,
    DataFileReader,
    Picked,
    verify_data_file,
)
from chalicelib.retry import Backoff
from tests.faults import FakeTime, FlakyClient, client_error

KEY = "native-exports/2026-11-21/orders/AWSDynamoDB/01768386096366-0123abcd/data/a.json.gz"


class OneObject:
    """S3 with one object in it, as botocore answers: If-Match, ranges, and a StreamingBody."""

    def __init__(self, data: bytes, etag: str = "e-1") -> None:
        self.data = data
        self.etag = etag

    def get_object(self, Bucket: str, Key: str, IfMatch: str, Range: str | None = None):
        if f'"{self.etag}"' != IfMatch:
            error = client_error("refuse", "GetObject")
            error.response["Error"]["Code"] = "PreconditionFailed"
            error.response["ResponseMetadata"]["HTTPStatusCode"] = 412
            raise error
        begin = int(Range.removeprefix("bytes=").removesuffix("-")) if Range else 0
        data = self.data[begin:]
        answer = {"Body": StreamingBody(io.BytesIO(data), len(data)), "ContentLength": len(data)}
        if Range:
            answer["ContentRange"] = f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}"
        return answer


def file_of(data: bytes, item_count: int, **changes) -> DataFile:
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    return replace(DataFile(KEY, "e-1", len(data), md5, item_count), **changes)


def reader_of(s3, file: DataFile, time: FakeTime | None = None, room_ms: int = 60_000) -> DataFileReader:
    return DataFileReader(s3, "bucket", file, retry=backoff(time or FakeTime(), room_ms))


def backoff(time: FakeTime, room_ms: int = 60_000) -> Backoff:
    return Backoff(time.clock, time.sleep, time.random, time.now_ms + room_ms)


def gzipped(lines: list[bytes]) -> bytes:
    return gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0)


def read(data: bytes, item_count: int, from_line: int = 0, **changes) -> list[Batch]:
    return list(reader_of(OneObject(data), file_of(data, item_count, **changes)).batches(from_line))


def lines_of(batches: list[Batch]) -> list[bytes]:
    return [line[:-1] for batch in batches for line in batch.lines]


def some_lines(count: int) -> list[bytes]:
    return [
        b'{"Item":{"pk":{"S":"%d"},"hash":{"S":"%s"}}}' % (i, hashlib.sha256(b"%d" % i).hexdigest().encode())
        for i in range(count)
    ]


def damage(data: bytes, item_count: int, **changes) -> str:
    with pytest.raises(DataFileDamaged) as caught:
        read(data, item_count, **changes)
    assert caught.value.key == KEY
    assert not caught.value.retryable
    return caught.value.reason


# ---- batches


def test_batches_are_25_lines_in_order_and_a_rest():
    lines = some_lines(60)
    batches = read(gzipped(lines), 60)
    assert [(batch.first_line, len(batch.lines)) for batch in batches] == [(0, 25), (25, 25), (50, 10)]
    assert lines_of(batches) == lines


def test_an_empty_partition_has_no_batch_and_no_fault():
    assert len(gzip.compress(b"", mtime=0)) == 20
    assert read(gzip.compress(b"", mtime=0), 0) == []


def test_lines_split_at_newline_only():
    line = '{"Item":{"pk":{"S":"a\u2028b\u0085c\x0b\x0cd\re"}}}'.encode()
    assert lines_of(read(gzipped([line]), 1)) == [line]


def test_several_gzip_members_are_one_stream_even_where_a_line_crosses_them():
    lines = some_lines(100)
    text = b"".join(line + b"\n" for line in lines)
    data = b"".join(gzip.compress(part) for part in (text[:1000], b"", text[1000:1001], text[1001:]))
    assert lines_of(read(data, 100)) == lines


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=150), st.data())
def test_batch_boundaries_depend_on_the_file_alone(sizes, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "BATCH_BODY_BYTES", 2_000)
        patch.setattr(inflate, "_BLOCK_BYTES", data.draw(st.sampled_from([64, 1_000, 262_144])))
        lines = [b"x" * size for size in sizes]
        compressed = gzipped(lines)
        whole = read(compressed, len(lines))
        assert lines_of(whole) == lines
        assert [batch.first_line for batch in whole] == [
            sum(len(b.lines) for b in whole[:i]) for i in range(len(whole))
        ]
        for batch, following in itertools.pairwise(whole):
            body = sum(len(line) + 16 for line in batch.lines)
            assert body <= 2_000 or len(batch.lines) == 1
            assert len(batch.lines) == 25 or body + len(following.lines[0]) + 16 > 2_000
        if whole:
            at = data.draw(st.integers(0, len(whole) - 1))
            assert read(compressed, len(lines), whole[at].first_line) == whole[at:]


def test_a_batch_stays_under_the_size_of_a_request():
    lines = [b"x" * 4_000_000] * 5
    assert [len(batch.lines) for batch in read(gzipped(lines), 5)] == [3, 2]


# ---- damage


def test_every_truncation_is_found():
    data = gzipped(some_lines(3))
    for end in range(len(data)):
        assert damage(data[:end], 3)


def test_every_flipped_byte_is_found():
    data = gzipped(some_lines(3))
    for position in range(len(data)):
        flipped = data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
        assert damage(flipped, 3, md5=file_of(data, 3).md5)


@pytest.mark.parametrize(
    ("data", "item_count", "changes", "reason"),
    [
        (gzipped([b"a", b"b"]), 3, {}, "it has 2 lines, the manifest says 3"),
        (gzipped([b"a", b"b"]), 1, {}, "it has more lines than the manifest says, 1"),
        (gzipped([b"a"]), 1, {"md5": "FjvgqIxwymKf1RbbqtrZag=="}, "its MD5 is not the manifest's"),
        (gzip.compress(b"a\nb", mtime=0), 2, {}, "its last line does not end with a newline"),
        (gzip.compress(b"a\n", mtime=0) + b"trailing garbage", 1, {}, "it is not valid gzip"),
        (b"plain text\n", 1, {}, "it is not valid gzip"),
        (b"", 0, {}, "its gzip stream is truncated"),
        (gzipped([b"a"]), 1, {"size_bytes": 20}, "20 expected"),
        (gzipped([b"a"]), 1, {"size_bytes": 2_000}, "2000 expected"),
        (gzipped([b"a"]), 1, {"etag": "other"}, "it has changed since it was checked"),
        (gzip.compress(b"x" * 16_000_001 + b"\n", mtime=0), 1, {}, "longer than 16000000 bytes"),
        (gzip.compress(b"x\n" + b"x" * 16_000_001 + b"\n", mtime=0), 2, {}, "longer than 16000000 bytes"),
    ],
)
def test_damage_is_named(data, item_count, changes, reason):
    assert reason in damage(data, item_count, **changes)


@pytest.mark.parametrize(
    ("word", "reason"), [("missing", "it is missing (NoSuchKey)"), ("forbidden", "allow s3:GetObject")]
)
def test_a_file_that_cannot_be_had_is_damage_at_once(word, reason):
    data, time = gzipped([b"a"]), FakeTime()
    with pytest.raises(DataFileDamaged) as caught:
        list(reader_of(FlakyClient(OneObject(data), "get_object", word), file_of(data, 1), time).batches())
    assert reason in caught.value.reason
    assert time.slept_s == []


def test_damage_is_found_before_the_last_batch_is_handed_out():
    data = gzipped(some_lines(26))
    batches = reader_of(OneObject(data), file_of(data, 27)).batches()
    assert len(next(batches).lines) == 25
    with pytest.raises(DataFileDamaged):
        next(batches)


def test_the_whole_file_is_checked_also_when_reading_goes_on_from_a_line():
    assert "MD5" in damage_from(25)
    assert "MD5" in damage_from(1_000_000)


def damage_from(first_line: int) -> str:
    data = gzipped(some_lines(60))
    with pytest.raises(DataFileDamaged) as caught:
        read(data, 60, first_line, md5="FjvgqIxwymKf1RbbqtrZag==")
    return caught.value.reason


def test_a_line_may_be_as_long_as_the_limit():
    lines = [b"x" * 16_000_000, b"y" * 16_000_000, b"z"]
    assert lines_of(read(gzipped(lines), 3)) == lines


def test_long_lines_are_skipped_one_by_one():
    lines = [b"x" * 1_000_000] * 40 + [b"y"]
    assert lines_of(read(gzipped(lines), 41, 40)) == [b"y"]


# ---- slices


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.data())
def test_the_slices_of_a_file_are_its_lines(item_count, data):
    lines = some_lines(item_count)
    compressed = gzipped(lines)
    bounds = sorted(data.draw(st.sets(st.integers(1, item_count), max_size=4)) | {0, item_count})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inflate, "_BLOCK_BYTES", data.draw(st.sampled_from([64, 1_000, 262_144])))
        for first_line, end_line in itertools.pairwise(bounds):
            end = None if end_line == item_count and data.draw(st.booleans()) else end_line
            batches = read(compressed, item_count, first_line=first_line, end_line=end)
            places = [place for batch in batches for place in batch.places]
            assert places == list(range(first_line, end_line))
            assert lines_of(batches) == lines[first_line:end_line]
            assert read(compressed, item_count, end_line, first_line=first_line, end_line=end) == []
            at = data.draw(st.integers(0, len(batches) - 1))
            again = read(compressed, item_count, batches[at].first_line, first_line=first_line, end_line=end)
            assert again == batches[at:]


def test_a_slice_stops_at_its_end_and_only_the_last_one_checks_the_file():
    lines = some_lines(40_000)
    data = gzipped(lines)
    wrong = "FjvgqIxwymKf1RbbqtrZag=="
    s3 = FlakyClient(OneObject(data), "get_object", f"cut:{len(data) // 4}")
    file = file_of(data, 40_000, first_line=0, end_line=1_000, md5=wrong)
    assert lines_of(list(reader_of(s3, file).batches())) == lines[:1_000]
    assert [body.is_closed for body in s3.bodies] == [True]  # it did not get to where the stream breaks
    assert lines_of(read(data, 40_000, first_line=1_000, end_line=39_999, md5=wrong)) == lines[1_000:39_999]
    for end_line in (None, 40_000, 50_000):
        assert "MD5" in damage(data, 40_000, first_line=39_999, end_line=end_line, md5=wrong)


def test_a_slice_that_is_done_reads_nothing_but_the_last_one_reads_all():
    data = gzipped(some_lines(100))
    s3 = FlakyClient(OneObject(data), "get_object", "ok")
    assert list(reader_of(s3, file_of(data, 100, first_line=10, end_line=50)).batches(50)) == []
    assert s3.calls == []
    assert list(reader_of(s3, file_of(data, 100, first_line=50)).batches(100)) == []
    assert len(s3.calls) == 1


def test_a_slice_beyond_the_end_of_a_file_is_damage():
    data = gzipped(some_lines(100))
    assert "it has 100 lines, the manifest says 200" in damage(data, 200, first_line=150, end_line=180)
    assert "more lines than the manifest says, 50" in damage(data, 50, first_line=45)


@pytest.mark.parametrize("first_line", [0, 3])
def test_what_is_skipped_is_bounded_as_what_is_read(first_line):
    endless = gzip.compress(b"x\n" + b"x" * 17_000_000 + b"\nx\nx\n", mtime=0)
    assert "longer than 16000000 bytes" in damage(endless, 4, first_line=first_line)
    newlines = gzip.compress(b"\n" * 1_000_000, mtime=0)
    assert "more lines" in damage(newlines, 10, first_line=first_line)
    assert "does not end with a newline" in damage(gzip.compress(b"a\nb", mtime=0), 3, first_line=first_line)


# ---- only some lines


class Every:
    """Wants every so manieth line by its number in the text."""

    def __init__(self, step: int) -> None:
        self.step = step

    def pick(self, lines):
        assert all(line.endswith(b"\n") for line in lines)
        numbers = [int(line.split(b'"')[7]) for line in lines]
        return Picked([index for index, number in enumerate(numbers) if number % self.step == 0])


def matched(data: bytes, item_count: int, step: int, from_line: int = 0, **changes) -> list[Batch]:
    reader = reader_of(OneObject(data), file_of(data, item_count, **changes))
    return list(reader.matches(Every(step), from_line))


def test_only_lines_that_match_are_in_the_batches_and_every_line_is_covered():
    lines = some_lines(3_000)
    data = gzipped(lines)
    batches = matched(data, 3_000, 7)
    assert lines_of(batches) == lines[::7]
    assert [place for batch in batches for place in batch.places] == list(range(0, 3_000, 7))
    assert sum(batch.line_count for batch in batches) == 3_000
    assert [len(batch.lines) for batch in batches] == [25] * 17 + [4]
    assert matched(data, 3_000, 7, batches[5].first_line) == batches[5:]


def test_matches_of_a_slice_are_its_own_and_the_last_slice_checks_the_file():
    lines = some_lines(3_000)
    data = gzipped(lines)
    assert lines_of(matched(data, 3_000, 7, first_line=100, end_line=200, md5="x")) == lines[105:200:7]
    with pytest.raises(DataFileDamaged, match="MD5"):
        matched(data, 3_000, 7, first_line=2_999, md5="x")


def test_closing_the_matches_closes_the_stream():
    data = gzipped(some_lines(20_000))
    s3 = FlakyClient(OneObject(data), "get_object", "ok")
    batches = reader_of(s3, file_of(data, 20_000)).matches(Every(1))
    next(batches)
    assert not s3.bodies[0].is_closed
    batches.close()
    assert s3.bodies[0].is_closed


# ---- streams that break


@pytest.mark.parametrize(
    "script",
    ["cut:0", "end:0", "cut:1 end:1 cut:700", "end:1000 end:1000 end:1000", "drop slowdown 500 cut:5000 drop",
     "cut:0 cut:0 cut:0 cut:0 cut:0 cut:0 cut:0", "stale"],
)  # fmt: skip
def test_a_stream_that_breaks_or_ends_early_goes_on_at_its_offset(script):
    lines = some_lines(400)
    data = gzipped(lines)
    s3, time = FlakyClient(OneObject(data), "get_object", script), FakeTime()
    assert lines_of(list(reader_of(s3, file_of(data, 400), time).batches())) == lines
    assert len(time.slept_s) == len(script.split())
    assert {call["IfMatch"] for call in s3.calls} == {'"e-1"'}
    assert all(body.is_closed for body in s3.bodies)


def test_reconnecting_asks_only_for_what_is_missing():
    data = gzipped(some_lines(400))
    s3 = FlakyClient(OneObject(data), "get_object", "cut:1000 end:500")
    list(reader_of(s3, file_of(data, 400)).batches())
    assert [call.get("Range") for call in s3.calls] == [None, "bytes=1000-", "bytes=1500-"]


def test_an_object_replaced_between_two_connections_is_found():
    data = gzipped(some_lines(20_000))
    assert len(data) > 700_000
    s3 = OneObject(data)
    batches = reader_of(FlakyClient(s3, "get_object", "cut:700000"), file_of(data, 20_000)).batches()
    next(batches)
    s3.etag = "other"
    with pytest.raises(DataFileDamaged, match="changed"):
        list(batches)


def test_bytes_from_the_wrong_offset_are_not_taken():
    class IgnoresRanges(OneObject):
        def get_object(self, Bucket: str, Key: str, IfMatch: str, Range: str | None = None):
            return super().get_object(Bucket, Key, IfMatch)

    data = gzipped(some_lines(400))
    with pytest.raises(Unavailable, match="answered from byte 0, asked for 1000"):
        list(reader_of(FlakyClient(IgnoresRanges(data), "get_object", "cut:1000"), file_of(data, 400)).batches())


def test_retries_in_a_row_are_bounded_and_the_error_says_so():
    data, time = gzipped(some_lines(400)), FakeTime()
    s3 = FlakyClient(OneObject(data), "get_object", "cut:1000" + " drop" * 20)
    with pytest.raises(Unavailable, match=r"at byte 1000 .* 8 times in a row") as caught:
        list(reader_of(s3, file_of(data, 400), time).batches())
    assert caught.value.retryable
    assert len(time.slept_s) == 7


def test_a_stream_that_makes_progress_may_break_more_often():
    lines = some_lines(400)
    data = gzipped(lines)
    s3 = FlakyClient(OneObject(data), "get_object", "cut:100 drop " * 20)
    assert lines_of(list(reader_of(s3, file_of(data, 400)).batches())) == lines


def test_connections_that_die_within_every_large_read_still_bring_the_file_to_its_end():
    """What a read had brought when it failed is lost: after that less is asked for at once."""

    class Dying(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() + (size or 0) > 100_000:
                raise ConnectionResetError
            return super().read(size)

    class DyingConnections(OneObject):
        def get_object(self, Bucket: str, Key: str, IfMatch: str, Range: str | None = None):
            answer = super().get_object(Bucket, Key, IfMatch, Range)
            if answer["ContentLength"] > 100_000:
                answer["Body"] = Dying(answer["Body"].read())
            return answer

    lines = [Random(number).randbytes(1_000).hex().encode() for number in range(900)]
    data = gzipped(lines)
    assert len(data) > 900_000
    assert lines_of(list(reader_of(DyingConnections(data), file_of(data, 900)).batches())) == lines


def test_retries_end_at_the_deadline():
    data, time = gzipped(some_lines(4)), FakeTime()
    begin_ms = time.now_ms
    with pytest.raises(OutOfTime, match="at byte 0"):
        list(reader_of(FlakyClient(OneObject(data), "get_object", "drop " * 20), file_of(data, 4), time, 300).batches())
    assert time.now_ms < begin_ms + 300


def test_a_passed_deadline_ends_a_stream_that_works():
    data, time = gzipped(some_lines(4)), FakeTime()
    with pytest.raises(OutOfTime):
        list(reader_of(OneObject(data), file_of(data, 4), time, room_ms=0).batches())


def test_closing_the_batches_closes_the_stream():
    data = gzipped(some_lines(20_000))
    s3 = FlakyClient(OneObject(data), "get_object", "ok")
    batches = reader_of(s3, file_of(data, 20_000)).batches()
    next(batches)
    assert not s3.bodies[0].is_closed
    batches.close()
    assert s3.bodies[0].is_closed


# ---- memory


@pytest.mark.parametrize("line", [b"", b"x" * 1_000_000], ids=["of newlines", "of long lines"])
def test_a_gzip_bomb_is_read_in_flat_memory(line):
    count = 15_000_000 // (len(line) + 1)
    data = gzip.compress((line + b"\n") * count)
    reader = reader_of(OneObject(data), file_of(data, count))
    tracemalloc.start()
    assert sum(len(lines) for lines in reader.line_blocks()) == count
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 12_000_000


# ---- verify


def verified(data: bytes, item_count: int, observe=None, **changes):
    file = file_of(data, item_count, **changes)
    return verify_data_file(OneObject(data), "bucket", file, observe=observe, retry=backoff(FakeTime()))


def test_a_good_file_has_no_findings():
    lines = some_lines(60)
    found = verified(gzipped(lines), 60)
    assert found == DataFileFindings(None, 60, sum(len(line) + 1 for line in lines))


def test_damage_is_reported_and_not_raised():
    data = gzipped(some_lines(60))
    assert verified(data, 61).damage == "it has 60 lines, the manifest says 61"
    assert verified(data[:-1], 60).damage == "its gzip stream is truncated"
    assert verified(data, 60, etag="other").damage.startswith("it has changed")


def test_a_file_that_cannot_be_read_just_now_is_no_finding():
    data = gzipped(some_lines(1))
    s3 = FlakyClient(OneObject(data), "get_object", "drop " * 20)
    with pytest.raises(Unavailable):
        verify_data_file(s3, "bucket", file_of(data, 1), retry=backoff(FakeTime()))


@pytest.mark.parametrize(("first_line", "end_line"), [(0, None), (0, 1_700), (1_700, 4_999), (4_999, None)])
def test_who_observes_is_given_every_line_of_the_slice_with_its_number(first_line, end_line):
    lines = some_lines(5_000)
    seen: dict[int, bytes] = {}

    def observe(first, given):
        seen.update(enumerate(given, first))

    found = verified(gzipped(lines), 5_000, observe, first_line=first_line, end_line=end_line)
    expected = dict(enumerate(lines[first_line:end_line], first_line))
    assert list(seen.items()) == list(expected.items())
    uncompressed_bytes = sum(len(line) + 1 for line in expected.values())
    assert found == DataFileFindings(None, len(expected), uncompressed_bytes)


@pytest.mark.parametrize(
    ("line", "is_item"),
    [
        (b'{"Item":{"pk":{"S":"1"}}}', True),
        (b' { "Item" : { "pk" : { "S" : "1" } } } ', True),
        ('{"Item":{"pk":{"S":"\u00fc\u2028"}}}'.encode(), True),
        (b"", False),
        (b'{"Item":[]}', False),
        (b'{"Item":{"pk":{"S":"1"}}', False),
        (b'{"Item":{}}{"Item":{}}', False),
        (b'{"Keys":{},"NewImage":{}}', False),
        (b'{"Item":{},"Keys":{}}', False),
        (b"[1]", False),
        (b'{"Item":{"pk":{"S":"\xff"}}}', False),
        (json.dumps({"Item": {}}).encode("utf-16"), False),
        (b'{"Item":' + b"[" * 100_000, False),
    ],
)
def test_what_an_item_line_is(line, is_item):
    assert is_item_line(line) is is_item
