"""What every kind of work gets, and what it answers.

A piece of work runs under one claim. It answers `Ended` (the shard is finished, well or badly) or `Yielded` (time is
up, or something outside failed for now; the shard goes on later from its checkpoint). It writes to the ledger only
through `Invocation.save`; the worker turns its answer into conditional writes.
"""

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from chalicelib.aws import Client
from chalicelib.clock import Clock
from chalicelib.restore.datapath.unanswered import Unanswered
from chalicelib.restore.datapath.write_units import Allowance
from chalicelib.restore.model import Job, Note, Shard, Table
from chalicelib.restore.records import RestoreRecords
from chalicelib.retry import Backoff, Random, Sleep
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.restore.claims import Claims

logger = logging.getLogger("tablevault")

T = TypeVar("T")


class Surroundings(msgspec.Struct, frozen=True):
    """What is around the work: clients, clock, ledger. One for the life of a process."""

    settings: Settings
    records: RestoreRecords
    claims: "Claims"
    dynamodb: Client
    s3: Client
    clock: Clock
    sleep: Sleep
    random: Random
    unanswered: Unanswered
    autoscaling: Callable[[], Client]
    kept: "Kept"


class Kept:
    """What a worker needs for one shard after another and pays for once: the last value made under each name, as long
    as it is asked for by the same key. One value a name, so that memory stays bounded whatever the restores are."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[Hashable, Any]] = {}

    def get(self, name: str, key: Hashable, make: Callable[[], T]) -> T:
        kept = self._by_name.get(name)
        if kept is not None and kept[0] == key:
            value: T = kept[1]
            return value
        self._by_name.pop(name, None)  # before the next one is made: there may be no room for both
        made = make()
        self._by_name[name] = (key, made)
        return made


class Invocation(msgspec.Struct, frozen=True):
    """One worker's run. `soft_stop_ms`: no new work after it; `hard_deadline_ms`: Lambda kills the process.

    `save(checkpoint)` writes a checkpoint under the claim and raises ClaimLost when it is no longer ours, PhaseOver
    when the restore was cancelled meanwhile. `units_per_s`: this worker's share of `max_write_units`, if any;
    `allowance`: what is left of it since the last shard of the table.
    """

    soft_stop_ms: int
    hard_deadline_ms: int
    save: Callable[[str], None]
    units_per_s: float | None = None
    allowance: Allowance | None = None

    @property
    def give_up_ms(self) -> int:
        """Until when requests are tried again: between the two, so that there is time left to write down how far
        the work is. A worker that tries until its hard deadline is killed before it can."""
        return (self.soft_stop_ms + self.hard_deadline_ms) // 2


class Ended(msgspec.Struct, frozen=True):
    failure: str | None = None
    checkpoint: str | None = None
    table_set: Mapping[str, Any] = msgspec.field(default_factory=dict)
    table_add: Mapping[str, int | set[int]] = msgspec.field(default_factory=dict)
    notes: tuple[Note, ...] = ()


class Yielded(msgspec.Struct, frozen=True):
    """`pause_ms`: leave the shard alone for so long, because what failed may need time. `in_good_order`: the checkpoint
    counts everything that was written."""

    checkpoint: str | None = None
    progressed: bool = False
    reason: str | None = None
    pause_ms: int = 0
    in_good_order: bool = False


Answer = Ended | Yielded
Perform = Callable[[Surroundings, Invocation, Job, Table, Shard], Answer]


# Together a quarter of an hour: FRUITLESS_LIMIT tries in a row must outlast an outage of minutes.
_PAUSES_MS = (2_000, 15_000, 60_000, 240_000, 600_000)


def outage_pause_ms(shard: Shard) -> int:
    """How long to leave a shard alone that something outside kept from moving on."""
    return _PAUSES_MS[min(max(shard.fruitless, 1), len(_PAUSES_MS)) - 1]


def backoff(around: Surroundings, deadline_ms: int) -> Backoff:
    return Backoff(around.clock, around.sleep, around.random, deadline_ms)
