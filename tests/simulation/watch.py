"""What must never happen, watched while it would happen: every write to the ledger, to a target and to the bucket is
looked at as it takes effect. The end of a run is judged in `verdict`."""

import json
import logging
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.backup.export_files import md5_of
from chalicelib.backup.states import EXPORT_MOVES, ExportState
from chalicelib.errors import TablevaultError
from chalicelib.restore.model import ALLOWED_MOVES, PHASES, TERMINAL, Status
from tests.simulation.aws.dynamodb import KeyTuple, Table
from tests.simulation.aws.expressions import Item
from tests.simulation.aws.rows import plain_row_at_once as plain_row
from tests.simulation.chains import ITEM_MARK
from tests.simulation.export_watch import ExportWatch
from tests.simulation.scheduler import Process
from tests.simulation.target_watch import TargetWatch

# Where item content may stand in what a restore leaves in the bucket.
_WITH_CONTENT = ("/rejected/", "/keys.json")
_COUNTS = ("written", "unchanged", "skipped", "deleted", "rejected", "filtered")
# A shard's stages, once it has ended, and those it may go to then.
_AFTER_END = {"DONE": {"COMPARED", "NOT_COMPARED"}, "FAILED": set(), "COMPARED": set(), "NOT_COMPARED": set()}


class Watch(logging.Handler):
    def __init__(self, world: Any) -> None:
        super().__init__()
        self._world = world
        self.violations: list[str] = []
        self.has_lost_rows = False
        self._last_read: dict[tuple[str, str], tuple[Item, dict[str, Any]]] = {}
        self._manifests: dict[str, dict[str, Any]] = {}
        self.targets = TargetWatch(world)
        self.exports = ExportWatch(world)

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

    def wrote_line(self, line: str) -> None:
        """To standard output, which is for metrics."""
        if "_aws" not in json.loads(line):
            self.violated(f"no metrics, and written to standard output: {line[:200]}")
        self._look_for_content("metrics", line)

    def _look_for_content(self, where: str, text: str) -> None:
        if ITEM_MARK in text:
            self.violated(f"item content stands in {where}: {text[:200]}")

    # --- DynamoDB --------------------------------------------------------------------------------------------

    def wrote(self, table: Table, key: KeyTuple, old: Item | None, new: Item | None) -> None:
        if table.name == self._world.ledger.name:
            self._wrote_ledger(str(key[0]), str(key[1]), old, new)
        else:
            self.targets.wrote(table, key, old, new)

    def _wrote_ledger(self, pk: str, sk: str, old: Item | None, new: Item | None) -> None:
        before, after = self._read((pk, sk), old), self._read((pk, sk), new)
        if sk.startswith("SHARD#"):
            self._wrote_shard(pk, sk, before, after)
        elif sk == "JOB" and pk.startswith("RESTORE#"):
            self._wrote_job(pk, before, after)
        elif sk.startswith("TABLE#") and pk.startswith("RESTORE#") and after:
            self._wrote_table(pk, after)
        elif sk.startswith("EXPORT#") and after:
            self._wrote_export(f"{pk}/{sk}", before, after)
        elif sk == "SET" and before and after:
            self._wrote_set(pk, before, after)
        elif pk.startswith("LOCK#") and after is None and before:
            self._unlocked(pk, before["restore_id"])
        if after is not None and not sk.startswith("SHARD#clear"):
            self._look_for_content(f"the ledger row {pk}/{sk}", repr(after))

    def _read(self, key: tuple[str, str], item: Item | None) -> dict[str, Any] | None:
        """A row's new image is its old one the next time: it is read once."""
        if item is None:
            self._last_read.pop(key, None)
            return None
        known = self._last_read.get(key)
        if known is None or known[0] is not item:
            known = self._last_read[key] = (item, plain_row(item))
        return known[1]

    def _wrote_export(self, what: str, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
        old = ExportState(before["status"]) if before else None
        new = ExportState(after["status"])
        if old is not None and new is not old and new not in EXPORT_MOVES[old] and not self.has_lost_rows:
            self.violated(f"{what} moved from {old} to {new}")
        is_kept = before and old is ExportState.COMPLETED and not self.has_lost_rows
        if before and is_kept and before["export_arn"] != after.get("export_arn"):
            self.violated(f"{what} was recorded, and is another export now")
        if new is ExportState.COMPLETED:
            self._recorded(after)
        self.exports.wrote(what, before, after)

    def _wrote_set(self, pk: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        if after.get("revision", 0) < before.get("revision", 0):
            self.violated(f"{pk} went back from revision {before['revision']} to {after.get('revision')}")
        if "open_kind" in before and "open_kind" not in after:
            states = [row["status"] for row in self.rows(pk) if row["sk"].startswith("EXPORT#")]
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
            self.targets.claimed(pk, after)
        if before.get("claimed_until_ms", 0) > now_ms and after["attempt"] != before["attempt"]:
            self.violated(f"{pk}/{sk} was claimed {before['claimed_until_ms'] - now_ms} ms before its claim lapsed")
        if after["stage"] != before["stage"] and before["stage"] in _AFTER_END:
            self._left_its_end(pk, sk, before, after)

    def _left_its_end(self, pk: str, sk: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Only one that is compared goes on. What takes one back: REOPENING, also when it is being cancelled, and the
        PLANNING of a restore that plans anew."""
        job = self.row(pk, "JOB")
        kinds = {row["kind"] for row in self.targets.live_claims(pk)}
        goes_back = "reopen" in kinds or (job is not None and job["status"] in (Status.REOPENING, Status.PLANNING))
        if not goes_back and after["stage"] not in _AFTER_END[before["stage"]]:
            self.violated(f"{pk}/{sk} went from {before['stage']} back to {after['stage']}")

    def _wrote_job(self, pk: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if before is None or after is None or before["status"] == after["status"]:
            return
        old, new = Status(before["status"]), Status(after["status"])
        if new not in ALLOWED_MOVES[old]:
            self.violated(f"{pk} moved from {old} to {new}")
        if new is not Status.CANCELLING:
            self._check_no_claim(pk, f"moved from {old} to {new}")
        if new in PHASES:
            self._check_holds_locks(pk, after)
        self.targets.moved(pk, after["restore_id"], new)

    def _check_holds_locks(self, pk: str, job: dict[str, Any]) -> None:
        for target in job["targets"]:
            lock = self.row(f"LOCK#{target}", "LOCK")
            if lock is None or lock["restore_id"] != job["restore_id"]:
                self.violated(f"{pk} is {job['status']}, and does not hold the lock of {target}")

    def _unlocked(self, lock: str, restore_id: str) -> None:
        job = self.row(f"RESTORE#{restore_id}", "JOB")
        if job and Status(job["status"]) not in TERMINAL | {Status.ACCEPTING, Status.RESUMING}:
            self.violated(f"{lock} was given back while {restore_id} is {job['status']}")
        self._check_no_claim(f"RESTORE#{restore_id}", f"gave {lock} back")

    def _check_no_claim(self, pk: str, what: str) -> None:
        for row in self.targets.live_claims(pk):
            self.violated(f"{pk} {what} while {row['sk']} is claimed until {row['claimed_until_ms']}")
            return

    def _wrote_table(self, pk: str, row: dict[str, Any]) -> None:
        accounted = sum(row[name] for name in _COUNTS)
        if accounted > row["item_count"]:
            self.violated(f"{pk}/{row['sk']} accounts for {accounted} of {row['item_count']} items")
        below = [name for name, value in row.items() if isinstance(value, int) and value < 0]
        if below:
            self.violated(f"{pk}/{row['sk']} counts less than nothing: {', '.join(below)}")
        for phase in (status.value.lower() for status in PHASES):
            total = row.get(f"{phase}_total", row["loading_total"])
            if phase != "reopening" and row[f"{phase}_ended"] > total:
                self.violated(f"{pk}/{row['sk']} has more {phase} shards ended than there are")

    def row(self, pk: str, sk: str) -> dict[str, Any] | None:
        item = self._world.ledger.items.get((pk, sk))
        return plain_row(item) if item else None

    def rows(self, pk: str) -> list[dict[str, Any]]:
        return [plain_row(item) for item in self._world.ledger.partitions[pk].values()]

    # --- S3 --------------------------------------------------------------------------------------------------

    def created(self, key: str) -> None:
        body = self._world.s3.objects[key].body
        if key.endswith("/manifest.json"):
            self._wrote_manifest(key, json.loads(body))
        if key.startswith("restores/") and not any(part in key for part in _WITH_CONTENT):
            self._look_for_content(key, body.decode())
        if "/receipt" in key:
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
