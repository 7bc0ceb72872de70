"""What must be true of all sets of a story that goes on for days: what their files come to, that nothing was exported
twice, and that what failed had a reason. Judged by the bucket, by DynamoDB's exports and by who wrote the items."""

from collections import Counter
from typing import Any

from tests.simulation.aws.exports import Export
from tests.simulation.replay import Document, ItemLog, gap_of, manifests, replay, window_of

_ATTEMPTS = 3
_LEAST_WINDOW_MS = 15 * 60_000
_DAY_MS = 24 * 3600 * 1000
_RECOVERY_LAGS_MS = 6 * 60_000  # five minutes, and what is cut off to whole seconds and spent on the way
_UNSEEN_MS = 5 * 60_000  # a set may not have seen what was recorded so shortly before it was planned
_ON_THE_WAY_MS = 60_000  # from the table's description to its plan
_OF_UPSETS = frozenset(
    {"PointInTimeRecoveryUnavailableException", "InvalidExportTimeException", "TableNotFoundException"}
)


class SetVerdict:
    """`upset_ms`: by table, up to when its recovery was off, or it was gone."""

    def __init__(self, world: Any, log: ItemLog) -> None:
        self._world = world
        self._log = log
        self.upset_ms: dict[str, int] = {}
        self.tolerates_failures = True  # of what faults may come to, as long as it is told

    def judge(self) -> list[str]:
        """How the sets' tables ended."""
        found = manifests(self._world.s3.objects)
        begun = {key[0].removeprefix("BACKUP#") for key in self._world.ledger.items if key[1] == "SET"}
        for name in begun - found.keys():
            self._wrong(f"set {name} has no manifest")
        for name, manifest in found.items():
            self._judge_set(name, manifest)
        if not self._world.watch.has_lost_rows:
            self._judge_exports(found)
        return [table["status"] for manifest in found.values() for table in manifest["tables"]]

    def _judge_set(self, name: str, manifest: Document) -> None:
        tables = {table["table_name"]: table for table in manifest["tables"]}
        if set(tables) != set(self._world.configured):
            self._wrong(f"set {name} has the tables {sorted(tables)}")
        is_whole = all(table["status"] == "COMPLETED" for table in tables.values())
        if manifest["status"] != ("COMPLETE" if is_whole else "PARTIAL"):
            self._wrong(f"set {name} is {manifest['status']}")
        for table in tables.values():
            if table["status"] == "COMPLETED":
                self._judge_table(name, table)
            elif not self._is_explained(name, table):
                self._wrong(
                    f"set {name}: {table['table_name']} failed: {table['failure_code']}, and nothing explains it"
                )

    def _judge_table(self, name: str, table: Document) -> None:
        what = f"set {name}: {table['table_name']}"
        gap = gap_of(table)
        if gap:
            self._wrong(f"{what} {gap}")
            return
        moment_ms = window_of(table)[1]
        planned_ms = self._world.watch.exports.planned_ms[name, table["table_name"]]
        if moment_ms < planned_ms - _RECOVERY_LAGS_MS:
            self._wrong(f"{what} shows {moment_ms}, {planned_ms - moment_ms} ms before it was planned")
        restored = replay(self._world.s3.objects, table)
        # A write of the very millisecond of a full export is in it, or is not.
        if restored not in [self._log.items_before(table["table_name"], moment_ms + more_ms) for more_ms in (0, 1)]:
            self._wrong(f"{what}: what its exports come to is not what the table was at {moment_ms}")

    # --- reasons ---------------------------------------------------------------------------------------------

    def _is_explained(self, name: str, table: Document) -> bool:
        """By what happened, and as what happened."""
        code, exports = table["failure_code"], self._exports(name, table["table_name"])
        if not table["failure_message"]:
            return False
        if code in _OF_UPSETS:
            planned_ms: int = self._world.watch.exports.planned_ms.get((name, table["table_name"]), 0)
            return planned_ms <= self.upset_ms.get(table["table_name"], -_ON_THE_WAY_MS) + _ON_THE_WAY_MS
        if code == "ExportInvalid":
            return any(export.plan.is_damaged for export in exports)
        if code == "NotStarted":
            return self.tolerates_failures
        if code == "Overdue":
            is_unchecked = "could not be checked" in table["failure_message"] and self.tolerates_failures
            return is_unchecked or any(self._ran_ms(export) > _DAY_MS for export in exports)
        if code in ("LedgerRowLost", "ChainBroken"):
            return bool(self._world.watch.has_lost_rows)
        failed = Counter(export.what for export in exports if export.failure and export.failure[0] == code)
        needed = _ATTEMPTS if code == "InternalServerError" else 1
        return max(failed.values(), default=0) >= needed

    def _exports(self, name: str, table: str) -> list[Export]:
        place = f"native-exports/{name}/{table}"
        return [export for export in self._world.exports.by_arn.values() if export.request["S3Prefix"] == place]

    def _ran_ms(self, export: Export) -> int:
        return int((export.ended_at_ms or self._world.scheduler.clock()) - export.started_at_ms)

    # --- what was paid for -----------------------------------------------------------------------------------

    def _judge_exports(self, found: dict[str, Document]) -> None:
        good = Counter(export.what for export in self._world.exports.by_arn.values() if export.status != "FAILED")
        for what, count in good.items():
            if count > 1:
                self._wrong(f"{what[1]} was exported {count} times")
        for name in found:
            for table in self._world.configured:
                exports = [export for export in self._exports(name, table) if export.status != "FAILED"]
                if exports:
                    self.judge_begin(name, table, exports, found)

    def judge_begin(self, name: str, table: str, exports: list[Export], found: dict[str, Document]) -> None:
        """Where it begins: where the newest export ended that was recorded by then."""
        planned_ms = self._world.watch.exports.planned_ms[name, table]
        reached_ms = self._reached_ms(name, table, planned_ms, found)
        windows = [export.window_ms for export in exports if export.window_ms is not None]
        if reached_ms is None or not windows:
            return
        from_ms, to_ms = min(windows)[0], max(windows)[1]
        if from_ms < min(reached_ms // 1000 * 1000, to_ms - _LEAST_WINDOW_MS):
            self._wrong(f"set {name}: {table} was exported from {from_ms}, and was known up to {reached_ms}")

    def _reached_ms(self, name: str, table: str, planned_ms: int, found: dict[str, Document]) -> int | None:
        """Of the newest set that it must have seen, or of a newer one that it may have seen."""
        seen = []
        for older in sorted((each for each in found if each < name), reverse=True):
            completed_ms = self._world.watch.exports.completed_ms.get((older, table), planned_ms)
            entry = next(each for each in found[older]["tables"] if each["table_name"] == table)
            if entry["status"] == "COMPLETED" and completed_ms < planned_ms:
                seen.append(window_of(entry)[1])
                if completed_ms < planned_ms - _UNSEEN_MS:
                    return min(seen)
        return None

    def _wrong(self, text: str) -> None:
        self._world.watch.violated(text)
