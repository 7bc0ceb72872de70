"""What holds for any history of sets, however it came about: weekly full exports and daily increments, tables that come
and go, exports that fail, sets by hand, sets cut off, manifests that cannot be read, links to sets that are gone."""

from datetime import date, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.retention.found import FoundSet, FoundStatus, SetPolicy
from chalicelib.backup.retention.plan import RetentionPlan, Why
from chalicelib.backup.retention.sets import decide_sets
from tests.unit.backup.histories import DAY_MS, ms

FIRST = date(2025, 12, 20)
NEXT = FIRST + timedelta(days=100)  # after every `now` of the properties
TABLES = ("orders", "users", "carts")
RESTORABLE = {FoundStatus.COMPLETE, FoundStatus.PARTIAL}
STATUSES = st.sampled_from([*[FoundStatus.COMPLETE] * 8, *FoundStatus])


@st.composite
def histories(draw, first: date = FIRST, days: int = 40) -> list[FoundSet]:
    """As a service makes them: an increment builds on its table's newest export and on all that this one builds on. A
    day's set may have been taken after one by hand of the same day, which stands behind it by name."""
    chains: dict[str, tuple[str, ...]] = {}
    weekday, found = draw(st.integers(0, 6)), []
    for number in range(draw(st.integers(1, days))):
        day = first + timedelta(days=number)
        alone, before, after = [f"{day}"], [f"{day}T090000Z", f"{day}"], [f"{day}", f"{day}T213000Z"]
        for name in draw(st.sampled_from([*[alone] * 6, [], before, after])):
            found.append(_made(draw, name, chains, is_full=day.weekday() == weekday))
    return draw(st.permutations(found)) if draw(st.booleans()) else found


def _made(draw, name: str, chains: dict[str, tuple[str, ...]], *, is_full: bool) -> FoundSet:
    status, tables = draw(STATUSES), {}
    for table in TABLES:
        how = draw(st.sampled_from(["as planned"] * 8 + ["full", "failed", "lost", "split"]))
        if how == "failed":
            continue
        begins = is_full or how == "full" or table not in chains
        tables[table] = () if begins else chains[table]
        if how == "lost" and tables[table]:
            tables[table] = ("2025-11-30", *tables[table])
        if how == "split" and tables[table]:
            tables[table] = (*tables[table], name)
        if status in RESTORABLE:
            chains[table] = tuple(dict.fromkeys([*tables[table], name]))
    if status is FoundStatus.UNREADABLE and draw(st.booleans()):
        tables = {}
    return FoundSet(
        backup_date=name,
        status=status,
        tables=tables,
        broken=frozenset(draw(st.sampled_from([[]] * 12 + [["orders"]]))) & tables.keys(),
        is_shielded=draw(st.sampled_from([False] * 15 + [True])),
        is_read=draw(st.sampled_from([False] * 15 + [True])),
    )


COUNTS = st.sampled_from([0, 0, 1, 2, 5])
POLICIES = st.builds(
    SetPolicy,
    days=st.sampled_from([0, 1, 3, 7, 30]),
    minimum=st.integers(0, 4),
    daily=COUNTS,
    weekly=COUNTS,
    monthly=COUNTS,
    yearly=COUNTS,
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Auckland"]),
)
NOWS = st.integers(-3, 90).map(lambda days: ms(f"{FIRST} 03:00:00") + days * DAY_MS)


def left_of(sets: list[FoundSet], gone: set[str]) -> list[FoundSet]:
    return [each for each in sets if each.backup_date not in gone]


def bases(found: FoundSet) -> set[str]:
    return {base for named in found.tables.values() for base in named}


def assert_whole(sets: list[FoundSet], left: list[FoundSet]) -> None:
    """Whatever was there of a chain of a set that is left is there still."""
    before, after = ({each.backup_date for each in some} for some in (sets, left))
    for each in left:
        assert bases(each) & before <= after, each


@given(histories(), POLICIES, NOWS)
def test_every_set_stays_for_reasons_or_goes_once(sets, policy, now_ms):
    plan = decide_sets(sets, policy, now_ms)
    names = sorted(each.backup_date for each in sets)
    assert [each.name for each in plan.decisions] == names
    assert sorted([*plan.kept, *plan.removals]) == names
    for each in plan.decisions:
        codes = {reason.code for reason in each.reasons}
        assert len(codes) == len(each.reasons) > 0
        assert bool(codes & {Why.EXPIRED, Why.UNFINISHED}) != each.is_kept
    assert decide_sets(reversed(sets), policy, now_ms) == plan


@given(histories(), POLICIES, NOWS)
def test_no_chain_of_what_is_left_is_broken_wherever_the_removing_stops(sets, policy, now_ms):
    plan = decide_sets(sets, policy, now_ms)
    for count in range(len(plan.removals) + 1):
        assert_whole(sets, left_of(sets, set(plan.removals[:count])))


@given(histories(), POLICIES, NOWS)
def test_what_is_in_use_or_unknown_stays(sets, policy, now_ms):
    kept = set(decide_sets(sets, policy, now_ms).kept)
    for each in sets:
        if each.is_shielded or each.is_read or each.status in (FoundStatus.OPEN, FoundStatus.UNREADABLE):
            assert each.backup_date in kept


@given(histories(), POLICIES, NOWS)
def test_never_under_the_minimum(sets, policy, now_ms):
    """Sets of the future count for nothing, so these are among those that stay beside it."""
    kept = set(decide_sets(sets, policy, now_ms).kept)
    complete = [each for each in sets if each.status is FoundStatus.COMPLETE]
    assert len(kept & {each.backup_date for each in complete}) >= min(policy.minimum, len(complete))
    names = {each.backup_date for each in sets}
    whole = {each.backup_date for each in complete if bases(each) <= names and not each.broken}
    assert len(kept & whole) >= min(policy.minimum, len(whole))


@given(histories(), POLICIES, NOWS)
def test_the_newest_good_set_of_every_table_stays(sets, policy, now_ms):
    kept = set(decide_sets(sets, policy, now_ms).kept)
    names = {each.backup_date for each in sets}
    for table in TABLES:
        good = [each for each in sets if each.status in RESTORABLE and table in each.tables]
        assert not good or max(each.backup_date for each in good) in kept
        whole = [each.backup_date for each in good if set(each.tables[table]) <= names and table not in each.broken]
        assert not whole or max(whole) in kept


@given(histories(), POLICIES, NOWS)
def test_what_is_left_stays_as_it_is(sets, policy, now_ms):
    plan = decide_sets(sets, policy, now_ms)
    again = decide_sets(left_of(sets, set(plan.removals)), policy, now_ms)
    assert again == RetentionPlan(tuple(each for each in plan.decisions if each.is_kept), ())


@given(histories(), POLICIES, NOWS, st.data())
def test_a_run_after_one_that_stopped_removes_the_rest_and_nothing_else(sets, policy, now_ms, data):
    """The set it stopped at has lost its manifest."""
    plan = decide_sets(sets, policy, now_ms)
    if not plan.removals:
        return
    count = data.draw(st.integers(0, len(plan.removals) - 1))
    left = left_of(sets, set(plan.removals[:count]))
    assert decide_sets(left, policy, now_ms).removals == plan.removals[count:]
    torn = [
        msgspec.structs.replace(each, status=FoundStatus.UNFINISHED, tables={})
        if each.backup_date == plan.removals[count]
        else each
        for each in left
    ]
    assert set(decide_sets(torn, policy, now_ms).removals) == set(plan.removals[count:])


@given(histories(), POLICIES, NOWS, st.integers(1, 100 * DAY_MS))
def test_what_goes_now_would_go_later(sets, policy, now_ms, later_ms):
    """Time only makes sets older, and those of the future count: that never makes a reason to keep another one."""
    gone = decide_sets(sets, policy, now_ms).removals
    assert set(gone) <= set(decide_sets(sets, policy, now_ms + later_ms).removals)


@given(histories(), histories(NEXT, days=10), POLICIES, NOWS, st.integers(0, 60 * DAY_MS))
def test_what_goes_now_would_go_after_newer_sets_too(sets, newer, policy, now_ms, later_ms):
    """Newer ones that build on each other, and on what stays. But one that cannot be read may build on anything."""
    plan = decide_sets(sets, policy, now_ms)
    builds_on = plan.kept[-3:]
    newer = [
        msgspec.structs.replace(each, tables={table: (*builds_on, *named) for table, named in each.tables.items()})
        for each in newer
        if each.status is not FoundStatus.UNREADABLE
    ]
    later = decide_sets([*sets, *newer], policy, ms(f"{NEXT} 03:00:00") + later_ms)
    assert set(plan.removals) <= set(later.removals)


@given(histories(), POLICIES, NOWS)
def test_off_is_off(sets, policy, now_ms):
    plan = decide_sets(sets, msgspec.structs.replace(policy, days=None), now_ms)
    assert plan.removals == ()
