"""Each benchmark once, as small as can be, so that it cannot rot. Its figures mean nothing here."""

import json
from importlib import import_module
from shutil import which

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.figures import Size, percentile
from benchmarks.sets import SetSpec, lines

TINY = Size(is_tiny=True)
# What they compile, write and install goes where the user's cache is, and stays there for the next run.


@pytest.mark.skipif(which("cc") is None, reason="the stand-in is written in C, and there is no compiler")
@pytest.mark.parametrize("name", NAMES)
def test_benchmark_runs_to_its_end(name):
    figures = import_module(f"benchmarks.{name}").measure(TINY)
    assert figures.raw
    assert figures.tables
    assert all(len(row) == len(table.columns) for table in figures.tables for row in table.rows)
    assert json.loads(figures.encoded())["title"] in figures.markdown()


@pytest.mark.parametrize("line_bytes", [200, 500, 2_000])
def test_lines_of_a_set_are_items_of_the_size_asked_for(line_bytes):
    for line in lines(SetSpec(items=50, line_bytes=line_bytes, files=1)):
        assert len(line) == line_bytes
        assert json.loads(line)["Item"]["note"]["S"]


def test_lines_of_a_set_are_the_same_in_each_run():
    spec = SetSpec(items=20, line_bytes=500, files=1)
    assert list(lines(spec)) == list(lines(spec))


def test_percentile_is_the_smallest_value_that_covers_the_share():
    values = [float(number) for number in range(1, 201)]
    assert (percentile(values, 50), percentile(values, 99), percentile([7.0], 99)) == (100.0, 198.0, 7.0)
