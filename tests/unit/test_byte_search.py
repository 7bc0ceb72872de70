"""The C library's search says what Python's says."""

import ctypes

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.restore.datapath.byte_search import finder

finds = finder(b"aws:rep:")
pieces = st.sampled_from([b"aws:rep:", b"aws:", b"rep:", b"\x00", b"aws:rep", b'"', "ä".encode(), b"a"])


@given(st.lists(pieces, max_size=12).map(b"".join))
def test_it_finds_what_python_finds(text):
    assert finds(text) == (b"aws:rep:" in text)


def test_zeros_before_and_at_the_end_of_large_texts_are_bytes_like_others():
    assert finds(b"\x00" * 100_000 + b"aws:rep:")
    assert not finds(b"\x00" * 100_000 + b"aws:rep")
    assert not finds(b"")


def test_without_such_a_function_python_searches(monkeypatch):
    monkeypatch.setattr(ctypes, "PyDLL", lambda name: object())
    found = finder(b"aws:rep:")
    assert found(b"\x00aws:rep:")
    assert not found(b"aws:rep")
