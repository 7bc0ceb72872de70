"""A table's history against a plain list of what the table was at each time."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.exports.capture import Capture, RecoveryOff
from sandbox.exports.clock import AdvancingClock
from sandbox.exports.history import History, ItemChange, Key
from sandbox.exports.layout import Item

DAY_MS = 86_400_000
BEGAN_MS = 5_000_700
KEYS: list[Key] = [("a", ""), ("a", "1"), ("b", "")]
Table = dict[Key, Item]


def _item(value: int) -> Item:
    return {"id": {"S": "a"}, "n": {"N": str(value)}}


WRITES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(KEYS), st.none() | st.integers(0, 2).map(_item)), max_size=30
)


def _after(table: Table, key: Key, new: Item | None) -> Table:
    return {at: item for at, item in {**table, key: new}.items() if item is not None}


def _lived(writes: list[tuple[int, Key, Item | None]]) -> tuple[History, list[tuple[int, Table]]]:
    """A history, and the table after each write with its time."""
    history, table, now_ms = History(BEGAN_MS), dict[Key, Item](), BEGAN_MS
    moments = [(now_ms, table)]
    for step_ms, key, new in writes:
        now_ms += step_ms
        if table.get(key) != new:
            history.add(key, table.get(key), now_ms)
            table = _after(table, key, new)
        moments.append((now_ms, table))
    return history, moments


def _before(moments: list[tuple[int, Table]], moment_ms: int) -> Table:
    return [table for at_ms, table in moments if at_ms < moment_ms or at_ms == BEGAN_MS == moment_ms][-1:][0]


@given(writes=WRITES)
def test_items_before_any_moment_are_those_the_table_had(writes: Any) -> None:
    history, moments = _lived(writes)
    for moment_ms in range(BEGAN_MS + 1, moments[-1][0] + 2):
        assert history.items_before(moment_ms, moments[-1][1]) == _before(moments, moment_ms)


@given(writes=WRITES, bounds=st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_changes_lead_from_the_table_before_a_window_to_the_one_at_its_end(
    writes: Any, bounds: tuple[int, int]
) -> None:
    history, moments = _lived(writes)
    from_ms, to_ms = (BEGAN_MS + each for each in sorted(bounds))
    begin, end = _before(moments, from_ms), _before(moments, to_ms)
    table = dict(begin)
    changes = history.changes(from_ms, to_ms, moments[-1][1].get)
    by_key = {}
    for key in KEYS:
        if begin.get(key) != end.get(key):
            by_key[key] = (begin.get(key), end.get(key))
    images = [(each.old, each.new) for each in changes]
    assert all(pair in images for pair in by_key.values())
    # What else there is was written, and is as it was.
    assert all(old == new for old, new in images if (old, new) not in by_key.values())
    assert all(from_ms * 1000 <= each.written_at_us < to_ms * 1000 for each in changes)
    assert (None, None) not in images
    assert table == begin


def test_changes_of_windows_that_follow_each_other_have_each_write_once() -> None:
    history = History(0)
    for n in range(4):
        history.add(("a", ""), _item(n), 1000 * (n + 1))
    current: Mapping[Key, Item] = {("a", ""): _item(4)}
    windows = [history.changes(1000 * n, 1000 * (n + 1), current.get) for n in range(5)]
    assert windows == [[], *([ItemChange(_item(n), _item(n + 1), 1_000_000 * (n + 1))] for n in range(4))]


def test_writes_of_one_millisecond_keep_their_order() -> None:
    history = History(0)
    for n in range(3):
        history.add(("a", str(n)), None, 7)
    changes = history.changes(7, 8, lambda key: _item(int(key[1])))
    assert [each.written_at_us for each in changes] == [7_000, 7_001, 7_002]


def test_item_made_and_removed_in_a_window_is_no_change_and_one_that_is_back_is() -> None:
    history = History(0)
    history.add(("made", ""), None, 1)
    history.add(("made", ""), _item(1), 2)
    history.add(("back", ""), _item(1), 3)
    history.add(("back", ""), _item(2), 4)
    assert history.changes(0, 10, {("back", ""): _item(1)}.get) == [ItemChange(_item(1), _item(1), 4_000)]


def test_a_history_that_forgets_shows_the_rest_as_before() -> None:
    history = History(0)
    for second in range(10):
        history.add(("a", ""), _item(second), second * 1000)
    history.forget(before_ms=2_000, most=100)
    assert (len(history), history.earliest_ms) == (8, 0)  # of its age alone the window knows by itself
    history.forget(before_ms=0, most=5)
    assert (len(history), history.earliest_ms) == (5, 5_000)
    assert history.items_before(5_000, {("a", ""): _item(10)}) == {("a", ""): _item(5)}


@pytest.fixture
def now_ms() -> list[int]:
    return [40 * DAY_MS + 700]


@pytest.fixture
def clock(now_ms: list[int]) -> AdvancingClock:
    return AdvancingClock(lambda: now_ms[0])


def test_recovery_window_begins_when_recovery_was_switched_on_and_moves_with_its_period(clock: AdvancingClock) -> None:
    capture = Capture(clock)
    capture.switch_on("t", dict, 2)
    assert capture.recovery("t").earliest_ms == 40 * DAY_MS
    clock.advance(3 * 86_400)
    facts = capture.recovery("t")
    assert (facts.earliest_ms, facts.latest_ms, facts.recovery_days) == (41 * DAY_MS, 43 * DAY_MS, 2)
    capture.switch_on("t", dict, 1)  # a longer or shorter period goes on with the same history
    assert capture.recovery("t").earliest_ms == 42 * DAY_MS


def test_history_ends_with_recovery_and_begins_anew(clock: AdvancingClock) -> None:
    capture = Capture(clock)
    capture.switch_on("t", dict, 35)
    capture.wrote("t", ("a", ""), _item(1))
    clock.advance(10)
    capture.switch_off("t")
    for ask in (capture.recovery, lambda name: capture.items(name, None), lambda name: capture.changes(name, 0, 1)):
        with pytest.raises(RecoveryOff):
            ask("t")
    capture.switch_on("t", dict, 35)
    assert capture.recovery("t").earliest_ms == 40 * DAY_MS + 10_000
    assert capture.changes("t", 0, 50 * DAY_MS) == []


def test_tables_that_are_gone_are_forgotten(clock: AdvancingClock) -> None:
    capture = Capture(clock)
    for table_id in ("kept", "gone"):
        capture.switch_on(table_id, dict, 35)
    capture.keep_only({"kept", "another"})
    assert [capture.is_on(table_id) for table_id in ("kept", "gone", "another")] == [True, False, False]


def test_history_keeps_so_many_writes_and_says_how_far_it_reaches(clock: AdvancingClock, now_ms: list[int]) -> None:
    items: dict[str, dict[str, Item]] = {"a": {"": _item(9_999)}}
    capture = Capture(clock, most_writes=1_000)
    capture.switch_on("t", lambda: items, 35)
    for n in range(2_048):
        now_ms[0] += 1_000
        capture.wrote("t", ("a", ""), _item(n))
    earliest_ms = capture.recovery("t").earliest_ms
    changes = capture.changes("t", earliest_ms, now_ms[0] + 1)
    # Tidied when it had 1,024 writes, for the last time 16 writes ago: it reaches to just after write 1,031.
    assert [each.old for each in changes] == [_item(1_032)]
    assert earliest_ms == (40 * DAY_MS + 700 + 1_032 * 1_000) // 1_000 * 1_000 + 1_000


def test_what_is_older_than_the_recovery_period_is_dropped(clock: AdvancingClock) -> None:
    capture = Capture(clock)
    capture.switch_on("t", dict, 1)
    for _ in range(1_023):
        capture.wrote("t", ("a", ""), _item(1))
    clock.advance(2 * 86_400)
    capture.wrote("t", ("a", ""), _item(2))
    assert [each.old for each in capture.changes("t", 0, 50 * DAY_MS)] == [_item(2)]


def test_transaction_counts_at_its_end_and_not_at_all_when_undone(clock: AdvancingClock, now_ms: list[int]) -> None:
    items: dict[str, dict[str, Item]] = {"a": {"": _item(2)}, "b": {"": _item(2)}}
    capture = Capture(clock)
    capture.switch_on("t", lambda: items, 35)
    with capture.transaction() as undone:
        capture.wrote("t", ("c", ""), _item(1))
        undone()
    with capture.transaction():
        capture.wrote("t", ("a", ""), _item(1))
        now_ms[0] += 5_000
        capture.wrote("t", ("b", ""), _item(1))
    written = [each.written_at_us for each in capture.changes("t", 0, 50 * DAY_MS)]
    assert written == [now_ms[0] * 1000, now_ms[0] * 1000 + 1]


def test_time_does_not_go_back(clock: AdvancingClock) -> None:
    with pytest.raises(ValueError, match="time cannot go back, by 1 s"):
        clock.advance(-1)
    clock.advance(1.5)
    assert clock() == 40 * DAY_MS + 2_200
    clock.reset()
    assert clock() == 40 * DAY_MS + 700
