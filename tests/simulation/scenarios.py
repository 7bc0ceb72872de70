"""The stories that are told under faults. Each sets a world up, says what people and schedules do in it, and in the end
what must be true; what must be true of every restore and every set stands in `verdict`."""

from abc import ABC, abstractmethod
from dataclasses import replace
from random import Random
from typing import Any

from chalicelib.backup import starter, sweep
from chalicelib.restore.model import PHASES, Status
from tests.simulation import operators
from tests.simulation.aws.exports import ExportPlan
from tests.simulation.aws.s3 import stored
from tests.simulation.faults import KILLS, Fault
from tests.simulation.sets import (
    DATE,
    Backed,
    backed_items,
    create_table,
    foreign_data_file,
    put_set,
    standing_items,
)
from tests.simulation.verdict import Expected, Verdict
from tests.simulation.world import World

CONFIGURED = ("orders", "catalog")


class Scenario(ABC):
    configured: tuple[str, ...] = CONFIGURED
    threads: int | None = None  # of a worker that loads; drawn where it does not matter
    constants: tuple[tuple[Any, str, Any], ...] = ()  # of the service, where its own would take days to matter
    schedules = False  # whether the daily schedule runs in it

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

    def operate(self, work: Any) -> None:
        self.busy += 1

        def run() -> None:
            work()
            self.busy -= 1

        self.world.operate(run)

    def target(self, name: str, standing: int = 40) -> None:
        items = standing_items(name, standing)
        create_table(self.world, name, items)
        self.verdict.standing[name] = items

    def restore(self, name: str, expected: Expected, **body: Any) -> str | None:
        restore_id = operators.ask(self.world, name, {"backup_date": DATE, **body})
        if restore_id is not None:
            self.verdict.expected[restore_id] = expected
        return restore_id

    def max_workers(self) -> int:
        return self.random.choice((1, 2, 3, 8))


class DailySet(Scenario):
    """The schedule's set: one table without point-in-time recovery, one whose export fails, one that is missing, one
    whose event never comes, one whose file list is damaged in the bucket."""

    schedules = True
    configured = ("orders", "catalog", "no-recovery", "fails", "silent", "damaged", "missing")

    def begin(self) -> None:
        for name in ("orders", "catalog", "fails", "silent", "damaged"):
            create_table(self.world, name, standing_items(name, 30))
        create_table(self.world, "no-recovery", standing_items("no-recovery", 4), has_recovery=False)
        plans = self.world.export_plans
        plans["orders"] = ExportPlan(files_after_us=self.random.randrange(1_000_000, 600_000_000))
        plans["catalog"] = ExportPlan(is_md5_late=True, completed_after_us=self.random.choice((1_000, 9_000_000)))
        plans["fails"] = ExportPlan(failure=("S3NoSuchBucket", "the bucket does not exist"))
        plans["silent"] = ExportPlan(is_event_lost=True)
        plans["damaged"] = ExportPlan(is_damaged=True)
        self.verdict.sets["2026-11-21"] = {
            "orders": "COMPLETED",
            "catalog": "COMPLETED",
            "silent": "COMPLETED",
            "fails": "S3NoSuchBucket",
            "damaged": "ExportInvalid",
            "no-recovery": None,
            "missing": None,
        }
        self.world.bus.schedule_exports(self.random.randrange(1_000_000))


class Cycle(Scenario):
    """A set is made, its tables go wrong, and `latest` is restored over them."""

    schedules = True

    def begin(self) -> None:
        for name in CONFIGURED:
            create_table(self.world, name, standing_items(name, 60))
        self.verdict.sets["2026-11-21"] = dict.fromkeys(CONFIGURED, "COMPLETED")
        self.world.bus.schedule_exports(0)
        self.operate(self._damage_and_restore)

    def _damage_and_restore(self) -> None:
        key = "native-exports/2026-11-21/manifest.json"
        if not operators.wait_until(self.world, lambda: key in self.world.s3.objects, minutes=600):
            return
        for name in CONFIGURED:
            table = self.world.dynamodb.tables[name]
            backed = [dict(item) for item in table.items.values()]
            for number, item_key in enumerate(list(table.items)):
                table.set(item_key, None if number % 3 else {**table.items[item_key], "n": {"N": "-1"}})
            self.verdict.standing[name] = [dict(item) for item in table.items.values()]
            self.verdict.backed[name] = backed
        request = {"backup_date": "latest", "max_workers": self.max_workers()}
        restore_id = operators.ask(self.world, "cycle", request)
        if restore_id is not None:
            self.verdict.expected[restore_id] = Expected()


class RestoreOne(Scenario):
    """One table over what stands in it."""

    clears = False

    def begin(self) -> None:
        backed = Backed("orders", items=self.random.choice((0, 1, 60, 110, 260)), files=self.random.choice((1, 3, 6)))
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = backed_items(backed)
        safety = self.random.random() < 0.8
        body = {"clear_existing_data": self.clears, "max_workers": self.max_workers()}
        body |= {"safety_backup": safety} if self.clears else {}
        self.operate(lambda: self.restore("one", Expected(clears=self.clears), **body))


class ClearAndRestore(RestoreOne):
    """One table, emptied first."""

    clears = True


class RestoreMany(Scenario):
    """Three tables, one of them into a target of another name, with items that DynamoDB refuses in one."""

    def begin(self) -> None:
        tables = (Backed("orders"), Backed("catalog", items=40), Backed("sessions", items=50, refused=2, files=2))
        put_set(self.world, tables)
        for backed in tables:
            name = "orders-copy" if backed.name == "orders" else backed.name
            self.target(name)
            self.verdict.backed[name] = backed_items(backed)
        self.operate(
            lambda: self.restore(
                "many",
                Expected(status=Status.PARTIAL, refused={"sessions": 2}),
                target_tables={"orders": "orders-copy"},
                max_workers=self.max_workers(),
            )
        )


class DryRun(RestoreOne):
    """Everything is read and checked, nothing is written."""

    def begin(self) -> None:
        put_set(self.world, (Backed("orders"), Backed("catalog", items=30)))
        self.target("orders")
        self.target("catalog")
        body = {"dry_run": True, "clear_existing_data": self.random.random() < 0.5, "max_workers": self.max_workers()}
        self.operate(lambda: self.restore("dry", Expected(dry_run=True), **body))


class DamagedFile(Scenario):
    """A data file whose content changed while its ETag did not: found while it is read, and told."""

    def begin(self) -> None:
        backed = Backed("orders", damaged=True)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = backed_items(backed)
        self.operate(lambda: self.restore("damaged", Expected(status=Status.PARTIAL, may_fail=True)))


class Cancelled(Scenario):
    """Cancelled in one phase, by somebody who watches it."""

    phase = Status.LOADING

    def begin(self) -> None:
        backed = Backed("orders", items=240, files=8)
        put_set(self.world, (backed,))
        self.target("orders", standing=120)
        self.verdict.backed["orders"] = backed_items(backed)
        self.world.slow_writes_us = self.random.choice((0, 300_000, 2_000_000))
        self.operate(self._restore_and_cancel)

    def _restore_and_cancel(self) -> None:
        expected = Expected(clears=True, may_be_cancelled=True)
        body = {"clear_existing_data": True, "max_workers": self.max_workers()}
        restore_id = self.restore("cancelled", expected, **body)
        if restore_id is not None:
            operators.cancel_in(self.world, restore_id, self.phase)


def _cancelled_in(phase: Status) -> type[Scenario]:
    return type(f"CancelledIn{phase.value.title()}", (Cancelled,), {"phase": phase})


class ThreeAtOnce(Scenario):
    """Two restores that want one table between them, and a backup of the same tables."""

    def begin(self) -> None:
        first, second = Backed("orders"), Backed("catalog", items=50)
        put_set(self.world, (first, second))
        for backed in (first, second):
            self.target(backed.name)
            self.verdict.backed[backed.name] = backed_items(backed)
        self.verdict.overlapping = True
        workers = self.max_workers()
        self.operate(lambda: self.restore("both", Expected(), max_workers=workers))
        self.operate(lambda: self.restore("catalog", Expected(), tables=["catalog"], max_workers=2))
        self.operate(self._back_up)

    def _back_up(self) -> None:
        name = operators.back_up(self.world)
        if name is not None:
            self.verdict.sets[name] = dict.fromkeys(CONFIGURED, "COMPLETED")


class LongChain(Scenario):
    """More work than one invocation can do: slots pass on, chains end at their limit, reconcile begins new ones."""

    threads = 1

    def begin(self) -> None:
        self.world.lambdas.set_timeout("restore_shards", 12)
        backed = Backed("orders", items=self.random.choice((60, 1_400, 1_400)), files=1)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = backed_items(backed)
        self.world.slow_writes_us = self.random.choice((4_800_000, 4_800_000, 4_800_000, 9_000_000))
        clears = self.random.random() < 0.5
        body = {"max_workers": 1, "clear_existing_data": clears}
        self.operate(lambda: self.restore("long", Expected(clears=clears), **body))


class Poison(Scenario):
    """A data file that kills whoever reads it, messages that are not ours, and the rest of the table to be restored."""

    def begin(self) -> None:
        backed = Backed("orders", items=160, files=4)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = backed_items(backed)
        files = sorted(key for key in self.world.s3.objects if "/orders/" in key and key.endswith(".gz"))
        self.world.poison_key = self.random.choice(files)
        for body in (
            "not JSON",
            "[]",
            '{"restore_id": "r-1", "slot": 0}',
            '{"restore_id":"r-2","slot":0,"wake":1,"hop":0}',
        ):
            self.world.bus.restore_queue.send(body, chain=0)
        expected = Expected(status=Status.PARTIAL, may_fail=True)
        self.operate(lambda: self.restore("poison", expected, max_workers=self.max_workers()))

    def judge(self) -> None:
        super().judge()
        kept = [key for key in self.world.s3.objects if key.startswith("quarantine/")]
        if not kept and not set(self.world.faults.injected) & {Fault.MESSAGE_DROPPED, *KILLS}:
            self.world.watch.violated("messages that are not ours were not kept")


class WithoutReconcile(Poison):
    """The same while nothing reconciles for hours: the queue alone goes on, to the dead-letter queue."""

    def begin(self) -> None:
        super().begin()
        self.world.bus.reconciles_from_us = self.world.scheduler.now_us + 5 * 3600 * 1_000_000


class Blocked(Scenario):
    """Something is wrong that CHECKING must find, before anything is cleared."""

    def begin(self) -> None:
        backed = Backed("orders", items=160, files=4)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = backed_items(backed)
        data_files = [key for key in self.world.s3.objects if "/orders/" in key and key.endswith(".gz")]
        key = self.random.choice(sorted(data_files))
        target = "orders"
        wrong = self.random.choice(("missing file", "changed file", "no target", "other keys"))
        self.world.trace.say("disaster", wrong)
        if wrong == "missing file":
            del self.world.s3.objects[key]
        elif wrong == "changed file":
            self.world.s3.objects[key] = stored(self.world.s3.objects[key].body[:-1] + b"x")
        elif wrong == "no target":
            target = "nowhere"
        else:
            target = "other-keys"
            create_table(self.world, target, [], key_name="sku")
        expected = Expected(status=Status.FAILED, clears=True)
        body = {"clear_existing_data": True, "target_tables": {"orders": target}, "max_workers": self.max_workers()}
        self.operate(lambda: self.restore("blocked", expected, **body))


class Replaced(Scenario):
    """A data file is replaced by another, of other items, when everything has been checked and clearing begins."""

    def begin(self) -> None:
        backed = Backed("orders", items=160, files=4)
        put_set(self.world, (backed,))
        self.target("orders", standing=200)
        self.verdict.backed["orders"] = backed_items(backed)
        self.operate(self._restore_and_replace)

    def _restore_and_replace(self) -> None:
        expected = Expected(status=Status.PARTIAL, clears=True, may_fail=True)
        restore_id = self.restore("replaced", expected, clear_existing_data=True, max_workers=self.max_workers())
        if restore_id is None:
            return
        if not operators.wait_for_phase(self.world, restore_id, Status.CLEARING):
            self.verdict.expected[restore_id] = Expected(clears=True)
            return
        files = sorted(key for key in self.world.s3.objects if "/orders/" in key and key.endswith(".gz"))
        forged = foreign_data_file(self.world.s3.objects[files[0]].body)
        self.world.trace.say("disaster", f"{files[0]} is replaced")
        self.world.s3.objects[files[0]] = stored(forged)


class Overdue(Scenario):
    """An export is given up as overdue, and completes after all: its PARTIAL set becomes a COMPLETE one."""

    schedules = True
    constants = ((starter, "GIVE_UP_MS", 1_800_000), (sweep, "GIVE_UP_MS", 1_800_000))

    def begin(self) -> None:
        for name in CONFIGURED:
            create_table(self.world, name, standing_items(name, 10))
        self.world.export_plans["orders"] = ExportPlan(files_after_us=3_600_000_000)
        self.verdict.sets["2026-11-21"] = dict.fromkeys(CONFIGURED, "COMPLETED")
        self.verdict.late["2026-11-21"] = 4000
        self.world.bus.schedule_exports(0)


class LostLedger(Scenario):
    """Rows of the ledger vanish: whatever cannot be known any more must be told, and nothing may be called whole."""

    def begin(self) -> None:
        backed = Backed("orders", items=160)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = backed_items(backed)
        self.operate(self._restore_and_lose)

    def _restore_and_lose(self) -> None:
        clears = self.random.random() < 0.5
        expected = replace(Expected(clears=clears), may_fail=True, may_be_cancelled=True)
        restore_id = self.restore("lost", expected, clear_existing_data=clears, max_workers=3)
        if restore_id is None:
            return
        self.world.scheduler.sleep(self.random.uniform(0.05, 4.0))
        rows = [key for key in self.world.ledger.items if key[0] == f"RESTORE#{restore_id}" and key[1] != "JOB"]
        for key in self.random.sample(rows, k=min(len(rows), self.random.choice((1, 2, 5)))):
            self.world.lose(key)


class LostExports(DailySet):
    """The ledger loses rows of exports that run: they are made again from the set's plan, and found again by token."""

    def begin(self) -> None:
        super().begin()
        self.operate(self._lose)

    def _lose(self) -> None:
        self.world.scheduler.sleep(self.random.uniform(0.1, 10.0))
        rows = [key for key in self.world.ledger.items if str(key[1]).startswith("EXPORT#")]
        for key in self.random.sample(rows, k=min(len(rows), self.random.choice((1, 3, 7)))):
            self.world.lose(key)


class LostExportsBeyondTokens(LostExports):
    """The same when DynamoDB has forgotten the tokens: running exports are found by where they write."""

    constants = ((starter, "_TOKEN_IS_SAFE_MS", 0),)


SCENARIOS: dict[str, type[Scenario]] = {
    "daily-set": DailySet,
    "cycle": Cycle,
    "restore-one": RestoreOne,
    "clear-and-restore": ClearAndRestore,
    "restore-many": RestoreMany,
    "dry-run": DryRun,
    "damaged-file": DamagedFile,
    **{f"cancelled-in-{phase.value.lower()}": _cancelled_in(phase) for phase in PHASES},
    "three-at-once": ThreeAtOnce,
    "long-chain": LongChain,
    "lost-ledger": LostLedger,
    "lost-exports": LostExports,
    "lost-exports-beyond-tokens": LostExportsBeyondTokens,
    "poison": Poison,
    "without-reconcile": WithoutReconcile,
    "blocked": Blocked,
    "replaced": Replaced,
    "overdue": Overdue,
}
