from hypothesis import given
from hypothesis import strategies as st

from chalicelib.restore.model import PlannedFile
from chalicelib.restore.phases.planner import FILES_PER_SHARD, SHARD_BYTES, clear_segments, gather, start_position


def files(count: int, size_bytes: int = 1_000) -> list[PlannedFile]:
    return [PlannedFile(f"data/{number:06d}.json.gz", "etag", size_bytes, "md5", 10, False) for number in range(count)]


@given(
    st.lists(st.integers(min_value=20, max_value=2 * SHARD_BYTES), max_size=200),
    st.integers(min_value=1, max_value=1000),
)
def test_every_file_is_in_exactly_one_shard_and_no_shard_is_too_large(sizes, max_workers):
    planned = [PlannedFile(f"data/{number}", "e", size, "m", 1, False) for number, size in enumerate(sizes)]
    shards = list(gather(planned, max_workers))
    assert sorted(file.key for shard in shards for file in shard) == sorted(file.key for file in planned)
    for shard in shards:
        assert 1 <= len(shard) <= FILES_PER_SHARD
        assert len(shard) == 1 or sum(file.size_bytes for file in shard) <= SHARD_BYTES


def test_a_planner_that_runs_again_makes_the_same_shards_whatever_the_order_of_the_list():
    planned = files(100)
    assert list(gather(planned, 5)) == list(gather(list(reversed(planned)), 5))


def test_files_of_a_shard_come_from_all_over_the_table():
    first = next(gather(files(10_000), 5))
    numbers = sorted(int(file.key[5:11]) for file in first)
    assert len(first) == FILES_PER_SHARD
    assert numbers[-1] - numbers[0] > 2_000


def test_few_files_are_spread_over_the_workers():
    assert len(list(gather(files(4), 5))) == 4


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
    assert clear_segments(SHARD_BYTES * 3, 5) == 4
    assert clear_segments(SHARD_BYTES * 1_000, 5) == 20
