"""Stories of incremental sets: days of writes, of exports that go well and not, and of what happens to tables."""

from collections.abc import Mapping

from tests.simulation import operators
from tests.simulation.aws.exports import ExportPlan
from tests.simulation.chains import item_of
from tests.simulation.faults import Fault, SeededFaults
from tests.simulation.replay import ItemLog
from tests.simulation.scenarios.scenario import Scenario
from tests.simulation.set_verdict import SetVerdict
from tests.simulation.sets import create_table

_DAY_S = 24 * 3600
_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_NO_BUCKET = ("S3NoSuchBucket", "the bucket does not exist")
_BROKE_OFF = ("InternalServerError", "it broke off")


class Incremental(Scenario):
    """Full exports on Saturdays, and the first day is one. Nothing reconciles where nothing is open."""

    configured: tuple[str, ...] = ("orders", "catalog")
    environ: Mapping[str, str] = {"EXPORT_STRATEGY": "weekly-full", "FULL_EXPORT_DAY": "saturday"}
    faulty_minutes = 12.0 * 24 * 60
    ids = 12  # of each table, so that items are changed, removed and made again

    def begin(self) -> None:
        self.log = ItemLog()
        self.sets = SetVerdict(self.world, self.log)
        self.world.bus.is_idle = lambda: not any("open_kind" in item for item in self.world.ledger.items.values())
        self.is_over = False
        for name in self.configured:
            self.make(name)
        self.operate(self.go_on)
        self.operate(self.write)

    def go_on(self) -> None:
        """The days. At their end `is_over`."""
        raise NotImplementedError

    def judge(self) -> None:
        super().judge()
        self.sets.tolerates_failures = self.verdict.tolerates_failures
        self.verdict.outcomes += self.sets.judge()

    def make(self, name: str) -> None:
        items = [item_of(name, number, "first") for number in range(0, self.ids, 2)]
        create_table(self.world, name, items)
        self.world.dynamodb.tables[name].recovery_since_ms = self.world.scheduler.clock()
        self.log.begin(name, self.world.scheduler.clock(), items)

    def run_schedule(self) -> None:
        """At its time, which the bus keeps; a run that is dropped is the next day's to make good."""
        if self.world.faults.hits(Fault.TICK_DROPPED):
            self.world.trace.say("schedule", "a run is dropped")
        else:
            self.world.bus.schedule_exports(0)

    def write(self) -> None:
        while not self.is_over:
            self.world.scheduler.sleep(
                self.random.choice((1.7, 240.0, 3600.0, 9 * 3600.0)) * (0.1 + self.random.random())
            )
            name = self.random.choice(self.configured)
            if name in self.world.dynamodb.tables:
                self._write_one(name, self.random.randrange(self.ids))

    def _write_one(self, name: str, number: int) -> None:
        now_ms = self.world.scheduler.clock()
        item = item_of(name, number, f"at {now_ms}")
        key = {"id": item["id"]}
        is_removed = self.random.random() < 0.3
        self.world.watch.targets.is_stranger = True
        if is_removed:
            self.world.dynamodb.delete_item({"TableName": name, "Key": key})
        else:
            self.world.dynamodb.put_item({"TableName": name, "Item": item})
        self.world.watch.targets.is_stranger = False
        self.log.add(name, now_ms, item["id"]["S"], None if is_removed else item)


class IncrementalDays(Incremental):
    """A week or so: runs that are missed, exports of all kinds, a table whose recovery is switched off and on, one that
    is made anew, and a set by hand now and then."""

    configured = ("orders", "reset", "anew")

    def begin(self) -> None:
        # There is a run for each crash point, and in each the same happens in a few days as in many.
        self.days = self.random.choice((3, 3, 4, 4, 5, 9)) if isinstance(self.world.faults, SeededFaults) else 3
        self.world.bus.tick_us = self.random.choice((15 * _MINUTE_US, 60 * _MINUTE_US))
        self.world.plan_export = self._plan
        super().begin()
        self.operate(self._upset)

    def go_on(self) -> None:
        for _ in range(self.days):
            began_us = self.world.scheduler.now_us
            if self.random.random() > 0.15:
                self.run_schedule()
            if self.random.random() < 0.35:
                self.world.scheduler.sleep(self.random.choice((60.0, 1200.0, 40_000.0)) * self.random.random())
                operators.back_up(self.world, self.random.choice(("FULL_EXPORT", "INCREMENTAL_EXPORT")), tries=1)
            late_s = self.random.choice((0.0, 0.4, 900.0)) * self.random.random()
            self.world.scheduler.sleep(_DAY_S + late_s - (self.world.scheduler.now_us - began_us) / 1e6)
        self.is_over = True

    def _upset(self) -> None:
        """The one table's recovery, and the other table, go and come back."""
        for name in self.random.sample(("reset", "anew"), k=2):
            self.world.scheduler.sleep(self.random.uniform(0.2, self.days / 2) * _DAY_S)
            self.world.trace.say("disaster", f"{name} goes")
            if name == "reset":
                self._recover(name, enabled=False)
            else:
                del self.world.dynamodb.tables[name]
            self.world.scheduler.sleep(self.random.choice((0.5, 60.0, 40_000.0)))
            self.world.trace.say("disaster", f"{name} is back")
            self.sets.upset_ms[name] = self.world.scheduler.clock()
            if name == "reset":
                self._recover(name, enabled=True)
            else:
                self.make(name)

    def _recover(self, name: str, *, enabled: bool) -> None:
        wanted = {"PointInTimeRecoveryEnabled": enabled}
        request = {"TableName": name, "PointInTimeRecoverySpecification": wanted}
        self.world.tables.update_continuous_backups(request)

    def _plan(self, table: str) -> ExportPlan:
        lasts_us = self.random.randrange(1_000_000, 10 * _MINUTE_US)
        match self.random.randrange(16):
            case 0:
                return ExportPlan(lasts_us, failure=_NO_BUCKET)
            case 1 | 2 | 3:
                return ExportPlan(lasts_us, failure=_BROKE_OFF, failing_attempts=self.random.choice((1, 2, 3)))
            case 4:
                return ExportPlan(lasts_us, is_damaged=True)
            case 5 | 9:
                return ExportPlan(self.random.randrange(lasts_us, 30 * _HOUR_US))
            case 6 | 7:
                return ExportPlan(lasts_us, is_event_lost=True)
            case 8:
                return ExportPlan(lasts_us, is_md5_late=True)
        return ExportPlan(lasts_us)


class LostParts(Incremental):
    """After three missed days a table's changes are three exports of one set, and the ledger loses rows of them."""

    faulty_minutes = 5.0 * 24 * 60

    def begin(self) -> None:
        self.world.bus.tick_us = 5 * _MINUTE_US
        self.world.plan_export = lambda table: ExportPlan(self.random.randrange(1_000_000, 3 * _MINUTE_US))
        super().begin()

    def go_on(self) -> None:
        self.world.bus.schedule_exports(0)
        self.world.scheduler.sleep(3.2 * _DAY_S)
        self.world.bus.schedule_exports(0)
        if operators.wait_until(self.world, lambda: bool(self._parts()), minutes=30):
            self.world.scheduler.sleep(self.random.choice((0.0, 1.0, 120.0)) * self.random.random())
            rows = self._parts()
            for key in self.random.sample(rows, k=min(len(rows), self.random.choice((1, 1, 2)))):
                self.world.lose(key)
        self.world.scheduler.sleep(0.9 * _DAY_S)
        self.world.bus.schedule_exports(0)
        self.world.scheduler.sleep(3600)
        self.is_over = True

    def _parts(self) -> list[tuple[str, str]]:
        """The rows of the table's exports, once there are several."""
        keys = [key for key in self.world.ledger.items if str(key[1]).partition("#")[2].partition("#")[0] == "orders"]
        return keys if any(str(key[1]).count("#") > 1 for key in keys) else []
