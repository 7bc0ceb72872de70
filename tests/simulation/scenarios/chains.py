"""Stories of restores from incremental sets: a full export and its increments."""

from typing import Any

from chalicelib.restore.datapath import chain_index
from tests.simulation.chains import Backed, Wish, item_of
from tests.simulation.scenarios.restores import COMPARISONS, Keys
from tests.simulation.scenarios.scenario import Scenario
from tests.simulation.verdict import Expected


class ChainInTurn(Scenario):
    """Link after link, each on many workers: puts and removals as they stand."""

    comparisons: tuple[str, ...] = tuple(COMPARISONS)

    def begin(self) -> None:
        increments = self.random.choice((1, 2, 3))
        self.back_up(Backed("orders", items=110, files=4, increments=increments), standing=60)
        self.world.slow_writes_us = self.random.choice((0, 0, 400_000))
        wish = Wish(clears=self.random.random() < 0.3)
        body: dict[str, Any] = {"clear_existing_data": wish.clears, "max_workers": self.random.choice((1, 3, 8))}
        body["verify"] = self.random.choice(self.comparisons)
        self.operate(lambda: self.restore("chain", Expected(wish=wish), **body))


class ChainInTurns(ChainInTurn):
    """The same, read back with an index of which only a part fits a worker at once."""

    comparisons = ("full",)
    constants = ((chain_index, "MOST_KEYS_PER_TURN", 40),)


class ChainChangedOnly(Scenario):
    """Of each key only its last word, in several turns, where the target has it otherwise."""

    constants = ((chain_index, "MOST_KEYS_PER_TURN", 40),)
    mode = "changed_only"

    def begin(self) -> None:
        increments = self.random.choice((1, 2, 3))
        self.back_up(Backed("orders", items=80, files=3, increments=increments), standing=60)
        body = {"mode": self.mode, "max_workers": self.max_workers(), "verify": self.random.choice(COMPARISONS)}
        self.operate(lambda: self.restore("resolved", Expected(wish=Wish(mode=self.mode)), **body))


class ChainMissingOnly(ChainChangedOnly):
    """Of each key only its last word, where the target lacks it; removals remove nothing, and strangers' items stay."""

    mode = "missing_only"

    def begin(self) -> None:
        super().begin()
        if self.random.random() < 0.5:
            self.verdict.strangers["orders"] = {}
            self.operate(self._write_meanwhile)

    def _write_meanwhile(self) -> None:
        for _ in range(30):
            self.world.scheduler.sleep(self.random.choice((0.01, 0.1, 0.3)))
            item = item_of("orders", self.random.randrange(100), "somebody else")
            self.world.put_as_stranger("orders", item)
            self.verdict.strangers["orders"][item["id"]["S"]] = item


class ChainKeys(Keys):
    """A few keys of a chain: each as its last word has it."""

    increments = 2
