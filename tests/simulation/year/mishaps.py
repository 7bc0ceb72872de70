"""What goes wrong in a year, each on its own, at times that a seed draws; and from when to when it did."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from chalicelib.errors import TablevaultError
from tests.simulation import operators
from tests.simulation.chains import item_of
from tests.simulation.replay import ItemLog
from tests.simulation.sets import create_table
from tests.simulation.world import PREFIX
from tests.simulation.year.plan import YearPlan

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S
_NEVER_MS = 10**15
IDS = 8  # of each table, so that items are changed, removed and made again
Interval = tuple[int, int]


class Mishaps:
    """`intervals`: by what it is of (a table, `bucket`, `quota`), from when to when it was so."""

    def __init__(self, world: Any, plan: YearPlan, random: Random, log: ItemLog) -> None:
        self._world = world
        self._plan = plan
        self._random = random
        self._log = log
        self.intervals: dict[str, list[Interval]] = {}
        self.shielded: set[str] = set()

    def draw(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """What a day brings, and at which second of it. Runs in tasks of their own."""
        chances: tuple[tuple[float, Callable[[], None]], ...] = (
            (self._plan.by_hand, self._back_up),
            (self._plan.recovery_lost, self._lose_recovery),
            (self._plan.table_lost, self._lose_table),
            (self._plan.bucket_denied, self._deny_bucket),
            (self._plan.quota_full, self._fill_quota),
            (self._plan.shielded, self._keep_one),
            (self._plan.shielded / 2, self._release_one),
        )
        for chance, happen in chances:
            if self._random.random() < chance:
                # Around the schedule, where it matters most, as often as anywhere else.
                at_s = self._random.choice((3500.0 + 600 * self._random.random(), self._random.random() * 22 * _HOUR_S))
                yield at_s, happen

    def is_so(self, what: str, from_ms: int, to_ms: int) -> bool:
        """Whether it was at some moment of the time."""
        return any(begun < to_ms and from_ms < ended for begun, ended in self.intervals.get(what, []))

    # --- the tables ------------------------------------------------------------------------------------------

    def make(self, name: str) -> None:
        items = [item_of(name, number, "first") for number in range(0, IDS, 2)]
        create_table(self._world, name, items)
        now_ms = self._world.scheduler.clock()
        self._world.dynamodb.tables[name].recovery_since_ms = now_ms
        self._log.begin(name, now_ms, items)

    def write_one(self, name: str) -> None:
        """Somebody changes, makes or removes an item."""
        if name not in self._world.dynamodb.tables:
            return
        now_ms = self._world.scheduler.clock()
        item = item_of(name, self._random.randrange(IDS), f"at {now_ms}")
        is_removed = self._random.random() < 0.3
        self._world.watch.targets.is_stranger = True
        if is_removed:
            self._world.dynamodb.delete_item({"TableName": name, "Key": {"id": item["id"]}})
        else:
            self._world.dynamodb.put_item({"TableName": name, "Item": item})
        self._world.watch.targets.is_stranger = False
        self._log.add(name, now_ms, item["id"]["S"], None if is_removed else item)

    def _lose_recovery(self) -> None:
        """Point-in-time recovery is switched off, and on again: what it knew is gone."""
        with self._lasting("reset", self._random.choice((1.0, 600.0, 7 * _HOUR_S, 40 * _HOUR_S))):
            self._recover(enabled=False)
        self._recover(enabled=True)

    def _recover(self, *, enabled: bool) -> None:
        wanted = {"PointInTimeRecoveryEnabled": enabled}
        request = {"TableName": "reset", "PointInTimeRecoverySpecification": wanted}
        self._world.tables.update_continuous_backups(request)

    def _lose_table(self) -> None:
        """A table is deleted, and DynamoDB keeps a backup of its own; another one of that name is made."""
        if "anew" not in self._world.dynamodb.tables:
            return
        with self._lasting("anew", self._random.choice((1.0, 600.0, 7 * _HOUR_S, 40 * _HOUR_S))):
            self._world.backups.add("anew", "anew$DeletedTableBackup", "SYSTEM")
            del self._world.dynamodb.tables["anew"]
        self.make("anew")

    # --- what is around them ---------------------------------------------------------------------------------

    def _deny_bucket(self) -> None:
        with self._lasting("bucket", self._random.choice((20.0, 900.0, 3 * _HOUR_S))):
            self._world.s3.is_denied = True
        self._world.s3.is_denied = False

    def _fill_quota(self) -> None:
        """Others export too."""
        with self._lasting("quota", self._random.choice((1800.0, 8 * _HOUR_S, 30 * _HOUR_S))):
            self._world.exports.most_running = self._random.choice((0, 1, 2))
        self._world.exports.most_running = 300

    @contextmanager
    def _lasting(self, what: str, seconds: float) -> Iterator[None]:
        self._world.trace.say("mishap", f"{what}, for {seconds} s")
        intervals = self.intervals.setdefault(what, [])
        at = len(intervals)
        intervals.append((self._world.scheduler.clock(), _NEVER_MS))
        yield
        self._world.scheduler.sleep(seconds)
        intervals[at] = (intervals[at][0], self._world.scheduler.clock())
        self._world.trace.say("mishap", f"{what} is over")

    # --- people ----------------------------------------------------------------------------------------------

    def _back_up(self) -> None:
        operators.back_up(self._world, self._random.choice(("FULL_EXPORT", "INCREMENTAL_EXPORT")), tries=1)

    def _keep_one(self) -> None:
        names = self._names()
        if names:
            self._shield("keep", self._random.choice(names[-12:]))

    def _release_one(self) -> None:
        if self.shielded:
            self._shield("release", self._random.choice(sorted(self.shielded)))

    def _shield(self, how: str, name: str) -> None:
        """Whoever has asked for it, and got an answer, can rely on it."""
        by = ("an operator",) if how == "keep" else ()
        try:
            self._world.api(lambda services: getattr(services.shields, how)(name, *by))
        except (*operators.NO_ANSWER, TablevaultError):
            return
        if how == "keep":
            self.shielded.add(name)
        else:
            self.shielded.discard(name)

    def _names(self) -> list[str]:
        keys = (key for key in self._world.s3.objects if key.endswith("/manifest.json") and key.startswith(PREFIX))
        return sorted(key.split("/")[1] for key in keys)
