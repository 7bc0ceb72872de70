"""The year itself: every day the schedule, writes, what goes wrong, and retention; once a week, and on the first of
each month, all comes to rest, and is judged.

Minutes in which reconcile would find nothing are left out: what is open stands in the index that it asks, and nothing
else moves it. Only how old the newest backups are it looks at without being asked to, once an hour; here four times a
day. The minute after one of those is not left out, and must cost its queries and change nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from chalicelib import entry
from chalicelib.ledger import OPEN_INDEX
from chalicelib.services import Services
from tests.simulation.faults import Fault, SeededFaults
from tests.simulation.lambdas import Invocation
from tests.simulation.replay import ItemLog
from tests.simulation.world import World
from tests.simulation.year.mishaps import Mishaps
from tests.simulation.year.observer import Observer
from tests.simulation.year.plan import HARSH, TABLES, TOPIC, ExportPlans, YearPlan, environ_of, plan_of
from tests.simulation.year.telling import TellingVerdict
from tests.simulation.year.verdict import YearVerdict

DAYS = 365
_DAY_US = 24 * 3600 * 1_000_000
_HOUR_US = 3600 * 1_000_000
_MINUTE_US = 60_000_000
_SCHEDULE_US = 1 * _HOUR_US
_PRUNE_US = 5 * _HOUR_US
_JUDGED_US = 12 * _HOUR_US
_REST_US = 3 * _HOUR_US
_LOOKED_AT = frozenset({"BACKUP", "RESTORE"})  # what reconcile asks the index of open work for
_BUSY_MINUTES = range(55, 120)  # of a day, around the schedule
_LATE_EVERY = 10  # minutes, of what is open longer: exports that take hours, a quota that is used up
_LOOKS_EVERY = 6 * 60  # minutes
_LOOKS_AT = 5  # of them: by then it is another hour for every clock
_CALLS_WHEN_IDLE = 3  # a query of each side; and whoever does not know it yet asks whether the hour is done
_SHOWN = 80
_TRACED = 3_000
_WRITES = {"orders": 4, "catalog": 2, "reset": 2, "anew": 2, "quiet": 0}  # a day, at the most
_RUNS_OF_RETENTION = 3


@dataclass
class YearResult:
    seed: int
    days: int
    violations: list[str]
    trace: list[str]
    counts: Counter[str]
    tables: Counter[str] = field(default_factory=Counter)  # of manifests, by their status
    injected: Counter[str] = field(default_factory=Counter)
    mishaps: Counter[str] = field(default_factory=Counter)
    removed_sets: int = 0
    deleted_backups: int = 0
    notices: int = 0  # messages to the topic
    repeated: int = 0  # of them and of those to the bus, because an answer was lost
    calls: int = 0

    def lines(self) -> Iterator[str]:
        """For people; of one that failed with the end of its course."""
        if self.violations:
            yield from self.trace[-_SHOWN:]
        yield f"seed {self.seed}, {self.days} days: {self.violations or 'no violation'}"
        tables = ", ".join(f"{count:,} {status}" for status, count in self.tables.items())
        yield f"  exports of tables: {tables}"
        yield f"  removed: {self.removed_sets:,} sets, {self.deleted_backups:,} on-demand backups"
        yield f"  {self.notices:,} messages to the topic, {self.repeated:,} repeated; {self.calls:,} calls to AWS"
        yield f"  what went wrong: {dict(self.mishaps)}; faults: {self.injected.total():,}"


class Year:
    def __init__(
        self,
        seed: int,
        days: int = DAYS,
        plan: YearPlan | None = None,
        *,
        judged_every: int = 7,
        looks_every_minute: bool = False,
    ) -> None:
        """`plan`: another one than the seed's. `judged_every`: so many days, besides the first of each month.
        `looks_every_minute`: reconcile runs although there is nothing open."""
        self._seed = seed
        self._days = days
        self._random = Random(f"year-{seed}")
        self.plan = plan or plan_of(self._random)
        self._judged_every = judged_every
        self.faults = SeededFaults(Random(f"faults-{seed}"))
        self.faults.is_on = False
        self.world = World(seed, self.faults, TABLES, environ=environ_of(self.plan), traced=_TRACED)
        self.log = ItemLog()
        self.mishaps = Mishaps(self.world, self.plan, Random(f"mishaps-{seed}"), self.log)
        self.observer = Observer(self.world, self.plan.policy)
        self.counts = self.world.counts
        self.verdict = YearVerdict(self.world, self.plan, self.log, self.observer, self.mishaps)
        self.telling = TellingVerdict(self.world, self.observer)
        self._looks_every_minute = looks_every_minute
        self._prepare()

    def run(self) -> YearResult:
        with self.world.in_place(threads=1):
            self._begin()
            for day in range(1, self._days + 1):
                self._live(is_judged=day == self._days or day % self._judged_every == 0)
                if self.world.watch.violations:
                    break
        violations = self.world.watch.violations
        return YearResult(
            seed=self._seed,
            days=self._days,
            violations=violations,
            trace=list(self.world.trace.lines()) if violations else [],
            counts=self.counts,
            tables=self.observer.tables(),
            injected=Counter({kind.value: count for kind, count in self.faults.injected.items()}),
            mishaps=Counter({what: len(intervals) for what, intervals in self.mishaps.intervals.items()}),
            removed_sets=len(self.observer.removed_ms),
            deleted_backups=sum(each["deleted_at_ms"] is not None for each in self.world.backups.by_arn.values()),
            notices=len(self.world.topics.published),
            repeated=self.telling.repeated,
            calls=self.world.trace.total,
        )

    # --- how it begins ---------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        exports = ExportPlans(Random(f"exports-{self._seed}"))
        backups = Random(f"backups-{self._seed}")
        skews = Random(f"skews-{self._seed}")
        self.world.plan_export = exports.next
        self.world.exports.partitions = 1
        self.world.s3.is_versioned = self.plan.is_versioned
        self.world.topics.arns.add(TOPIC)
        self.world.backups.made_after_ms = lambda: backups.choice((1_000, 1_000, 40_000, 300_000))
        self.world.skew_ms = lambda: skews.randrange(-4_000, 4_000) if skews.random() < self.plan.skewed else 0
        self.world.bus.is_idle = self._is_left_out

    def _begin(self) -> None:
        for name in TABLES:
            self.mishaps.make(name)
        self.verdict.begin()
        self._until_midnight()
        self.world.bus.start_ticking()

    def _until_midnight(self) -> None:
        self._run_until(-(-(self.world.scheduler.now_us + 1) // _DAY_US) * _DAY_US)

    # --- a day -----------------------------------------------------------------------------------------------

    def _live(self, *, is_judged: bool) -> None:
        midnight_us = self.world.scheduler.now_us
        self._draw_faults()
        self._at(_SCHEDULE_US, self._run_schedule)
        self._at(_PRUNE_US, self._run_retention)
        for at_s, happen in self.mishaps.draw():
            self._at(round(at_s * 1e6), lambda happen=happen: self.world.operate(happen))  # type: ignore[misc]
        for name, most in _WRITES.items():
            for _ in range(self._random.randrange(most + 1) or self._random.random() < 0.1):
                self._at(self._random.randrange(_DAY_US), lambda name=name: self.mishaps.write_one(name))  # type: ignore[misc]
        if is_judged or datetime.fromtimestamp(midnight_us / 1e6, UTC).day == 1:
            self._run_until(midnight_us + _JUDGED_US)
            self._rest_and_judge()
        self._run_until(midnight_us + _DAY_US)

    def _draw_faults(self) -> None:
        """On some days, of some kinds."""
        self.faults.rates = SeededFaults(Random(self._random.random())).rates
        self.faults.is_on = self._random.random() < self.plan.faulty

    def _run_schedule(self) -> None:
        if self._random.random() < self.plan.schedule_missed:
            self.world.trace.say("schedule", "does not fire")
            return
        self.counts["runs of the schedule"] += 1
        self.verdict.scheduled(is_faulty=self.faults.is_on)
        self.world.bus.schedule_exports(self._random.randrange(1_000_000))

    def _run_retention(self) -> None:
        if not self.faults.hits(Fault.TICK_DROPPED):
            self.world.bus.schedule_retention(self._random.randrange(1_000_000))

    # --- at rest ---------------------------------------------------------------------------------------------

    def _rest_and_judge(self) -> None:
        """Faults stop, and what is open comes to its end, but for exports that still run."""
        self.faults.is_on = False
        self.world.s3.is_denied = False
        self.world.exports.most_running = 300
        self._run_while(lambda: not self._is_at_rest(), _REST_US)
        for _ in range(_RUNS_OF_RETENTION):
            self.world.bus.schedule_retention(0)
            self._run_until(self.world.scheduler.now_us + _MINUTE_US)
            self._run_while(self._is_pruning, _HOUR_US)
        self._run_while(lambda: not self._is_at_rest(), _HOUR_US)
        self.verdict.judge()
        self.telling.judge()
        self.counts["times judged"] += 1
        for task in self.world.operator_tasks:
            if task.error is not None:
                self.world.watch.violated(f"the simulation itself failed: {task.error!r}")

    def _is_at_rest(self) -> bool:
        """Whether all open work waits for exports of AWS."""
        waiting = self.verdict.waiting_for_exports()
        return not self.world.lambdas.running and all(pk in waiting for pk in self._open_work())

    def _is_pruning(self) -> bool:
        return any(container.function == "prune" for container in self.world.lambdas.running)

    def _open_work(self) -> list[str]:
        rows = self.world.ledger.indexes[OPEN_INDEX].rows.values()
        return [row["pk"]["S"] for row in rows if row["open_kind"]["S"] in _LOOKED_AT]

    # --- minutes that are left out ---------------------------------------------------------------------------

    def _is_left_out(self) -> bool:
        """Whether reconcile is, this minute: what it would ask for is not there."""
        minute = self.world.scheduler.now_us // _MINUTE_US
        if self._looks_every_minute:
            return False
        if self._open_work():
            return minute % (24 * 60) not in _BUSY_MINUTES and minute % _LATE_EVERY != 0
        if minute % _LOOKS_EVERY == _LOOKS_AT:
            return False
        if minute % _LOOKS_EVERY == _LOOKS_AT + 1 and not self.faults.is_on and not self.world.lambdas.running:
            self._look_in_vain()
        self.counts["minutes left out"] += 1
        return True

    def _look_in_vain(self) -> None:
        """A run of reconcile that finds nothing, in an hour of which the ages were looked at: that costs one query of
        each side, and no write. What it does not do, nobody misses."""
        self.counts["runs of reconcile in vain"] += 1
        writes, calls = self.observer.ledger_writes, self.world.trace.total

        def ended(ok: bool, result: object) -> None:
            if self.world.lambdas.running:
                return  # somebody else called meanwhile
            made = self.world.trace.total - calls
            if self.observer.ledger_writes != writes or made > _CALLS_WHEN_IDLE:
                self.world.watch.violated(f"reconcile found nothing open, and made {made} calls")

        def handle(services: Services, invocation: Invocation) -> object:
            return entry.reconcile(services)

        self.world.lambdas.invoke("reconcile", handle, ended=ended)

    # --- time ------------------------------------------------------------------------------------------------

    def _at(self, of_day_us: int, happen: Callable[[], None]) -> None:
        self.world.scheduler.after(of_day_us, happen)

    def _run_until(self, until_us: int) -> None:
        self.world.scheduler.run(lambda: bool(self.world.watch.violations), until_us)

    def _run_while(self, is_so: Callable[[], bool], longest_us: int) -> None:
        until_us = self.world.scheduler.now_us + longest_us
        while is_so() and self.world.scheduler.now_us < until_us and not self.world.watch.violations:
            self._run_until(min(until_us, self.world.scheduler.now_us + _MINUTE_US))


def live(seed: int, days: int = DAYS) -> YearResult:
    return Year(seed, days).run()


def live_harshly(seed: int, days: int) -> YearResult:
    return Year(seed, days, HARSH, judged_every=9).run()
