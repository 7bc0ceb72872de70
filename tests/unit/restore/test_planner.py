import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.restore.model import PlannedFile
from chalicelib.restore.phases.planner import (
    FILES_PER_SHARD,
    SHARD_BYTES,
    SLICE_BYTES,
    Parts,
    clear_segments,
    gather,
    slices_of,
    start_position,
)


class Files(dict[str, PlannedFile]):
    """Planned files by their keys."""

    def __init__(self, files: list[PlannedFile]) -> None:
        super().__init__({file.key: file for file in files})

    def __iter__(self):
        return iter(self.values())

    def name_of(self, file: PlannedFile) -> str:
        return file.key


def files(count: int, size_bytes: int = 1_000) -> list[PlannedFile]:
    return [PlannedFile(f"data/{number:06d}.json.gz", "etag", size_bytes, "md5", 10, False) for number in range(count)]


def gathered(planned: list[PlannedFile], max_workers: int) -> list[list[PlannedFile]]:
    parts = Parts(Files(planned))
    return list(gather(parts, len(parts), max_workers))


def share_bytes(part: PlannedFile) -> float:
    """How much of its data file it is; a little less for the rounding."""
    return part.size_bytes * part.line_count / part.item_count - 1 if part.item_count else part.size_bytes


SIZES = st.integers(20, 2 * SHARD_BYTES) | st.integers(SLICE_BYTES - 2, 5 * SLICE_BYTES)


@given(st.lists(st.tuples(SIZES, st.integers(0, 30)), max_size=200), st.integers(min_value=1, max_value=1000))
def test_every_line_is_in_exactly_one_shard_and_no_shard_is_too_large(sizes, max_workers):
    planned = [
        PlannedFile(f"data/{number}", "e", size_bytes, "m", items, False)
        for number, (size_bytes, items) in enumerate(sizes)
    ]
    shards = gathered(planned, max_workers)
    ranges: dict[str, list[tuple[int, int | None]]] = {file.key: [] for file in planned}
    for shard in shards:
        assert 1 <= len(shard) <= FILES_PER_SHARD
        assert len(shard) == 1 or sum(share_bytes(part) for part in shard) <= SHARD_BYTES
        for part in shard:
            ranges[part.key].append((part.first_line, part.end_line))
    for file in planned:
        begins, ends = zip(*sorted(ranges[file.key], key=lambda each: each[0]), strict=True)
        assert begins[0] == 0
        assert ends == (*begins[1:], None)


@given(st.integers(1, 20 * SLICE_BYTES), st.integers(0, 1_000))
def test_slices_are_never_empty_and_about_as_large_as_each_other(size_bytes, item_count):
    (first, *more) = slices_of(PlannedFile("k", "e", size_bytes, "m", item_count, False))
    if more:
        assert min(part.line_count for part in (first, *more)) >= 1
    counts = [part.line_count for part in (first, *more)]
    assert sum(counts) == item_count
    assert max(counts) - min(counts) <= 1
    assert len(counts) >= min(item_count, size_bytes / SLICE_BYTES)
    assert {part.size_bytes for part in (first, *more)} == {size_bytes}  # of the object, which is read by its ETag


def test_a_file_of_less_than_a_slice_is_planned_whole_whatever_it_holds():
    small = PlannedFile("k", "e", SLICE_BYTES, "m", 5_000_000, False)
    assert slices_of(small) == [small]


def test_a_shard_has_a_few_slices_and_not_those_of_one_file_beside_each_other():
    large = [PlannedFile(f"data/large-{n}", "e", 8 * SLICE_BYTES, "m", 1_000, False) for n in range(20)]
    shards = gathered([*large, *files(1_000)], 1)
    keys = [part.key for shard in shards for part in shard if part.size_bytes > SLICE_BYTES]
    assert len(keys) == 160
    most = max(sum(part.size_bytes > SLICE_BYTES for part in shard) for shard in shards)
    assert 1 < most <= SHARD_BYTES // SLICE_BYTES
    neighbours = sum(one == two for one, two in pairwise(keys))
    assert neighbours < 20  # of 140 if they stood in order; one in twenty by chance


def test_a_planner_that_runs_again_makes_the_same_shards_whatever_the_order_of_the_list():
    planned = [*files(100), PlannedFile("data/large", "e", 3 * SLICE_BYTES, "m", 9, False)]
    shuffled = random.Random(5).sample(planned, len(planned))
    assert gathered(planned, 5) == gathered(shuffled, 5)


def test_parts_can_be_gone_through_again():
    parts = Parts(Files(files(30)))
    assert list(parts) == list(parts)
    assert len(parts) == 30


def test_files_of_a_shard_come_from_all_over_the_table():
    first = gathered(files(10_000), 5)[0]
    numbers = sorted(int(file.key[5:11]) for file in first)
    assert len(first) == FILES_PER_SHARD
    assert numbers[-1] - numbers[0] > 2_000


def test_few_files_are_spread_over_the_workers():
    assert len(gathered(files(4), 5)) == 4


@given(st.integers(1, 64), st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_slots_begin_to_look_inside_of_the_list_and_apart_from_each_other(max_workers, totals):
    positions = [start_position(slot, max_workers, totals) for slot in range(max_workers)]
    assert positions == sorted(positions)
    for table, shard in positions:
        assert shard == 0 or shard < totals[table]
    if sum(totals) >= max_workers:
        assert len(set(positions)) == max_workers


def test_segments_grow_with_the_table_up_to_what_keeps_the_workers_busy():
    assert clear_segments(0, 5) == 1
    assert clear_segments(3 * 64 * 1024 * 1024, 5) == 4
    assert clear_segments(64 * 1024 * 1024 * 1_000, 5) == 20
