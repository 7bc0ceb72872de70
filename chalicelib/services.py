"""The composition root: settings, clients and services, each made when first asked for and kept for the process.

Imports inside of functions are on purpose, and only here: the authorizer runs with every cold start of the API and
must not pay for what workers need.
"""

import os
import random
import time
from functools import cache, cached_property
from typing import TYPE_CHECKING

from chalicelib.aws import Clients
from chalicelib.clock import Clock, system_clock
from chalicelib.retry import Random, Sleep
from chalicelib.settings import Settings, read_settings
from chalicelib.tokens import TokenStore

if TYPE_CHECKING:
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
        )

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


@cache
def services() -> Services:
    """Those of this process, by its environment. Raises SettingsInvalid."""
    return Services(read_settings(os.environ))
