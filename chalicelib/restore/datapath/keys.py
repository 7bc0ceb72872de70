"""Primary keys: of the lines of an export, and those a restore is asked for; when two of them are the same key.

A key is a tuple of texts, one for each key attribute, as they stand in DynamoDB JSON: of a B its base64. Two are the
same when their digests are: numbers by value, binaries by their bytes.
"""

import binascii
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from chalicelib.backup.definition import TableDefinition
from chalicelib.restore.datapath.numbers import canonical_number
from chalicelib.restore.model import LineKind

Key = tuple[str, ...]
DIGEST_BYTES = 16

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-partition-sort-keys
_LONGEST_BYTES = (2048, 1024)
_TYPE_NAMES = {"S": "a string", "N": "a number", "B": "a binary"}
_NAME_SHOWN = 100


class KeySchema(msgspec.Struct, frozen=True):
    """The key attributes of a table, the partition key first: their names and types (S, N, B)."""

    names: tuple[str, ...]
    types: tuple[str, ...]

    @classmethod
    def of(cls, definition: TableDefinition) -> "KeySchema":
        types = {attribute.attribute_name: attribute.attribute_type for attribute in definition.attributes}
        names = tuple(key.attribute_name for key in definition.keys)
        return cls(names, tuple(types[name] for name in names))

    def digest(self, key: Key) -> bytes:
        """16 bytes that two keys share only if they are the same. ValueError, without content: a value is not of its
        type."""
        contents = [canonical_value(type_, text) for type_, text in zip(self.types, key, strict=True)]
        # The first one's length keeps ("ab", "c") apart from ("a", "bc"); a type is the same for all keys of a table.
        framed = b"%d:" % len(contents[0]) + b"".join(contents)
        return blake2b(framed, digest_size=DIGEST_BYTES).digest()


def canonical_value(type_: str, text: str) -> bytes:
    """What is compared of a value. ValueError, without content: it is not of this type."""
    if type_ == "S":
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise ValueError("not Unicode") from None
    if type_ == "N":
        return canonical_number(text).encode()
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError("not base64") from None


class LineKeys:
    """Reads the keys of the lines of one export, and nothing else of them.

    A line has no readable key if it is not JSON, or a key attribute is missing, of another type than the schema's, or
    no value of it; of an increment's line also if its new image has another key than the record. Where JSON has a name
    twice, which AWS never writes, the last one counts.
    """

    def __init__(self, schema: KeySchema, line_kind: LineKind) -> None:
        self._schema = schema
        self._read = _line_reader(schema, line_kind)

    def key(self, line: bytes) -> Key | None:
        """None: the line has no readable key."""
        try:
            return self._read(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def digest(self, line: bytes) -> bytes | None:
        """`KeySchema.digest` of the line's key; None: it has no readable one."""
        key = self.key(line)
        try:
            return None if key is None else self._schema.digest(key)
        except ValueError:
            return None


def key_of(schema: KeySchema, attributes: Mapping[str, Mapping[str, str]]) -> Key:
    """Of a key in DynamoDB JSON, in which `key_faults` finds nothing."""
    return tuple(attributes[name][type_] for name, type_ in zip(schema.names, schema.types, strict=True))


def key_faults(schema: KeySchema, keys: Sequence[Any]) -> list[tuple[str, str]]:
    """Everything that is wrong with asked keys, each DynamoDB JSON such as `{"pk": {"S": "a"}, "sk": {"N": "1"}}`, as
    (path, message) with paths such as `$.keys[3].pk`. No values are named."""
    faults: list[tuple[str, str]] = []
    first_places: dict[bytes, int] = {}
    for place, attributes in enumerate(keys):
        path = f"$.keys[{place}]"
        found = _faults_of(schema, path, attributes)
        faults += found
        if found:
            continue
        first = first_places.setdefault(schema.digest(key_of(schema, attributes)), place)
        if first != place:
            faults.append((path, f"is the same key as $.keys[{first}]"))
    return faults


def _faults_of(schema: KeySchema, path: str, attributes: Any) -> list[tuple[str, str]]:
    if not isinstance(attributes, Mapping):
        return [(path, 'must be an object such as {"name": {"S": "value"}}, with every key attribute')]
    faults = []
    for name, type_, most_bytes in zip(schema.names, schema.types, _LONGEST_BYTES, strict=False):
        if name not in attributes:
            faults.append((path, f"lacks the key attribute {_shown(name)}"))
            continue
        message = _value_fault(type_, attributes[name], most_bytes)
        if message is not None:
            faults.append((f"{path}.{_shown(name)}", message))
    unknown = [name for name in attributes if name not in schema.names]
    wanted = " and ".join(map(_shown, schema.names))
    return faults + [(f"{path}.{_shown(name)}", f"is no key attribute; those are {wanted}") for name in unknown]


def _value_fault(type_: str, value: Any, most_bytes: int) -> str | None:
    if not isinstance(value, Mapping) or list(value) != [type_] or not isinstance(value[type_], str):
        return f'must be {_TYPE_NAMES[type_]} and nothing else, such as {{"{type_}": "…"}}'
    text = value[type_]
    try:
        content = canonical_value(type_, text)
    except ValueError as error:
        return f"must be {_TYPE_NAMES[type_]}: it is {error}"
    if not content:
        return "must not be empty"
    if type_ != "N" and len(content) > most_bytes:
        return f"must have at most {most_bytes} bytes"
    return None


def _shown(name: Any) -> str:
    """A name may hold whatever there is, newlines too."""
    text = str(name)[:_NAME_SHOWN]
    return text if text.isprintable() else ascii(text)


def _line_reader(schema: KeySchema, line_kind: LineKind) -> Callable[[bytes], Key | None]:
    values = [_VALUES[type_] for type_ in schema.types]
    fields = [f"k{number}" for number in range(len(values))]
    try:
        key: Any = msgspec.defstruct(
            "_Key",
            list(zip(fields, values, strict=True)),
            rename=dict(zip(fields, schema.names, strict=True)),
            gc=False,
        )
    except ValueError:  # msgspec takes no names that JSON must escape
        return _generic_reader(schema, line_kind)
    texts = _texts_of_two if len(values) == 2 else _text_of_one
    if line_kind is LineKind.ITEM:
        decode_item = _decoder([("Item", key)])
        return lambda line: texts(decode_item(line).Item)
    image = key | msgspec.UnsetType
    decode_record = _decoder([("Keys", key), ("NewImage", image, msgspec.UNSET)])

    def read_record(line: bytes) -> Key | None:
        record = decode_record(line)
        found = texts(record.Keys)
        if record.NewImage is not msgspec.UNSET and not _is_same(schema, found, texts(record.NewImage)):
            return None
        return found

    return read_record


def _decoder(fields: list[Any]) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(msgspec.defstruct("_Line", fields, gc=False)).decode


def _text_of_one(key: Any) -> Key:
    return (key.k0.text,)


def _texts_of_two(key: Any) -> Key:
    return (key.k0.text, key.k1.text)


def _is_same(schema: KeySchema, one: Key, other: Key) -> bool:
    if one == other:
        return True
    try:
        return schema.digest(one) == schema.digest(other)
    except ValueError:
        return False


# With another type's name beside its own, or instead of it, it is no value.
_VALUES: dict[str, Any] = {
    type_: msgspec.defstruct(f"_{type_}", [("text", str)], rename={"text": type_}, forbid_unknown_fields=True, gc=False)
    for type_ in _TYPE_NAMES
}
_DECODERS = {type_: msgspec.json.Decoder(value).decode for type_, value in _VALUES.items()}


class _ItemLine(msgspec.Struct, gc=False):
    Item: dict[str, msgspec.Raw]


class _RecordLine(msgspec.Struct, gc=False):
    Keys: dict[str, msgspec.Raw]
    NewImage: dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


def _generic_reader(schema: KeySchema, line_kind: LineKind) -> Callable[[bytes], Key | None]:
    """The same for names of whatever characters: every attribute's name is decoded."""

    def texts(attributes: dict[str, msgspec.Raw]) -> Key | None:
        if any(name not in attributes for name in schema.names):
            return None
        pairs = zip(schema.names, schema.types, strict=True)
        return tuple(_DECODERS[type_](attributes[name]).text for name, type_ in pairs)

    def read_record(line: bytes) -> Key | None:
        record = decode_record(line)
        found = texts(record.Keys)
        if found is None or record.NewImage is msgspec.UNSET:
            return found
        image = texts(record.NewImage)
        return found if image is not None and _is_same(schema, found, image) else None

    decode_item = msgspec.json.Decoder(_ItemLine).decode
    decode_record = msgspec.json.Decoder(_RecordLine).decode
    if line_kind is LineKind.ITEM:
        return lambda line: texts(decode_item(line).Item)
    return read_record
