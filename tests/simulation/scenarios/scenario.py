"""What all stories have: a world, people who do things in it, and a verdict on what they come to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from chalicelib.restore.model import Status
from tests.simulation import operators
from tests.simulation.chains import Backed, Wish, chain_of, standing_items
from tests.simulation.sets import DATE, create_table, put_set
from tests.simulation.verdict import Expected, Verdict
from tests.simulation.world import World

CONFIGURED = ("orders", "catalog")
CLEARED = Wish(clears=True)


class Scenario(ABC):
    configured: tuple[str, ...] = CONFIGURED
    threads: int | None = None  # of a worker that loads; drawn where it does not matter
    constants: tuple[tuple[Any, str, Any], ...] = ()  # of the service, where its own would take days to matter
    schedules = False  # whether the daily schedule runs in it
    environ: Mapping[str, str] = {}  # settings beside those of every world
    faulty_minutes: float | None = None  # of a story that takes days; drawn where it does not matter

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random
        self.busy = 0  # operators that have not finished
        self.verdict = Verdict(world)

    @abstractmethod
    def begin(self) -> None:
        """Sets the world up and lets its people begin."""

    def judge(self) -> None:
        self.verdict.judge()

    def operate(self, work: Callable[[], Any]) -> None:
        self.busy += 1

        def run() -> None:
            work()
            self.busy -= 1

        self.world.operate(run)

    def target(self, name: str, standing: int = 40) -> None:
        items = standing_items(name, standing)
        create_table(self.world, name, items)
        self.verdict.standing[name] = items

    def back_up(self, *tables: Backed, standing: int = 40) -> None:
        """A finished set, and its tables as they stand by now."""
        put_set(self.world, tables)
        for backed in tables:
            self.target(backed.name, standing)
            self.verdict.backed[backed.name] = chain_of(backed)

    def restore(self, name: str, expected: Expected, **body: Any) -> str | None:
        restore_id = operators.ask(self.world, name, {"backup_date": DATE, **body})
        if restore_id is not None:
            self.verdict.expected[restore_id] = expected
        return restore_id

    def max_workers(self) -> int:
        return self.random.choice((1, 2, 3, 8))

    def at(self, restore_id: str, status: Status, work: Callable[[], None]) -> None:
        """Does something at the very moment when a restore moves to a status, once."""
        before = self.world.watch.targets.on_move

        def look(moved_id: str, to: Status) -> None:
            before(moved_id, to)
            if (moved_id, to) == (restore_id, status):
                self.world.watch.targets.on_move = before
                work()

        self.world.watch.targets.on_move = look
