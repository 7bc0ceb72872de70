"""Chains: what of a set is loaded in which order, and what an operator is told where one does not hold together."""

from typing import Any

import msgspec
import pytest

from chalicelib.backup.chain import links_of, missing_links
from chalicelib.backup.manifest import BaseLink, ManifestTable

MD5 = "FjvgqIxwymKf1RbbqtrZag=="
NOON = "T12:00:00.000Z"


def keys(day: int) -> dict[str, Any]:
    folder = f"p/2026-11-{day}/orders/AWSDynamoDB/0179522282{day}00-0123abcd"
    return {
        "manifest_summary_key": f"{folder}/manifest-summary.json",
        "manifest_files_key": f"{folder}/manifest-files.json",
        "manifest_files_md5": MD5,
    }


def link(day: int, **changes: Any) -> BaseLink:
    """Of the day's noon: the full export on the 10th, increments of one day later on."""
    window = {"export_from": f"2026-11-{day - 1}{NOON}", "export_to": f"2026-11-{day}{NOON}"}
    kind: dict[str, Any] = {"export_type": "INCREMENTAL_EXPORT", **window}
    if day == 10:
        kind = {"export_type": "FULL_EXPORT", "export_time": "2026-11-10T12:00:00.834Z"}
    made = BaseLink(
        backup_date=f"2026-11-{day}",
        export_format="DYNAMODB_JSON",
        export_arn=f"arn/{day}",
        item_count=day,
        size_bytes=100 * day,
        data_files=4,
        **kind,
        **keys(day),
    )
    return msgspec.structs.replace(made, **changes)


def table(*base: BaseLink, day: int = 13, **changes: Any) -> ManifestTable:
    """The table in the set of a day, an increment on the links before it."""
    own = link(day)
    made = ManifestTable(
        table_name="orders",
        status="COMPLETED",
        export_arn=own.export_arn,
        export_type=own.export_type,
        export_time=own.export_time,
        export_from=own.export_from,
        export_to=own.export_to,
        item_count=own.item_count,
        size_bytes=own.size_bytes,
        data_files=own.data_files,
        base=base,
        **keys(day),
    )
    return msgspec.structs.replace(made, **changes)


def test_the_full_export_is_loaded_first_and_the_sets_own_last():
    chain = table(link(10), link(11), link(12))
    assert links_of(chain) == tuple(link(day) for day in (10, 11, 12, 13))
    assert missing_links(chain) == []


def test_a_full_export_needs_nothing_else_not_even_its_time():
    full = table(day=10, export_time=None)
    assert [each.backup_date for each in links_of(full)] == ["2026-11-10"]
    assert missing_links(full) == []


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ((), "2026-11-13 is an increment, and the full export that it builds on is not named"),
        ((link(11), link(12)), "2026-11-11 is an increment, and the full export"),
        ((link(10), link(12)), "2026-11-12 begins at 2026-11-11T12:00:00.000Z, and what changed since 2026-11-10T12"),
        ((link(10), link(11)), "2026-11-13 begins at 2026-11-12T12:00:00.000Z, and what changed since 2026-11-11T12"),
        ((link(10), link(12), link(11)), "2026-11-11 ends at 2026-11-11T12:00:00.000Z, not after the one before it"),
        ((link(10), link(11), link(10, backup_date="2026-11-12")), "2026-11-12 is a full export in the middle"),
        ((link(10, export_time=None), link(11), link(12)), "2026-11-10 has no export_time: nothing is given"),
        ((link(10), link(11, export_from="x"), link(12)), "does not say from when it is: 'x' is no time in UTC"),
        ((link(10), link(11, export_to="2026-11-11T12:00:00"), link(12)), "does not say to when it is"),
        ((link(10), link(11, export_to=f"2026-11-10{NOON}"), link(12)), "ends at 2026-11-10T12:00:00.000Z, before it"),
        ((link(10), link(11, export_to="9999-12-31T23:59:59-23:59"), link(12)), "is no time in UTC"),
    ],
)
def test_a_chain_that_does_not_hold_together_names_the_set_and_what_is_wrong(base, said):
    found = missing_links(table(*base))
    assert any(said in text for text in found), found
    assert all(text.startswith("orders: the export in backup set 2026-11-") for text in found)
    assert all(text.endswith("; restore another set") for text in found)


def test_windows_may_overlap():
    wide = link(12, export_from=f"2026-11-10{NOON}")
    assert missing_links(table(link(10), link(11), wide)) == []


def test_one_broken_link_is_named_once_and_what_follows_it_is_judged_by_itself():
    assert len(missing_links(table(link(10), link(11, export_from=None), link(12)))) == 1
