"""What a table's on-demand backup needs next: every rule in a case of its own, then whatever there is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.backup.on_demand.rows import BackupState, RunRecord, RunRow, RunState, TableRow
from chalicelib.backup.on_demand.steps import (
    GIVE_UP_MS,
    Create,
    Describe,
    Fail,
    Found,
    Seen,
    Step,
    next_step,
    not_seen,
    nothing_yet,
    seen,
)
from chalicelib.backup.plan import Failure
from chalicelib.backup.retention.on_demand import ListedBackup

START_MS = 1_795_222_820_000
DATE = "2026-11-21"
NAME = f"tablevault-prod-scheduled-{DATE}"
ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/backup/01"
RUN = RunRow(
    backup_date=DATE, status=RunState.OPEN, environment="prod", started_at_ms=START_MS, tables=["orders", "catalog"]
)
LATER_MS = START_MS + 60_000
TROUBLE = Failure("InternalServerError", "backups cannot be listed: InternalServerError")
REFUSED = Failure("AccessDeniedException", "backups cannot be listed: grant it")


def row(status: str = "PENDING", attempt: int = 1, until_ms: int = 0, arn: str | None = None) -> TableRow:
    return TableRow(
        backup_date=DATE,
        table_name="orders",
        status=BackupState(status),
        attempt=attempt,
        attempt_until_ms=until_ms,
        backup_arn=arn,
    )


def backup(
    status: str = "AVAILABLE", name: str = NAME, arn: str = ARN, kind: str = "USER", at: int = 0
) -> ListedBackup:
    return ListedBackup(arn=arn, name=name, created_at_ms=START_MS + at, status=status, backup_type=kind)


def look(*backups: ListedBackup, at_ms: int = LATER_MS) -> Seen:
    return seen(RUN, at_ms, backups)


CREATING = row("CREATING", arn=ARN)
CASES: dict[str, tuple[TableRow, Seen, Step | str | None]] = {
    "never tried": (row(attempt=0), look(), Create()),
    "never tried, in a run that begins": (row(attempt=0), nothing_yet(START_MS), Create()),
    "refused before": (row(), look(), Create()),
    "claimed": (row(until_ms=LATER_MS + 1), look(), None),
    "its claim has ended": (row(until_ms=LATER_MS), look(), Create()),
    "claimed, and made": (row(until_ms=LATER_MS + 1), look(backup()), Found(backup())),
    "being made": (row(), look(backup("CREATING")), Found(backup("CREATING"))),
    "never tried by this ledger, and made": (row(attempt=0), look(backup()), Found(backup())),
    "made and deleted by somebody": (row(), look(backup("DELETED")), Create()),
    "of another name": (row(), look(backup(name=NAME[:-1] + "2")), Create()),
    "of another stage": (row(), look(backup(name=NAME.replace("prod", "prod-eu"))), Create()),
    "of another table": (row(), look(backup(arn=ARN.replace("orders", "catalog"))), Create()),
    "of AWS": (row(), look(backup(kind="SYSTEM")), Create()),
    "no list": (row(attempt=0), not_seen(LATER_MS, TROUBLE, is_refused=False), None),
    "no list, for good": (row(attempt=0), not_seen(LATER_MS, REFUSED, is_refused=True), Fail(REFUSED)),
    "for a day": (row(), look(at_ms=START_MS + GIVE_UP_MS), "NotCreated"),
    "for a day, and no list": (row(), not_seen(START_MS + GIVE_UP_MS, TROUBLE, is_refused=False), "NotCreated"),
    "for less than a day": (row(), look(at_ms=START_MS + GIVE_UP_MS - 1), Create()),
    "for a day, and made": (row(), look(backup(), at_ms=START_MS + GIVE_UP_MS), Found(backup())),
    "creating": (CREATING, look(backup("CREATING")), None),
    "creating, and available": (CREATING, look(backup()), Found(backup())),
    "creating, and deleted": (CREATING, look(backup("DELETED")), "BackupDeleted"),
    "creating, and not listed": (CREATING, look(), Describe(ARN)),
    "creating, and another one listed": (CREATING, look(backup(arn=ARN + "2")), Describe(ARN)),
    "creating, and no list": (CREATING, not_seen(LATER_MS, REFUSED, is_refused=True), Describe(ARN)),
    "creating for a day": (CREATING, look(backup("CREATING"), at_ms=START_MS + GIVE_UP_MS), "Overdue"),
    "creating for a day, and available": (CREATING, look(backup(), at_ms=START_MS + GIVE_UP_MS), Found(backup())),
    "available": (row("AVAILABLE", arn=ARN), look(), None),
    "failed": (row("FAILED"), look(backup()), None),
}


@pytest.mark.parametrize(("of", "what", "then"), CASES.values(), ids=CASES.keys())
def test_every_rule(of, what, then):
    step = next_step(RUN, of, what)
    if isinstance(then, str):
        assert isinstance(step, Fail)
        assert step.failure.code == then
    else:
        assert (type(step), step) == (type(then), then)


def test_of_two_with_the_name_the_first_one_is_taken():
    first, second = backup(), backup(arn=ARN + "2", at=1)
    for listed in ((first, second), (second, first)):
        assert next_step(RUN, row(), look(*listed)) == Found(first)


def test_a_failure_names_what_was_in_the_way_at_last():
    at_ms = START_MS + GIVE_UP_MS
    told = msgspec.structs.replace(row(), failure_message="LimitExceededException: too many")
    for of, what, last in (
        (told, look(at_ms=at_ms), "LimitExceededException: too many"),
        (row(), not_seen(at_ms, TROUBLE, is_refused=False), TROUBLE.message),
        (row(attempt=0), look(at_ms=at_ms), "its turn did not come"),
    ):
        step = next_step(RUN, of, what)
        assert isinstance(step, Fail)
        assert step.failure.message.endswith(f"at last: {last}")


ROWS = st.builds(
    row,
    st.sampled_from([*BackupState]),
    st.integers(0, 3),
    st.integers(LATER_MS - 2, LATER_MS + 2) | st.just(0),
    st.none(),
)
BACKUPS = st.builds(
    backup,
    st.sampled_from(["AVAILABLE", "CREATING", "DELETED"]),
    st.sampled_from([NAME, NAME + "x", NAME.replace("prod", "p")]),
    st.sampled_from([ARN, ARN + "2", ARN.replace("orders", "catalog")]),
    st.sampled_from(["USER", "SYSTEM"]),
    st.integers(0, 2),
)


@given(ROWS, st.lists(BACKUPS, max_size=4))
def test_none_is_made_while_there_is_one_or_may_be_one(of, listed):
    step = next_step(RUN, of, look(*listed))
    if isinstance(step, Create):
        assert of.status is BackupState.PENDING
        assert of.attempt_until_ms <= LATER_MS
        there = [each for each in listed if each.status != "DELETED" and each.backup_type == "USER"]
        # The list has each ARN once; of one that is told of twice, either may be the truth.
        assert not [each for each in there if (each.name, each.table_name) == (NAME, "orders")]


def test_those_that_were_tried_least_come_first_and_none_that_has_ended():
    rows = {"a": row(attempt=3), "b": row("CREATING", arn=ARN), "c": row("AVAILABLE", arn=ARN)}
    rows = {name: msgspec.structs.replace(each, table_name=name) for name, each in rows.items()}
    run = msgspec.structs.replace(RUN, tables=["a", "b", "c", "d", "e"])
    record = RunRecord(run, rows, {"e": "corrupt"})
    assert [each.table_name for each in record.waiting()] == ["d", "b", "a"]
    assert not record.is_decided
    assert RunRecord(run, {"c": rows["c"]} | {}, {}).is_decided is False
    assert RunRecord(msgspec.structs.replace(RUN, tables=["c"]), rows, {}).is_decided
