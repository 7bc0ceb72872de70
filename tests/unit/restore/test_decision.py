"""The decision function over generated states: what must never follow from any state, and that every one ends."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.restore.decision import (
    ACCEPTING_LIMIT_MS,
    BLOCKED,
    AwaitClaims,
    Close,
    Finish,
    Move,
    Rest,
    Work,
    decide,
    status_code,
)
from chalicelib.restore.model import ALLOWED_MOVES, CANCELLABLE, PHASES, TERMINAL, Job, Status, Table

NOW_MS = 1_800_000_000_000


def a_job(status=Status.LOADING, **changes) -> Job:
    return Job(
        **{
            "restore_id": "r-20261121T010000Z-00000001",
            "status": status,
            "created_at_ms": NOW_MS,
            "moved_at_ms": NOW_MS,
            "bucket": "bucket",
            "exports_prefix": "native-exports",
            "backup_date": "2026-11-21",
            "dry_run": False,
            "clear_existing_data": False,
            "safety_backup": False,
            "max_workers": 5,
            "table_count": 1,
            "targets": ["orders"],
            "requested_by": "tests",
            "open_kind": "RESTORE",
            **changes,
        }
    )


def a_table(**changes) -> Table:
    return Table(
        **{
            "source": "orders",
            "target": "orders",
            "number": 0,
            "item_count": 10,
            "manifest_files_key": "k",
            "manifest_files_md5": None,
            "definition_key": "d",
            **changes,
        }
    )


def ended(table: Table, *phases: Status, failed: int = 0) -> Table:
    """The table with every shard of these phases ended."""
    for phase in phases:
        name = phase.value.lower()
        total = table.phase(phase).total
        table = msgspec.structs.replace(table, **{f"{name}_ended": total, f"{name}_failed": min(failed, total)})
    return table


def a_loaded_table(**changes) -> Table:
    whole = a_table(data_files=2, checking_total=3, loading_total=2, balanced=2, written=10)
    return msgspec.structs.replace(ended(whole, *PHASES), **changes)


counts = st.integers(min_value=0, max_value=4)


@st.composite
def tables(draw) -> Table:
    fields: dict[str, int] = {}
    for phase in PHASES:
        name = phase.value.lower()
        total = draw(counts)
        done = draw(st.integers(0, total))
        fields |= {f"{name}_total": total, f"{name}_ended": done, f"{name}_failed": draw(st.integers(0, done))}
    numbers = ("blockers", "written", "rejected", "skipped", "unbalanced", "balanced", "data_files", "item_count")
    return a_table(**fields, **{name: draw(counts) for name in numbers})


@st.composite
def jobs(draw) -> Job:
    return a_job(
        status=draw(st.sampled_from(Status)),
        dry_run=draw(st.booleans()),
        clear_existing_data=draw(st.booleans()),
        safety_backup=draw(st.booleans()),
        open_kind=draw(st.sampled_from(["RESTORE", None])),
        created_at_ms=NOW_MS - draw(st.integers(0, 2 * ACCEPTING_LIMIT_MS)),
    )


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_every_decision_is_an_allowed_move(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if isinstance(decision, Move):
        assert decision.to in ALLOWED_MOVES[job.status]
    if isinstance(decision, Finish):
        assert decision.status in ALLOWED_MOVES[job.status]
        assert decision.status in TERMINAL


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_a_phase_is_never_left_while_one_of_its_shards_has_not_ended(job, of_job):
    if job.status not in PHASES:
        return
    remaining = sum(table.phase(job.status).remaining for table in of_job)
    decision = decide(job, of_job, NOW_MS)
    assert (decision == Work(remaining)) == (remaining > 0)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_nothing_is_touched_while_there_are_blockers_or_in_a_dry_run(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    touching = {Status.SAFEGUARDING, Status.CLEARING, Status.LOADING}
    blocked = any(table.blockers or table.checking_failed or table.planning_failed for table in of_job)
    if job.status is Status.CHECKING and (blocked or job.dry_run):
        assert not (isinstance(decision, Move) and decision.to in touching)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_clearing_follows_only_a_request_to_clear_and_its_safety_backups(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if decision == Move(Status.CLEARING):
        assert job.clear_existing_data
        if job.safety_backup:
            assert job.status is Status.SAFEGUARDING
            assert not any(table.safeguarding_failed for table in of_job)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_completed_only_when_every_item_of_every_table_is_accounted_for(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if isinstance(decision, Finish) and decision.status is Status.COMPLETED and not job.dry_run:
        for table in of_job:
            assert table.accounted == table.item_count
            assert table.rejected == table.unbalanced == table.failed_shards == 0
            assert table.balanced == table.data_files


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_every_restore_comes_to_an_end_when_its_shards_do(job, of_job):
    of_job = [ended(table, *PHASES) for table in of_job]
    for _ in range(len(Status) + 1):
        decision = decide(job, of_job, NOW_MS + ACCEPTING_LIMIT_MS + 1)
        if isinstance(decision, Move):
            job = msgspec.structs.replace(job, status=decision.to)
        elif isinstance(decision, Finish):
            job = msgspec.structs.replace(job, status=decision.status)
        elif isinstance(decision, AwaitClaims):
            job = msgspec.structs.replace(job, status=Status.CANCELLED)
        elif isinstance(decision, Close):
            job = msgspec.structs.replace(job, open_kind=None)
        else:
            break
    assert decision == Rest()
    assert job.status in TERMINAL
    assert job.open_kind is None


def test_all_pairs_of_statuses_are_allowed_or_not_as_the_design_says():
    allowed = {
        "ACCEPTING": "PLANNING FAILED",
        "PLANNING": "CHECKING FAILED CANCELLING",
        "CHECKING": "SAFEGUARDING CLEARING LOADING COMPLETED FAILED CANCELLING",
        "SAFEGUARDING": "CLEARING LOADING FAILED CANCELLING",
        "CLEARING": "LOADING CANCELLING",
        "LOADING": "VERIFYING CANCELLING",
        "VERIFYING": "COMPLETED PARTIAL FAILED CANCELLING",
        "CANCELLING": "CANCELLED",
    }
    for source, target in itertools.product(Status, Status):
        assert (target in ALLOWED_MOVES[source]) == (target.value in allowed.get(source.value, "").split())
    assert {Status.COMPLETED, Status.PARTIAL, Status.FAILED, Status.CANCELLED} == TERMINAL
    assert set(PHASES) == CANCELLABLE


def test_a_table_that_could_not_be_planned_ends_the_restore_before_its_shards_are_looked_at():
    table = a_table(planning_ended=1, planning_failed=1)
    assert decide(a_job(Status.PLANNING), [table], NOW_MS) == Finish(Status.FAILED, BLOCKED)


def test_a_whole_restore_is_completed():
    assert decide(a_job(Status.VERIFYING), [a_loaded_table()], NOW_MS) == Finish(Status.COMPLETED)


@pytest.mark.parametrize(
    "changes",
    [
        {"rejected": 1, "written": 9},
        {"written": 9},
        {"unbalanced": 1, "balanced": 1},
        {"balanced": 1},
        {"loading_failed": 1},
        {"clearing_total": 1, "clearing_ended": 1, "clearing_failed": 1},
    ],
)
def test_a_restore_that_lacks_anything_is_partial(changes):
    decision = decide(a_job(Status.VERIFYING), [a_loaded_table(**changes)], NOW_MS)
    assert isinstance(decision, Finish)
    assert decision.status is Status.PARTIAL


def test_a_restore_of_which_nothing_arrived_is_failed():
    nothing = a_loaded_table(written=0, rejected=10)
    decision = decide(a_job(Status.VERIFYING), [nothing], NOW_MS)
    assert isinstance(decision, Finish)
    assert decision.status is Status.FAILED


def test_an_empty_table_restores_to_completed():
    empty = a_loaded_table(item_count=0, written=0)
    assert decide(a_job(Status.VERIFYING), [empty], NOW_MS) == Finish(Status.COMPLETED)


def test_a_request_that_was_never_accepted_completely_ends_failed_after_its_limit():
    job = a_job(Status.ACCEPTING)
    assert decide(job, [], NOW_MS + ACCEPTING_LIMIT_MS) == Rest()
    late = decide(job, [], NOW_MS + ACCEPTING_LIMIT_MS + 1)
    assert isinstance(late, Finish)
    assert late.status is Status.FAILED


def test_cancelling_waits_for_claims_whatever_the_shards_say():
    assert decide(a_job(Status.CANCELLING), [a_loaded_table()], NOW_MS) == AwaitClaims()


@pytest.mark.parametrize(
    ("status", "restored", "code"),
    [
        (Status.COMPLETED, True, 200),
        (Status.COMPLETED, False, 200),
        (Status.PARTIAL, True, 207),
        (Status.FAILED, False, 500),
        (Status.CANCELLED, True, 207),
        (Status.CANCELLED, False, 500),
    ],
)
def test_status_codes_are_those_people_know(status, restored, code):
    assert status_code(status, restored) == code
