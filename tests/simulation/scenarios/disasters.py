"""Stories in which something is wrong in the bucket, in the queue, or in the ledger."""

from dataclasses import replace

from chalicelib.restore.model import Status
from tests.simulation import operators
from tests.simulation.aws.s3 import stored
from tests.simulation.chains import Backed, Wish, chain_of
from tests.simulation.faults import KILLS, Fault
from tests.simulation.scenarios.scenario import CLEARED, Scenario
from tests.simulation.sets import create_table, foreign_data_file, put_set
from tests.simulation.verdict import Expected


class DamagedFile(Scenario):
    """A data file whose content changed while its ETag did not: found while it is read, and told."""

    def begin(self) -> None:
        backed = Backed("orders", damaged=True)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = chain_of(backed)
        self.operate(lambda: self.restore("damaged", Expected(status=Status.PARTIAL, may_fail=True)))


class Poison(Scenario):
    """A data file that kills whoever reads it, messages that are not ours, and the rest of the table to be restored."""

    def begin(self) -> None:
        backed = Backed("orders", items=160, files=4)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = chain_of(backed)
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
        self.operate(lambda: self.restore("poison", expected, max_workers=self.random.choice((2, 3, 8))))

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
        self.verdict.backed["orders"] = chain_of(backed)
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
        expected = Expected(status=Status.FAILED, wish=CLEARED)
        body = {"clear_existing_data": True, "target_tables": {"orders": target}, "max_workers": self.max_workers()}
        self.operate(lambda: self.restore("blocked", expected, **body))


class Replaced(Scenario):
    """A data file is replaced by another, of other items, when everything has been checked and clearing begins."""

    def begin(self) -> None:
        backed = Backed("orders", items=160, files=4)
        put_set(self.world, (backed,))
        self.target("orders", standing=200)
        self.verdict.backed["orders"] = chain_of(backed)
        self.operate(self._restore_and_replace)

    def _restore_and_replace(self) -> None:
        expected = Expected(status=Status.PARTIAL, wish=CLEARED, may_fail=True)
        restore_id = self.restore("replaced", expected, clear_existing_data=True, max_workers=self.max_workers())
        if restore_id is None:
            return
        if not operators.wait_for_phase(self.world, restore_id, Status.CLEARING):
            self.verdict.expected[restore_id] = Expected(wish=CLEARED)
            return
        files = sorted(key for key in self.world.s3.objects if "/orders/" in key and key.endswith(".gz"))
        forged = foreign_data_file(self.world.s3.objects[files[0]].body)
        self.world.trace.say("disaster", f"{files[0]} is replaced")
        self.world.s3.objects[files[0]] = stored(forged)


class LostLedger(Scenario):
    """Rows of the ledger vanish: whatever cannot be known any more must be told, and nothing may be called whole."""

    def begin(self) -> None:
        backed = Backed("orders", items=160)
        put_set(self.world, (backed,))
        self.target("orders")
        self.verdict.backed["orders"] = chain_of(backed)
        self.operate(self._restore_and_lose)

    def _restore_and_lose(self) -> None:
        clears = self.random.random() < 0.5
        expected = replace(Expected(wish=Wish(clears=clears)), may_fail=True, may_be_cancelled=True)
        restore_id = self.restore("lost", expected, clear_existing_data=clears, max_workers=3)
        if restore_id is None:
            return
        self.world.scheduler.sleep(self.random.uniform(0.05, 4.0))
        rows = [key for key in self.world.ledger.items if key[0] == f"RESTORE#{restore_id}" and key[1] != "JOB"]
        for key in self.random.sample(rows, k=min(len(rows), self.random.choice((1, 2, 5)))):
            self.world.lose(key)
