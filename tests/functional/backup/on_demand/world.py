"""A small world for on-demand backups: moto's DynamoDB, a clock that moves when told, and hooks around calls."""

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib.backup.catalog import Catalog
from chalicelib.backup.on_demand.pruning import BackupPruner
from chalicelib.backup.on_demand.runs import run_key, table_key
from chalicelib.backup.on_demand.service import OPEN_WORK, OnDemandBackups
from chalicelib.ledger import Ledger, Row
from chalicelib.selection import Chosen
from chalicelib.settings import Settings, read_settings
from sandbox.resources import LEDGER_DEFINITION
from tests.functional.backup.on_demand.dynamodb import BackingUpDynamoDB
from tests.functional.backup.world import DATE, MINUTE_MS, Clock, Hook, StopAfter, Watched, client, do_nothing

TABLES = ("orders", "catalog")
BUDGET_MS = 40_000


class World:
    """Used inside of `moto.mock_aws`. A second stage of the same account is made with `beside`."""

    def __init__(
        self,
        tables: tuple[str, ...] = TABLES,
        *,
        environment: str = "tests",
        beside: "World | None" = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.in_moto = threading.RLock()
        self.before: Hook = do_nothing
        self.after: Hook = do_nothing
        self.restores_not_ended: set[str] = set()
        self.slept_s: list[float] = []
        self.tables = tables
        self.clock: Clock = beside.clock if beside else Clock()
        plain = client("dynamodb")
        self.dynamodb: BackingUpDynamoDB = beside.dynamodb if beside else BackingUpDynamoDB(plain, self.clock)
        self.ledger_table = f"ledger-of-{environment}"
        plain.create_table(TableName=self.ledger_table, **LEDGER_DEFINITION)
        for name in () if beside else tables:
            self.create_table(name)
        names = msgspec.json.encode(tables).decode()
        required = {"BACKUP_BUCKET": "tablevault-tests", "ENVIRONMENT": environment, "DYNAMODB_TABLES": names}
        self.settings: Settings = read_settings({**required, "LEDGER_TABLE": self.ledger_table, **(environ or {})})
        self.ledger = Ledger(plain, self.ledger_table, sleep=lambda seconds: None)
        self.new_process()

    def new_process(self) -> None:
        """What a cold start makes, behind the hooks."""
        dynamodb = Watched(self.dynamodb, self)  # type: ignore[arg-type]  # any world with hooks
        ledger = Ledger(dynamodb, self.ledger_table, sleep=lambda seconds: None)
        self.on_demand = OnDemandBackups(self.settings, ledger, dynamodb, self.clock, self.sleep, lambda: 0.5)
        self.pruner = BackupPruner(
            self.settings, ledger, dynamodb, lambda: self.restores_not_ended, self.clock, self.sleep, lambda: 0.5
        )

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.clock.advance(round(seconds * 1000))

    def create_table(self, name: str) -> None:
        client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )

    # --- breaking --------------------------------------------------------------------------------------------

    def refuse(
        self, operation: str, error: Exception, *, when: Callable[[dict[str, Any]], bool] = lambda request: True
    ) -> None:
        def before(name: str, request: dict[str, Any]) -> None:
            if name == operation and when(request):
                raise error

        self.before = before

    def count(self) -> list[str]:
        """The names of the calls from now on."""
        calls: list[str] = []
        self.before = lambda name, request: calls.append(name)
        return calls

    def mend(self) -> None:
        self.before = self.after = do_nothing

    def stop_after(self, calls: int) -> StopAfter:
        stop = StopAfter(calls)
        self.before, self.after = stop.before, stop.after
        return stop

    # --- the usual course ------------------------------------------------------------------------------------

    def start(self, name: str = DATE, *, by_hand: bool = False, budget_ms: int = BUDGET_MS) -> dict[str, Any]:
        stop_at_ms = self.clock() + budget_ms
        return self.on_demand.start(name, lambda: Chosen(self.tables), by_hand=by_hand, stop_at_ms=stop_at_ms)

    def reconcile(self, minutes: int = 1) -> dict[str, dict[str, Any]]:
        """Minute by minute, as the sweep does; the tables of the run of the first day."""
        for _ in range(minutes):
            self.clock.advance(MINUTE_MS)
            for kind, name in Catalog(self.ledger).open_work():
                assert kind == OPEN_WORK
                self.on_demand.carry_on(name, self.clock() + BUDGET_MS)
        return self.shown() if self.run_row() else {}

    def prune(self, budget_ms: int = BUDGET_MS) -> dict[str, Any]:
        return self.pruner.run(self.clock() + budget_ms)

    # --- looking ---------------------------------------------------------------------------------------------

    def shown(self, name: str = DATE) -> dict[str, dict[str, Any]]:
        return {table["table_name"]: table for table in self.on_demand.describe(name)["tables"]}

    def statuses(self, name: str = DATE) -> dict[str, str]:
        return {table_name: table["status"] for table_name, table in self.shown(name).items()}

    def status(self, name: str = DATE) -> str:
        return str(self.on_demand.describe(name)["status"])

    def run_row(self, name: str = DATE) -> Row | None:
        return self.ledger.get(run_key(name))

    def table_row(self, table_name: str, name: str = DATE) -> Row | None:
        return self.ledger.get(table_key(name, table_name))

    def is_open(self, name: str = DATE) -> bool:
        return (OPEN_WORK, name) in Catalog(self.ledger).open_work()

    def names(self, table_name: str) -> list[str]:
        return [str(each["BackupName"]) for each in self.dynamodb.backups(table_name)]
