"""The search against a parser that looks at every line, whatever way they are written in."""

import base64
import binascii
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.restore.datapath.heads import Heads
from chalicelib.restore.datapath.keys import KeySchema, LineKeys
from chalicelib.restore.datapath.search import KeySearch
from chalicelib.restore.model import LineKind

thorough = settings(derandomize=True, deadline=None, max_examples=120)

# Few and alike, so that lines and asked keys meet: beginnings of each other, what JSON escapes, what looks like JSON.
TEXTS = ["a", "aa", "ab", "user#1", "user#10", "user#1/2", 'say "a"', "back\\slash", "ü", "日本\u2028", "😀", "\n",
         "\x7f", '"},"sk":{"S":"a', '{"Item":{"pk":{"S":"a"}}}', "\\u0061", "pk", "x" * 70, "x" * 71]  # fmt: skip
NUMBERS = ["0", "1", "-1", "10", "100", "101", "0.1", "-0.5", "12.5", "1" + "0" * 30, "0." + "0" * 20 + "1"]
BINARIES = [b"a", b"b", b"ab", b"abc", b"\xff\xfe", b"\xfb\xff\xbf", bytes(20), bytes(21), bytes(22)]
NAMES = ["pk", "id", 'p"k', "ключ", "Item", "a/b"]


class Pairs(list[Any]):
    """A JSON object with all its names, also those that stand twice."""


def parsed_key(schema: KeySchema, kind: LineKind, line: bytes) -> tuple[Any, ...] | None:
    """The values of the line's key by the book: slowly, and with Python's parser."""
    try:
        top = json.loads(line.decode(), object_pairs_hook=Pairs, parse_constant=lambda name: 1 / 0)
        json.dumps(top, ensure_ascii=False).encode()  # a lone surrogate is no text
        found = [_values(schema, attributes) for attributes in _objects(top, kind)]
    except (ValueError, ZeroDivisionError, ArithmeticError, LookupError, TypeError):
        return None
    return found[0] if found[0] == found[-1] else None


def _objects(top: Any, kind: LineKind) -> list[Pairs]:
    names = ["Item"] if kind is LineKind.ITEM else ["Keys", "NewImage"]
    found = [[value for given, value in top if given == name] for name in names]
    if len(found[0]) != 1 or len(found[-1]) > 1:
        raise ValueError
    return [value for values in found for value in values]


def _values(schema: KeySchema, attributes: Any) -> tuple[Any, ...]:
    if not isinstance(attributes, Pairs):
        raise TypeError
    values = []
    for name, type_ in zip(schema.names, schema.types, strict=True):
        ((_, pairs),) = [pair for pair in attributes if pair[0] == name]
        ((kind, content),) = pairs
        if kind != type_ or not isinstance(content, str):
            raise ValueError
        values.append(_value(type_, content))
    return tuple(values)


def _value(type_: str, content: str) -> Any:
    if type_ == "S":
        return content
    if type_ == "B":
        return binascii.a2b_base64(content, strict_mode=True)
    return Decimal(content)


# --- lines in every spelling ------------------------------------------------------------------------------------------


def written_text(draw: st.DrawFn, text: str, is_plain: bool) -> str:
    if is_plain:
        return json.dumps(text, ensure_ascii=False)
    return '"' + "".join(written_character(draw, character) for character in text) + '"'


def written_character(draw: st.DrawFn, character: str) -> str:
    units = character.encode("utf-16-be")
    escaped = "".join(f"\\u{int.from_bytes(units[at : at + 2], 'big'):04x}" for at in range(0, len(units), 2))
    ways = [escaped, escaped.upper().replace("\\U", "\\u"), json.dumps(character)[1:-1]]
    ways.append(json.dumps(character, ensure_ascii=False)[1:-1])
    if character == "/":
        ways.append("\\/")
    return draw(st.sampled_from(ways))


def written_number(draw: st.DrawFn, text: str, plainly: bool) -> str:
    if plainly:
        return text
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    more = f"{digits}00" if "." in digits else f"{digits}.0"
    ways = [text, f"{Decimal(text):E}", f"{Decimal(text):e}".replace("e+", "e"), f"{sign}00{digits}", sign + more]
    ways += ["-0"] if text == "0" else [] if sign else [f"+{text}"]
    return draw(st.sampled_from(ways))


def written_binary(draw: st.DrawFn, content: bytes, plainly: bool) -> str:
    text = base64.b64encode(content).decode()
    padding = text.count("=")
    if plainly or not padding:
        return text
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(text) - padding - 1
    unused = draw(st.integers(0, 4**padding - 1))
    return text[:last] + alphabet[alphabet.index(text[last]) + unused] + text[last + 1 :]


POOLS: dict[str, tuple[list[Any], Callable[..., str]]] = {
    "S": (TEXTS, lambda draw, value, plainly: value),
    "N": (NUMBERS, written_number),
    "B": (BINARIES, written_binary),
}


def written(draw: st.DrawFn, document: Any, style: str) -> str:
    """JSON; of a `Pairs` all pairs in their order. Blanks and escaped names only where the style is free."""
    blank = draw(st.sampled_from(["", "", " ", "\t", "\r", "  "])) if style == "free" else ""
    if isinstance(document, Pairs):
        pairs = [
            f"{blank}{written_text(draw, name, style != 'free')}{blank}:{blank}{written(draw, value, style)}"
            for name, value in document
        ]
        return "{" + ",".join(pairs) + blank + "}"
    return written_text(draw, document, style == "plain" or (style == "compact" and draw(st.booleans()))) + blank


def key_attributes(draw: st.DrawFn, schema: KeySchema, key: tuple[Any, ...], plainly: bool) -> Pairs:
    pairs = Pairs()
    for name, type_, value in zip(schema.names, schema.types, key, strict=True):
        pairs.append((name, Pairs([(type_, POOLS[type_][1](draw, value, plainly))])))
    return pairs


def keys_of(schema: KeySchema) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*[st.sampled_from(POOLS[type_][0]) for type_ in schema.types])


@st.composite
def schemas(draw: st.DrawFn) -> KeySchema:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    return KeySchema(tuple(names), tuple(draw(st.sampled_from("SNB")) for _ in names))


@st.composite
def lines_of(draw: st.DrawFn, schema: KeySchema, kind: LineKind, asked: list[tuple[Any, ...]], style: str) -> bytes:
    """`style`: plain, as AWS writes; compact, with values spelled in any way; free."""
    plainly = style == "plain"
    key = draw(st.sampled_from(asked) | keys_of(schema))
    attributes = key_attributes(draw, schema, key, plainly)
    decoys = Pairs()
    for text in draw(st.lists(st.sampled_from(TEXTS), max_size=2)):
        decoys.append((draw(st.sampled_from(["x", "Keys", "S"])) + str(len(decoys)), Pairs([("S", text)])))
    if draw(st.booleans()):  # a whole key of another item, inside of a map
        inner = key_attributes(draw, schema, draw(keys_of(schema)), plainly)
        decoys.append(("nested", Pairs([("M", Pairs([("Item", Pairs([("M", inner)]))]))])))
    image = Pairs([*attributes, *decoys])
    odd = (
        "" if plainly else draw(st.sampled_from(["", "", "", "order", "twice", "type", "cut", "wrapped", "other key"]))
    )
    if odd == "order":
        image = Pairs(draw(st.permutations(image)))
    if odd == "twice":
        image.insert(draw(st.integers(0, len(image))), key_attributes(draw, schema, draw(keys_of(schema)), plainly)[0])
    if odd == "type":
        image[0] = (image[0][0], Pairs([*image[0][1], ("S", "a")]))
    text = written(draw, line_document(draw, schema, kind, attributes, image, odd), style)
    if odd == "cut":
        text = text[: draw(st.integers(0, len(text)))]
    return text.encode()


def line_document(
    draw: st.DrawFn, schema: KeySchema, kind: LineKind, attributes: Pairs, image: Pairs, odd: str
) -> Pairs:
    if kind is LineKind.ITEM:
        document = Pairs([("Item", image)])
    else:
        stamp = Pairs([("WriteTimestampMicros", Pairs([("N", "1768386096366933")]))])
        document = Pairs([("Metadata", stamp), ("Keys", attributes)])
        if odd == "other key":
            image = key_attributes(draw, schema, draw(keys_of(schema)), False)
        document += draw(st.sampled_from([[], [("NewImage", image)], [("OldImage", image), ("NewImage", image)]]))
        if odd == "order":
            document = Pairs(draw(st.permutations(document)))
    if odd == "wrapped":
        document = Pairs([("x", document), *document])
    return document


def texts_of(schema: KeySchema, key: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(
        base64.b64encode(value).decode() if type_ == "B" else value
        for type_, value in zip(schema.types, key, strict=True)
    )


@thorough
@given(st.data(), schemas(), st.sampled_from(LineKind))
def test_exactly_the_lines_of_the_asked_keys_are_found(data, schema, kind):
    asked = data.draw(st.lists(keys_of(schema), min_size=1, max_size=6, unique=True))
    # Of a block in which all lines are as AWS writes them only the beginnings are looked at; one other changes that.
    styles = data.draw(st.sampled_from([["plain"], ["compact"], ["free"], ["plain", "plain", "compact", "free"]]))
    lines = [
        data.draw(lines_of(schema, kind, asked, style))
        for style in data.draw(st.lists(st.sampled_from(styles), min_size=1, max_size=8))
    ]
    search = KeySearch(schema, [texts_of(schema, key) for key in asked], kind)
    values = [tuple(Decimal(v) if t == "N" else v for t, v in zip(schema.types, key, strict=True)) for key in asked]
    expected = {}
    for index, line in enumerate(lines):
        key = parsed_key(schema, kind, line)
        if key in values:
            expected[index] = values.index(key)
    for ending in (b"\n", b""):
        given_lines = [line + ending for line in lines]
        assert list(search.pick(given_lines).wanted) == list(expected)
        assert {index: search.place_of(given_lines[index]) for index in expected} == expected


@thorough
@given(st.data(), schemas(), st.sampled_from(LineKind))
def test_keys_are_read_as_the_slow_parser_reads_them(data, schema, kind):
    style = data.draw(st.sampled_from(["plain", "compact", "free"]))
    line = data.draw(lines_of(schema, kind, data.draw(st.lists(keys_of(schema), min_size=1, max_size=1)), style))
    key = parsed_key(schema, kind, line)
    digest = LineKeys(schema, kind).digest(line)
    if key is not None:
        texts = tuple(str(value) if isinstance(value, Decimal) else value for value in key)
        assert digest == schema.digest(texts_of(schema, texts))


@pytest.mark.parametrize(
    ("types", "asked", "written_values"),
    [
        ("N", ("100",), ["100", "1E2", "1e+2", "100.0", "+100", "0100", "1000e-1", "1\\u00300"]),
        ("N", ("0",), ["0", "-0", "0.0", "0E5", "00"]),
        ("N", ("-0.5",), ["-0.5", "-.5", "-5E-1", "-0.50", "-00.5"]),
        ("N", ("1E-3",), ["0.001", "1E-3", "1e-03"]),
        ("B", ("YQ==",), ["YQ==", "YR==", "Yf==", "Y\\u0051=="]),
        ("B", ("YWI=",), ["YWI=", "YWJ=", "YWK=", "YWL="]),
        ("B", ("////",), ["////", "\\/\\/\\/\\/"]),
        ("S", ("a/ü",), ["a/ü", "a\\/ü", "a/\\u00fc", "a/\\u00FC", "\\u0061/ü"]),
    ],
)
def test_a_value_is_found_however_it_is_spelled(types, asked, written_values):
    for schema, values in [
        (KeySchema(("pk",), (types,)), asked),
        (KeySchema(("pk", "sk"), (types, "N")), (*asked, "7")),
        (KeySchema(("sk", "pk"), ("N", types)), ("7", *asked)),
    ]:
        searches = {kind: KeySearch(schema, [values], kind) for kind in LineKind}
        for written_value in written_values:
            attributes = '{"pk":{"%s":"%s"},"sk":{"N":"%s"}}'
            for number, is_found in [("7", True), ("7.0", True), ("8", len(schema.names) == 1)]:
                text = attributes % (types, written_value, number)
                item = f'{{"Item":{text}}}\n'.encode()
                record = f'{{"Metadata":{{"WriteTimestampMicros":{{"N":"1"}}}},"Keys":{text}}}\n'.encode()
                assert bool(searches[LineKind.ITEM].pick([item]).wanted) is is_found, item
                assert bool(searches[LineKind.RECORD].pick([record]).wanted) is is_found, record


def test_many_keys_are_found_among_many_lines():
    schema = KeySchema(("pk", "sk"), ("S", "N"))

    def line(number: int) -> bytes:
        return b'{"Item":{"pk":{"S":"order#%d"},"sk":{"N":"%d"},"v":{"S":"order#7"}}}\n' % (number // 3, number % 3)

    asked = [(f"order#{number}", str(number % 3)) for number in range(0, 5_000, 5)]
    search = KeySearch(schema, asked, LineKind.ITEM)
    wanted = search.pick([line(number) for number in range(9_000)]).wanted
    assert wanted == [number for number in range(9_000) if (number // 3) % 5 == 0 and number % 3 == number // 3 % 3]
    assert [search.place_of(line(number)) for number in wanted] == [number // 15 for number in wanted]


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        (b'{"Item":{"pk":{"S":"a"},"pk":{"S":"b"}}}', False),
        (b'{"Item":{"pk":{"S":"b"},"pk":{"S":"a"}}}', False),
        (b'{"Item":{"pk":{"S":"b"},"p\\u006b":{"S":"a"}}}', False),
        (b'{"Item":{"pk":{"S":"b","S":"a"}}}', False),
        (b'{"Item":{"pk":{"S":"b"}},"Item":{"pk":{"S":"a"}}}', False),
        (b'{"Item":{"pk":{"S":"a"},"x":{"S":"1"},"x":{"S":"2"}}}', True),
        (b'{"Item":{"pk":{"S":"a"},"m":{"M":{"pk":{"S":"b"},"Item":{"S":"pk"}}}}}', True),
        (b'{"Item":{"pk":{"S":"b","S":"a"},"pk2":{"S":"a"}}}', False),
        (b'{"Item":{"pk":{"S":"a"},"x":{"L":' + b"[" * 2_000 + b"]" * 2_000 + b"}}}", False),
        (b'{"Item":{"pk":{"S":"a"},"x":' + b"9" * 5_000 + b"}}", True),
    ],
)
def test_a_key_attribute_that_stands_twice_is_no_key(line, is_found):
    search = KeySearch(KeySchema(("pk",), ("S",)), [("a",)], LineKind.ITEM)
    for written_otherwise in (line, b" " + line):
        assert bool(search.pick([written_otherwise + b"\n"]).wanted) is is_found


# --- at a glance ------------------------------------------------------------------------------------------------------

BEFORE = b'{"Item":{"pk":{"S":"'


def test_lines_that_begin_alike_are_told_apart_by_their_values():
    heads = Heads(BEFORE, [b'a"', b'user#10"', b'user#200"'])
    lines = [BEFORE + value + b'"}}}\n' for value in (b"b", b"a", b"ab", b"user#1", b"user#10", b"user#2000", b"")]
    assert heads.found_in(lines) == [1, 4, 5]  # the last one because only as much is compared as the shortest has
    assert heads.found_in(lines[:1]) == []


@pytest.mark.parametrize(
    "line",
    [b'{"Item":{"sk":{"S":"b"}}}\n', b'{ "Item":{"pk":{"S":"b"}}}\n', b"\n", b"", BEFORE[:-1] + b"\n",
     BEFORE + b'\\u0061"}}}\n', b" " + BEFORE + b"b", BEFORE[1:] + BEFORE],
)  # fmt: skip
def test_a_line_that_begins_otherwise_leaves_it_open(line):
    heads = Heads(BEFORE, [b'a"'])
    ordinary = BEFORE + b'b"}}}\n'
    assert heads.found_in([ordinary, ordinary]) == []
    for lines in ([line, ordinary], [ordinary, line], [line]):
        assert heads.found_in(lines) is None
