"""Where increments begin and end: they continue a chain without a gap, or a full export is made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.chain import missing_links
from chalicelib.backup.manifest import MOST_LINKS, BaseLink, ManifestTable
from chalicelib.backup.timing import RecoveryWindow
from chalicelib.backup.windows import FullExport, Window, next_windows
from chalicelib.clock import iso

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
FULL_MS = 1_795_222_800_000  # 2026-11-21T01:00:00Z
LONG_AGO = FULL_MS - 30 * DAY_MS
MD5 = "FjvgqIxwymKf1RbbqtrZag=="


def link(number: int, *, at_ms: int | None = None, window: Window | None = None) -> BaseLink:
    folder = f"p/2026-11-21/orders/AWSDynamoDB/0179522280{number:04d}-0123abcd"
    return BaseLink(
        backup_date="2026-11-21",
        export_type="FULL_EXPORT" if window is None else "INCREMENTAL_EXPORT",
        export_format="DYNAMODB_JSON",
        export_arn=None,
        item_count=1,
        size_bytes=1,
        data_files=1,
        manifest_summary_key=f"{folder}/manifest-summary.json",
        manifest_files_key=f"{folder}/manifest-files.json",
        manifest_files_md5=MD5,
        export_time=None if at_ms is None else iso(at_ms),
        export_from=None if window is None else iso(window.from_ms),
        export_to=None if window is None else iso(window.to_ms),
    )


FULL = link(0, at_ms=FULL_MS)


def windows(latest_ms: int, *, links=(FULL,), earliest_ms=LONG_AGO, requested_ms=None):
    return next_windows(links, RecoveryWindow(earliest_ms, latest_ms), requested_ms)


@pytest.mark.parametrize(
    ("hours_to_latest", "hours"),
    [
        (24, [(0, 24)]),
        (23, [(0, 23)]),
        (0.25, [(0, 0.25)]),
        (24.5, [(0, 12.25), (12.25, 24.5)]),
        (48, [(0, 24), (24, 48)]),
        (49, [(0, 49 / 3), (49 / 3, 98 / 3), (98 / 3, 49)]),
        (0.1, [(-0.15, 0.1)]),  # six minutes are too few: it begins before the last one's end
    ],
)
def test_windows_go_from_the_chains_end_to_the_latest_moment(hours_to_latest, hours):
    found = windows(FULL_MS + round(hours_to_latest * HOUR_MS))
    expected = [Window(FULL_MS + round(a * 3600) * 1000, FULL_MS + int(round(b * 3600, 3)) * 1000) for a, b in hours]
    assert found == tuple(Window(first.from_ms // 1000 * 1000, first.to_ms // 1000 * 1000) for first in expected)


def test_a_moment_within_a_second_is_begun_at_the_second_and_ended_at_the_second():
    found = windows(FULL_MS + DAY_MS - 1, links=(link(0, at_ms=FULL_MS + 999),))
    assert found == (Window(FULL_MS, FULL_MS + DAY_MS - 1000),)


def test_a_moment_asked_for_is_the_end_if_it_can_be_had():
    asked = FULL_MS + 20 * HOUR_MS
    assert windows(FULL_MS + DAY_MS, requested_ms=asked) == (Window(FULL_MS, asked),)
    assert windows(FULL_MS + HOUR_MS, requested_ms=asked) == (Window(FULL_MS, FULL_MS + HOUR_MS),)


def test_an_increment_is_continued_where_it_ends():
    chain = (FULL, link(1, window=Window(FULL_MS, FULL_MS + DAY_MS)))
    assert windows(FULL_MS + 2 * DAY_MS, links=chain) == (Window(FULL_MS + DAY_MS, FULL_MS + 2 * DAY_MS),)


LONG_CHAIN = (FULL, *(link(n, window=Window(FULL_MS, FULL_MS + n * HOUR_MS)) for n in range(1, MOST_LINKS)))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"links": ()}, "no export of it"),
        ({"earliest_ms": FULL_MS + 1000}, "not all known"),
        ({"earliest_ms": None}, "does not say"),
        ({"latest_ms": None}, "does not say"),
        ({"latest_ms": FULL_MS}, "nothing newer"),
        ({"latest_ms": FULL_MS - HOUR_MS}, "nothing newer"),
        ({"requested_ms": FULL_MS - HOUR_MS}, "nothing newer"),
        ({"latest_ms": FULL_MS + MINUTE_MS, "earliest_ms": FULL_MS - MINUTE_MS}, "15 minutes"),
        ({"latest_ms": FULL_MS + 7 * DAY_MS}, "a week old"),
        ({"links": LONG_CHAIN, "latest_ms": FULL_MS + 101 * HOUR_MS}, "more than 100"),
    ],
)  # fmt: skip
def test_without_a_whole_chain_a_full_export_is_made_and_says_why(said, why):
    found = windows(**{"latest_ms": FULL_MS + DAY_MS, **said})
    assert isinstance(found, FullExport)
    assert why in found.why


times = st.integers(0, 6 * DAY_MS)


@given(st.lists(times, min_size=1, max_size=12), st.integers(0, 999))
def test_chains_made_of_such_windows_have_no_gap_and_keep_aws_limits(moments, offset_ms):
    links: list[BaseLink] = [link(0, at_ms=FULL_MS + offset_ms)]
    for moment in sorted(moments):
        found = windows(FULL_MS + moment, links=tuple(links))
        if isinstance(found, FullExport):
            assert "nothing newer" in found.why
            continue
        for window in found:
            assert 15 * MINUTE_MS <= window.to_ms - window.from_ms <= DAY_MS
            assert window.from_ms % 1000 == window.to_ms % 1000 == 0
            links.append(link(len(links), window=window))
        *base, last = links
        table = ManifestTable(
            table_name="orders",
            status="COMPLETED",
            export_type=last.export_type,
            export_time=last.export_time,
            export_from=last.export_from,
            export_to=last.export_to,
            manifest_summary_key=last.manifest_summary_key,
            manifest_files_key=last.manifest_files_key,
            manifest_files_md5=MD5,
            base=tuple(base),
        )
        assert missing_links(table) == []
        assert windows(FULL_MS + moment, links=tuple(links)) != found or len(found) == 0
