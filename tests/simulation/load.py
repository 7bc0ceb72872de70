"""Many at once, in virtual time: workers and shards of one restore, events of one set, restores in the list.

python -m tests.simulation.load
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.aws.exports import ExportPlan
from tests.simulation.chains import Backed, chain_of, standing_items
from tests.simulation.faults import NoFaults
from tests.simulation.runner import Result, finish
from tests.simulation.scenarios import Scenario
from tests.simulation.sets import create_table, put_set
from tests.simulation.verdict import Expected
from tests.simulation.world import World

_SEED = 1


@dataclass(frozen=True)
class Size:
    """`shards` on `workers`; `tables` whose events come `copies` times each; `restores` in the list."""

    shards: int = 500
    workers: int = 64
    tables: int = 100
    copies: int = 10
    restores: int = 1_000


class Load(Scenario):
    size = Size()


class ManyWorkers(Load):
    """One table of many data files, each a shard, on many workers that are all awake."""

    concurrency = 64

    def begin(self) -> None:
        backed = Backed("orders", items=self.size.shards * 5, files=self.size.shards)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = chain_of(backed)
        self.operate(lambda: self.restore("load", Expected(), max_workers=self.size.workers))


class ManyEvents(Load):
    """Every table's export ends at the same moment, and each event comes several times."""

    configured = tuple(f"table-{number:03d}" for number in range(Size.tables))
    schedules = True

    def begin(self) -> None:
        for name in self.configured:
            create_table(self.world, name, standing_items(name, 2))
            self.world.export_plans[name] = ExportPlan(files_after_us=60_000_000)
        self.verdict.sets["2026-11-21"] = dict.fromkeys(self.configured, "COMPLETED")
        self.world.bus.copies = self.size.copies
        self.world.bus.schedule_exports(0)


class ManyRestores(Load):
    """A long list, read page by page while it grows: every restore once, newest first."""

    def begin(self) -> None:
        put_set(self.world, (Backed("orders", items=5, files=1),))
        self.target("orders", standing=2)
        self.listed: list[str] = []
        self.operate(self._ask_and_list)

    def _ask_and_list(self) -> None:
        asked = [self._ask(number) for number in range(self.size.restores)]
        before: str | None = None
        while True:
            heads, corrupt = self._page(before)
            if corrupt:
                self.world.watch.violated(f"rows of {corrupt} cannot be read")
            self._ask(self.size.restores + len(self.listed))
            if not heads:
                break
            self.listed += [head["restore_id"] for head in heads]
            before = self.listed[-1]
        if self.listed != sorted(set(self.listed), reverse=True) or not set(asked) <= set(self.listed):
            self.world.watch.violated(f"{len(set(asked) - set(self.listed))} of {len(asked)} restores are not listed")

    def _page(self, before: str | None) -> tuple[list[dict[str, Any]], list[str]]:
        page: tuple[list[dict[str, Any]], list[str]] = self.world.api(
            lambda services: services.desk.list_page(100, before)
        )
        return page

    def _ask(self, number: int) -> str | None:
        return self.restore(f"list-{number}", Expected(dry_run=True), dry_run=True, max_workers=1)


LOADS: tuple[type[Load], ...] = (ManyWorkers, ManyEvents, ManyRestores)


def load(kind: type[Load], size: Size) -> Result:
    world = World(_SEED, NoFaults(), kind.configured, concurrency=size.workers)
    world.dynamodb.page_items, world.s3.page_keys = 1000, 1000
    with world.in_place(kind.threads):
        scenario = kind(world, Random(_SEED))
        scenario.size = size
        return finish(world, scenario, kind.__name__, _SEED, faulty_minutes=600, with_trace=False)


def report() -> Iterator[tuple[bool, str]]:
    """Of each load in turn, whether it failed, and what was measured."""
    for kind in LOADS:
        began_s = time.monotonic()
        result = load(kind, Size())
        wall_s = time.monotonic() - began_s
        counts = ", ".join(f"{count:,} {what}" for what, count in result.counts.items())
        yield (
            bool(result.violations),
            f"{kind.__name__}: {'; '.join(result.violations) or 'nothing lost'}\n"
            f"  {result.calls:,} calls to AWS and log lines; {counts}\n"
            f"  all had ended after {result.work_s:,.1f} virtual s; {wall_s:.1f} s of wall time",
        )
