"""Which sets stay, and why: every rule in a case of its own; and in which order the others go."""

from datetime import datetime, timedelta

import pytest

from chalicelib.backup.retention.found import SetPolicy, broken_of, tables_of
from chalicelib.backup.retention.plan import RetentionPlan, Why
from chalicelib.backup.retention.sets import decide_sets
from tests.unit.backup.documents import DATE, a_failed_table, a_full_table, a_link, a_manifest, an_increment
from tests.unit.backup.histories import DAY_MS, expected, history, ms, reasons
from tests.unit.backup.retention_cases import GOLDEN, policy

NOW = "2026-11-21 03:00:00"
BERLIN = "Europe/Berlin"


def decided(text: str, by: SetPolicy, now: str = NOW) -> RetentionPlan:
    return decide_sets(history(text), by, ms(now))


@pytest.mark.parametrize(("by", "sets", "then"), GOLDEN.values(), ids=GOLDEN.keys())
def test_every_set_stays_or_goes_for_its_reasons(by, sets, then):
    plan = decided(sets, by)
    assert reasons(plan) == expected(then)
    assert sorted(plan.removals) == sorted(name for name, codes in expected(then).items() if codes.islower())
    assert set(plan.kept) == set(expected(then)) - set(plan.removals)


def test_nothing_to_decide_about():
    assert decided("", policy()) == RetentionPlan((), ())


def test_decisions_come_by_name_whatever_order_the_sets_come_in():
    sets = history("2026-11-03 COMPLETE\n2026-11-01 COMPLETE\n2026-11-02 COMPLETE")
    assert [each.name for each in decide_sets(sets, policy(), ms(NOW)).decisions] == [
        "2026-11-01",
        "2026-11-02",
        "2026-11-03",
    ]


def test_reasons_name_what_they_speak_of_and_texts_stay_short():
    days = [f"2026-11-{day:02d}" for day in range(2, 21)]
    text = "2026-11-01 COMPLETE orders users\n" + "\n".join(f"{day} COMPLETE orders<2026-11-01 users" for day in days)
    plan = decided(text, policy(30))
    (found,) = (reason for reason in plan.decisions[0].reasons if reason.code is Why.NEEDED)
    assert found.names == tuple(days)
    assert found.text.endswith("needs it: 2026-11-02, 2026-11-03, 2026-11-04, 2026-11-05, 2026-11-06 and 14 more")
    (newest,) = (reason for reason in plan.decisions[-1].reasons if reason.code is Why.NEWEST)
    assert (newest.names, newest.text) == (("orders", "users"), "it is the newest good set of orders, users")
    assert all(reason.text for each in plan.decisions for reason in each.reasons)


def test_periods_are_those_of_the_schedules_time_zone():
    """23:30 in UTC is half past midnight in Berlin: of the next day, of which there is a set, and of the next month."""
    text = """2026-10-31T233000Z COMPLETE orders
              2026-11-01 COMPLETE orders
              2026-11-05 COMPLETE orders"""
    assert reasons(decided(text, policy(0, 0, daily=3, monthly=2))) == expected(
        """2026-10-31T233000Z DAILY MONTHLY
           2026-11-01 DAILY
           2026-11-05 DAILY MONTHLY NEWEST"""
    )
    assert reasons(decided(text, policy(0, 0, daily=3, monthly=2, timezone=BERLIN))) == expected(
        """2026-10-31T233000Z DAILY
           2026-11-01 expired
           2026-11-05 DAILY MONTHLY NEWEST"""
    )


@pytest.mark.parametrize(
    ("name", "timezone", "over"),
    [
        # A day ends at its midnight there: one of 23 hours, one of 25, and one whose next day begins at one o'clock.
        ("2026-11-21", "UTC", "2026-11-22 00:00:00"),
        ("2026-11-21", BERLIN, "2026-11-21 23:00:00"),
        ("2026-11-21", "America/Los_Angeles", "2026-11-22 08:00:00"),
        ("2026-03-29", BERLIN, "2026-03-29 22:00:00"),
        ("2026-10-25", BERLIN, "2026-10-25 23:00:00"),
        ("2018-11-03", "America/Sao_Paulo", "2018-11-04 03:00:00"),
        ("2026-11-21T093000Z", BERLIN, "2026-11-21 09:30:01"),
    ],
)
def test_no_set_goes_before_its_days_are_over(name, timezone, over):
    later = datetime.fromisoformat(over).date() + timedelta(days=2)
    sets = history(f"{name} COMPLETE orders\n{later} COMPLETE orders")
    over_ms = ms(over) + 10 * DAY_MS
    by = policy(10, 0, timezone=timezone)
    assert decide_sets(sets, by, over_ms - 1).removals == ()
    assert decide_sets(sets, by, over_ms).removals == (name,)


@pytest.mark.parametrize("wrong", [{"days": -1}, {"minimum": -1}, {"weekly": -2}])
def test_a_policy_of_less_than_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"is -\d; allowed: 0 or more"):
        SetPolicy(**{"days": 1, "minimum": 1, **wrong})


def test_a_time_zone_that_is_none_is_refused():
    with pytest.raises(ValueError, match="unknown time zone 'Mars/Base'"):
        decided("", policy(timezone="Mars/Base"))


def test_a_set_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="same name"):
        decided("2026-11-01 OPEN\n2026-11-01 COMPLETE orders", policy())


# --- in which order they go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "order"),
    [
        ("2026-01-01 COMPLETE orders\n2026-01-02 COMPLETE orders", "2026-01-02 2026-01-01"),
        (
            """2026-01-01 COMPLETE orders
               2026-01-02 COMPLETE orders<2026-01-01
               2026-01-03 COMPLETE orders<2026-01-01,2026-01-02
               2026-01-04 COMPLETE orders""",
            "2026-01-04 2026-01-03 2026-01-02 2026-01-01",
        ),
        # The day's set was taken late that day, after the one by hand that it builds on.
        (
            """2026-01-01 COMPLETE orders<2026-01-01T090000Z
               2026-01-01T090000Z COMPLETE orders
               2026-01-02 COMPLETE orders<2026-01-01T090000Z""",
            "2026-01-02 2026-01-01 2026-01-01T090000Z",
        ),
        # Two that build on each other, which no export can, and one that builds on itself.
        (
            """2026-01-01 COMPLETE orders
               2026-01-02 COMPLETE orders<2026-01-01,2026-01-03
               2026-01-03 COMPLETE orders<2026-01-02
               2026-01-04 COMPLETE orders<2026-01-04""",
            "2026-01-04 2026-01-03 2026-01-02 2026-01-01",
        ),
    ],
)
def test_dependants_go_first_then_the_newest(sets, order):
    plan = decided(f"{sets}\n2026-06-01 COMPLETE orders", policy(3))
    assert plan.removals == tuple(order.split())
    assert plan.kept == ("2026-06-01",)


def test_where_no_set_is_full_for_all_tables_nothing_can_go():
    """What `chains` says of full exports on different days: every set needs the one before it for some table."""
    text = ["2026-01-01 COMPLETE orders users"]
    for day in range(2, 29):
        other = "orders" if day % 2 else "users"
        full = "users" if day % 2 else "orders"
        text.append(f"2026-01-{day:02d} COMPLETE {full} {other}<2026-01-{day - 1:02d}")
    assert decided("\n".join(text), policy(3)).removals == ()


def test_the_newest_by_name_stays_also_where_another_one_is_newer():
    """19:00 of the day before in Los Angeles: restores of the latest set take it by its name."""
    text = "2026-11-01 COMPLETE orders\n2026-11-01T030000Z COMPLETE orders"
    assert reasons(decided(text, policy(3, 0, timezone="America/Los_Angeles"))) == expected(
        "2026-11-01 NEWEST\n2026-11-01T030000Z NEWEST"
    )


def test_a_table_with_a_gap_in_its_chain_is_broken():
    gap = an_increment("users", export_from="2026-11-20T02:00:00.000Z")
    tables = (a_full_table("orders"), an_increment("carts"), gap, a_failed_table("items"))
    assert broken_of(a_manifest(*tables)) == {"users"}


def test_the_tables_of_a_manifest_are_those_that_completed_with_the_other_sets_they_build_on():
    split = an_increment(
        "users", base=(a_link("users", "2026-11-15"), a_link("users", "2026-11-20"), a_link("users", DATE))
    )
    manifest = a_manifest(a_full_table("orders"), split, a_failed_table("carts"))
    assert tables_of(manifest) == {"orders": (), "users": ("2026-11-15", "2026-11-20")}
