"""Statuses of exports and backup sets, and the tables of allowed moves. Every conditional write is made from them."""

from enum import StrEnum
from typing import TypeVar


class ExportState(StrEnum):
    PENDING = "PENDING"  # planned; whether DynamoDB knows of it is not known yet
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"  # by DynamoDB's word, and its files were verified
    FAILED = "FAILED"


class SetState(StrEnum):
    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"


EXPORT_MOVES: dict[ExportState, frozenset[ExportState]] = {
    # PENDING to COMPLETED: the summary's event may come before the ledger knows that the export was started.
    ExportState.PENDING: frozenset({ExportState.IN_PROGRESS, ExportState.COMPLETED, ExportState.FAILED}),
    # IN_PROGRESS to PENDING: it failed on DynamoDB's side, and is tried again.
    ExportState.IN_PROGRESS: frozenset({ExportState.PENDING, ExportState.COMPLETED, ExportState.FAILED}),
    # An export given up as overdue may still complete. The set is opened again in the same transaction.
    ExportState.FAILED: frozenset({ExportState.COMPLETED}),
    ExportState.COMPLETED: frozenset(),
}
SET_MOVES: dict[SetState, frozenset[SetState]] = {
    SetState.OPEN: frozenset({SetState.COMPLETE, SetState.PARTIAL}),
    # A PARTIAL set whose overdue export completed is finished once more, with a higher revision. OPEN again: an export
    # was found in the bucket that it does not have yet, or the schedule's run adds its tables to an adopted one.
    SetState.PARTIAL: frozenset({SetState.OPEN, SetState.COMPLETE, SetState.PARTIAL}),
    SetState.COMPLETE: frozenset({SetState.OPEN}),
}
ENDED = frozenset({ExportState.COMPLETED, ExportState.FAILED})

S = TypeVar("S", bound=StrEnum)


def states_before(moves: dict[S, frozenset[S]], to: S) -> list[S]:
    """The states from which a move to `to` is allowed; what a conditional write names."""
    return [state for state, following in moves.items() if to in following]
