"""Item sizes by DynamoDB's rule, and that JSON text is never shorter."""

import json
from typing import Any

import pytest
from hypothesis import given

from chalicelib.restore.datapath.item_size import item_size_bytes, read_units, write_units
from tests.hostile.documents import ITEMS


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ({"S": ""}, 0),
        ({"S": "abc"}, 3),
        ({"S": "äb€"}, 6),
        ({"S": "\U0001f600"}, 4),
        ({"N": "0"}, 1),
        ({"N": "1"}, 2),
        ({"N": "12"}, 2),
        ({"N": "123"}, 3),
        ({"N": "-123"}, 4),
        ({"N": "1230000"}, 3),
        ({"N": "0.00123"}, 3),
        ({"N": "12.5"}, 3),
        ({"N": "1E+100"}, 2),
        ({"N": "1" * 38}, 20),
        ({"N": "-" + "1" * 39}, 21),
        ({"B": ""}, 0),
        ({"B": "YQ=="}, 1),
        ({"B": "YWI="}, 2),
        ({"B": "YWJj"}, 3),
        ({"BOOL": False}, 1),
        ({"NULL": True}, 1),
        ({"SS": ["a", "bc"]}, 3),
        ({"NS": ["1", "123"]}, 5),
        ({"BS": ["YQ==", "YWJj"]}, 4),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}, {"NULL": True}]}, 3 + 2 + 3),
        ({"M": {}}, 3),
        ({"M": {"k": {"N": "1"}, "kk": {"L": []}}}, 3 + 2 + (1 + 2) + (2 + 3)),
    ],
)
def test_a_value_has_the_size_of_its_type(value, size_bytes):
    assert item_size_bytes({"name": value}) == 4 + size_bytes


def test_an_items_size_is_the_sum_of_its_names_and_values():
    assert item_size_bytes({}) == 0
    assert item_size_bytes({"pk": {"S": "a"}, "ä": {"N": "12"}}) == (2 + 1) + (2 + 2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "a",
        [],
        {},
        {"X": "a"},
        {"S": 1},
        {"S": None},
        {"N": 1},
        {"N": ""},
        {"N": "one"},
        {"N": "nan"},
        {"N": "1_0"},
        {"BOOL": "true"},
        {"L": {}},
        {"M": []},
        {"M": {"a": "b"}},
        {"SS": "abc"},
        {"SS": [1]},
        {"S": "a", "N": "1"},
    ],
)
def test_what_is_no_attribute_value_has_no_size(value):
    with pytest.raises(ValueError, match="not an attribute value"):
        item_size_bytes({"name": value})


def test_nesting_without_end_is_refused_and_not_a_crash():
    value: dict[str, Any] = {"S": "a"}
    for _ in range(100_000):
        value = {"L": [value]}
    with pytest.raises(ValueError, match="not an attribute value"):
        item_size_bytes({"name": value})


@given(ITEMS)
def test_json_text_is_never_shorter_than_the_item(item):
    for is_ascii in (True, False):
        text = json.dumps(item, separators=(",", ":"), ensure_ascii=is_ascii).encode()
        assert item_size_bytes(item) <= len(text)


@pytest.mark.parametrize(("size_bytes", "units"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (409_600, 400)])
def test_a_write_unit_is_a_begun_kilobyte(size_bytes, units):
    assert write_units(size_bytes) == units


@pytest.mark.parametrize(("size_bytes", "units"), [(0, 1), (4096, 1), (4097, 2), (409_600, 100)])
def test_a_read_unit_is_four_begun_kilobytes(size_bytes, units):
    assert read_units(size_bytes) == units
