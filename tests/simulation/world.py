"""The whole service in one process: its handlers, AWS around them, a virtual clock, and faults, all of one seed."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

from chalicelib.api import routes
from chalicelib.ledger import table as ledger_table
from chalicelib.restore.datapath.flow import Flow
from chalicelib.services import Services
from chalicelib.settings import read_settings
from chalicelib.telling import ages, teller
from sandbox.resources import LEDGER_DEFINITION
from tests.simulation.aws.backups import Backups
from tests.simulation.aws.client import Caller, SimulatedClients
from tests.simulation.aws.dynamodb import Answer, DynamoDB, Request
from tests.simulation.aws.exports import ExportPlan, Exports
from tests.simulation.aws.rows import plain_row_at_once
from tests.simulation.aws.s3 import S3
from tests.simulation.aws.tables import Tables
from tests.simulation.aws.telling import EventBuses, Topics
from tests.simulation.bus import Bus
from tests.simulation.faults import Fault, NoFaults
from tests.simulation.lambdas import Container, Lambdas
from tests.simulation.scheduler import Process, Scheduler, Task
from tests.simulation.threads import simulated_threads
from tests.simulation.trace import Trace
from tests.simulation.watch import Watch

BUCKET = "tablevault-simulated"
LEDGER = "tablevault-simulated-ledger"
PREFIX = "native-exports"
START_MS = 1_795_222_820_000  # 2026-11-21T01:00:20Z
_DYNAMODB_CALLS = (
    "get_item",
    "batch_get_item",
    "query",
    "scan",
    "put_item",
    "update_item",
    "delete_item",
    "transact_write_items",
    "batch_write_item",
)
_BACKUP_CALLS = ("create_backup", "describe_backup", "list_backups", "delete_backup")
_TABLE_CALLS = (
    "create_table",
    "describe_table",
    "update_table",
    "list_tags_of_resource",
    "tag_resource",
    "describe_time_to_live",
    "update_time_to_live",
    "update_continuous_backups",
    "describe_kinesis_streaming_destination",
)
_SCALING_CALLS = (
    "describe_scalable_targets",
    "describe_scaling_policies",
    "register_scalable_target",
    "put_scaling_policy",
)
_EXPORT_CALLS = ("describe_continuous_backups", "export_table_to_point_in_time", "describe_export", "list_exports")
_S3_CALLS = (
    *("get_object", "put_object", "list_objects_v2", "head_object", "head_bucket"),
    *("list_object_versions", "delete_objects", "delete_object"),
)
Work = Callable[[Services], Any]


class ApiFailed(Exception):
    """An HTTP request got no answer, or a 5xx without one: whether it took effect is unknown."""


class World:
    def __init__(
        self,
        seed: int,
        faults: NoFaults,
        configured: tuple[str, ...],
        concurrency: int | None = None,
        environ: Mapping[str, str] | None = None,
        traced: int | None = None,
    ) -> None:
        """`traced`: of how many calls the trace knows, the last ones; None is all."""
        self.random = Random(f"world-{seed}")
        self.faults = faults
        self.configured = configured
        self.concurrency = concurrency or 20
        self.scheduler = Scheduler(START_MS, self.random)
        self.trace = Trace(lambda: self.scheduler.now_us, self.scheduler.now_us, traced)
        self.counts: Counter[str] = Counter()
        self.watch = Watch(self)
        self.export_plans: dict[str, ExportPlan] = {}
        self.plan_export: Callable[[str], ExportPlan] = lambda table: self.export_plans.get(table, ExportPlan())
        self.dynamodb = DynamoDB(self.scheduler.clock, self._let_indexes_follow)
        self.tables = Tables(self.dynamodb, self.scheduler.clock, self.random)
        self.backups = Backups(self.dynamodb, self.scheduler.clock)
        self.topics = Topics(self.scheduler.clock)
        self.event_buses = EventBuses(self.scheduler.clock)
        self.s3 = S3(BUCKET)
        self.exports = Exports(
            self.dynamodb,
            self.s3,
            self.scheduler.clock,
            self.scheduler.after,
            lambda table: self.plan_export(table),
            self.random.randbytes,
        )
        self.ledger = self.dynamodb.create_table(LEDGER, **LEDGER_DEFINITION)
        self.dynamodb.on_write = self.watch.wrote
        self.dynamodb.on_units = self.watch.targets.consumed
        self.tables.on_change = self.watch.targets.changed_table
        self.dynamodb.page_items = self.random.choice((7, 40, 1000))
        self.s3.page_keys = self.random.choice((2, 5, 1000))
        self.lambdas = Lambdas(self)
        self.bus = Bus(self, concurrency=concurrency or self.random.choice((2, 5, 20)))
        self.s3.on_create = self._object_created
        self.effects = self._all_effects()
        self.settings = read_settings({**self._environ(), **(environ or {})})
        self.operator = Process("operator")
        self.operator_tasks: list[Task] = []
        self.rows_in_flight: set[tuple[str, ...]] = set()  # of transactions
        self.poison_key: str | None = None  # of an object that kills who reads it
        self.skew_ms: Callable[[], int] = lambda: 0  # of a container's clock, drawn when it starts
        self.slow_writes_us = 0  # how long each write to a target takes, beside the usual

    # --- running ---------------------------------------------------------------------------------------------

    @contextmanager
    def in_place(self, threads: int | None = None) -> Iterator[None]:
        """Within it the service's threads, its random names and its log are this world's."""
        logger = logging.getLogger("tablevault")
        level, propagate, handlers = logger.level, logger.propagate, logger.handlers
        logger.handlers = [self.watch]
        logger.setLevel(logging.INFO)
        logger.propagate = False
        names = Random(self.random.random())
        token_hex = patch("secrets.token_hex", lambda size=8: names.randbytes(size).hex())
        uuid4 = patch("uuid.uuid4", lambda: _Uuid(names.randbytes(16).hex()))
        most = threads or self.random.choice((1, 3, 8, 16))
        limits = {"first_limit": min(most, self.random.choice((1, 8))), "most_limit": most}
        loaders = patch.dict(Flow.__init__.__kwdefaults__, limits)
        in_routes = patch.object(routes, "services", self._services_here)
        lines = [patch.object(module, "to_standard_output", self.watch.wrote_line) for module in (ages, teller)]
        reading = patch.object(ledger_table, "plain_row", plain_row_at_once)
        try:
            with simulated_threads(self.scheduler), token_hex, uuid4, loaders, in_routes, lines[0], lines[1], reading:
                yield
        finally:
            logger.handlers = handlers
            logger.setLevel(level)
            logger.propagate = propagate

    def operate(self, work: Callable[[], None]) -> None:
        """Something a person or a schedule outside does, on its own."""
        self.operator_tasks.append(self.scheduler.spawn(self.operator, work, "operator"))

    def run(self, is_over: Callable[[], bool], minutes: float) -> None:
        """Until `is_over`, the first violation, or so much virtual time has passed."""
        until_us = self.scheduler.now_us + round(minutes * 60_000_000)
        self.scheduler.run(lambda: bool(self.watch.violations) or is_over(), until_us)

    def sleep_minutes(self, minutes: float) -> None:
        self.scheduler.sleep(minutes * 60)

    def api(self, work: Work) -> Any:
        """One HTTP request, from an operator's task. Raises ApiFailed where there is no answer; errors of the
        service come as they are."""
        task = self.scheduler.current
        outcome: list[tuple[bool, Any]] = []

        def ended(ok: bool, result: Any) -> None:
            outcome.append((ok, result))
            if task is not None:
                self.scheduler.unpark(task)

        self.lambdas.invoke("api_handler", lambda services, invocation: work(services), ended=ended)
        while not outcome:
            self.scheduler.park()
        ok, result = outcome[0]
        if ok:
            return result
        if result is None:
            raise ApiFailed("no answer")
        raise result

    def put_as_stranger(self, table: str, item: dict[str, Any]) -> None:
        """Somebody else writes an item, at once."""
        self.trace.say("stranger", f"writes {item['id']['S']} into {table}")
        self.watch.targets.is_stranger = True
        self.dynamodb.put_item({"TableName": table, "Item": item})
        self.watch.targets.is_stranger = False

    def lose(self, key: tuple[str, str]) -> None:
        """The ledger loses a row."""
        self.trace.say("disaster", f"the ledger loses {key}")
        self.watch.has_lost_rows = True
        self.ledger.set(key, None)

    def kill(self, process: Process, why: str) -> None:
        if isinstance(process, Container):
            self.lambdas.kill(process, why)
        else:
            raise AssertionError(f"{process.name} calls AWS and is no container")

    def new_services(self, container: Container) -> Services:
        """As a cold start makes them."""
        caller = Caller(self, lambda: container.function)
        skew_ms = self.skew_ms()
        services = Services(
            self.settings, SimulatedClients(caller, container), lambda: self.scheduler.clock() + skew_ms
        )
        services.sleep = self.scheduler.sleep
        services.random = self.random.random
        return services

    def _services_here(self) -> Services:
        """Those of the process that asks."""
        container = self.scheduler.check_alive()
        assert isinstance(container, Container)
        assert container.services is not None
        return container.services

    # --- inside ----------------------------------------------------------------------------------------------

    def _environ(self) -> dict[str, str]:
        names = ", ".join(f'"{name}"' for name in self.configured)
        return {
            "BACKUP_BUCKET": BUCKET,
            "ENVIRONMENT": "simulation",
            "DYNAMODB_TABLES": f"[{names}]",
            "LEDGER_TABLE": LEDGER,
            "RESTORE_MAX_CONCURRENCY": str(self.concurrency),
        }

    def _all_effects(self) -> dict[tuple[str, str], Callable[[Request], Answer]]:
        effects = {("dynamodb", name): getattr(self.dynamodb, name) for name in _DYNAMODB_CALLS}
        effects |= {("dynamodb", name): getattr(self.backups, name) for name in _BACKUP_CALLS}
        effects |= {("dynamodb", name): getattr(self.tables, name) for name in _TABLE_CALLS}
        effects |= {("application-autoscaling", name): getattr(self.tables, name) for name in _SCALING_CALLS}
        effects |= {("dynamodb", name): getattr(self.exports, name) for name in _EXPORT_CALLS}
        effects |= {("s3", name): getattr(self.s3, name) for name in _S3_CALLS}
        effects[("sqs", "get_queue_url")] = self.bus.get_queue_url
        effects[("sqs", "send_message")] = self.bus.send_message
        effects[("sns", "publish")] = self.topics.publish
        effects[("events", "put_events")] = self.event_buses.put_events
        return effects

    def _let_indexes_follow(self, follow: Callable[[], None]) -> None:
        is_slow = self.faults.hits(Fault.INDEX_LAGS)
        self.scheduler.after(self.random.randrange(100_000, 5_000_000) if is_slow else 2_000, follow)

    def _object_created(self, key: str) -> None:
        self.watch.created(key)
        self.bus.object_created(key)


class _Uuid(str):
    """What the service uses of a UUID."""

    @property
    def hex(self) -> str:
        return str(self)
