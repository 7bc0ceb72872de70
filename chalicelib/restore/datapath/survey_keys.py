"""The few attributes of an item that a survey needs of every line, read without building the rest.

A line that can be read so has every key of the table, of the right type and not empty; every key of an index that it
has is so too. Anything else is an error here, and left to the survey's slow way to judge.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from chalicelib.restore.target import TargetFacts

Read = Callable[[bytes], Any]
Get = Callable[[Any], Any]
_Content = Annotated[str, msgspec.Meta(min_length=1)]
_KEY_VALUES = {
    kind: msgspec.defstruct(
        f"_{kind}", [("value", _Content)], rename={"value": kind}, forbid_unknown_fields=True, gc=False
    )
    for kind in "SNB"
}
_TIME_VALUE = msgspec.defstruct("_Time", [("value", Any, None)], rename={"value": "N"}, gc=False)


class KeyReader:
    """`of_item` reads an item's text, `of_item_line` the line around it (as `.Item`); both raise msgspec's errors.

    Of what they give: `time` gets the text of the attribute items expire by, None where there is none; `sometimes`,
    one entry for each index that not every item is in, gets the attributes that decide it (UNSET: not there);
    `always`: how many indexes every item is in.
    """

    def __init__(self, facts: TargetFacts) -> None:
        fields = {name: f"k{number}" for number, name in enumerate(_names(facts))}
        self.of_item, self.of_item_line = _readers(facts, fields)
        partial = [
            tuple(attrgetter(fields[name]) for name in index.key_names if name not in facts.key_names)
            for index in facts.indexes
        ]
        self.sometimes: list[tuple[Get, ...]] = [getters for getters in partial if getters]
        self.always = len(partial) - len(self.sometimes)
        self.time: Get | None = _time_getter(facts, fields)


def _names(facts: TargetFacts) -> list[str]:
    """Those that are read, each once; the table's keys first, because they have no defaults."""
    names = [*facts.key_names, *(name for index in facts.indexes for name in index.key_names)]
    if facts.time_to_live_attribute is not None:
        names.append(facts.time_to_live_attribute)
    return list(dict.fromkeys(names))


def _readers(facts: TargetFacts, fields: dict[str, str]) -> tuple[Read, Read]:
    if any(not _can_be_a_field(name) for name in fields):
        return _refuse, _refuse
    definitions: list[Any] = []
    for name, field in fields.items():
        value: Any = _KEY_VALUES.get(facts.attribute_types.get(name, ""), _TIME_VALUE)
        if name in facts.key_names:
            definitions.append((field, value))
        else:
            definitions.append((field, value | msgspec.UnsetType, msgspec.UNSET))
    renames = {field: name for name, field in fields.items()}
    item = msgspec.defstruct("_Keys", definitions, rename=renames, gc=False)
    line = msgspec.defstruct("_Line", [("Item", item)], forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(item).decode, msgspec.json.Decoder(line).decode


def _can_be_a_field(name: str) -> bool:
    """msgspec takes no names that JSON must escape."""
    return not any(character in '"\\' or character < " " for character in name)


def _refuse(text: bytes) -> Any:
    raise msgspec.DecodeError("no struct can have these names")


def _time_getter(facts: TargetFacts, fields: dict[str, str]) -> Get | None:
    name = facts.time_to_live_attribute
    if name is None or facts.attribute_types.get(name, "N") != "N":
        return None
    get = attrgetter(fields[name])

    def time(keys: Any) -> Any:
        found = get(keys)
        return None if found is msgspec.UNSET else found.value

    return time
