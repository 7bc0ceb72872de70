import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.restore.datapath import batches as batches_module
from chalicelib.restore.datapath.batches import Batch, Picked, picked_batches


class Marked:
    """Wants lines that begin with w, puts those elsewhere that begin with e."""

    def pick(self, lines):
        return Picked(
            [index for index, line in enumerate(lines) if line.startswith(b"w")],
            [index for index, line in enumerate(lines) if line.startswith(b"e")],
        )


def batches_of(lines: list[bytes], blocks: list[int], first_line: int = 0) -> list[Batch]:
    """`blocks`: where one block ends and the next begins."""
    ends = [*sorted({min(end, len(lines)) for end in blocks} - {0}), len(lines)]
    parts = [lines[begin:end] for begin, end in itertools.pairwise([0, *ends]) if end > begin]
    return list(picked_batches(iter([[line + b"\n" for line in part] for part in parts]), Marked(), first_line))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("wwef"), st.integers(0, 400)), max_size=120),
    st.lists(st.integers(0, 120), max_size=6),
    st.integers(0, 1_000),
    st.sampled_from([1, 7, 1_000]),
    st.data(),
)
def test_batches_cover_every_line_once_whatever_the_blocks(marks, blocks, first_line, run_lines, data):
    lines = [mark.encode() + b"x" * size for mark, size in marks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "BATCH_BODY_BYTES", 2_000)
        patch.setattr(batches_module, "BATCH_LINES", 10)
        patch.setattr(batches_module, "RUN_LINES", run_lines)
        batches = batches_of(lines, blocks, first_line)
        assert batches == batches_of(lines, [], first_line)
        at = data.draw(st.integers(0, len(batches)))
        going_on = batches[at].first_line if at < len(batches) else first_line + len(lines)
        assert batches_of(lines[going_on - first_line :], blocks, going_on) == batches[at:]
    end = first_line
    for batch in batches:
        assert batch.first_line == end
        end += batch.line_count
        covered = dict(enumerate(lines[batch.first_line - first_line : end - first_line], batch.first_line))
        assert dict(zip(batch.places, batch.lines, strict=True)) == {
            place: line + b"\n" for place, line in covered.items() if line.startswith(b"w")
        }
        assert batch.elsewhere == sum(line.startswith(b"e") for line in covered.values())
        assert 1 <= batch.line_count <= run_lines
        assert len(batch.lines) <= 10
        assert sum(len(line) + 16 for line in batch.lines) <= 2_000
    assert end == first_line + len(lines)


def test_a_batch_is_handed_out_as_soon_as_it_is_full():
    def blocks():
        yield [b"w\n"] * 30
        raise AssertionError("the next block is not needed")

    batch = next(picked_batches(blocks(), Marked(), 5))
    assert (batch.first_line, batch.line_count, len(batch.lines)) == (5, 25, 25)


def test_where_nothing_is_found_progress_still_moves_on():
    block = [b"filtered\n"] * 60_000
    batches = list(picked_batches(iter([block, block, block]), Marked(), 10))
    assert [(batch.first_line, batch.line_count, batch.lines) for batch in batches] == [
        (10, 100_000, ()),
        (100_010, 80_000, ()),
    ]


def test_what_is_elsewhere_is_counted_in_the_batch_that_covers_it():
    lines = [b"e"] * 10 + [b"w", b"e"] * 60 + [b"f", b"e"] * 3
    for blocks in ([], [10], [5, 70], [61, 62, 63]):
        batches = batches_of(lines, blocks)
        assert [(batch.line_count, batch.elsewhere) for batch in batches] == [(59, 34), (50, 25), (27, 14)]


def test_a_line_that_is_too_large_for_any_request_is_alone():
    lines = [b"w", b"w" * 16_000_000, b"w"]
    assert [batch.places for batch in batches_of(lines, [])] == [(0,), (1,), (2,)]
