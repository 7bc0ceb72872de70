"""What must never happen, watched while it would happen: every write to the ledger, to a target and to the bucket is
looked at as it takes effect. The end of a run is judged in `verdict`."""

import json
import logging
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.backup.export_files import md5_of
from chalicelib.backup.states import EXPORT_MOVES, ExportState
from chalicelib.errors import TablevaultError
from chalicelib.ledger.writes import plain_row
from chalicelib.restore.model import ALLOWED_MOVES, TERMINAL, Status
from tests.simulation.aws.dynamodb import KeyTuple, Table
from tests.simulation.aws.expressions import Item
from tests.simulation.lambdas import Container
from tests.simulation.scheduler import Process

# Every item of every scenario holds it; it may stand in tables, exports and rejected lines, and nowhere else.
ITEM_MARK = "itemcontent"
_MAY_CLEAR = frozenset({Status.CLEARING, Status.CANCELLING})
_MAY_LOAD = frozenset({Status.LOADING, Status.CANCELLING})


class Watch(logging.Handler):
    def __init__(self, world: Any) -> None:
        super().__init__()
        self._world = world
        self.violations: list[str] = []
        self.has_lost_rows = False
        self._manifests: dict[str, dict[str, Any]] = {}
        self._cancelling_since_us: dict[str, int] = {}
        self._claimed_at_us: dict[tuple[str, str], int] = {}
        self._looked_at: tuple[int, str, bool] | None = None

    def violated(self, text: str) -> None:
        self._world.trace.say("VIOLATION", text)
        self.violations.append(text)

    def raised(self, process: Process, error: BaseException) -> None:
        """A handler may fail for what AWS did to it, and say so; anything else is a defect."""
        if not isinstance(error, ClientError | BotoCoreError | TablevaultError):
            self.violated(f"{process.name} raised {type(error).__name__}: {error}")
        self._look_for_content(f"the error of {process.name}", str(error))

    # --- logs ------------------------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        task = self._world.scheduler.current
        if task is not None and not task.process.is_alive:
            return
        said = {name: value for name, value in record.__dict__.items() if name not in _OF_LOGGING}
        text = f"{record.getMessage()} {said} {record.exc_info[1] if record.exc_info else ''}"
        self._world.trace.say(task.process.name if task else "-", f"logs {record.levelname}: {text}"[:400])
        self._look_for_content("a log line", text)

    def _look_for_content(self, where: str, text: str) -> None:
        if ITEM_MARK in text:
            self.violated(f"item content stands in {where}: {text[:200]}")

    # --- DynamoDB --------------------------------------------------------------------------------------------

    def wrote(self, table: Table, key: KeyTuple, old: Item | None, new: Item | None) -> None:
        if table.name == self._world.ledger.name:
            self._wrote_ledger(str(key[0]), str(key[1]), old, new)
        else:
            self._wrote_target(table, key, new)

    def _wrote_target(self, table: Table, key: KeyTuple, new: Item | None) -> None:
        moment = (self._world.scheduler.now_us, table.name, new is None)
        if moment == self._looked_at:
            return  # another item of the same batch
        self._looked_at = moment
        what = f"{'delete' if new is None else 'put'} of {key} in {table.name}"
        lock = self._row(f"LOCK#{table.name}", "LOCK")
        job = self._row(f"RESTORE#{lock['restore_id']}", "JOB") if lock else None
        if lock is None or job is None:
            self.violated(f"{what}: no restore holds its lock")
            return
        status = Status(job["status"])
        if status not in (_MAY_CLEAR if new is None else _MAY_LOAD):
            self.violated(f"{what}: the restore that holds its lock is {status}")
        if job["dry_run"]:
            self.violated(f"{what}: by a dry run")
        if not self.has_lost_rows:  # a claim may be among what the ledger lost
            self._check_is_claimed(what, job["restore_id"])
        if new is None:
            self._check_may_clear(what, table, job)

    def _check_is_claimed(self, what: str, restore_id: str) -> None:
        """Nothing is written but under a live claim: of the slot that writes, or, where a killed worker's request is
        still on its way, of any."""
        task = self._world.scheduler.current
        invocation = task.process.invocation if task and isinstance(task.process, Container) else None
        slot = json.loads(invocation.message)["slot"] if invocation else None
        live = self._live_claims(f"RESTORE#{restore_id}")
        if not any(slot is None or row.get("claimed_slot") == slot for row in live):
            self.violated(f"{what}: slot {slot} of {restore_id} holds no claim")

    def _check_may_clear(self, what: str, table: Table, job: dict[str, Any]) -> None:
        restore_id = job["restore_id"]
        if not job["clear_existing_data"]:
            self.violated(f"{what}: nobody asked {restore_id} to clear")
        rows = self._rows(f"RESTORE#{restore_id}")
        unchecked = [row["sk"] for row in rows if row["sk"].startswith("SHARD#load#") and row["stage"] == "TODO"]
        if unchecked:
            self.violated(f"{what}: {unchecked[0]} is not checked yet")
        backups = self._world.dynamodb.backups.values()
        safe = [each for each in backups if each["BackupName"] == f"tablevault-{restore_id}"]
        if job["safety_backup"] and not any(
            each["TableName"] == table.name and each["BackupStatus"] == "AVAILABLE" for each in safe
        ):
            self.violated(f"{what}: its safety backup is not AVAILABLE")

    def _wrote_ledger(self, pk: str, sk: str, old: Item | None, new: Item | None) -> None:
        before, after = plain_row(old) if old else None, plain_row(new) if new else None
        if sk.startswith("SHARD#"):
            self._wrote_shard(pk, sk, before, after)
        elif sk == "JOB" and pk.startswith("RESTORE#"):
            self._wrote_job(pk, before, after)
        elif sk.startswith("TABLE#") and after:
            self._wrote_table(pk, after)
        elif sk.startswith("EXPORT#") and after:
            self._wrote_export(f"{pk}/{sk}", before, after)
        elif sk == "SET" and before and after:
            self._wrote_set(pk, before, after)
        elif pk.startswith("LOCK#") and after is None and before:
            self._unlocked(pk, before["restore_id"])
        if after is not None and not sk.startswith("SHARD#clear"):
            self._look_for_content(f"the ledger row {pk}/{sk}", repr(after))

    def _wrote_export(self, what: str, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
        old = ExportState(before["status"]) if before else None
        new = ExportState(after["status"])
        if old is not None and new is not old and new not in EXPORT_MOVES[old]:
            self.violated(f"{what} moved from {old} to {new}")
        if before and old is ExportState.COMPLETED and before["export_arn"] != after["export_arn"]:
            self.violated(f"{what} was recorded, and is another export now")
        if new is ExportState.COMPLETED:
            self._recorded(after)

    def _wrote_set(self, pk: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        if after.get("revision", 0) < before.get("revision", 0):
            self.violated(f"{pk} went back from revision {before['revision']} to {after.get('revision')}")
        if "open_kind" in before and "open_kind" not in after:
            states = [row["status"] for row in self._rows(pk) if row["sk"].startswith("EXPORT#")]
            if not self.has_lost_rows and not set(states) <= {"COMPLETED", "FAILED"}:
                self.violated(f"{pk} was closed while its exports are {sorted(states)}")

    def _recorded(self, row: dict[str, Any]) -> None:
        export = self._world.exports.by_arn.get(row["export_arn"])
        what = f"the export of {row['table_name']}"
        if export is None or export.status != "COMPLETED":
            self.violated(f"{what} is recorded as COMPLETED, and is not")
            return
        objects = self._world.s3.objects
        files_key = row["manifest_files_key"]
        checksum = objects.get(files_key.replace(".json", ".md5"))
        if checksum is None or checksum.body.decode() != md5_of(objects[files_key].body):
            self.violated(f"{what} is recorded as COMPLETED, its file list is not what the export wrote")

    def _wrote_shard(self, pk: str, sk: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if before is None or after is None:
            return
        now_ms = self._world.scheduler.clock()
        if after["attempt"] != before["attempt"]:
            self._claimed_at_us[pk, sk] = self._world.scheduler.now_us
        if before.get("claimed_until_ms", 0) > now_ms and after["attempt"] != before["attempt"]:
            self.violated(f"{pk}/{sk} was claimed {before['claimed_until_ms'] - now_ms} ms before its claim lapsed")
        if before["stage"] in ("DONE", "FAILED") and after["stage"] != before["stage"]:
            self.violated(f"{pk}/{sk} went from {before['stage']} back to {after['stage']}")

    def _wrote_job(self, pk: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if before is None or after is None or before["status"] == after["status"]:
            return
        old, new = Status(before["status"]), Status(after["status"])
        if new not in ALLOWED_MOVES[old]:
            self.violated(f"{pk} moved from {old} to {new}")
        if new is Status.CANCELLING:
            self._cancelling_since_us[pk] = self._world.scheduler.now_us
        else:
            self._check_no_claim(pk, f"moved from {old} to {new}")

    def _unlocked(self, lock: str, restore_id: str) -> None:
        job = self._row(f"RESTORE#{restore_id}", "JOB")
        if job and Status(job["status"]) not in TERMINAL | {Status.ACCEPTING}:
            self.violated(f"{lock} was given back while {restore_id} is {job['status']}")
        self._check_no_claim(f"RESTORE#{restore_id}", f"gave {lock} back")

    def _check_no_claim(self, pk: str, what: str) -> None:
        for row in self._live_claims(pk):
            self.violated(f"{pk} {what} while {row['sk']} is claimed until {row['claimed_until_ms']}")
            return

    def _live_claims(self, pk: str) -> list[dict[str, Any]]:
        """Those under which somebody may write: none that was granted after the restore was cancelled."""
        now_ms = self._world.scheduler.clock()
        last_us = self._cancelling_since_us.get(pk, self._world.scheduler.now_us)
        return [
            row
            for row in self._rows(pk)
            if row.get("claimed_until_ms", 0) > now_ms and self._claimed_at_us.get((pk, row["sk"]), 0) <= last_us
        ]

    def _wrote_table(self, pk: str, row: dict[str, Any]) -> None:
        names = ("written", "unchanged", "skipped", "deleted", "rejected", "filtered")
        accounted = sum(row[name] for name in names)
        if accounted > row["item_count"]:
            self.violated(f"{pk}/{row['sk']} accounts for {accounted} of {row['item_count']} items")
        for phase in ("planning", "checking", "safeguarding", "clearing", "loading", "verifying"):
            if row[f"{phase}_ended"] > row[f"{phase}_total"]:
                self.violated(f"{pk}/{row['sk']} has more {phase} shards ended than there are")

    def _row(self, pk: str, sk: str) -> dict[str, Any] | None:
        item = self._world.ledger.items.get((pk, sk))
        return plain_row(item) if item else None

    def _rows(self, pk: str) -> list[dict[str, Any]]:
        return [plain_row(item) for item in self._world.ledger.partitions[pk].values()]

    # --- S3 --------------------------------------------------------------------------------------------------

    def created(self, key: str) -> None:
        body = self._world.s3.objects[key].body
        if key.endswith("/manifest.json"):
            self._wrote_manifest(key, json.loads(body))
        if key.startswith("restores/") and "/rejected/" not in key:
            self._look_for_content(key, body.decode())
        if key.endswith("/receipt.json"):
            receipt = json.loads(body)
            if Status(receipt["status"]) not in TERMINAL:
                self.violated(f"{key} was written while the restore is {receipt['status']}")

    def _wrote_manifest(self, key: str, manifest: dict[str, Any]) -> None:
        standing = self._manifests.get(key)
        if standing is not None:
            if manifest["revision"] <= standing["revision"] and manifest != standing:
                self.violated(f"{key} was replaced by another one of the revision {manifest['revision']}")
            lost = _restorable(standing) - _restorable(manifest)
            if lost:
                self.violated(f"{key} lost the tables {sorted(lost)}")
        self._manifests[key] = manifest
        for table in manifest["tables"]:
            if table["status"] != "COMPLETED":
                continue
            export = self._world.exports.by_arn.get(table["export_arn"])
            if export is None or export.status != "COMPLETED":
                self.violated(f"{key} has {table['table_name']} COMPLETED, its export is not")
            elif export.item_count != table["item_count"]:
                self.violated(f"{key} counts {table['item_count']} items, the export {export.item_count}")
        failed = [table["table_name"] for table in manifest["tables"] if table["status"] != "COMPLETED"]
        if manifest["status"] == "COMPLETE" and (failed or len(manifest["tables"]) != len(self._world.configured)):
            self.violated(f"{key} is COMPLETE without every table")


def _restorable(manifest: dict[str, Any]) -> set[str]:
    return {table["table_name"] for table in manifest["tables"] if table["status"] == "COMPLETED"}


_OF_LOGGING = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message"}
