"""Stories of backups: the day's set, and what happens to its exports."""

from collections import Counter

from chalicelib.backup import starter, sweep
from tests.simulation import operators
from tests.simulation.aws.exports import ExportPlan
from tests.simulation.chains import Chain, standing_items
from tests.simulation.faults import Fault
from tests.simulation.scenarios.scenario import CONFIGURED, Scenario
from tests.simulation.sets import create_table
from tests.simulation.verdict import Expected


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
            self.verdict.backed[name] = Chain.of(backed)
        request = {"backup_date": "latest", "max_workers": self.max_workers()}
        restore_id = operators.ask(self.world, "cycle", request)
        if restore_id is not None:
            self.verdict.expected[restore_id] = Expected()


class Overdue(Scenario):
    """An export is given up as overdue, and completes after all: its PARTIAL set becomes a COMPLETE one."""

    schedules = True
    constants = ((starter, "GIVE_UP_MS", 3_000_000), (sweep, "GIVE_UP_MS", 3_000_000))

    def begin(self) -> None:
        for name in CONFIGURED:
            create_table(self.world, name, standing_items(name, 10))
        self.world.export_plans["orders"] = ExportPlan(files_after_us=3_600_000_000)
        self.verdict.sets["2026-11-21"] = dict.fromkeys(CONFIGURED, "COMPLETED")
        self.verdict.late["2026-11-21"] = 4000
        self.world.bus.schedule_exports(0)


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


class ExportQuota(Scenario):
    """More tables than DynamoDB exports at once, in this account by us and by others: they wait their turn."""

    schedules = True
    configured = tuple(f"table-{number}" for number in range(9))
    constants = ((starter, "POOL_SIZE", 3),)  # how many find at once that it is full
    most_running = 3

    def begin(self) -> None:
        for name in self.configured:
            create_table(self.world, name, standing_items(name, 4))
        self.world.exports.most_running = self.most_running
        self.world.plan_export = self._plan
        self.verdict.sets["2026-11-21"] = dict.fromkeys(self.configured, "COMPLETED")
        self.world.bus.schedule_exports(self.random.randrange(1_000_000))

    def _plan(self, table: str) -> ExportPlan:
        return ExportPlan(self.random.randrange(1_000_000, 100_000_000), is_event_lost=self.random.random() < 0.2)

    def judge(self) -> None:
        super().judge()
        if len(self.world.exports.by_arn) != len(self.configured):
            self.world.watch.violated(f"{len(self.world.exports.by_arn)} exports of {len(self.configured)} tables")
        refused = Counter(
            process
            for _, process, what, _, _, refusal in self.world.trace.entries
            if what == "dynamodb.export_table_to_point_in_time" and refusal == "LimitExceededException"
        )
        for process, count in refused.items():
            if count > starter.POOL_SIZE:
                self.world.watch.violated(f"{process} asked {count} times although no more exports were taken")


class ExportRetries(Scenario):
    """Exports that fail on DynamoDB's side: twice, again and again, and for good."""

    schedules = True
    configured = ("fails-twice", "fails-always", "fails-for-good", "fails-silently")

    def begin(self) -> None:
        self.world.faults.happens_often(Fault.ERROR_AFTER)
        for name in self.configured:
            create_table(self.world, name, standing_items(name, 6))
        lasts_us = self.random.randrange(1_000_000, 200_000_000)
        broke_off = ("InternalServerError", "it broke off")
        plans = self.world.export_plans
        plans["fails-twice"] = ExportPlan(lasts_us, failure=broke_off, failing_attempts=2)
        plans["fails-always"] = ExportPlan(failure=broke_off)
        plans["fails-for-good"] = ExportPlan(lasts_us, failure=("S3AccessDenied", "Access Denied"))
        plans["fails-silently"] = ExportPlan(failure=broke_off, failing_attempts=1, is_event_lost=True)
        self.verdict.sets["2026-11-21"] = {
            "fails-twice": "COMPLETED",
            "fails-always": "InternalServerError",
            "fails-for-good": "S3AccessDenied",
            "fails-silently": "COMPLETED",
        }
        self.world.bus.schedule_exports(self.random.randrange(1_000_000))

    def judge(self) -> None:
        super().judge()
        made = Counter(export.table_name for export in self.world.exports.by_arn.values())
        if made != {"fails-twice": 3, "fails-always": 3, "fails-for-good": 1, "fails-silently": 2}:
            self.world.watch.violated(f"so many exports were started: {dict(made)}")
