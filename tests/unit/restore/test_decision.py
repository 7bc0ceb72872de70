"""The decision function over generated states: what must never follow from any state, and that every one ends."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.restore.decision import (
    ACCEPTING_LIMIT_MS,
    BLOCKED,
    Abandon,
    AwaitClaims,
    Close,
    Finish,
    Move,
    Rest,
    Work,
    decide,
    status_code,
)
from chalicelib.restore.model import (
    ALLOWED_MOVES,
    CANCELLABLE,
    PHASES,
    TERMINAL,
    Comparison,
    Job,
    Mode,
    Status,
    Table,
)
from chalicelib.restore.plan_digest import plan_digest

GONE_ON_IN = [phase for phase in PHASES if phase in ALLOWED_MOVES[Status.REOPENING]]
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
            "definition_key": "d",
            **changes,
        }
    )


def ended(table: Table, *phases: Status, failed: int = 0, resumes: int = 0) -> Table:
    """The table with every shard of these phases ended."""
    for phase in sorted(phases, key=list(PHASES).index):
        name = phase.value.lower()
        table = msgspec.structs.replace(table, **{f"{name}_failed": 0})
        total = table.phase(phase, resumes).total
        table = msgspec.structs.replace(table, **{f"{name}_ended": total, f"{name}_failed": min(failed, total)})
    return table


def a_loaded_table(**changes) -> Table:
    whole = a_table(data_files=2, checking_total=3, loading_total=2, balanced=2, written=10)
    return msgspec.structs.replace(ended(whole, *set(PHASES) - {Status.COMPARING}), **changes)


counts = st.integers(min_value=0, max_value=4)
TOTALLED = [phase for phase in PHASES if phase not in (Status.REOPENING, Status.COMPARING)]


@st.composite
def tables(draw) -> Table:
    """Also chains: `link_ends` says up to which shard each link reaches."""
    fields: dict[str, Any] = {}
    for phase in PHASES:
        name = phase.value.lower()
        total = draw(counts)
        done = draw(st.integers(0, total))
        fields |= {f"{name}_ended": done, f"{name}_failed": draw(st.integers(0, done))}
        if phase in TOTALLED:
            fields[f"{name}_total"] = total
    ends = draw(st.lists(st.integers(0, fields["loading_total"]), max_size=3))
    fields["link_ends"] = [*sorted(ends), fields["loading_total"]]
    numbers = ("blockers", "written", "rejected", "skipped", "unbalanced", "balanced", "data_files", "item_count")
    digests = {name: draw(st.sampled_from([None, "d"])) for name in ("plan_digest", "target_digest")}
    return a_table(**fields, **digests, **{name: draw(counts) for name in (*numbers, "differing", "unchanged")})


@st.composite
def jobs(draw) -> Job:
    return a_job(
        status=draw(st.sampled_from(Status)),
        dry_run=draw(st.booleans()),
        clear_existing_data=draw(st.booleans()),
        safety_backup=draw(st.booleans()),
        create_missing_tables=draw(st.booleans()),
        comparison=draw(st.sampled_from(Comparison)),
        mode=draw(st.sampled_from(Mode)),
        plan_digest=draw(st.sampled_from([None, "a" * 64])),
        resumes=draw(st.integers(0, 3)),
        resume_to=draw(st.sampled_from([None, *GONE_ON_IN])),
        resumed_from=draw(st.sampled_from([None, Status.PARTIAL, Status.FAILED, Status.CANCELLED])),
        open_kind=draw(st.sampled_from(["RESTORE", None])),
        created_at_ms=NOW_MS - draw(st.integers(0, 2 * ACCEPTING_LIMIT_MS)),
        moved_at_ms=NOW_MS - draw(st.integers(0, 2 * ACCEPTING_LIMIT_MS)),
    )


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_every_decision_is_an_allowed_move(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if isinstance(decision, Move):
        assert decision.to in ALLOWED_MOVES[job.status]
    if isinstance(decision, Finish | Abandon):
        assert decision.status in ALLOWED_MOVES[job.status]
        assert decision.status in TERMINAL


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_a_phase_is_never_left_while_one_of_its_shards_has_not_ended(job, of_job):
    if job.status not in PHASES:
        return
    remaining = sum(table.phase(job.status, job.resumes).remaining for table in of_job)
    decision = decide(job, of_job, NOW_MS)
    assert (decision == Work(remaining)) == (remaining > 0)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_nothing_is_touched_while_there_are_blockers_or_in_a_dry_run(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    touching = {Status.SAFEGUARDING, Status.CREATING, Status.CLEARING, Status.LOADING}
    blocked = any(table.blockers or table.checking_failed or table.planning_failed for table in of_job)
    if job.status is Status.CHECKING and (blocked or job.dry_run):
        assert not (isinstance(decision, Move) and decision.to in touching)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_nothing_is_touched_by_another_plan_than_the_one_that_was_reviewed(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if job.status is Status.CHECKING and isinstance(decision, Move):
        assert job.plan_digest in (None, plan_digest(job, of_job))


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_clearing_follows_only_a_request_to_clear_and_its_safety_backups(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if decision == Move(Status.CLEARING) and job.status is not Status.REOPENING:
        assert job.clear_existing_data
        assert job.status is not Status.CHECKING or not job.safety_backup
        if job.status in (Status.SAFEGUARDING, Status.CREATING):
            assert not any(table.phase(job.status).failed for table in of_job)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_a_phase_that_was_not_asked_for_is_never_entered_and_one_that_was_never_left_out(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if job.status not in PHASES or job.status is Status.REOPENING or not isinstance(decision, Move):
        return
    asked = {
        Status.SAFEGUARDING: job.safety_backup,
        Status.CREATING: job.create_missing_tables,
        Status.CLEARING: job.clear_existing_data,
        Status.FINISHING: job.create_missing_tables,
        Status.COMPARING: job.comparison is not Comparison.NONE,
    }
    order = list(PHASES)
    passed_over = order[order.index(job.status) + 1 : order.index(decision.to)]
    assert asked.get(decision.to, True)
    assert not any(asked.get(phase, True) for phase in passed_over)


@given(tables())
def test_no_shard_of_a_later_link_may_be_claimed_before_every_earlier_one_has_ended(table):
    table = msgspec.structs.replace(table, loading_failed=0)
    begun = [end for end in table.link_ends if end <= table.loading_ended]
    following = [end for end in table.link_ends if end > table.loading_ended]
    assert table.claimable_shards == (following[0] if following else table.loading_total)
    assert all(end <= table.claimable_shards for end in begun)


@given(tables(), st.integers(1, 4))
def test_after_a_failure_no_later_link_begins_and_loading_ends(table, failed):
    """Shard by shard: the failed one is the last of the ended ones of its link or not, whatever comes after."""
    if not 0 < table.loading_ended <= table.loading_total:
        return
    table = msgspec.structs.replace(table, loading_failed=min(failed, table.loading_ended))
    of_link = next(end for end in table.link_ends if end >= table.loading_ended)
    assert table.claimable_shards == table.loading_due == of_link
    finished = msgspec.structs.replace(table, loading_ended=table.loading_due)
    assert finished.claimable_shards == of_link
    assert decide(a_job(), [finished], NOW_MS) == Move(Status.VERIFYING)
    verified = msgspec.structs.replace(finished, verifying_total=1, verifying_ended=1)
    outcome = decide(a_job(Status.VERIFYING), [verified], NOW_MS)
    assert isinstance(outcome, Finish)
    assert outcome.status in (Status.PARTIAL, Status.FAILED)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_what_was_not_written_down_completely_ends_as_it_had_ended(job, of_job):
    job = msgspec.structs.replace(job, status=Status.RESUMING, resumed_from=Status.PARTIAL)
    late = NOW_MS - job.moved_at_ms > ACCEPTING_LIMIT_MS
    assert decide(job, of_job, NOW_MS) == (Abandon(Status.PARTIAL) if late else Rest())


@given(st.sampled_from(GONE_ON_IN), st.integers(1, 3))
def test_a_reopened_restore_goes_on_where_it_is_to_once_all_of_it_was_put_back(resume_to, resumes):
    job = a_job(Status.REOPENING, resumes=resumes, resume_to=resume_to)
    tables_ = [a_table(reopening_ended=resumes), a_table(reopening_ended=resumes - 1)]
    assert decide(job, tables_, NOW_MS) == Work(1)
    assert decide(job, [tables_[0]] * 2, NOW_MS) == Move(resume_to)


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_completed_only_when_every_item_of_every_table_is_accounted_for(job, of_job):
    decision = decide(job, of_job, NOW_MS)
    if isinstance(decision, Finish) and decision.status is Status.COMPLETED and not job.dry_run:
        for table in of_job:
            assert table.accounted == table.item_count
            assert table.rejected == table.unbalanced == table.failed_shards == table.differing == 0
            assert table.loading_ended >= table.loading_total
            assert table.balanced == table.data_files


@given(jobs(), st.lists(tables(), min_size=1, max_size=4))
def test_every_restore_comes_to_an_end_when_its_shards_do(job, of_job):
    job = msgspec.structs.replace(job, resumed_from=job.resumed_from or Status.FAILED)
    of_job = [ended(table, *PHASES, resumes=job.resumes) for table in of_job]
    for _ in range(len(Status) + 1):
        decision = decide(job, of_job, NOW_MS + ACCEPTING_LIMIT_MS + 1)
        if isinstance(decision, Move):
            job = msgspec.structs.replace(job, status=decision.to)
        elif isinstance(decision, Finish | Abandon):
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
        "RESUMING": "REOPENING CANCELLED PARTIAL FAILED",
        "REOPENING": "PLANNING LOADING COMPARING FINISHING VERIFYING CANCELLING CANCELLED PARTIAL FAILED",
        "PLANNING": "CHECKING FAILED CANCELLING",
        "CHECKING": "SAFEGUARDING CREATING CLEARING LOADING COMPLETED FAILED CANCELLING",
        "SAFEGUARDING": "CREATING CLEARING LOADING FAILED CANCELLING",
        "CREATING": "CLEARING LOADING FAILED CANCELLING",
        "CLEARING": "LOADING CANCELLING",
        "LOADING": "COMPARING FINISHING VERIFYING CANCELLING",
        "COMPARING": "FINISHING VERIFYING CANCELLING",
        "FINISHING": "VERIFYING CANCELLING",
        "VERIFYING": "COMPLETED PARTIAL FAILED CANCELLING",
        "CANCELLING": "CANCELLED",
        "PARTIAL": "RESUMING",
        "FAILED": "RESUMING",
        "CANCELLED": "RESUMING",
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
        {"finishing_total": 1, "finishing_ended": 1, "finishing_failed": 1},
        {"comparing_failed": 1},
        {"differing": 1},
        {"loading_total": 3, "link_ends": [2, 3]},
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
