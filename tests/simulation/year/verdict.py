"""What must be true whenever all has come to rest: what can be restored, what stands there, what was paid for."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from tests.simulation.aws.exports import Export
from tests.simulation.replay import Document, ItemLog, gap_of, links, replay, window_of
from tests.simulation.set_verdict import SetVerdict
from tests.simulation.world import PREFIX
from tests.simulation.year.mishaps import Mishaps
from tests.simulation.year.observer import Observer
from tests.simulation.year.plan import TABLES, YearPlan
from tests.simulation.year.policy import backups_to_keep, sets_to_keep

_ATTEMPTS = 3
_DAY_MS = 24 * 3600 * 1000
_RECOVERY_LAGS_MS = 6 * 60_000  # five minutes, and what is cut off to whole seconds and spent on the way
_ON_THE_WAY_MS = 90_000  # from what is seen of a table to what becomes of it
_CLOCKS_DIFFER_MS = 10_000
_SCHEDULED = "tablevault-simulation-scheduled-"
# Of others: another stage, a person, and stages whose names begin as ours does.
_FOREIGN = ("tablevault-other-scheduled-2026-11-01", "tablevault-scheduled-2026-11-01", "before-the-migration")
_FOREIGN_TOO = ("tablevault-simulation-2-scheduled-2026-11-01", "tablevault-simulation-scheduled-someday")


class YearVerdict:
    def __init__(self, world: Any, plan: YearPlan, log: ItemLog, observer: Observer, mishaps: Mishaps) -> None:
        self._world = world
        self._plan = plan
        self._log = log
        self._observer = observer
        self._mishaps = mishaps
        self._restored: dict[tuple[str, str], Any] = {}
        self._foreign: set[str] = set()
        self._days: list[tuple[str, bool]] = []
        self._sets = SetVerdict(world, log)

    def begin(self) -> None:
        for table in TABLES:
            for name in (*_FOREIGN, *_FOREIGN_TOO):
                self._foreign.add(self._world.backups.add(table, name, "USER")["BackupArn"])
        delete = self._world.effects["dynamodb", "delete_backup"]

        def deleting(request: dict[str, Any]) -> Any:
            backup = self._world.backups.by_arn.get(request["BackupArn"])
            if backup is not None and backup["deleted_at_ms"] is None:
                self._judge_deletion(backup)
            return delete(request)

        self._world.effects["dynamodb", "delete_backup"] = deleting

    def scheduled(self, *, is_faulty: bool) -> None:
        """The schedule fires now."""
        day = datetime.fromtimestamp(self._world.scheduler.now_us / 1e6, UTC).date()
        self._days.append((day.isoformat(), is_faulty))

    def judge(self) -> None:
        standing = self._observer.standing()
        self._judge_presence(standing)
        for name, manifest in standing.items():
            self._judge_set(name, manifest)
        self._judge_all_that_were_told()
        self._judge_payment()
        self._judge_backups()

    def waiting_for_exports(self) -> set[str]:
        """Keys of open sets of which an export still runs."""
        return {f"BACKUP#{each.request['S3Prefix'].split('/')[1]}" for each in self._world.exports.running()}

    # --- what stands there -----------------------------------------------------------------------------------

    def _judge_presence(self, standing: Any) -> None:
        sets = self._observer.sets()
        keep = sets_to_keep(sets.values(), self._plan.policy, self._world.scheduler.clock())
        for name in sorted(sets.keys() - keep.keys()):
            self._wrong(f"set {name} is still there, and nothing keeps it")
        objects = self._world.s3.objects
        keys = {key for key in (*objects, *self._world.s3.older) if key.startswith(f"{PREFIX}/")}
        for name in sorted({key.split("/")[1] for key in keys}):
            if name not in standing and not (name in sets and sets[name].is_open):
                left = sorted(key for key in keys if key.split("/")[1] == name)
                self._wrong(f"of set {name} there is no manifest, and {len(left)} objects are left: {left[0]}")
        marks = [key[0] for key in self._world.ledger.items if key[1] == "REMOVAL"]
        if marks:
            self._wrong(f"sets are still being removed: {', '.join(marks)}")
        for name in self._observer.removed_ms:
            if name not in standing and self._world.ledger.partitions[f"BACKUP#{name}"]:
                self._wrong(f"of set {name}, which was removed, there are rows left")
        for name in self._mishaps.shielded - standing.keys():
            if not (name in sets and sets[name].is_open):
                self._wrong(f"set {name} was shielded, and is not there")

    # --- what can be restored --------------------------------------------------------------------------------

    def _judge_set(self, name: str, manifest: Document) -> None:
        for table in manifest["tables"]:
            if table["status"] == "COMPLETED":
                self._judge_table(name, table)

    def _judge_table(self, name: str, table: Document) -> None:
        what = f"set {name}: {table['table_name']}"
        gap = gap_of(table)
        if gap:
            self._wrong(f"{what} {gap}")
            return
        objects = self._world.s3.objects
        missing = [link["manifest_files_key"] for link in links(table) if link["manifest_files_key"] not in objects]
        if missing:
            self._wrong(f"{what} cannot be restored: {missing[0]} is gone")
            return
        moment_ms = window_of(table)[1]
        planned_ms = self._world.watch.exports.planned_ms[name, table["table_name"]]
        if moment_ms < planned_ms - _RECOVERY_LAGS_MS:
            self._wrong(f"{what} shows {moment_ms}, {planned_ms - moment_ms} ms before it was planned")
        if replay(objects, table) not in self._true_content(table["table_name"], moment_ms):
            self._wrong(f"{what}: what its exports come to is not what the table was at {moment_ms}")

    def _true_content(self, table: str, moment_ms: int) -> list[Any]:
        """A write of the very millisecond of a full export is in it, or is not."""
        known = self._restored.get((table, str(moment_ms)))
        if known is None:
            known = [self._log.items_before(table, moment_ms + more_ms) for more_ms in (0, 1)]
            self._restored[table, str(moment_ms)] = known
        return list(known)

    # --- what failed -----------------------------------------------------------------------------------------

    def _judge_all_that_were_told(self) -> None:
        """Every manifest that there ever was, also of sets that are removed by now."""
        by_place: dict[str, list[Export]] = defaultdict(list)
        for export in self._world.exports.by_arn.values():
            by_place[export.request["S3Prefix"]].append(export)
        for name, said in self._observer.take_new():
            named = sorted(table["table_name"] for table in said["tables"])
            if named != sorted(TABLES):
                self._wrong(f"the manifest of {name} has the tables {named}")
                return  # nothing can be said of one that is not there
            is_whole = all(table["status"] == "COMPLETED" for table in said["tables"])
            if said["status"] != ("COMPLETE" if is_whole else "PARTIAL"):
                self._wrong(f"set {name} is {said['status']}")
            for table in said["tables"]:
                self._judge_begin(name, table["table_name"], by_place)
                exports = by_place[f"{PREFIX}/{name}/{table['table_name']}"]
                if table["status"] != "COMPLETED" and not self._is_explained(name, table, exports):
                    text = f"{table['failure_code']} ({table['failure_message']}), and nothing explains it"
                    self._wrong(f"set {name}: {table['table_name']} failed: {text}")
        self._judge_begun()

    def _judge_begin(self, name: str, table: str, by_place: dict[str, list[Export]]) -> None:
        """That what a set before it had already was not exported, and paid for, once more."""
        exports = [export for export in by_place[f"{PREFIX}/{name}/{table}"] if export.status != "FAILED"]
        if exports:
            found = {each: said[max(said)] for each, said in self._observer.manifests.items()}
            self._sets.judge_begin(name, table, exports, found)

    def _judge_begun(self) -> None:
        sets = self._observer.sets()
        for name, started_ms in self._observer.started_ms.items():
            is_open = name in sets and sets[name].is_open
            if name not in self._observer.manifests and not is_open:
                self._wrong(f"set {name}, begun at {started_ms}, never had a manifest")

    def _is_explained(self, name: str, table: Document, exports: list[Export]) -> bool:
        """By what happened, and as what happened."""
        code, table_name = table["failure_code"], table["table_name"]
        if not table["failure_message"]:
            return False
        span = (
            self._observer.started_ms[name] - _ON_THE_WAY_MS,
            self._observer.failed_ms.get((name, table_name), self._world.scheduler.clock()) + _ON_THE_WAY_MS,
        )
        if code in ("PointInTimeRecoveryUnavailableException", "InvalidExportTimeException", "TableNotFoundException"):
            return self._mishaps.is_so(table_name, *span)
        if code in ("AccessDenied", "S3AccessDenied", "ExportNotReadable"):
            return self._mishaps.is_so("bucket", *span)
        if code == "ExportInvalid":
            return any(export.plan.is_damaged for export in exports)
        if code == "NotStarted":
            return self._mishaps.is_so("quota", *span) or self._mishaps.is_so("bucket", *span)
        if code == "Overdue":
            return any(_ran_ms(export, self._world.scheduler.clock()) > _DAY_MS for export in exports)
        failed = Counter(export.what for export in exports if export.failure and export.failure[0] == code)
        needed = _ATTEMPTS if code == "InternalServerError" else 1
        return max(failed.values(), default=0) >= needed

    # --- what was paid for -----------------------------------------------------------------------------------

    def _judge_payment(self) -> None:
        """An export that FAILED is not paid for: where it was never written down, it may be started again with its own
        token, once DynamoDB has forgotten that."""
        exports = [export for export in self._world.exports.by_arn.values() if export.failure is None]
        tokens = Counter(export.request["ClientToken"] for export in exports)
        for token, count in tokens.items():
            if count > 1:
                self._wrong(f"an attempt at an export was started {count} times: {token}")
        by_what: dict[Any, list[Export]] = defaultdict(list)
        for export in self._world.exports.by_arn.values():
            by_what[export.what].append(export)
        for what, exports in by_what.items():
            exports.sort(key=lambda export: export.started_at_ms)
            for before, after in pairwise(exports):
                if before.status != "FAILED" or (before.ended_at_ms or 0) > after.started_at_ms:
                    self._wrong(f"{what[1]} was exported {len(exports)} times, and the one before had not failed")
            if len(exports) > _ATTEMPTS:
                self._wrong(f"{what[1]} was exported {len(exports)} times")
        made = Counter(
            (each["TableName"], each["BackupName"])
            for each in self._world.backups.by_arn.values()
            if each["BackupName"].startswith(_SCHEDULED) and each["BackupArn"] not in self._foreign
        )
        for (table, name), count in made.items():
            if count > 1:
                self._wrong(f"{count} backups {name} were made of {table}")

    # --- on demand -------------------------------------------------------------------------------------------

    def _judge_backups(self) -> None:
        now_ms = self._world.scheduler.clock()
        standing = {each["BackupArn"]: each for each in self._world.backups.standing()}
        for arn in sorted(self._foreign - standing.keys()):
            self._wrong(f"the backup {self._world.backups.by_arn[arn]['BackupName']} was deleted, and was not ours")
        for table in TABLES:
            ours = self._ours(table)
            keep = backups_to_keep(ours.items(), self._plan.policy, now_ms)
            for arn in sorted(ours.keys() - keep):
                self._wrong(f"the backup {arn} is still there, and nothing keeps it")

        self._judge_runs()

    def _ours(self, table: str) -> dict[str, int]:
        """Those of the schedule that are there, and when each was made."""
        standing = self._world.backups.standing()
        return {each["BackupArn"]: each["created_at_ms"] for each in standing if self._is_ours(each, table)}

    def _judge_deletion(self, backup: dict[str, Any]) -> None:
        arn, table = backup["BackupArn"], backup["TableName"]
        now_ms = self._world.scheduler.clock() + _CLOCKS_DIFFER_MS
        if not self._is_ours(backup, table) or arn in backups_to_keep(
            self._ours(table).items(), self._plan.policy, now_ms
        ):
            self._wrong(f"the backup {backup['BackupName']} of {table} is deleted, and it must stay")

    def _judge_runs(self) -> None:
        """Each day one of every table that is there."""
        made = {(each["TableName"], each["BackupName"]) for each in self._world.backups.by_arn.values()}
        for day, is_faulty in self._days:
            if day not in self._observer.runs or day not in self._observer.started_ms:
                if not is_faulty:
                    self._wrong(f"the schedule fired on {day}, and nothing was begun")
                continue
            begun_ms = self._observer.started_ms[day]
            for table in TABLES:
                was_there = not self._mishaps.is_so(table, begun_ms - _ON_THE_WAY_MS, begun_ms + _DAY_MS)
                has_failed = table in self._observer.failed_backups.get(day, ())
                if was_there and (has_failed or (table, f"{_SCHEDULED}{day}") not in made):
                    self._wrong(f"on {day} no on-demand backup of {table} was made, or it is said that none was")
        self._days.clear()

    def _is_ours(self, backup: dict[str, Any], table: str) -> bool:
        is_foreign = backup["BackupArn"] in self._foreign or backup["BackupType"] != "USER"
        return backup["TableName"] == table and not is_foreign

    def _wrong(self, text: str) -> None:
        self._world.watch.violated(text)


def _ran_ms(export: Export, now_ms: int) -> int:
    return int((export.ended_at_ms or now_ms) - export.started_at_ms)
