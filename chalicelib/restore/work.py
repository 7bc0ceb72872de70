"""What every kind of work gets, and what it answers.

A piece of work runs under one claim. It answers `Ended` (the shard is finished, well or badly) or `Yielded` (time is
up, or something outside failed for now; the shard goes on later from its checkpoint). It writes to the ledger only
through `Invocation.save`; the worker turns its answer into conditional writes.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.aws import Client
from chalicelib.clock import Clock
from chalicelib.restore.claims import Claims
from chalicelib.restore.datapath.unanswered import Unanswered
from chalicelib.restore.model import Job, Note, Shard, Table
from chalicelib.restore.records import RestoreRecords
from chalicelib.retry import Backoff, Random, Sleep
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")


@dataclass(frozen=True)
class Surroundings:
    """What is around the work: clients, clock, ledger. One for the life of a process."""

    settings: Settings
    records: RestoreRecords
    claims: Claims
    dynamodb: Client
    s3: Client
    clock: Clock
    sleep: Sleep
    random: Random
    unanswered: Unanswered


@dataclass(frozen=True)
class Invocation:
    """One worker's run. `soft_stop_ms`: no new work after it; `hard_deadline_ms`: Lambda kills the process.

    `save(checkpoint)` writes a checkpoint under the claim and raises ClaimLost when it is no longer ours, PhaseOver
    when the restore was cancelled meanwhile.
    """

    soft_stop_ms: int
    hard_deadline_ms: int
    save: Callable[[str], None]

    @property
    def give_up_ms(self) -> int:
        """Until when requests are tried again: between the two, so that there is time left to write down how far
        the work is. A worker that tries until its hard deadline is killed before it can."""
        return (self.soft_stop_ms + self.hard_deadline_ms) // 2


@dataclass(frozen=True)
class Ended:
    failure: str | None = None
    checkpoint: str | None = None
    table_set: Mapping[str, Any] = field(default_factory=dict)
    table_add: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Yielded:
    """`pause_ms`: leave the shard alone for so long, because what failed may need time."""

    checkpoint: str | None = None
    progressed: bool = False
    reason: str | None = None
    pause_ms: int = 0


Answer = Ended | Yielded
Perform = Callable[[Surroundings, Invocation, Job, Table, Shard], Answer]


# Together a quarter of an hour: FRUITLESS_LIMIT tries in a row must outlast an outage of minutes.
_PAUSES_MS = (2_000, 15_000, 60_000, 240_000, 600_000)


def outage_pause_ms(shard: Shard) -> int:
    """How long to leave a shard alone that something outside kept from moving on."""
    return _PAUSES_MS[min(max(shard.fruitless, 1), len(_PAUSES_MS)) - 1]


def backoff(around: Surroundings, deadline_ms: int) -> Backoff:
    return Backoff(around.clock, around.sleep, around.random, deadline_ms)
