"""A sandbox with the tests' hands on it: the API with everything it says kept, functions called by themselves, the
ledger's rows put into states that take hours to come about, and the roles' policies."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from chalicelib.backup.catalog import Catalog, export_key, set_key
from chalicelib.ledger import Delete, Key, Ledger, Put, Update
from chalicelib.restore.claims import shard_counts
from chalicelib.restore.model import TERMINAL, Job, Kind, Status
from chalicelib.restore.records import RestoreRecords, job_key, lock_key, lock_of
from chalicelib.restore.slots import SlotMessage, slot_key
from sandbox.emulator.decisions import DECISIONS_PATH
from sandbox.isolation import open_local
from sandbox.sandbox import Sandbox, scheduled_event
from tests.e2e.conftest import wait_for


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


@dataclass
class Stand:
    sandbox: Sandbox
    answers: list[tuple[str, bytes]] = field(default_factory=list)  # every answer of the API, headers and body
    results: list[tuple[str, bytes]] = field(default_factory=list)  # what directly invoked functions returned
    messages: list[tuple[str, bytes]] = field(default_factory=list)  # of the restore queue, while nobody took them
    notices: list[tuple[str, bytes]] = field(default_factory=list)  # see `notices`
    made_id: str = ""  # the restore that made a table
    _last_set: str = ""

    # --- the API ---------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = "", **headers: str) -> Answer:
        """Any answer, good or bad. `token`: the whole Authorization header; "" is the right one, None sends none."""
        sent = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if token is not None:
            sent["Authorization"] = token or f"Bearer {self.sandbox.token}"
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.sandbox.api_url + path, data, sent, method=method)
        try:
            with open_local(request, 40) as response:
                return self._kept(method, response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return self._kept(method, error.code, error.headers, error.read())

    def _kept(self, method: str, status: int, headers: Any, body: bytes) -> Answer:
        self.answers.append((f"an answer to a {method} ({status})", str(headers).encode() + body))
        parsed = None
        with suppress(ValueError):
            parsed = json.loads(body or b"null")
        return Answer(status, parsed)

    def start_backup(self, *tables: str) -> dict[str, Any]:
        """A new set by hand. Sets are named by their second, so one of an earlier call may be answered again."""

        def start() -> dict[str, Any] | None:
            said = self.ask("POST", "/backups", {"tables": list(tables)})
            is_new = said.status == 202 and said.body["backup_date"] != self._last_set
            return said.body if is_new else None

        started = wait_for("a new set", start, seconds=10)
        self._last_set = started["backup_date"]
        return started

    def finished_backup(self, *tables: str) -> str:
        backup_date = str(self.start_backup(*tables)["backup_date"])
        self.await_backup(backup_date)
        return backup_date

    def await_backup(self, backup_date: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            said = self.ask("GET", f"/backups/{backup_date}").body
            return said if said["status"] in ("COMPLETE", "PARTIAL") else None

        return wait_for(f"backup {backup_date}", look)

    def await_restore(self, restore_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            said = self.ask("GET", f"/restores/{restore_id}").body
            return said if said["status"] in TERMINAL and said["receipt_key"] else None

        return wait_for(f"restore {restore_id}", look)

    # --- functions -------------------------------------------------------------------------------------------

    def invoke(self, function: str, event: dict[str, Any]) -> tuple[Any, str | None]:
        """What the function returned, and its error, if it ended with one."""
        answer = self.sandbox.client("lambda").invoke(
            FunctionName=self.sandbox.stage.lambda_name(function), Payload=json.dumps(event).encode()
        )
        payload = answer["Payload"].read()
        self.results.append((f"what {function} returned", payload))
        parsed = json.loads(payload or b"null")
        return (None, str(parsed)) if "FunctionError" in answer else (parsed, None)

    def invoke_schedule(self, function: str) -> str | None:
        """Why the function failed when its schedule fired, if it did."""
        return self.invoke(function, scheduled_event(function))[1]

    def invoke_message(self, function: str, body: str) -> tuple[Any, str | None]:
        record = {"messageId": "by-hand", "receiptHandle": "none", "body": body, "eventSource": "aws:sqs"}
        return self.invoke(function, {"Records": [record]})

    def stop_schedules(self) -> None:
        """Schedules fire when a test says so: `reconcile`, every minute, would do what others are to be seen doing."""
        events = self.sandbox.client("events")
        for rule in events.list_rules()["Rules"]:
            if "ScheduleExpression" in rule:
                events.disable_rule(Name=rule["Name"])

    def cool_down(self, function: str) -> None:
        """Ends the function's idle processes: the next call starts with nothing remembered."""
        for pid in self.sandbox.lambda_worker_pids(function):
            os.kill(pid, signal.SIGKILL)
        wait_for("no worker", lambda: not self.sandbox.lambda_worker_pids(function))

    @contextmanager
    def paused_workers(self) -> Iterator[None]:
        """Nobody takes messages off the restore queue meanwhile; those that came are gone afterwards."""
        lambdas, sqs = self.sandbox.client("lambda"), self.sandbox.client("sqs")
        name = self.sandbox.stage.lambda_name("restore_shards")
        [mapping] = lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        try:
            yield
        finally:
            self.messages += [("a queue message", body.encode()) for body in self.waiting_messages()]
            sqs.purge_queue(QueueUrl=self.queue_url(self.sandbox.stage.restore_queue))
            lambdas.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)

    def waiting_messages(self) -> list[str]:
        """All that wait in the restore queue, which nobody may be taking from. They stay away for a while."""
        sqs, url = self.sandbox.client("sqs"), self.queue_url(self.sandbox.stage.restore_queue)
        bodies: list[str] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"] for message in messages]
        return bodies

    def queue_url(self, name: str) -> str:
        return str(self.sandbox.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])

    # --- the ledger ------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.sandbox.client("dynamodb"), self.sandbox.stage.ledger_table)

    @property
    def records(self) -> RestoreRecords:
        return RestoreRecords(self.ledger)

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.ledger)

    def rows(self) -> list[dict[str, Any]]:
        pages = self.sandbox.client("dynamodb").get_paginator("scan")
        found = pages.paginate(TableName=self.sandbox.stage.ledger_table, ConsistentRead=True)
        return [row for page in found for row in page["Items"]]

    def set_row(self, key: Key, *remove: str, **changes: Any) -> None:
        self.ledger.write(Update(key, set=changes, remove=remove))

    def job(self, restore_id: str) -> Job:
        job = self.records.job(restore_id)
        assert job is not None
        return job

    def forget(self, pk: str) -> None:
        """Removes every row of a set or a restore, and its locks."""
        for row in list(self.ledger.query(pk)):
            for target in row.get("targets", []):
                self.ledger.write(Delete(lock_key(target)))
            self.ledger.write(Delete(Key(pk, row["sk"])))

    def plan_set_hours_ago(self, backup_date: str, like: str, table: str, *, folder: str = "") -> None:
        """An open set of one table that was planned eight hours ago, and no export written down: beyond the time for
        which DynamoDB remembers client tokens, so that a running export of it has to be looked for.

        `folder`: export to another place than the set's own.
        """
        model = self.catalog.record(like)
        parameters = model.exports_of(table)[0].parameters
        assert parameters is not None
        prefix = parameters.s3_prefix.replace(like, folder or backup_date)
        started_at_ms = int(time.time() * 1000) - 8 * 3600 * 1000
        row = {
            "backup_date": backup_date,
            "status": "OPEN",
            "environment": "sandbox",
            "s3_bucket": parameters.s3_bucket,
            "exports_prefix": model.set.exports_prefix,
            "started_at_ms": started_at_ms,
            "revision": 1,
            "by_hand": False,
            "open_kind": "BACKUP",
            "kind": "BACKUP",
            "sort_name": backup_date,
            "opened_at_ms": started_at_ms,
            "tables": [table],
        }
        export = {
            "backup_date": backup_date,
            "table_name": table,
            "status": "PENDING",
            "attempt": 1,
            "parameters": {
                "table_arn": parameters.table_arn,
                "s3_bucket": parameters.s3_bucket,
                "s3_prefix": prefix,
                "client_token": f"tablevault-{time.monotonic_ns()}",
                "export_format": "DYNAMODB_JSON",
            },
        }
        self.forget(f"BACKUP#{backup_date}")
        self.ledger.write(Put(export_key(backup_date, table), export))
        self.ledger.write(Put(set_key(backup_date), row))

    def unrecord_export(self, backup_date: str, table: str, *, keep_manifest: bool = False) -> str:
        """Takes a recorded export back to IN_PROGRESS, and its set's manifest away. The key of its summary."""
        row = self.catalog.record(backup_date).exports_of(table)[0]
        facts = ("ended_at_ms", "export_time", "manifest_summary_key", "manifest_files_key", "checked_at_ms")
        self.set_row(export_key(backup_date, table), *facts, status="IN_PROGRESS")
        self.set_row(set_key(backup_date), "finished_at_ms", status="OPEN", open_kind="BACKUP")
        bucket, prefix = self.sandbox.stage.backup_bucket, f"native-exports/{backup_date}"
        if not keep_manifest:
            self.sandbox.client("s3").delete_object(Bucket=bucket, Key=f"{prefix}/manifest.json")
        export_id = str(row.export_arn).rsplit("/", 1)[-1]
        return f"{prefix}/{table}/AWSDynamoDB/{export_id}/manifest-summary.json"

    def has_manifest(self, backup_date: str) -> bool:
        key = f"native-exports/{backup_date}/manifest.json"
        listed = self.sandbox.client("s3").list_objects_v2(Bucket=self.sandbox.stage.backup_bucket, Prefix=key)
        return bool(listed.get("KeyCount"))

    def is_closed(self, backup_date: str) -> bool:
        return not self.catalog.record(backup_date).set.is_open

    def uncancel(self, restore_id: str) -> None:
        """Takes an ended restore back to where it was cancelled in the middle of LOADING: one shard is open, with
        its checkpoint, no worker is alive, and its targets are locked."""
        shard = next(each for each in self.records.shards(restore_id, Kind.LOAD) if shard_counts(each))
        self.set_row(Key(job_key(restore_id).pk, shard.sk), "reason", stage="CHECKED", claimed_until_ms=0)
        changes = {"status": Status.CANCELLING.value, "cancelled_in": "LOADING", "open_kind": "RESTORE"}
        self.set_row(job_key(restore_id), "expires_at_s", "reason", **changes)
        job = self.job(restore_id)
        for target in job.targets:
            self.ledger.write(Put(lock_key(target), lock_of(job)._asdict()))

    def reopen(self, restore_id: str) -> None:
        """Takes a closed restore back to where it had ended and nothing was tidied up."""
        self.set_row(job_key(restore_id), "expires_at_s", open_kind="RESTORE")

    def message_of(self, restore_id: str, slot: int = 0) -> str:
        """The message that wakes a worker for the slot, as it stands in the ledger."""
        row = self.ledger.get(slot_key(restore_id, slot)) or {}
        message = SlotMessage(restore_id, slot, row["wake"], row["hop"])
        return json.dumps({name: getattr(message, name) for name in message.__struct_fields__})

    # --- tables ----------------------------------------------------------------------------------------------

    def scaled(self, table: str) -> list[tuple[str, int, int, float]]:
        """What of a table's capacity is scaled, between which limits, and to which use of it."""
        scaling = self.sandbox.client("application-autoscaling")
        asked = {"ServiceNamespace": "dynamodb", "ResourceId": f"table/{table}"}
        policies = {
            each["ScalableDimension"]: each["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
            for each in scaling.describe_scaling_policies(**asked)["ScalingPolicies"]
        }
        targets = scaling.describe_scalable_targets(ServiceNamespace="dynamodb", ResourceIds=[asked["ResourceId"]])[
            "ScalableTargets"
        ]
        return [
            (each["ScalableDimension"], each["MinCapacity"], each["MaxCapacity"], policies[each["ScalableDimension"]])
            for each in targets
        ]

    def drop_table(self, table: str) -> None:
        dynamodb = self.sandbox.client("dynamodb")
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
        dynamodb.delete_table(TableName=table)

    def definition(self, backup_date: str, table: str) -> dict[str, Any]:
        key = f"native-exports/{backup_date}/{table}/table.json"
        answer = self.sandbox.client("s3").get_object(Bucket=self.sandbox.stage.backup_bucket, Key=key)
        return dict(json.loads(answer["Body"].read()))

    # --- IAM -------------------------------------------------------------------------------------------------

    def role(self, function: str) -> str:
        name = self.sandbox.stage.lambda_name(function)
        arn = self.sandbox.client("lambda").get_function_configuration(FunctionName=name)["Role"]
        return str(arn).rsplit("/", 1)[-1]

    @contextmanager
    def policy(self, function: str, document: dict[str, Any]) -> Iterator[None]:
        """The function's role has this policy, and afterwards its own again. It holds from the next request on."""
        iam, role = self.sandbox.client("iam"), self.role(function)
        [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        own = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        try:
            yield
        finally:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(own))

    def take_decisions(self) -> list[dict[str, Any]]:
        """What IAM decided for the functions' roles since the last call; the first one only begins the recording."""
        request = urllib.request.Request(self.sandbox.endpoint_url + DECISIONS_PATH)
        with open_local(request, 10) as response:
            decisions: list[dict[str, Any]] = json.load(response)
        return decisions
