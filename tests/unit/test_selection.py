"""Which tables entries of DYNAMODB_TABLES choose: names, patterns, tags, and what they leave out."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.selection import Chosen, Selection, choose, parse_entry

TABLES: dict[str, dict[str, str]] = {
    "orders": {"backup": "daily", "team": "sales"},
    "orders_archive": {"backup": "never"},
    "app_production_eu": {"backup": "daily"},
    "app_production_us": {},
    "app_staging_eu": {"Backup": "daily"},
    "tablevault-ledger": {"backup": "daily"},
}


def chosen(*entries: str, tables: Mapping[str, Mapping[str, str]] = TABLES) -> Chosen:
    selection = Selection(tuple(map(parse_entry, entries)))
    return choose(selection, tables, own_tables=("tablevault-ledger",))


@pytest.mark.parametrize(
    ("entries", "tables", "unmatched"),
    [
        (["orders"], ["orders"], []),
        (["zzz", "orders"], ["zzz", "orders"], []),
        (["app_*"], ["app_production_eu", "app_production_us", "app_staging_eu"], []),
        (["app_*_eu", "app_production_*"], ["app_production_eu", "app_production_us", "app_staging_eu"], []),
        (["app_production_?u"], ["app_production_eu"], []),
        (["app_production_[tu]s"], ["app_production_us"], []),
        (["app_production_[!u]?"], ["app_production_eu"], []),
        (["APP_*", "orders"], ["orders"], ["APP_*"]),
        (["tag:backup=daily"], ["app_production_eu", "orders"], []),
        (["tag:backup=*"], ["app_production_eu", "orders", "orders_archive"], []),
        (["tag:backup=weekly", "orders"], ["orders"], ["tag:backup=weekly"]),
        (["tag:owner=*", "orders"], ["orders"], ["tag:owner=*"]),
        (["orders*", "!orders_archive"], ["orders"], []),
        (["*", "!app_*", "!tag:backup=never"], ["orders"], []),
        (["orders", "!orders"], [], []),
        (["tag:backup=daily", "!tag:team=sales"], ["app_production_eu"], []),
        (["orders", "!tests_*", "!catalog"], ["orders"], ["!tests_*", "!catalog"]),
        (["app_*_eu", "orders", "tag:backup=daily"], ["orders", "app_production_eu", "app_staging_eu"], []),
        (["*"], ["app_production_eu", "app_production_us", "app_staging_eu", "orders", "orders_archive"], []),
        (["tablevault-ledger", "nothing-*"], ["tablevault-ledger"], ["nothing-*"]),
    ],
)  # fmt: skip
def test_entries_choose_tables_and_those_that_choose_none_are_told(entries, tables, unmatched):
    assert chosen(*entries) == Chosen(tuple(tables), tuple(unmatched))


def test_names_in_full_are_chosen_without_knowing_any_table():
    selection = Selection((parse_entry("orders"), parse_entry("catalog")))
    assert not selection.needs_names
    assert selection.tag_keys == ()
    assert choose(selection, {}).tables == ("orders", "catalog")


@pytest.mark.parametrize("entry", ["app_*", "!tests_*", "tag:backup=daily", "!tag:backup=never"])
def test_whatever_is_no_name_needs_all_names(entry):
    assert Selection((parse_entry("orders"), parse_entry(entry))).needs_names


def test_tags_are_asked_for_once_each():
    entries = ["tag:backup=daily", "!tag:backup=never", "tag:team=a=b", "orders"]
    assert Selection(tuple(map(parse_entry, entries))).tag_keys == ("backup", "team")


def test_a_tags_value_begins_after_the_first_equals_sign():
    assert chosen("tag:team=a=b", tables={"orders": {"team": "a=b"}}).tables == ("orders",)


@pytest.mark.parametrize(
    "text", ["", "!", "ab", "a b", "a/b", "tag:", "tag:x", "tag:=x", "!tag:x", "tag:" + "k" * 129 + "=v", "*" * 256]
)
def test_what_is_no_entry_is_refused(text):
    with pytest.raises(ValueError, match="tag:key=value"):
        parse_entry(text)


names = st.text("abc_", min_size=3, max_size=6)


@given(st.lists(names, unique=True, max_size=8), st.lists(st.text("abc_*?", min_size=3, max_size=5), max_size=4))
def test_no_table_is_chosen_twice_or_left_out_in_silence(tables, patterns):
    entries = tuple(map(parse_entry, dict.fromkeys(patterns)))
    found = choose(Selection(entries), {name: {} for name in tables})
    assert len(set(found.tables)) == len(found.tables)
    for entry in entries:
        fits = [name for name in tables if entry.fits(name, {})]
        assert set(fits) <= set(found.tables)
        assert (entry.text in found.unmatched) == (not fits and not entry.is_name)
