import json
import random
import sys
import tracemalloc
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chalicelib.errors import DataFileDamaged, Unavailable
from chalicelib.restore.datapath.chain_index import (
    MOST_KEYS_PER_TURN,
    ChainFilter,
    ChainIndex,
    build_chain_index,
    turn_of,
    turns_needed,
)
from chalicelib.restore.datapath.keys import KeySchema
from chalicelib.restore.datapath.reader import DataFileReader
from chalicelib.restore.datapath.search import KeySearch
from chalicelib.restore.model import LineKind
from tests.faults import FakeTime, FlakyClient
from tests.unit.test_reader import OneObject, backoff, file_of, gzipped

SCHEMA = KeySchema(("pk",), ("N",))


def digest_of(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=16).digest()


def item_line(key: str) -> bytes:
    return b'{"Item":{"pk":{"N":"%s"}}}' % key.encode()


def put_line(key: str) -> bytes:
    attributes = b'{"pk":{"N":"%s"}}' % key.encode()
    return b'{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":%s,"NewImage":%s}' % (attributes, attributes)


def removal_line(key: str) -> bytes:
    return b'{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"pk":{"N":"%s"}}}' % key.encode()


class Objects:
    """S3 with a data file for each of some lists of lines."""

    def __init__(self, links: list[list[bytes]]) -> None:
        self._objects = {f"link {link}": OneObject(gzipped(lines)) for link, lines in enumerate(links)}
        self.files = [
            file_of(self._objects[f"link {link}"].data, len(lines), key=f"link {link}")
            for link, lines in enumerate(links)
        ]

    def get_object(self, **request):
        return self._objects[request["Key"]].get_object(**request)


def index_of(s3: Objects, schema: KeySchema = SCHEMA, **how) -> ChainIndex:
    increments = list(enumerate(s3.files))[1:]
    return build_chain_index(s3, "bucket", increments, schema, retry=backoff(FakeTime()), **how)


def acted_on(
    s3: Objects, turns: int = 1, search_keys: list[str] | None = None
) -> tuple[list[tuple[int, bytes]], list[dict[int, int]]]:
    """(link, line) of the lines that are acted on, and how many of each link's are filtered, by turn."""
    lines, filtered = [], []
    for turn in range(turns):
        searches = {
            kind: KeySearch(SCHEMA, [(key,) for key in search_keys], kind) if search_keys else None for kind in LineKind
        }
        index = index_of(s3, turn=turn, turns=turns, search=searches[LineKind.RECORD])
        for link, file in enumerate(s3.files):
            kind = LineKind.RECORD if link else LineKind.ITEM
            line_filter = ChainFilter(index, SCHEMA, kind, link, turn=turn, search=searches[kind])
            counted = 0
            for batch in DataFileReader(s3, "bucket", file, retry=backoff(FakeTime())).matches(line_filter):
                lines += [(link, line[:-1]) for line in batch.lines]
                filtered.append({link: batch.line_count - len(batch.lines) - batch.elsewhere})
                counted += batch.line_count
            assert counted == file.item_count
    return lines, filtered


# --- the index --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 255))), st.integers(1, 4), st.data())
def test_the_last_link_of_every_key_of_its_turn_is_known_in_any_order(records, turns, data):
    turn = data.draw(st.integers(0, turns - 1))
    index = ChainIndex(turn, turns)
    last: dict[int, int] = {}
    for number, link in records:
        index.add(digest_of(number), link)
        if turn_of(digest_of(number), turns) == turn:
            last[number] = max(link, last.get(number, 0))
    assert {number: index.last_link(digest_of(number)) for number in range(31)} == {
        number: last.get(number, 0) for number in range(31)
    }
    assert len(index) == len(last)


@given(st.lists(st.tuples(st.binary(min_size=2, max_size=14), st.integers(1, 2)), max_size=40))
def test_what_stands_across_two_entries_is_no_key(records):
    """Keys of one bucket, made of few different bytes, so that one often stands across two others."""
    index = ChainIndex()
    last: dict[bytes, int] = {}
    for seed, link in records:
        digest = b"\x00\x00" + bytes(byte % 2 + 1 for byte in (seed * 14)[:14])
        index.add(digest, link)
        last[digest] = max(link, last.get(digest, 0))
    for tail in range(256):
        digest = b"\x00\x00" + bytes(int(bit) + 1 for bit in f"{tail:014b}")
        assert index.last_link(digest) == last.get(digest, 0)
    assert len(index) == len(last)


def test_a_key_takes_at_most_25_bytes():
    noise = random.Random(3)
    count = 200_000
    tracemalloc.start()
    index = ChainIndex()
    fixed_bytes = tracemalloc.get_traced_memory()[0]
    for _ in range(count):
        index.add(noise.randbytes(16), 1)
    grown_bytes = tracemalloc.get_traced_memory()[0] - fixed_bytes
    tracemalloc.stop()
    assert len(index) == count
    of_buckets = 65_536 * sys.getsizeof(bytearray())
    assert fixed_bytes + grown_bytes + of_buckets < 25 * MOST_KEYS_PER_TURN
    assert (grown_bytes - of_buckets) / count < 20


@pytest.mark.parametrize(
    ("records", "turns"), [(0, 1), (1, 1), (1_500_000, 1), (1_500_001, 2), (3_000_000, 2), (100_000_000, 67)]
)
def test_there_are_as_many_turns_as_memory_needs(records, turns):
    assert turns_needed(records) == turns


def test_turns_are_about_equal_and_fill_all_buckets():
    digests = [digest_of(number) for number in range(30_000)]
    counts = [sum(turn_of(digest, 3) == turn for digest in digests) for turn in range(3)]
    assert min(counts) > 9_500
    assert len({digest[1] for digest in digests if turn_of(digest, 256) == 1}) > 50


# --- chains -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.dictionaries(st.integers(0, 12), st.booleans(), max_size=10), min_size=1, max_size=4),
    st.integers(1, 3),
    st.none() | st.sets(st.integers(0, 14), min_size=1),
)
def test_each_key_is_acted_on_once_as_it_was_at_the_end(links, turns, asked):
    """`links`: by key whether it is there; the full export has no removals."""
    texts = [
        [item_line(str(key)) if not link else (put_line if there else removal_line)(str(key)) for key, there in
         keys.items()]
        for link, keys in enumerate(links)
    ]  # fmt: skip
    expected = {}
    for link, (keys, lines) in enumerate(zip(links, texts, strict=True)):
        expected.update({key: (link, line) for key, line in zip(keys, lines, strict=True)})
    if asked is not None:
        expected = {key: line for key, line in expected.items() if key in asked}
    found, filtered = acted_on(Objects(texts), turns, None if asked is None else [f"{key}.0" for key in sorted(asked)])
    assert sorted(found) == sorted(expected.values())
    assert sum(count for each in filtered for count in each.values()) == sum(map(len, texts)) - len(expected)


def test_a_number_written_otherwise_is_the_same_key():
    texts = [[item_line("100"), item_line("7")], [put_line("1E2")], [removal_line("100.0")]]
    found, _ = acted_on(Objects(texts))
    assert found == [(0, item_line("7")), (2, removal_line("100.0"))]


def test_lines_without_a_readable_key_are_acted_on_once_to_be_rejected():
    unreadable = [b"SECRET", b'{"Item":{"pk":{"S":"7"}}}', b"", item_line("x")]
    records = [b"{", removal_line("x"), removal_line("7")]
    found, filtered = acted_on(Objects([[*unreadable, item_line("7"), item_line("8")], records]), turns=3)
    assert sorted(line for link, line in found if link == 0) == sorted([*unreadable, item_line("8")])
    assert sorted(line for link, line in found if link == 1) == sorted(records)
    assert sum(count for each in filtered for count in each.values()) == 1


def test_where_keys_are_asked_for_all_belongs_to_the_first_turn():
    s3 = Objects([[item_line("1"), item_line("2")], [put_line("2"), put_line("3")]])
    search = KeySearch(SCHEMA, [("1",), ("2",)], LineKind.RECORD)
    assert [len(index_of(s3, turn=turn, turns=2, search=search)) for turn in range(2)] == [1, 1]
    found, filtered = acted_on(s3, 2, ["1", "2"])
    assert found == [(0, item_line("1")), (1, put_line("2"))]
    assert filtered == [{0: 1}, {1: 1}, {0: 0}, {1: 0}]


def test_an_increment_is_verified_before_its_index_is_used():
    s3 = Objects([[], [put_line(str(number)) for number in range(100)]])
    s3.files[1] = replace(s3.files[1], md5=s3.files[0].md5)
    with pytest.raises(DataFileDamaged, match=r"link 1.*MD5"):
        index_of(s3)
    with pytest.raises(DataFileDamaged, match=r"link 1.*MD5"):
        index_of(s3, search=KeySearch(SCHEMA, [("5",)], LineKind.RECORD))


def test_an_increment_that_cannot_be_read_just_now_is_no_index():
    s3 = Objects([[], [put_line("1")]])
    flaky = FlakyClient(s3, "get_object", "drop " * 20)
    with pytest.raises(Unavailable):
        build_chain_index(flaky, "bucket", [(1, s3.files[1])], SCHEMA, retry=backoff(FakeTime()))


@pytest.mark.parametrize("link", [0, 256])
def test_a_link_that_does_not_fit_is_refused(link):
    s3 = Objects([[], [put_line("1")]])
    with pytest.raises(ValueError, match="link"):
        build_chain_index(s3, "bucket", [(link, s3.files[1])], SCHEMA, retry=backoff(FakeTime()))


def test_real_keys_of_two_attributes_are_told_apart():
    schema = KeySchema(("pk", "sk"), ("S", "B"))

    def line(pk: str, sk: str) -> bytes:
        return json.dumps({"Metadata": {}, "Keys": {"pk": {"S": pk}, "sk": {"B": sk}}}).encode()

    s3 = Objects([[], [line("a", "AA=="), line("a", "AQ=="), line("b", "AA==")], [line("a", "AQ==")]])
    index = index_of(s3, schema)
    assert len(index) == 3
    assert [index.last_link(schema.digest(key)) for key in (("a", "AA=="), ("a", "AQ=="), ("b", "AQ=="))] == [1, 2, 0]
