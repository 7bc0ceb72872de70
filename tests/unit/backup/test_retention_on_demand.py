"""Which of a table's on-demand backups stay, and why: every rule in a case of its own, then whatever the list."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.backup_names import safety_name, scheduled_name
from chalicelib.backup.retention.on_demand import BackupPolicy, ListedBackup, decide_backups
from chalicelib.backup.retention.plan import RetentionPlan, Why
from tests.unit.backup.histories import DAY_MS, expected, ms, reasons

NOW_MS = ms("2026-11-21 03:00:00")
RUNS, ENDED = "r-20261101T010000Z-0123abcd", "r-20261102T010000Z-0123abcd"
ENVIRONMENT = "prod"
NAMES = {
    "scheduled": scheduled_name(ENVIRONMENT, "2026-11-01"),
    "running": safety_name(ENVIRONMENT, RUNS),
    "resumed": safety_name(ENVIRONMENT, RUNS, 1),
    "ended": safety_name(ENVIRONMENT, ENDED),
    "by-hand": scheduled_name(ENVIRONMENT, "2026-11-01T093000Z"),
    "foreign": "before-the-migration",
    "neighbour": scheduled_name(f"{ENVIRONMENT}-eu", "2026-11-01"),
    "neighbour-ended": safety_name("pro", ENDED),
}


SCHEDULED = frozenset({NAMES["scheduled"], NAMES["by-hand"]})
FOREIGN = frozenset({NAMES["foreign"], NAMES["neighbour"], NAMES["neighbour-ended"]})


def backups(text: str) -> list[ListedBackup]:
    """`a 4 scheduled CREATING SYSTEM`: backup a, four days old, of that name, status (AVAILABLE) and type (USER)."""
    made = []
    for line in filter(str.strip, text.splitlines()):
        label, age_days, name, *rest = line.split()
        status = next((word for word in rest if word not in ("SYSTEM", "AWS_BACKUP")), "AVAILABLE")
        kind = next((word for word in rest if word in ("SYSTEM", "AWS_BACKUP")), "USER")
        made.append(a_backup(label, NAMES[name], NOW_MS - round(float(age_days) * DAY_MS), status, kind))
    return made


def a_backup(label: str, name: str, created_at_ms: int, status: str = "AVAILABLE", kind: str = "USER") -> ListedBackup:
    arn = f"arn:aws:dynamodb:eu-central-1:123456789012:table/orders/backup/{label}"
    return ListedBackup(arn=arn, name=name, created_at_ms=created_at_ms, status=status, backup_type=kind)


def label_of(arn: str) -> str:
    return arn.rsplit("/", 1)[-1]


def policy(days: int | None = 3, minimum: int = 1, safety_days: int | None = 10) -> BackupPolicy:
    return BackupPolicy(days=days, minimum=minimum, safety_days=safety_days)


GOLDEN = {
    "older ones go while enough younger ones are there": (
        policy(3, 2),
        "a 5 scheduled\nb 3 scheduled\nc 2.99 scheduled\nd 1 scheduled",
        "a expired\nb expired\nc WITHIN_DAYS\nd WITHIN_DAYS NEWEST",
    ),
    "too few younger ones: all stay": (
        policy(3, 3),
        "a 5 scheduled\nb 3 scheduled\nc 2 scheduled\nd 1 scheduled",
        "a MINIMUM\nb MINIMUM\nc WITHIN_DAYS MINIMUM\nd WITHIN_DAYS NEWEST MINIMUM",
    ),
    "the schedule has stopped: all stay": (
        policy(3, 1),
        "a 50 scheduled\nb 40 scheduled",
        "a MINIMUM\nb NEWEST MINIMUM",
    ),
    "without a minimum the newest AVAILABLE one still stays": (
        policy(3, 0),
        "a 50 scheduled\nb 40 scheduled\nc 30 scheduled CREATING",
        "a expired\nb NEWEST\nc NOT_AVAILABLE",
    ),
    "one that is being made or deleted is not counted": (
        policy(3, 2),
        "a 5 scheduled\nb 2 scheduled\nc 1 scheduled CREATING\nd 0 scheduled DELETED",
        """a MINIMUM
           b WITHIN_DAYS NEWEST MINIMUM
           c NOT_AVAILABLE WITHIN_DAYS MINIMUM
           d NOT_AVAILABLE WITHIN_DAYS MINIMUM""",
    ),
    "a status that nobody knew of stays": (
        policy(3, 1),
        "a 5 scheduled ARCHIVED\nb 1 scheduled",
        "a NOT_AVAILABLE\nb WITHIN_DAYS NEWEST",
    ),
    "foreign ones are never touched, nor those of AWS, whatever they are called": (
        policy(0, 0, 0),
        "a 500 foreign\nb 400 scheduled SYSTEM\nc 300 ended AWS_BACKUP\nd 200 foreign CREATING\ne 100 scheduled",
        "a NOT_OURS\nb NOT_OURS\nc NOT_OURS\nd NOT_OURS\ne NEWEST",
    ),
    "foreign and safety backups count for no minimum": (
        policy(3, 2),
        "a 5 scheduled\nb 2 scheduled\nc 1 foreign\nd 1 ended\ne 1 scheduled SYSTEM",
        "a MINIMUM\nb WITHIN_DAYS NEWEST MINIMUM\nc NOT_OURS\nd WITHIN_DAYS\ne NOT_OURS",
    ),
    "safety backups have a limit of their own, and no minimum": (
        policy(3, 5),
        "a 10 ended\nb 9.99 ended\nc 4 ended",
        "a expired\nb WITHIN_DAYS\nc WITHIN_DAYS",
    ),
    "safety backups of a restore that has not ended stay": (
        policy(3, 0),
        "a 30 running\nb 20 resumed\nc 15 ended\nd 12 ended CREATING",
        "a RESTORE_NOT_ENDED\nb RESTORE_NOT_ENDED\nc expired\nd NOT_AVAILABLE",
    ),
    "asked for by hand is as if it were scheduled": (
        policy(3, 2),
        "a 5 by-hand\nb 2 by-hand\nc 1 scheduled",
        "a expired\nb WITHIN_DAYS\nc WITHIN_DAYS NEWEST",
    ),
    "those of another stage stay, and count for nothing": (
        policy(3, 2, 1),
        "a 50 neighbour\nb 40 neighbour-ended\nc 5 scheduled\nd 2 neighbour\ne 1 scheduled\nf 0 neighbour",
        "a NOT_OURS\nb NOT_OURS\nc MINIMUM\nd NOT_OURS\ne WITHIN_DAYS NEWEST MINIMUM\nf NOT_OURS",
    ),
    "retention of one kind may be off": (
        policy(None, 0, 10),
        "a 50 scheduled\nb 40 ended\nc 30 scheduled",
        "a RETENTION_OFF\nb expired\nc RETENTION_OFF NEWEST",
    ),
    "and that of the other": (
        policy(3, 0, None),
        "a 50 scheduled\nb 40 ended\nc 30 scheduled",
        "a expired\nb RETENTION_OFF\nc NEWEST",
    ),
    "dated in the future: stays, and takes no other one's place": (
        policy(3, 1),
        "a 50 scheduled\nb 40 scheduled\nc -1 scheduled\nd -1 ended",
        "a MINIMUM\nb NEWEST MINIMUM\nc FUTURE WITHIN_DAYS MINIMUM\nd FUTURE WITHIN_DAYS",
    ),
    "of two made at once both are the newest": (
        policy(3, 0),
        "a 50 scheduled\nb 40 scheduled\nc 40 scheduled\nd 40 scheduled DELETED",
        "a expired\nb NEWEST\nc NEWEST\nd NOT_AVAILABLE",
    ),
}


@pytest.mark.parametrize(("by", "listed", "then"), GOLDEN.values(), ids=GOLDEN.keys())
def test_every_backup_stays_or_goes_for_its_reasons(by, listed, then):
    plan = decide_backups(backups(listed), by, ENVIRONMENT, {RUNS}, NOW_MS)
    assert {label_of(arn): codes for arn, codes in reasons(plan).items()} == expected(then)
    assert [label_of(arn) for arn in plan.removals] == [name for name, code in expected(then).items() if code.islower()]
    assert all(reason.text for each in plan.decisions for reason in each.reasons)


def test_a_restore_is_named_where_it_keeps_a_backup():
    plan = decide_backups(backups("a 30 running"), policy(), ENVIRONMENT, {RUNS}, NOW_MS)
    assert plan.decisions[0].reasons[0].names == (RUNS,)
    assert decide_backups(backups("a 30 running"), policy(), ENVIRONMENT, set(), NOW_MS).kept == ()


def test_the_oldest_go_first():
    plan = decide_backups(
        backups("b 50 ended\na 40 ended\nd 30 ended\nc 50 ended"), policy(), ENVIRONMENT, set(), NOW_MS
    )
    assert [label_of(arn) for arn in plan.removals] == ["b", "c", "a", "d"]


def test_nothing_to_decide_about():
    assert decide_backups([], policy(), ENVIRONMENT, {RUNS}, NOW_MS) == RetentionPlan((), ())


def test_backups_of_two_tables_are_refused():
    """The younger ones of one table are no reason to remove those of another one."""
    (one,) = backups("a 5 scheduled")
    other = msgspec.structs.replace(one, arn=one.arn.replace("orders", "users"))
    with pytest.raises(ValueError, match="more than one table"):
        decide_backups([one, other], policy(), ENVIRONMENT, set(), NOW_MS)


@pytest.mark.parametrize("wrong", [{"days": -1}, {"minimum": -1}, {"safety_days": -2}])
def test_a_policy_of_less_than_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"is -\d; allowed: 0 or more"):
        BackupPolicy(**{"days": 1, "minimum": 1, "safety_days": 1, **wrong})


LISTS = st.lists(
    st.tuples(
        st.sampled_from(list(NAMES.values())),
        st.integers(-2, 60),
        st.sampled_from(["AVAILABLE"] * 5 + ["CREATING", "DELETED"]),
        st.sampled_from(["USER"] * 6 + ["SYSTEM", "AWS_BACKUP"]),
    ),
    max_size=30,
).map(
    lambda made: [
        a_backup(f"{number:04d}", name, NOW_MS - hours * DAY_MS // 4, status, kind)
        for number, (name, hours, status, kind) in enumerate(made)
    ]
)
POLICIES = st.builds(
    BackupPolicy,
    days=st.none() | st.integers(0, 10),
    minimum=st.integers(0, 5),
    safety_days=st.none() | st.integers(0, 15),
)
RESTORES = st.sets(st.sampled_from([RUNS, ENDED]))


def scheduled_of(listed: list[ListedBackup]) -> list[ListedBackup]:
    return [
        each for each in listed if each.name in SCHEDULED and (each.backup_type, each.status) == ("USER", "AVAILABLE")
    ]


@given(LISTS, POLICIES, RESTORES)
def test_only_old_available_backups_of_ours_go(listed, by, not_ended):
    plan = decide_backups(listed, by, ENVIRONMENT, not_ended, NOW_MS)
    assert sorted([*plan.kept, *plan.removals]) == sorted(each.arn for each in listed)
    for each in (each for each in listed if each.arn in plan.removals):
        days = by.days if each.name in SCHEDULED else by.safety_days
        assert days is not None
        assert each.created_at_ms <= NOW_MS - days * DAY_MS
        assert (each.status, each.backup_type) == ("AVAILABLE", "USER")
        assert each.name not in FOREIGN
        assert RUNS not in each.name or RUNS not in not_ended


@given(LISTS, POLICIES, RESTORES)
def test_never_under_the_minimum_and_never_the_newest(listed, by, not_ended):
    plan = decide_backups(listed, by, ENVIRONMENT, not_ended, NOW_MS)
    ours = scheduled_of(listed)
    assert not ours or max(ours, key=lambda each: each.created_at_ms).arn in plan.kept
    gone = [each for each in ours if each.arn in plan.removals]
    if gone and by.days is not None:
        young = [each for each in ours if 0 <= NOW_MS - each.created_at_ms < by.days * DAY_MS]
        assert len({each.arn for each in young} & set(plan.kept)) >= by.minimum


@given(LISTS, POLICIES, RESTORES)
def test_what_is_left_stays_as_it_is_wherever_the_removing_stops(listed, by, not_ended):
    plan = decide_backups(listed, by, ENVIRONMENT, not_ended, NOW_MS)
    for count in range(len(plan.removals) + 1):
        left = [each for each in listed if each.arn not in plan.removals[:count]]
        again = decide_backups(left, by, ENVIRONMENT, not_ended, NOW_MS)
        assert again.removals == plan.removals[count:]
    assert again.decisions == tuple(each for each in plan.decisions if each.is_kept)


@given(LISTS, POLICIES, RESTORES, st.integers(1, 20 * DAY_MS))
def test_what_goes_now_would_go_later_but_for_the_minimum(listed, by, not_ended, later_ms):
    """Young ones get older, and there may be too few of them then."""
    gone = decide_backups(listed, by, ENVIRONMENT, not_ended, NOW_MS).removals
    later = decide_backups(listed, by, ENVIRONMENT, not_ended, NOW_MS + later_ms)
    for each in later.decisions:
        if each.name in gone and each.is_kept:
            assert {reason.code for reason in each.reasons} == {Why.MINIMUM}
