"""The naive policy says what README says, on a few sets that one can look at."""

from typing import Any

import pytest

from tests.simulation.year.policy import Policy, Seen, backups_to_keep, sets_to_keep

_DAY_MS = 24 * 3600 * 1000
_NOW_MS = 1_798_761_600_000  # 2027-01-01


def _table(name: str, day: str, *bases: str, status: str = "COMPLETED") -> dict[str, Any]:
    def link(number: int, of: str) -> dict[str, Any]:
        begun = {"export_type": "FULL_EXPORT", "export_time": f"{of}T01:00:00Z"}
        went_on = {"export_type": "INCREMENTAL_EXPORT", "from": f"{(*bases, day)[number - 1]}T01:00:00Z"}
        entry = begun if number == 0 else {**went_on, "to": f"{of}T01:00:00Z"}
        return {**entry, "manifest_files_key": f"native-exports/{of}/{name}/AWSDynamoDB/1/manifest-files.json"}

    entries = [link(number, of) for number, of in enumerate((*bases, day))]
    return {**entries[-1], "table_name": name, "status": status, "base": entries[:-1]}


def _set(day: str, *bases: str, status: str = "COMPLETE", **more: Any) -> Seen:
    completed = "COMPLETED" if status == "COMPLETE" else "FAILED"
    tables = [_table("a", day, *bases), _table("b", day, *bases, status=completed)]
    return Seen(day, {"status": status, "tables": tables}, **more)


@pytest.mark.parametrize(
    ("sets", "policy", "kept"),
    [
        ([_set("2026-12-30"), _set("2026-12-20")], Policy(5, 0), {"2026-12-30"}),
        ([_set("2026-12-10"), _set("2026-12-09"), _set("2026-12-08")], Policy(5, 2), {"2026-12-10", "2026-12-09"}),
        ([_set("2026-12-30"), _set("2026-12-01", is_shielded=True)], Policy(5, 0), {"2026-12-30", "2026-12-01"}),
        ([_set("2026-12-30"), _set("2026-12-01", is_open=True)], Policy(5, 0), {"2026-12-30", "2026-12-01"}),
        # The chain of what stays stays.
        ([_set("2026-12-30", "2026-12-21"), _set("2026-12-21")], Policy(5, 0), {"2026-12-30", "2026-12-21"}),
        # A table whose newest set is old: that one stays.
        ([_set("2026-12-30", status="PARTIAL"), _set("2026-12-01")], Policy(5, 0), {"2026-12-30", "2026-12-01"}),
        # Of a period a set with all tables is better than a later one without some.
        (
            [_set("2026-12-30"), _set("2026-11-28", status="PARTIAL"), _set("2026-11-27"), _set("2026-11-26")],
            Policy(5, 0, monthly=2),
            {"2026-12-30", "2026-11-27"},
        ),
        (
            [_set("2026-12-30"), _set("2026-12-22"), _set("2026-12-21")],
            Policy(5, 0, weekly=2),
            {"2026-12-30", "2026-12-22"},
        ),
    ],
)
def test_what_stays(sets, policy, kept):
    assert set(sets_to_keep(sets, policy, _NOW_MS)) == kept


@pytest.mark.parametrize(
    ("ages_days", "minimum", "kept"),
    [
        ([0, 1, 2, 8, 9], 3, {0, 1, 2}),
        ([0, 1, 8, 9], 3, {0, 1, 8, 9}),  # under the minimum nothing goes
        ([8, 9], 0, {8}),  # the newest stays
        ([], 3, set()),
    ],
)
def test_which_backups_stay(ages_days, minimum, kept):
    policy = Policy(5, minimum, on_demand_days=7)
    backups = [(str(age), _NOW_MS - age * _DAY_MS) for age in ages_days]
    assert backups_to_keep(backups, policy, _NOW_MS) == {str(age) for age in kept}
