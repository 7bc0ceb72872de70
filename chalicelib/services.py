"""The composition root: settings, clients and services, each made when first asked for and kept for the process, or
until settings of Parameter Store have changed.

Imports inside of functions are on purpose, and only here: the authorizer runs with every cold start of the API and
must not pay for what workers need.
"""

import logging
import os
import random
import time
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING

from chalicelib.aws import Clients
from chalicelib.clock import Clock, system_clock
from chalicelib.retry import Backoff, Random, Sleep
from chalicelib.settings import Settings, read_settings
from chalicelib.tokens import TokenStore

if TYPE_CHECKING:
    from chalicelib.backup.notices import Outbox
    from chalicelib.backup.on_demand.pruning import BackupPruner
    from chalicelib.backup.on_demand.service import OnDemandBackups
    from chalicelib.backup.pruning.pruner import SetPruner
    from chalicelib.backup.pruning.shields import Shields
    from chalicelib.backup.service import BackupService
    from chalicelib.idempotency import IdempotencyKeys
    from chalicelib.ledger import Ledger
    from chalicelib.restore.advance import Conductor
    from chalicelib.restore.datapath.unanswered import Unanswered
    from chalicelib.restore.dead_letter import DeadLetters
    from chalicelib.restore.desk import RestoreDesk
    from chalicelib.restore.records import RestoreRecords
    from chalicelib.restore.slots import Slots
    from chalicelib.restore.sweep import RestoreSweep
    from chalicelib.restore.work import Surroundings
    from chalicelib.restore.worker import Worker
    from chalicelib.telling.ages import Ages
    from chalicelib.telling.teller import Teller


logger = logging.getLogger("tablevault")


class Services:
    """Everything the entry points call. `clients` and `clock` are arguments so that tests can pass their own."""

    def __init__(self, settings: Settings, clients: Clients | None = None, clock: Clock = system_clock) -> None:
        self.settings = settings
        self.clock = clock
        self.sleep: Sleep = time.sleep
        self.random: Random = random.random
        self._clients = clients or Clients()

    @cached_property
    def token_store(self) -> TokenStore:
        def read() -> str:
            answer = self._clients.get("ssm").get_parameter(
                Name=self.settings.api_tokens_parameter, WithDecryption=True
            )
            return str(answer["Parameter"]["Value"])

        return TokenStore(read, self.clock)

    @cached_property
    def ledger(self) -> "Ledger":
        from chalicelib.ledger import Ledger

        return Ledger(self._clients.get("dynamodb"), self.settings.ledger_table, sleep=self.sleep, jitter=self.random)

    @cached_property
    def idempotency_keys(self) -> "IdempotencyKeys":
        from chalicelib.idempotency import IdempotencyKeys

        return IdempotencyKeys(self.ledger, self.clock)

    @cached_property
    def backups(self) -> "BackupService":
        from chalicelib.backup.service import BackupService

        return BackupService(
            self.settings,
            self.ledger,
            self._clients.get("dynamodb"),
            self._clients.get("s3"),
            self.clock,
            self.sleep,
            lambda: self._clients.get("application-autoscaling"),
            tagging=lambda: self._clients.get("resourcegroupstaggingapi"),
            outbox=self.outbox,
            others={
                "NOTICE": lambda name, stop_at_ms: self.teller.carry_on(name, stop_at_ms),
                "ONDEMAND": lambda name, stop_at_ms: self.on_demand.carry_on(name, stop_at_ms),
            },
        )

    @cached_property
    def on_demand(self) -> "OnDemandBackups":
        from chalicelib.backup.on_demand.service import OnDemandBackups

        dynamodb = self._clients.get("dynamodb")
        return OnDemandBackups(self.settings, self.ledger, dynamodb, self.clock, self.sleep, self.random, self.outbox)

    @cached_property
    def shields(self) -> "Shields":
        from chalicelib.backup.pruning.shields import Shields

        return Shields(self.settings, self.ledger, self._clients.get("s3"), self.clock)

    @cached_property
    def set_pruner(self) -> "SetPruner":
        from chalicelib.backup.pruning.pruner import SetPruner

        s3 = self._clients.get("s3")
        return SetPruner(
            self.settings, self.ledger, s3, self.clock, self.sleep, lambda: self.records.not_ended().values()
        )

    @cached_property
    def backup_pruner(self) -> "BackupPruner":
        from chalicelib.backup.on_demand.pruning import BackupPruner

        return BackupPruner(
            self.settings,
            self.ledger,
            self._clients.get("dynamodb"),
            lambda: self.records.not_ended().keys(),
            self.clock,
            self.sleep,
            self.random,
        )

    @cached_property
    def outbox(self) -> "Outbox":
        from chalicelib.backup.notices import Outbox

        return Outbox(self.ledger, self.settings.environment, self.clock)

    @cached_property
    def teller(self) -> "Teller":
        from chalicelib.telling.teller import Teller

        return Teller(
            self.settings,
            self.ledger,
            lambda: self._clients.get("s3"),
            lambda: self._clients.get("sns"),
            lambda: self._clients.get("events"),
            self.clock,
        )

    @cached_property
    def ages(self) -> "Ages":
        from chalicelib.telling.ages import Ages

        return Ages(self.settings, self.ledger, self.outbox, self.clock)

    @cached_property
    def records(self) -> "RestoreRecords":
        from chalicelib.restore.records import RestoreRecords

        return RestoreRecords(self.ledger)

    @cached_property
    def slots(self) -> "Slots":
        from chalicelib.restore.slots import Slots

        @cache
        def queue_url() -> str:
            return str(self._clients.get("sqs").get_queue_url(QueueName=self.settings.restore_queue)["QueueUrl"])

        most_awake = self.settings.restore_max_concurrency
        return Slots(self.ledger, lambda: self._clients.get("sqs"), queue_url, most_awake=most_awake)

    @cached_property
    def unanswered(self) -> "Unanswered":
        from chalicelib.restore.datapath.unanswered import Unanswered

        unanswered = Unanswered(self.clock)
        unanswered.watch(self._clients.get("dynamodb"))
        return unanswered

    @cached_property
    def surroundings(self) -> "Surroundings":
        from chalicelib.restore.claims import Claims
        from chalicelib.restore.work import Kept, Surroundings

        return Surroundings(
            settings=self.settings,
            records=self.records,
            claims=Claims(self.records),
            dynamodb=self._clients.get("dynamodb"),
            s3=self._clients.get("s3"),
            clock=self.clock,
            sleep=self.sleep,
            random=self.random,
            unanswered=self.unanswered,
            autoscaling=lambda: self._clients.get("application-autoscaling"),
            kept=Kept(),
        )

    @cached_property
    def conductor(self) -> "Conductor":
        from chalicelib.restore.advance import Conductor

        return Conductor(self.surroundings, self.slots)

    @cached_property
    def desk(self) -> "RestoreDesk":
        from chalicelib.restore.desk import RestoreDesk

        return RestoreDesk(
            self.settings, self.records, self.slots, self._clients.get("s3"), self.clock, self.unanswered
        )

    @cached_property
    def worker(self) -> "Worker":
        from chalicelib.restore.worker import Worker

        return Worker(self.surroundings, self.slots, self.conductor)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        from chalicelib.restore.dead_letter import DeadLetters

        return DeadLetters(self.surroundings, self.slots)

    @cached_property
    def restore_sweep(self) -> "RestoreSweep":
        from chalicelib.restore.sweep import RestoreSweep

        return RestoreSweep(self.surroundings, self.slots, self.conductor)


# Lambda keeps a busy function's container for hours. A changed parameter is noticed within a quarter of an hour, for
# which an operator can wait; a thousand workers then ask about twice a second, of the 40 times that an account may.
SETTINGS_KEPT_MS = 15 * 60_000
# Where they could not be read again: an attempt may take seconds, which not every request of an outage should wait.
FAILURE_KEPT_MS = 60_000
# A cold start has 10 s, as has the authorizer; a reading that is not throttled takes a fraction of one.
_READING_MS = 4_000
# What the deployment made triggers of. Other values in the settings do not move them.
_OF_TRIGGERS = frozenset(
    {
        "backup_bucket",
        "s3_exports_prefix",
        "backup_schedule",
        "prune_schedule",
        "restore_queue",
        "restore_dead_letter_queue",
        "restore_max_concurrency",
    }
)


def load_settings(
    environ: Mapping[str, str], clients: Clients, clock: Clock = system_clock, sleep: Sleep = time.sleep
) -> Settings:
    """Those of the environment and, only where SSM_PARAMETER_PATH is set, of Parameter Store.

    Raises SettingsInvalid, and Unavailable while Parameter Store cannot be read.
    """
    if not _has_parameters(environ):
        return read_settings(environ)
    from chalicelib import parameters

    backoff = Backoff(clock, sleep, random.random, clock() + _READING_MS)
    return parameters.load(environ, lambda: clients.get("ssm"), backoff)


def _has_parameters(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("SSM_PARAMETER_PATH", "").strip())


class ProcessServices:
    """`services()`: those of this process. With SSM_PARAMETER_PATH its settings are read again after a while, and new
    services are made when they have changed.

    Raises what `load_settings` does, the first time; later the settings from before stay in use, which were good.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        make_clients: Callable[[], Clients] = Clients,
        clock: Clock = system_clock,
        sleep: Sleep = time.sleep,
    ) -> None:
        self._environ = environ
        self._make_clients = make_clients
        self._clock = clock
        self._sleep = sleep
        self.cache_clear()

    def cache_clear(self) -> None:
        self._clients = self._make_clients()
        self._services: Services | None = None
        self._good_until_ms = 0

    def __call__(self) -> Services:
        if self._services is None:
            self._services = Services(self._load(), self._clients)
        elif _has_parameters(self._environ) and self._clock() >= self._good_until_ms:
            self._services = self._renewed(self._services)
        return self._services

    def _load(self) -> Settings:
        settings = load_settings(self._environ, self._clients, self._clock, self._sleep)
        self._good_until_ms = self._clock() + SETTINGS_KEPT_MS
        return settings

    def _renewed(self, services: Services) -> Services:
        try:
            settings = self._load()
        except Exception as error:
            self._good_until_ms = self._clock() + FAILURE_KEPT_MS
            logger.warning("settings cannot be read again; those from before stay in use", exc_info=error)
            return services
        changed = [name for name in settings._fields if getattr(settings, name) != getattr(services.settings, name)]
        if not changed:
            return services
        logger.info("settings have changed", extra={"changed": changed})
        if not _OF_TRIGGERS.isdisjoint(changed):
            logger.warning("triggers are as deployed; deploy again, or what the settings now name triggers nothing")
        return Services(settings, self._clients)


services = ProcessServices(os.environ)
