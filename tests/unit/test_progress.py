import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.restore.datapath.progress import Counts, FileProgress

counts = st.builds(Counts, *[st.integers(0, 9)] * 7).filter(lambda c: c.total > 0)


@st.composite
def batches_in_any_order(draw):
    """(first_line, counts) of consecutive batches from some line on, and the order they end in."""
    first_line = begin = draw(st.integers(0, 1_000))
    batches = []
    for batch_counts in draw(st.lists(counts, max_size=20)):
        batches.append((first_line, batch_counts))
        first_line += batch_counts.total
    return begin, batches, draw(st.permutations(batches))


@given(batches_in_any_order(), counts)
def test_the_position_is_always_the_longest_prefix_with_exactly_its_counts(case, counts_before):
    begin, batches, order = case
    progress = FileProgress(begin, counts_before)
    ended = set()
    for first_line, batch_counts in order:
        progress.add(first_line, batch_counts.total, batch_counts)
        ended.add(first_line)
        line, expected = begin, counts_before
        for prefix_line, prefix_counts in batches:
            if prefix_line not in ended:
                break
            line, expected = prefix_line + prefix_counts.total, expected + prefix_counts
        assert progress.position() == (line, expected)
    assert progress.position()[0] == begin + sum(batch_counts.total for _, batch_counts in batches)


def test_counts_add_up_name_by_name():
    assert Counts(1, 2, 3, 4, 5, 6, 7) + Counts(10, 20, 30, 40, 50, 60, 70) == Counts(11, 22, 33, 44, 55, 66, 77)
    assert Counts(1, 2, 3, 4, 5, 6, 7).total == 28


def test_a_gap_holds_the_position_until_it_is_filled():
    progress = FileProgress()
    progress.add(25, 25, Counts(written=25))
    assert progress.position() == (0, Counts())
    progress.add(0, 25, Counts(written=24, rejected=1))
    assert progress.position() == (50, Counts(written=49, rejected=1))


@pytest.mark.parametrize("first_line", [0, 25])
def test_a_batch_is_never_counted_twice(first_line):
    progress = FileProgress()
    progress.add(first_line, 5, Counts(written=5))
    with pytest.raises(ValueError, match="before"):
        progress.add(first_line, 5, Counts(written=5))


@pytest.mark.parametrize(("line_count", "written"), [(5, 4), (5, 6), (0, 0)])
def test_counts_that_do_not_balance_are_refused(line_count, written):
    with pytest.raises(ValueError, match="counts"):
        FileProgress().add(0, line_count, Counts(written=written))
