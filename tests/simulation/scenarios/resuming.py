"""Stories of restores that were ended before they were done, and go on."""

from typing import Any

from chalicelib.restore.model import PHASES, Status
from tests.simulation import operators
from tests.simulation.aws.dynamodb import Table
from tests.simulation.aws.s3 import StoredObject, stored
from tests.simulation.chains import Backed, Wish, chain_of
from tests.simulation.scenarios.scenario import CLEARED, Scenario
from tests.simulation.sets import put_set
from tests.simulation.verdict import Expected

RESUMED_IN = tuple(phase for phase in PHASES if phase is not Status.REOPENING)


class Cancelled(Scenario):
    """Everything that can be asked for, cancelled in one phase by somebody who watches it: a table that is cleared
    first, and one that has to be made."""

    phase = Status.LOADING
    is_resumed = False

    def begin(self) -> None:
        tables = (Backed("orders", items=240, files=8), Backed("catalog", items=60, files=2, has_settings=True))
        put_set(self.world, tables)
        for backed in tables:
            self.verdict.backed[backed.name] = chain_of(backed)
        self.target("orders", standing=120)
        self.verdict.standing["catalog"] = []
        self.verdict.made = {"catalog"}
        self.world.slow_writes_us = self.random.choice((0, 300_000, 2_000_000))
        self.operate(self._restore_and_cancel)

    def _restore_and_cancel(self) -> None:
        expected = Expected(wish=CLEARED, may_be_cancelled=not self.is_resumed)
        body = {"clear_existing_data": True, "create_missing_tables": True, "max_workers": self.max_workers()}
        restore_id = self.restore("cancelled", expected, verify="full", **body)
        if restore_id is None:
            return
        operators.cancel_in(self.world, restore_id, self.phase)
        if self.is_resumed:
            operators.wait_for_end(self.world, restore_id, then_s=self.random.choice((0.0, 0.02, 1.0)))
            operators.carry_on(self.world, restore_id, "resume")


class ResumedTwice(Cancelled):
    """Cancelled wherever it is, resumed by two people at once, again and again, also while it is being taken up."""

    def _restore_and_cancel(self) -> None:
        expected = Expected(wish=CLEARED)
        body = {"clear_existing_data": True, "create_missing_tables": True, "max_workers": self.max_workers()}
        restore_id = self.restore("again", expected, verify="full", **body)
        if restore_id is None:
            return
        for _ in range(3):
            self.world.scheduler.sleep(self.random.uniform(0.0, 5.0))
            operators.cancel(self.world, restore_id)
            if operators.wait_for_end(self.world, restore_id, then_s=0.02) is not Status.CANCELLED:
                return
            self.operate(lambda: operators.carry_on(self.world, restore_id, "resume"))
            operators.carry_on(self.world, restore_id, "resume")


class ResumedAfterAnother(Scenario):
    """While a restore is cancelled another one restores its target: it goes on when that one has ended."""

    def begin(self) -> None:
        self.back_up(Backed("orders", items=160, files=4))
        self.verdict.overlapping = True
        self.operate(self._restore)

    def _restore(self) -> None:
        restore_id = self.restore("first", Expected(), max_workers=2)
        if restore_id is None:
            return
        operators.cancel_in(self.world, restore_id, Status.LOADING)
        operators.wait_for_end(self.world, restore_id)
        self.operate(lambda: self.restore("second", Expected(), max_workers=2))
        self.world.scheduler.sleep(self.random.uniform(0.0, 2.0))
        if not operators.carry_on(self.world, restore_id, "resume"):
            self.verdict.expected[restore_id] = Expected(may_be_cancelled=True)


def cancelled_in(phase: Status, *, is_resumed: bool) -> type[Scenario]:
    name = f"{'Resumed' if is_resumed else 'Cancelled'}In{phase.value.title()}"
    return type(name, (Cancelled,), {"phase": phase, "is_resumed": is_resumed})


class Retried(Scenario):
    """Something keeps a restore from being whole, is mended, and what failed is tried again."""

    increments = 0
    clears = False

    def begin(self) -> None:
        backed = Backed("orders", items=200, files=6, increments=self.increments)
        self.back_up(backed, standing=60)
        self.wish = Wish(clears=self.clears)
        self.world.slow_writes_us = self.random.choice((0, 300_000))
        self.operate(self._restore_and_mend)

    def _restore_and_mend(self) -> None:
        # A wrong end that is never mended is told like any other.
        expected = Expected(wish=self.wish, may_fail=True)
        body: dict[str, Any] = {"max_workers": self.max_workers(), "clear_existing_data": self.clears}
        body["verify"] = self.random.choice(("none", "full"))
        restore_id = self.restore("retried", expected, **body)
        if restore_id is None:
            return
        self.at(restore_id, Status.LOADING, self._begin_to_harm)
        operators.wait_for_end(self.world, restore_id)
        self.mend()
        if operators.carry_on(self.world, restore_id, "retry_failed"):
            self.verdict.expected[restore_id] = Expected(wish=self.wish)

    def _begin_to_harm(self) -> None:
        self.world.scheduler.after(self.random.choice((0, 50_000, 400_000)), self.harm)

    def harm(self) -> None:
        """What keeps the restore from being whole."""
        raise NotImplementedError

    def mend(self) -> None:
        raise NotImplementedError


class RetriedAfterDenial(Retried):
    """The role loses its right to the target for a while."""

    clears = True

    def harm(self) -> None:
        self.world.dynamodb.denied.add("orders")

    def mend(self) -> None:
        self.world.dynamodb.denied.clear()


class RetriedAfterDeletion(Retried):
    """The target is gone for a while, and is there again as it was."""

    def harm(self) -> None:
        self.taken: Table | None = self.world.dynamodb.tables.pop("orders")

    def mend(self) -> None:
        taken = getattr(self, "taken", None)
        if taken is not None:
            self.world.dynamodb.tables["orders"] = taken


class RetriedAfterDamage(Retried):
    """A data file is damaged, or gone, and is put back."""

    def harm(self) -> None:
        objects = self.world.s3.objects
        self.key = self.random.choice(sorted(key for key in objects if "/orders/" in key and key.endswith(".gz")))
        self.whole: StoredObject | None = objects[self.key]
        if self.random.random() < 0.5:
            del objects[self.key]
        else:
            objects[self.key] = stored(self.whole.body[:-9] + b"123456789", self.whole.etag)

    def mend(self) -> None:
        if hasattr(self, "whole") and self.whole is not None:
            self.world.s3.objects[self.key] = self.whole


class ChainRetriedAfterDamage(RetriedAfterDamage):
    """The same of a chain: no link is begun after one that is not whole."""

    increments = 2
