"""A survey counts what a load would consume, and finds what DynamoDB would refuse, whichever way a line is read."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.restore.datapath.item_size import item_size_bytes, write_units
from chalicelib.restore.datapath.survey import FINDINGS, Survey, SurveyTotals
from chalicelib.restore.model import LineKind
from chalicelib.restore.target import TargetFacts, TargetIndex
from tests.hostile.documents import ATTRIBUTE_VALUES, FRAGMENTS

NOW_MS = 1_795_000_000_000
NOW_S = NOW_MS // 1000
YEAR_S = 365 * 24 * 3600
PLAIN = TargetFacts(
    table_name="orders", region="r", key_names=("pk", "sk"), attribute_types={"pk": "S", "sk": "N", "email": "S"}
)
BY_EMAIL = TargetIndex(name="by_email", is_local=False, key_names=("email",), projected=None)
KEYS_ONLY = TargetIndex(name="keys", is_local=True, key_names=("pk", "email"), projected=())
INCLUDE = TargetIndex(name="some", is_local=False, key_names=("email", "sk"), projected=("note", "absent"))
INDEXED = msgspec.structs.replace(PLAIN, indexes=(BY_EMAIL, KEYS_ONLY, INCLUDE))
EXPIRING = msgspec.structs.replace(PLAIN, time_to_live_attribute="expires")


def item(**attributes: Any) -> dict[str, Any]:
    return {"pk": {"S": "a"}, "sk": {"N": "1"}, **attributes}


def line(of: Any, **options: Any) -> bytes:
    return json.dumps({"Item": of}, **{"separators": (",", ":"), "ensure_ascii": False, **options}).encode()


def record(**parts: Any) -> bytes:
    whole = {"Metadata": {"WriteTimestampMicros": {"N": "1"}}, "Keys": {"pk": {"S": "a"}, "sk": {"N": "1"}}, **parts}
    return json.dumps(whole, separators=(",", ":")).encode()


def survey(facts: TargetFacts, *lines: bytes, kind: LineKind = LineKind.ITEM) -> SurveyTotals:
    taken = Survey(kind, facts, NOW_MS)
    taken.take(0, lines)
    return taken.totals


def findings(totals: SurveyTotals) -> dict[str, int]:
    return {name: count for name, count in totals.findings.items() if count}


def padded(size_bytes: int, **attributes: Any) -> dict[str, Any]:
    """An item of exactly this size."""
    bare = item(note={"S": ""}, **attributes)
    return item(note={"S": "x" * (size_bytes - item_size_bytes(bare))}, **attributes)


def test_short_items_are_a_write_unit_each_and_their_bytes_are_projected():
    lines = [line(item(note={"S": "x" * 100})) for _ in range(100)]
    totals = survey(PLAIN, *lines)
    assert (totals.items, totals.write_units, totals.read_units) == (100, 100, 100)
    assert totals.item_bytes == 100 * item_size_bytes(item(note={"S": "x" * 100}))
    assert findings(totals) == {}


@pytest.mark.parametrize("size_bytes", [1000, 1024, 1025, 2048, 2049, 4097, 409_600])
def test_a_long_item_is_measured_exactly(size_bytes):
    totals = survey(PLAIN, line(padded(size_bytes)))
    assert totals.item_bytes == size_bytes
    assert totals.write_units == write_units(size_bytes)
    assert totals.read_units == -(-size_bytes // 4096)


def test_an_item_of_one_byte_more_than_400_kb_would_be_rejected_and_consumes_nothing():
    totals = survey(PLAIN, line(padded(409_601)), line(item()))
    assert findings(totals) == {"too_large": 1}
    assert (totals.items, totals.write_units) == (2, 1)


@pytest.mark.parametrize("size_bytes", [400, 3000])
def test_an_item_counts_in_each_index_it_appears_in_by_what_that_projects(size_bytes):
    found = padded(size_bytes, email={"S": "a@b"})
    totals = survey(INDEXED, line(found))
    of_include = item_size_bytes({name: found[name] for name in ("pk", "sk", "email", "note")})
    assert totals.index_write_units == write_units(size_bytes) + 1 + write_units(of_include)
    assert totals.write_units == write_units(size_bytes)


@pytest.mark.parametrize("size_bytes", [400, 3000])
def test_an_item_without_an_indexs_key_is_not_in_it(size_bytes):
    assert survey(INDEXED, line(padded(size_bytes))).index_write_units == 0


def test_an_index_by_the_tables_own_keys_has_every_item():
    by_sort = TargetIndex(name="by_sk", is_local=False, key_names=("sk",), projected=())
    facts = msgspec.structs.replace(PLAIN, indexes=(by_sort,))
    assert survey(facts, line(item()), line(padded(3000))).index_write_units == 2


WRONG_KEYS = {
    "missing": {"pk": {"S": "a"}},
    "empty": item(pk={"S": ""}),
    "another type": item(sk={"S": "1"}),
    "two types": item(sk={"N": "1", "S": "1"}),
    "null": item(sk={"NULL": True}),
    "too long a partition key": item(pk={"S": "x" * 2049}),
}


@pytest.mark.parametrize("wrong", WRONG_KEYS.values(), ids=WRONG_KEYS)
@pytest.mark.parametrize("more", [0, 2000])
def test_a_key_that_the_target_cannot_take_is_found(wrong, more):
    totals = survey(PLAIN, line({**wrong, "note": {"S": "x" * more}}))
    assert sum(findings(totals).values()) == 1
    assert findings(totals).keys() <= {"wrong_keys", "not_items"}
    assert totals.write_units == 0


def test_keys_as_long_as_they_may_be_are_right():
    assert findings(survey(PLAIN, line(item(pk={"S": "x" * 2048})))) == {}
    facts = msgspec.structs.replace(PLAIN, attribute_types={"pk": "S", "sk": "B"})
    assert findings(survey(facts, line(item(sk={"B": "A" * 1364 + "YQ=="})))) == {}
    assert findings(survey(facts, line(item(sk={"B": "A" * 1368})))) == {"wrong_keys": 1}


@pytest.mark.parametrize("more", [0, 2000])
@pytest.mark.parametrize("email", [{"N": "1"}, {"S": ""}])
def test_an_index_key_of_another_type_is_found_where_there_is_such_an_index(email, more):
    found = line(item(email=email, note={"S": "x" * more}))
    assert findings(survey(INDEXED, found)) == {"wrong_index_keys": 1}
    assert findings(survey(PLAIN, found)) == {}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{}",
        b"null",
        b'{"Item":[]}',
        b'{"Item":{"pk":{"S":"a"},"sk":{"N":"1"}},"x":1}',
        b'{"Item":{"pk":{"S":"a"},"sk":{"N":"1"}},"Item":{"pk":{"S":"a"},"sk":{"N":"1"}}}',
        b'{"Item":{"pk":{"S":"\xff"},"sk":{"N":"1"}}}',
        b'{"Item":{"pk":{"S":"a"},"sk":{"N":"1"},"x":"\xff"}}',
        b'{"Item":{"pk":{"S":"a"},"sk":{"N":"1"}}}}',
        b'{"Item":' + b'{"a":' * 5000,
    ],
)
def test_what_is_no_item_is_found_with_its_line(bad):
    taken = Survey(LineKind.ITEM, PLAIN, NOW_MS)
    taken.take(7, [line(item()), bad])
    assert findings(taken.totals) == {"not_items": 1}
    assert taken.first_lines["not_items"] == [8]
    assert taken.totals.items == 1


def test_only_the_first_lines_of_a_finding_are_named():
    taken = Survey(LineKind.ITEM, PLAIN, NOW_MS)
    taken.take(0, [b""] * 10)
    taken.take(10, [b""] * 10)
    assert taken.first_lines["not_items"] == [0, 1, 2]
    assert taken.totals.not_items == 20


@pytest.mark.parametrize(
    ("expires", "count"),
    [
        ({"N": str(NOW_S - 1)}, 1),
        ({"N": str(NOW_S + 1)}, 0),
        ({"N": str(NOW_S - 5 * YEAR_S + 60)}, 1),
        ({"N": str(NOW_S - 5 * YEAR_S - 60)}, 0),
        ({"N": f"{NOW_S - 1}.5"}, 1),
        ({"S": str(NOW_S - 1)}, 0),
        ({"M": {}}, 0),
    ],
)
@pytest.mark.parametrize("more", [0, 2000])
def test_an_item_expires_by_a_number_of_seconds_at_most_five_years_past(expires, count, more):
    totals = survey(EXPIRING, line(item(expires=expires, note={"S": "x" * more})))
    assert totals.expired == count
    assert findings(totals) == {}


def test_the_attribute_items_expire_by_may_be_a_key_of_an_index():
    by_time = TargetIndex(name="by_time", is_local=False, key_names=("expires",), projected=())
    facts = msgspec.structs.replace(
        EXPIRING, indexes=(by_time,), attribute_types={"pk": "S", "sk": "N", "expires": "N"}
    )
    totals = survey(facts, line(item(expires={"N": str(NOW_S - 1)})), line(item()))
    assert (totals.expired, totals.index_write_units) == (1, 1)


def test_attributes_of_legacy_global_tables_are_not_written_and_not_counted():
    found = padded(2000)
    totals = survey(PLAIN, line({**found, "aws:rep:updatetime": {"N": "1"}}))
    assert totals.item_bytes == 2000


def test_names_that_no_struct_can_have_are_surveyed_the_slow_way():
    facts = TargetFacts(table_name="orders", region="r", key_names=('p"k',), attribute_types={'p"k': "S"})
    totals = survey(facts, line({'p"k': {"S": "a"}}), line({'p"k': {"N": "1"}}))
    assert (totals.write_units, findings(totals)) == (1, {"wrong_keys": 1})


def test_records_are_puts_of_their_new_image_or_removals():
    totals = survey(
        INDEXED,
        record(NewImage=item(email={"S": "a"})),
        record(NewImage=padded(3000), OldImage=padded(200_000)),
        record(OldImage=item(email={"S": "a"})),
        record(),
        record(NewImage=padded(409_601)),
        record(NewImage={"pk": {"S": "a"}}),
        record(Keys={"pk": {"S": "a"}}),
        record(Keys={"pk": {"S": "a"}, "sk": {"N": "1"}, "more": {"S": "a"}}),
        line(item()),
        kind=LineKind.RECORD,
    )
    assert (totals.items, totals.removals) == (8, 2)
    assert totals.write_units == 1 + 3 + 1 + 1
    assert totals.index_write_units == 3
    assert findings(totals) == {"too_large": 1, "wrong_keys": 3, "not_items": 1}


def test_totals_add_up():
    one, other = survey(INDEXED, line(item())), survey(INDEXED, line(padded(3000, email={"S": "a"})), b"")
    both = one + other
    assert all(getattr(both, name) == getattr(one, name) + getattr(other, name) for name in both.__struct_fields__)
    assert (both.items, both.write_units, both.not_items) == (2, 4, 1)


# --- the short way and the long way agree ----------------------------------------------------------------------------

_values = ATTRIBUTE_VALUES | st.sampled_from([{"S": "a"}, {"N": "1"}, {"S": ""}, {"N": str(NOW_S - 5)}])
_items = st.dictionaries(st.sampled_from(["pk", "sk", "email", "expires", "note", "ä", "Item"]), _values, max_size=7)
WITH_ALL = msgspec.structs.replace(INDEXED, time_to_live_attribute="expires")


@settings(max_examples=300)
@given(_items, st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_a_short_line_is_judged_as_one_that_is_parsed_whole(found, separators, is_ascii):
    text = line(found, separators=separators, ensure_ascii=is_ascii)
    short = survey(WITH_ALL, text)
    whole = Survey(LineKind.ITEM, WITH_ALL, NOW_MS)
    whole._take_item_line(0, text)
    if len(text) > 1024:
        return
    # What stands in attributes that are no keys is looked at only in long lines: their size is all that differs.
    assert msgspec.structs.replace(short, item_bytes=0) == msgspec.structs.replace(whole.totals, item_bytes=0)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(FRAGMENTS) | st.just(b'{"Item":{"pk":{"S":"a"},"sk":{"N":"1"}'), max_size=8))
def test_only_lines_that_are_items_are_counted_as_items(fragments):
    text = b"".join(fragments)
    totals = survey(PLAIN, text)
    assert totals.items + totals.not_items == 1
    assert not totals.items or is_item_line(text)


def test_every_finding_has_its_count():
    assert set(FINDINGS) <= set(SurveyTotals.__struct_fields__)
