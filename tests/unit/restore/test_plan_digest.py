"""The digest of a plan: the same for the same plan, another for another one."""

import msgspec
import pytest

from chalicelib.restore.model import Mode
from chalicelib.restore.plan_digest import plan_digest
from tests.unit.restore.test_decision import a_job, a_table

TABLES = [
    a_table(plan_digest="p1", target_digest="t1"),
    a_table(source="users", target="people", number=1, plan_digest="p2", target_digest="t2"),
]


def test_it_is_known_only_when_every_table_was_checked():
    for name in ("plan_digest", "target_digest"):
        unchecked = msgspec.structs.replace(TABLES[1], **{name: None})
        assert plan_digest(a_job(), [TABLES[0], unchecked]) is None
    digest = plan_digest(a_job(), TABLES)
    assert digest is not None
    assert len(digest) == 64


def test_it_is_the_same_in_any_order_and_whoever_writes_how_fast():
    expected = plan_digest(a_job(), TABLES)
    assert plan_digest(a_job(), TABLES[::-1]) == expected
    for same in (
        {"max_workers": 99},
        {"max_write_units": 7},
        {"restore_id": "r-20261121T010000Z-00000002"},
        {"dry_run": True, "targets": []},
        {"requested_by": "another"},
    ):
        assert plan_digest(a_job(**same), TABLES) == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"backup_date": "2026-11-22"},
        {"mode": Mode.MISSING_ONLY},
        {"clear_existing_data": True},
        {"create_missing_tables": True},
        {"keys_digest": "k"},
    ],
)
def test_what_else_is_asked_for_is_another_plan(changed):
    assert plan_digest(a_job(**changed), TABLES) != plan_digest(a_job(), TABLES)


@pytest.mark.parametrize("changed", [{"source": "x"}, {"target": "x"}, {"plan_digest": "x"}, {"target_digest": "x"}])
def test_other_data_or_another_target_is_another_plan(changed):
    other = [msgspec.structs.replace(TABLES[0], **changed), TABLES[1]]
    assert plan_digest(a_job(), other) != plan_digest(a_job(), TABLES)
    assert plan_digest(a_job(), TABLES[:1]) != plan_digest(a_job(), TABLES)
