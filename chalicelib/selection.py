"""Which tables a stage backs up: names, patterns and tags, resolved at each run. Pure.

`DYNAMODB_TABLES` is a JSON array of entries:

* `orders`           this table, whether it exists or not: one that does not is named as failed
* `app_*_production` every table whose name fits: `*` any characters, `?` one, `[ab]` one of these
* `tag:backup=daily` every table with this tag; the value may be a pattern
* `!…`               none of those, whatever else chooses them
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import cache
from typing import NamedTuple

TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}\Z")

_EXCLUSION = "!"
_TAG = "tag:"
_GLOB = re.compile(r"[a-zA-Z0-9_.*?!\[\]-]{1,255}\Z")
_MAGIC = re.compile(r"[*?\[]")
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Tagging.html
_LONGEST_TAG_KEY, _LONGEST_TAG_VALUE = 128, 256

Tags = Mapping[str, str]


class Entry(NamedTuple):
    """One entry as it was written, taken apart. `tag_key` is None where `pattern` is for a table's name."""

    text: str
    pattern: str
    tag_key: str | None
    is_exclusion: bool

    @property
    def is_name(self) -> bool:
        return self.tag_key is None and _MAGIC.search(self.pattern) is None

    def fits(self, table_name: str, tags: Tags) -> bool:
        if self.tag_key is None:
            return self.pattern == table_name if self.is_name else _fits(self.pattern, table_name)
        value = tags.get(self.tag_key)
        return value is not None and _fits(self.pattern, value)


class Selection(NamedTuple):
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        return ", ".join(entry.text for entry in self.entries)

    @property
    def needs_names(self) -> bool:
        """Whether the names of all tables must be known; plain names alone need nothing."""
        return any(not entry.is_name for entry in self.entries)

    @property
    def tag_keys(self) -> tuple[str, ...]:
        return tuple(sorted({entry.tag_key for entry in self.entries if entry.tag_key is not None}))


class Chosen(NamedTuple):
    """`tables` by name; `unmatched`: entries, as they were written, that fit no table."""

    tables: tuple[str, ...]
    unmatched: tuple[str, ...] = ()


def parse_entry(text: str) -> Entry:
    """ValueError, with what is allowed, for what is no entry."""
    is_exclusion = text.startswith(_EXCLUSION)
    rest = text.removeprefix(_EXCLUSION) if is_exclusion else text
    if rest.startswith(_TAG):
        return _tag_entry(text, rest.removeprefix(_TAG), is_exclusion)
    if not _GLOB.match(rest) or (_MAGIC.search(rest) is None and not TABLE_NAME.match(rest)):
        raise ValueError("table names of 3 to 255 of a-z A-Z 0-9 _ . -, patterns of them with * ? [ ], tag:key=value")
    return Entry(text, rest, None, is_exclusion)


def _tag_entry(text: str, tag: str, is_exclusion: bool) -> Entry:
    key, equals, value = tag.partition("=")
    if not key or not equals or len(key) > _LONGEST_TAG_KEY or len(value) > _LONGEST_TAG_VALUE:
        raise ValueError(f"tag:key=value, with at most {_LONGEST_TAG_KEY} and {_LONGEST_TAG_VALUE} characters")
    return Entry(text, value, key, is_exclusion)


def choose(selection: Selection, tags_by_table: Mapping[str, Tags], *, own_tables: Iterable[str] = ()) -> Chosen:
    """The tables to back up, of all that there are with their tags (those that `selection` asks about).

    Tables named in full come first, in the order of the entries, also where they do not exist; then the others by
    name. `own_tables` are chosen only where they are named in full.
    """
    wanted = [entry for entry in selection.entries if not entry.is_exclusion]
    excluded = [entry for entry in selection.entries if entry.is_exclusion]
    named = [entry.pattern for entry in wanted if entry.is_name]
    found = sorted(tags_by_table.keys() - set(own_tables))
    fitting = {entry.text: [name for name in found if entry.fits(name, tags_by_table[name])] for entry in wanted}
    candidates = dict.fromkeys([*named, *sorted({name for names in fitting.values() for name in names})])
    tables = tuple(
        name for name in candidates if not any(entry.fits(name, tags_by_table.get(name, {})) for entry in excluded)
    )
    unmatched = [entry.text for entry in wanted if not entry.is_name and not fitting[entry.text]]
    unmatched += [
        entry.text for entry in excluded if not any(entry.fits(n, tags_by_table.get(n, {})) for n in candidates)
    ]
    return Chosen(tables, tuple(unmatched))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _fits(pattern: str, text: str) -> bool:
    return _compiled(pattern).match(text) is not None
