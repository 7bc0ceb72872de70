"""Stories of restores that nobody interrupts: every field of the request."""

from typing import Any

from chalicelib.restore.model import Status
from chalicelib.restore.phases import planner
from tests.simulation import operators
from tests.simulation.chains import Backed, Item, Wish, chain_of, item_of
from tests.simulation.faults import Fault
from tests.simulation.scenarios.scenario import CONFIGURED, Scenario
from tests.simulation.sets import DATE, create_table, put_set
from tests.simulation.verdict import Expected

COMPARISONS = ("none", "none", "sample", "full")


class RestoreOne(Scenario):
    """One table over what stands in it."""

    clears = False

    def begin(self) -> None:
        backed = Backed("orders", items=self.random.choice((0, 1, 60, 110, 260)), files=self.random.choice((1, 3, 6)))
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = chain_of(backed)
        safety = self.random.random() < 0.8
        body = {"clear_existing_data": self.clears, "max_workers": self.max_workers()}
        body |= {"safety_backup": safety} if self.clears else {}
        self.operate(lambda: self.restore("one", Expected(wish=Wish(clears=self.clears)), **body))


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
            self.verdict.backed[name] = chain_of(backed)
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


class ThreeAtOnce(Scenario):
    """Two restores that want one table between them, and a backup of the same tables."""

    def begin(self) -> None:
        first, second = Backed("orders"), Backed("catalog", items=50)
        put_set(self.world, (first, second))
        for backed in (first, second):
            self.target(backed.name)
            self.verdict.backed[backed.name] = chain_of(backed)
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
        self.verdict.backed["orders"] = chain_of(backed)
        self.world.slow_writes_us = self.random.choice((4_800_000, 4_800_000, 4_800_000, 9_000_000))
        clears = self.random.random() < 0.5
        body = {"max_workers": 1, "clear_existing_data": clears}
        self.operate(lambda: self.restore("long", Expected(wish=Wish(clears=clears)), **body))


class MissingOnly(Scenario):
    """What is missing is written, while somebody else writes the same items: theirs must stay."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=130, files=4), standing=60)
        wish = Wish(mode="missing_only")
        body = {"mode": "missing_only", "max_workers": self.max_workers(), "verify": self.random.choice(COMPARISONS)}
        self.operate(lambda: self.restore("missing", Expected(wish=wish), **body))
        if self.random.random() < 0.5:
            self.verdict.strangers["orders"] = {}
            self.operate(self._write_meanwhile)
        else:
            self.world.faults.happens_often(Fault.ERROR_AFTER)

    def _write_meanwhile(self) -> None:
        for _ in range(60):
            self.world.scheduler.sleep(self.random.choice((0.01, 0.05, 0.2)))
            item = item_of("orders", self.random.randrange(150), "somebody else")
            self.world.put_as_stranger("orders", item)
            self.verdict.strangers["orders"][item["id"]["S"]] = item


class ChangedOnly(Scenario):
    """What is there is read, and only what differs is written."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=130, files=4), standing=90)
        wish = Wish(mode="changed_only")
        body = {"mode": "changed_only", "max_workers": self.max_workers(), "verify": self.random.choice(COMPARISONS)}
        self.operate(lambda: self.restore("changed", Expected(wish=wish), **body))


class Keys(Scenario):
    """A few items of many, some of which the backup does not have."""

    increments = 0

    def begin(self) -> None:
        backed = Backed("orders", items=220, files=self.random.choice((6, 16)), increments=self.increments)
        self.back_up(backed, standing=60)
        words = list(chain_of(backed).last_words)
        asked = self.random.sample(words, k=min(len(words), self.random.choice((1, 7, 40))))
        strangers = [item_of("orders", number, "")["id"]["S"] for number in (100_000, 999_999)]
        names = [*asked, *strangers]
        self.random.shuffle(names)
        mode = self.random.choice(("overwrite", "overwrite", "missing_only", "changed_only"))
        wish = Wish(mode=mode, keys=tuple(names))
        keys = [{"id": {"S": name}} for name in names]
        body: dict[str, Any] = {"mode": mode, "keys": keys, "max_workers": self.max_workers()}
        body["verify"] = self.random.choice(COMPARISONS)
        if self.random.random() < 0.5:  # one invocation is not enough
            self.world.lambdas.set_timeout("restore_shards", 12)
            self.world.slow_writes_us = 3_000_000
        self.operate(lambda: self.restore("keys", Expected(wish=wish), **body))


class CreateMissing(Scenario):
    """A target that is not there is made, loaded, and set as its source was; another one stands already."""

    def begin(self) -> None:
        tables = (Backed("orders", has_settings=True), Backed("catalog", items=30, has_settings=True))
        put_set(self.world, tables)
        for backed in tables:
            self.verdict.backed[backed.name] = chain_of(backed)
        self.target("catalog")
        self.verdict.standing["orders"] = []
        self.verdict.made = {"orders"}
        body = {"create_missing_tables": True, "verify": self.random.choice(COMPARISONS)}
        self.operate(lambda: self.restore("create", Expected(), max_workers=self.max_workers(), **body))


class CreateTaken(Scenario):
    """Somebody makes the missing table just before the restore does: it must not be touched."""

    def begin(self) -> None:
        backed = Backed("orders", has_settings=True)
        put_set(self.world, (backed,))
        self.verdict.backed["orders"] = chain_of(backed)
        self.verdict.standing["orders"] = []
        self.operate(self._restore_and_make)

    def _restore_and_make(self) -> None:
        body = {"create_missing_tables": True, "max_workers": self.max_workers()}
        restore_id = self.restore("taken", Expected(), **body)
        if restore_id is not None:
            self.at(restore_id, Status.CREATING, lambda: self._make(restore_id))

    def _make(self, restore_id: str) -> None:
        create_table(self.world, "orders", [])
        self.verdict.expected[restore_id] = Expected(status=Status.FAILED, may_fail=True)


class Verified(Scenario):
    """What was restored is read back; an item that somebody changed before is found."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=150, files=4))
        self.operate(self._restore_and_change)

    def _restore_and_change(self) -> None:
        is_changed = self.random.random() < 0.5
        body = {"verify": "full", "max_workers": self.max_workers()}
        restore_id = self.restore("verified", Expected(), **body)
        if restore_id is not None and is_changed:
            self.at(restore_id, Status.COMPARING, lambda: self._change(restore_id))

    def _change(self, restore_id: str) -> None:
        self.verdict.expected[restore_id] = Expected(status=Status.PARTIAL, may_fail=True)
        item: Item = item_of("orders", self.random.randrange(150), "somebody else")
        self.world.put_as_stranger("orders", item)
        self.verdict.strangers["orders"] = {item["id"]["S"]: item}


class WriteUnits(Scenario):
    """Many workers that together keep to a number of write units a second."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=320, files=8))
        mode = self.random.choice(("overwrite", "overwrite", "missing_only"))
        expected = Expected(wish=Wish(mode=mode), most_units_per_s=20)
        self.operate(lambda: self.restore("units", expected, mode=mode, max_write_units=20, max_workers=8))


class PlanDigest(Scenario):
    """A dry run is looked at, and the restore is held to it; sometimes the plan is another one by then."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=60, increments=1))
        self.operate(self._look_and_restore)

    def _look_and_restore(self) -> None:
        dry = self.restore("dry", Expected(dry_run=True, is_last=False), dry_run=True)
        if dry is None or operators.wait_for_end(self.world, dry) is not Status.COMPLETED:
            return
        digest = operators.described(self.world, dry)["plan_digest"]
        expected = Expected()
        if self.random.random() < 0.5:
            create_table(self.world, "orders", self.verdict.standing["orders"], index="by_n")
            expected = Expected(status=Status.FAILED, may_fail=True)
        self.restore("planned", expected, plan_digest=digest, max_workers=self.max_workers())


class AskedAgain(Scenario):
    """An operator who does not wait, and one who does as they do: one request, one restore."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=60))
        body = {"dry_run": self.random.random() < 0.5, "max_workers": self.max_workers()}
        for _ in range(2):
            self.operate(lambda: self._ask(body))

    def _ask(self, body: dict[str, Any]) -> None:
        restore_id = operators.ask_with_key(self.world, "impatient", "once", {"backup_date": DATE, **body})
        if restore_id is not None:
            self.verdict.expected[restore_id] = Expected(dry_run=body["dry_run"])

    def judge(self) -> None:
        super().judge()
        made = [
            job["restore_id"] for job in operators.jobs(self.world) if "not accepted" not in (job.get("reason") or "")
        ]
        if len(made) > 1:
            self.world.watch.violated(f"one request, and {len(made)} restores: {', '.join(made)}")


class Slices(Scenario):
    """Data files that are cut into slices, of a table and of a chain."""

    constants = ((planner, "SLICE_BYTES", 600),)

    def begin(self) -> None:
        self.back_up(Backed("orders", items=400, files=2, increments=self.random.choice((0, 2))))
        mode = self.random.choice(("overwrite", "changed_only"))
        body = {"mode": mode, "max_workers": self.max_workers(), "verify": self.random.choice(COMPARISONS)}
        self.operate(lambda: self.restore("slices", Expected(wish=Wish(mode=mode)), **body))
