import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition
from chalicelib.restore.datapath.keys import KeySchema, LineKeys, key_faults, key_of
from chalicelib.restore.model import LineKind

ONE = KeySchema(("pk",), ("S",))
TWO = KeySchema(("pk", "sk"), ("S", "N"))
BINARY = KeySchema(("pk", "sk"), ("B", "S"))


def item(attributes: dict[str, Any]) -> bytes:
    return json.dumps({"Item": attributes}).encode()


def record(**objects: dict[str, Any]) -> bytes:
    return json.dumps({"Metadata": {"WriteTimestampMicros": {"N": "1768386096366933"}}, **objects}).encode()


# --- of lines ---------------------------------------------------------------------------------------------------------


def test_a_schema_has_the_partition_key_first_and_leaves_out_other_attributes():
    definition = TableDefinition(
        table_name="orders",
        table_arn="arn",
        captured_at="now",
        keys=(KeyAttribute("pk", "HASH"), KeyAttribute("sk", "RANGE")),
        attributes=(Attribute("other", "B"), Attribute("sk", "N"), Attribute("pk", "S")),
        billing_mode="PAY_PER_REQUEST",
    )
    assert KeySchema.of(definition) == TWO


@pytest.mark.parametrize("name", ["pk", 'p"k', "p\\k", "p\nk", "ключ \u2028", "Item", "S", "k0"])
@pytest.mark.parametrize("kind", LineKind)
def test_keys_are_read_whatever_the_attribute_is_called(name, kind):
    schema = KeySchema((name, "sk"), ("S", "N"))
    attributes = {"x": {"M": {name: {"S": "other"}}}, "sk": {"N": "7"}, name: {"S": "ü"}}
    key = {name: {"S": "ü"}, "sk": {"N": "7"}}
    lines = [item(attributes)] if kind is LineKind.ITEM else [record(Keys=key), record(Keys=key, NewImage=attributes)]
    for line in lines:
        assert LineKeys(schema, kind).key(line) == ("ü", "7")
        assert LineKeys(schema, kind).key(line + b"\n") == ("ü", "7")


@pytest.mark.parametrize("name", ["pk", 'p"k'], ids=["a plain name", "a name that is escaped"])
@pytest.mark.parametrize(
    "change",
    [
        {"sk": {"S": "7"}},
        {"sk": {"N": "seven"}},
        {"sk": {"N": 7}},
        {"sk": {"N": "7", "S": "7"}},
        {"sk": {}},
        {"sk": "7"},
        {"sk": None},
        {"sk": {"N": "1" * 39}},
    ],
)
def test_a_line_without_a_key_of_the_tables_types_has_none(name, change):
    schema = KeySchema((name, "sk"), ("S", "N"))
    good = {name: {"S": "a"}, "sk": {"N": "7"}}
    bad = good | change
    lacking = {name: {"S": "a"}}
    for kind, line in [
        (LineKind.ITEM, item(bad)),
        (LineKind.ITEM, item(lacking)),
        (LineKind.RECORD, record(Keys=bad)),
        (LineKind.RECORD, record(Keys=lacking)),
        (LineKind.RECORD, record(Keys=good, NewImage=lacking)),
        (LineKind.RECORD, record(NewImage=good)),
        (LineKind.RECORD, item(good)),
        (LineKind.ITEM, record(Keys=good)),
    ]:
        assert LineKeys(schema, kind).digest(line) is None, line


@pytest.mark.parametrize("name", ["pk", 'p"k'])
def test_a_record_whose_new_image_has_another_key_has_none(name):
    schema = KeySchema((name, "sk"), ("S", "N"))
    keys = LineKeys(schema, LineKind.RECORD)
    key = {name: {"S": "a"}, "sk": {"N": "10"}}
    assert keys.digest(record(Keys=key, NewImage=key | {"sk": {"N": "1E1"}})) == schema.digest(("a", "10"))
    assert keys.digest(record(Keys=key, OldImage=key | {"sk": {"N": "2"}})) == schema.digest(("a", "10"))
    assert keys.digest(record(Keys=key, NewImage=key | {"sk": {"N": "2"}})) is None
    assert keys.digest(record(Keys=key, NewImage=key | {"sk": {"N": "x"}})) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"null", b'{"Item":', b'{"Item":{"pk":{"S":"a"}}', b'{"Item":{"pk":{"S":"\xff"}}}', b"[" * 100_000,
     b'{"Item":{"pk":{"S":"\\ud800"}}}', b'{"Item":{"a":' + b"[" * 100_000],
)  # fmt: skip
def test_a_line_that_is_no_json_has_no_key(line):
    assert LineKeys(ONE, LineKind.ITEM).digest(line) is None


def test_digests_tell_values_and_not_spellings():
    assert TWO.digest(("a", "1.0")) == TWO.digest(("a", "10e-1"))
    assert BINARY.digest(("AB==", "x")) == BINARY.digest(("AA==", "x"))
    assert len(TWO.digest(("a", "1"))) == 16


@example([("ab", "c"), ("a", "bc")])
@example([("1:a", "b"), ("a", "1:b")])
@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), min_size=2, max_size=2, unique=True))
def test_different_keys_have_different_digests(keys):
    schema = KeySchema(("pk", "sk"), ("S", "S"))
    binaries = KeySchema(("pk", "sk"), ("B", "B"))
    try:
        encoded = [tuple(base64.b64encode(text.encode()).decode() for text in key) for key in keys]
    except UnicodeEncodeError:
        return
    assert schema.digest(keys[0]) != schema.digest(keys[1])
    assert binaries.digest(encoded[0]) != binaries.digest(encoded[1])


# --- asked for --------------------------------------------------------------------------------------------------------


def test_good_keys_have_no_faults():
    keys = [{"pk": {"S": "a"}, "sk": {"N": "1"}}, {"sk": {"N": "1e0"}, "pk": {"S": "b"}}]
    assert key_faults(TWO, keys) == []
    assert [key_of(TWO, key) for key in keys] == [("a", "1"), ("b", "1e0")]


def test_every_fault_of_every_key_is_named_with_its_path():
    keys = [
        {"pk": {"S": "a"}},
        {"pk": {"S": "a"}, "sk": {"N": "1"}, "other": {"S": "x"}},
        {"pk": {"N": "1"}, "sk": {"N": "1", "S": "1"}},
        {"pk": {"S": ""}, "sk": {"N": "one"}},
        "SECRET",
        {"pk": "SECRET", "sk": {"N": 1}},
        {"pk": {"S": "ü" * 1_025}, "sk": {"N": "1" * 39}},
        {"pk": {"S": "\ud800"}, "sk": {"N": ""}},
    ]
    string, number = (
        'must be a string and nothing else, such as {"S": "…"}',
        ('must be a number and nothing else, such as {"N": "…"}'),
    )
    assert key_faults(TWO, keys) == [
        ("$.keys[0]", "lacks the key attribute sk"),
        ("$.keys[1].other", "is no key attribute; those are pk and sk"),
        ("$.keys[2].pk", string),
        ("$.keys[2].sk", number),
        ("$.keys[3].pk", "must not be empty"),
        ("$.keys[3].sk", "must be a number: it is no number"),
        ("$.keys[4]", 'must be an object such as {"name": {"S": "value"}}, with every key attribute'),
        ("$.keys[5].pk", string),
        ("$.keys[5].sk", number),
        ("$.keys[6].pk", "must have at most 2048 bytes"),
        ("$.keys[6].sk", "must be a number: it is no number that DynamoDB can hold"),
        ("$.keys[7].pk", "must be a string: it is not Unicode"),
        ("$.keys[7].sk", "must be a number: it is no number"),
    ]


def test_binaries_are_base64_of_a_limited_size():
    def key(pk: str, sk: str) -> dict[str, Any]:
        return {"pk": {"B": pk}, "sk": {"S": sk}}

    keys = [key("YQ==", "x"), key("YQ", "x"), key("Y!==", "x"), key("", "x"), key("Yg==", "x" * 1_025), key("ü", "x")]
    assert key_faults(BINARY, keys) == [
        ("$.keys[1].pk", "must be a binary: it is not base64"),
        ("$.keys[2].pk", "must be a binary: it is not base64"),
        ("$.keys[3].pk", "must not be empty"),
        ("$.keys[4].sk", "must have at most 1024 bytes"),
        ("$.keys[5].pk", "must be a binary: it is not base64"),
    ]


def test_a_key_asked_for_twice_is_named_however_it_is_spelled():
    keys = [{"pk": {"S": "a"}, "sk": {"N": number}} for number in ("1", "2", "1.0", "2", "3")]
    assert key_faults(TWO, keys) == [
        ("$.keys[2]", "is the same key as $.keys[0]"),
        ("$.keys[3]", "is the same key as $.keys[1]"),
    ]


def test_a_name_is_shown_in_printable_characters_and_not_at_length():
    ((path, _),) = key_faults(ONE, [{"pk": {"S": "a"}, "x\n" * 500: {"S": "b"}}])
    assert path.isprintable()
    assert len(path) < 400
