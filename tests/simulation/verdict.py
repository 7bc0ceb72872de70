"""What must be true when a run has ended: for every restore and every set that anybody asked for, whatever failed."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chalicelib.ledger import decode
from chalicelib.ledger.writes import plain_row
from chalicelib.restore.claims import shard_counts
from chalicelib.restore.model import TERMINAL, Shard, Status
from chalicelib.restore.new_table import FINISHED, OWNER_TAG
from chalicelib.restore.records import table_number
from tests.simulation import operators
from tests.simulation.chains import ITEM_MARK, Chain, Item, Outcome, Wish, outcome_of

_COUNTS = ("written", "unchanged", "skipped", "deleted", "rejected", "filtered")
_TIRED_OUT = re.compile("given up after|died again and again")
_UNTOUCHED_IN = frozenset({Status.PLANNING, Status.CHECKING, Status.SAFEGUARDING, Status.CREATING})


EVERYTHING = Wish()


@dataclass(frozen=True)
class Expected:
    """How a restore ends when nothing keeps it from it. `refused`: items that DynamoDB refuses, by target."""

    status: Status = Status.COMPLETED
    wish: Wish = EVERYTHING
    most_units_per_s: int | None = None
    dry_run: bool = False
    is_last: bool = True  # whether its targets are as it has left them
    may_fail: bool = False
    may_be_cancelled: bool = False
    refused: dict[str, int] = field(default_factory=dict)


def _counts_of(shard: Shard) -> dict[str, int]:
    """By its checkpoint; one that CHECKING left there counts nothing."""
    try:
        return shard_counts(shard)
    except msgspec.ValidationError:
        return {}


class Verdict:
    def __init__(self, world: Any) -> None:
        self._world = world
        self.standing: dict[str, list[Item]] = {}
        self.backed: dict[str, Chain] = {}
        self.made: set[str] = set()  # targets that a restore has to make
        self.strangers: dict[str, dict[str, Item]] = {}  # by target: what somebody else has put there meanwhile
        self.expected: dict[str, Expected] = {}
        self.sets: dict[str, dict[str, str | None]] = {}
        self.late: dict[str, int] = {}  # sets that may change until so many seconds have passed
        self.overlapping = False
        self.tolerates_failures = True  # of what faults may come to, as long as it is told
        self.outcomes: list[str] = []

    def judge(self) -> None:
        for job in operators.jobs(self._world):
            self._judge_restore(job)
        for name, tables in self.sets.items():
            self._judge_set(name, tables)
        for key, item in self._world.ledger.items.items():
            if key[0].startswith("LOCK#"):
                self._wrong(f"{key[0]} is still held by {item['restore_id']['S']}")
            if "open_kind" in item:
                self._wrong(f"{key[0]} is still open work")
            if ITEM_MARK in repr(item) and not self._world.watch.has_lost_rows:
                self._wrong(f"item content stands in the ledger row {key}")

    def _wrong(self, text: str) -> None:
        self._world.watch.violated(text)

    # --- restores --------------------------------------------------------------------------------------------

    def _judge_restore(self, job: dict[str, Any]) -> None:
        restore_id, status = job["restore_id"], Status(job["status"])
        if status not in TERMINAL:
            self._wrong(f"restore {restore_id} is still {status}")
            return
        expected = self.expected.get(restore_id)
        tables = self._tables(restore_id)
        self._judge_receipt(job, tables)
        if expected is None:
            if status is not Status.FAILED or "not accepted" not in job["reason"]:
                self._wrong(f"restore {restore_id}, of which nobody was told, ended {status}: {job.get('reason')}")
            return
        self.outcomes.append(status.value)
        self._judge_status(job, status, expected)
        for table in tables:
            self._judge_shards(job, table)
            self._judge_counts(job, table, status, expected)
            if expected.most_units_per_s:
                self._world.watch.targets.check_units(table["target"], expected.most_units_per_s)
            if table["target"] not in self.standing:
                self._judge_stranger(table["target"])
            elif expected.is_last and (not self.overlapping or status is Status.COMPLETED):
                self._judge_items(job, table, status, expected)
                self._judge_outcome(job, table, status, expected)

    def _tables(self, restore_id: str) -> list[dict[str, Any]]:
        rows = self._world.ledger.partitions[f"RESTORE#{restore_id}"]
        return [plain_row(item) for key, item in sorted(rows.items()) if key[1].startswith("TABLE#")]

    def _judge_receipt(self, job: dict[str, Any], tables: list[dict[str, Any]]) -> None:
        stored = self._world.s3.objects.get(job["receipt_key"])
        if stored is None:
            self._wrong(f"restore {job['restore_id']} ended without a receipt")
            return
        receipt = json.loads(stored.body)
        said = (receipt["status"], [[table[name] for name in _COUNTS] for table in receipt["tables"]])
        if len(tables) == job["table_count"] and said != (
            job["status"],
            [[table[name] for name in _COUNTS] for table in tables],
        ):
            self._wrong(f"the receipt of {job['restore_id']} says {said}, the ledger something else")

    def _judge_status(self, job: dict[str, Any], status: Status, expected: Expected) -> None:
        if status is expected.status:
            return
        if status is Status.COMPLETED:
            if expected.status is not Status.COMPLETED:
                self._wrong(f"restore {job['restore_id']} is COMPLETED although items are missing")
            return
        if status in (Status.PARTIAL, Status.FAILED) and not (expected.may_fail or self.tolerates_failures):
            self._wrong(
                f"restore {job['restore_id']} is {status}, and nothing kept it from its end: {job.get('reason')}"
            )
        is_tired = self.tolerates_failures and "could not be put back" in (job.get("reason") or "")
        if status is Status.CANCELLED and not (expected.may_be_cancelled or is_tired):
            self._wrong(f"restore {job['restore_id']} is CANCELLED, and nobody asked for it")
        if status in (Status.PARTIAL, Status.FAILED):
            self._judge_reasons(job, status, expected)

    def _judge_reasons(self, job: dict[str, Any], status: Status, expected: Expected) -> None:
        """Faults may keep a restore from its end by tiring it out, and by nothing else."""
        rows = self._world.ledger.partitions[f"RESTORE#{job['restore_id']}"]
        told = [plain_row(item) for key, item in rows.items() if key[1].startswith(("FAILURE#", "NOTE#"))]
        texts = [row["text"] for row in told if row.get("level") != "warning"]
        has_reasons = texts or expected.refused or self._world.watch.has_lost_rows
        if not job.get("reason") or not has_reasons:
            self._wrong(f"restore {job['restore_id']} is {status} without a reason")
        strange = [text for text in texts if not _TIRED_OUT.search(text)]
        if strange and not expected.may_fail:
            self._wrong(f"restore {job['restore_id']} is {status}: {strange[0]}")

    def _judge_shards(self, job: dict[str, Any], table: dict[str, Any]) -> None:
        """The totals are what the shards' checkpoints say, whatever the end; also of those that never ended."""
        if self._world.watch.has_lost_rows or job["dry_run"]:
            return
        counts = dict.fromkeys(("cleared", *_COUNTS), 0)
        for key, item in self._world.ledger.partitions[f"RESTORE#{job['restore_id']}"].items():
            if not str(key[1]).startswith(("SHARD#load", "SHARD#clear")):
                continue
            shard = decode(plain_row(item), Shard)
            if table_number(shard) == table["number"]:
                for name, count in _counts_of(shard).items():
                    counts[name] += count
        said = {name: table[name] for name in counts}
        if job["resumes"] and said["cleared"] >= counts["cleared"]:
            counts["cleared"] = said["cleared"]  # what was cleared before it was planned anew stays counted
        if said["cleared"] > len(self.standing.get(table["target"], ())):
            self._wrong(f"restore {job['restore_id']}: {said['cleared']} items of {table['target']} were cleared")
        if said != counts:
            what = f"restore {job['restore_id']}, table {table['target']}"
            self._wrong(f"{what}: the totals are {said}, the shards' checkpoints say {counts}")

    def _judge_counts(self, job: dict[str, Any], table: dict[str, Any], status: Status, expected: Expected) -> None:
        what = f"restore {job['restore_id']}, table {table['target']}"
        accounted = sum(table[name] for name in _COUNTS)
        if (
            status is Status.COMPLETED
            and not job["dry_run"]
            and (accounted, table["rejected"])
            != (
                table["item_count"],
                0,
            )
        ):
            self._wrong(f"{what}: COMPLETED with {accounted} of {table['item_count']}, {table['rejected']} rejected")
        if status is Status.COMPLETED and job["dry_run"] and table["data_files_read"] != table["data_files"]:
            self._wrong(f"{what}: a dry run read {table['data_files_read']} of {table['data_files']} data files")
        refused = expected.refused.get(table["target"], 0)
        if table["rejected"] > refused:
            self._wrong(f"{what}: {table['rejected']} rejected, DynamoDB refuses {refused}")
        if status is Status.PARTIAL and accounted == table["item_count"] and table["rejected"] != refused:
            self._wrong(f"{what}: all is accounted for, but {table['rejected']} of {refused} rejected")

    def _judge_items(self, job: dict[str, Any], table: dict[str, Any], status: Status, expected: Expected) -> None:
        """What must be so whatever the end: everything there is has its reason, and so has what is gone."""
        what = f"restore {job['restore_id']} ({status}), table {table['target']}"
        target, wish = table["target"], expected.wish
        actual, before = self._actual(target), self._before(target)
        backed = self.backed.get(target, Chain(({},)))
        foreign = self.strangers.get(target, {})
        for name, item in actual.items():
            may_be = [before.get(name), foreign.get(name)]
            if wish.keys is None or name in wish.keys:
                may_be += backed.images(name)
            if item not in may_be:
                self._wrong(f"{what}: an item is neither what stood there nor what was backed up")
                return
        if self._is_untouched(job, status, expected):
            if actual != {**before, **foreign}:
                self._wrong(f"{what}: it should be untouched, and is not")
            return
        may_go = set(actual) if wish.clears else set()
        if wish.mode != "missing_only":
            may_go |= {name for link in backed.links for name, item in link.items() if item is None}
        gone = before.keys() - actual.keys() - may_go
        if gone and not wish.clears:
            self._wrong(f"{what}: {len(gone)} items that stood there are gone, and nobody cleared")
        if any(actual.get(name) != item for name, item in foreign.items()):
            self._wrong(f"{what}: what somebody else wrote meanwhile is gone")
        if wish.mode == "missing_only" and any(
            actual.get(name) != item for name, item in before.items() if name not in foreign
        ):
            self._wrong(f"{what}: an item that stood there is another one, and only missing ones were asked for")

    def _judge_outcome(self, job: dict[str, Any], table: dict[str, Any], status: Status, expected: Expected) -> None:
        """Of a restore that did all there was to do: item by item, and count by count."""
        target = table["target"]
        is_whole = status is Status.COMPLETED or (status is Status.PARTIAL and expected.refused)
        accounted = sum(table[name] for name in _COUNTS)
        if job["dry_run"] or not is_whole or accounted != table["item_count"] or target not in self.backed:
            return
        what = f"restore {job['restore_id']} ({status}), table {target}"
        outcome = outcome_of(self.backed[target], self._before(target), expected.wish)
        wanted = {**outcome.items, **self.strangers.get(target, {})}
        actual = self._actual(target)
        if actual != wanted:
            self._wrong(f"{what}: {len(actual)} items, {len(wanted)} expected; they differ")
        if not self.overlapping and target not in self.strangers:
            self._judge_split(what, table, outcome, expected.wish)
        if target in self.made:
            self._judge_settings(what, job, target)

    def _judge_split(self, what: str, table: dict[str, Any], outcome: Outcome, wish: Wish) -> None:
        said = {name: table[name] for name in _COUNTS}
        if not table["approximate"] and said != outcome.counts:
            self._wrong(f"{what}: its counts are {said}, they should be {outcome.counts}")
        if wish.keys is not None:
            missing = sorted(set(range(len(wish.keys))) - set(table.get("found_keys") or ()))
            if missing != outcome.missing_keys:
                self._wrong(
                    f"{what}: it says that the backup lacks the keys {missing}, it lacks {outcome.missing_keys}"
                )

    def _judge_settings(self, what: str, job: dict[str, Any], target: str) -> None:
        table = self._world.dynamodb.tables[target]
        is_scaled = (f"table/{target}", "dynamodb:table:WriteCapacityUnits") in self._world.tables.policies
        said = (
            table.tags.get(OWNER_TAG),
            table.time_to_live,
            table.has_recovery and table.recovery_days,
            bool(table.description.get("DeletionProtectionEnabled")),
            is_scaled,
        )
        if said != (f"{job['restore_id']}{FINISHED}", "expires", 7, True, True):
            self._wrong(f"{what}: it was made, and its settings are {said}")

    def _actual(self, target: str) -> dict[str, Item]:
        table = self._world.dynamodb.tables.get(target)
        return {item["id"]["S"]: item for item in table.items.values()} if table else {}

    def _before(self, target: str) -> dict[str, Item]:
        return {item["id"]["S"]: item for item in self.standing[target]}

    def _judge_stranger(self, target: str) -> None:
        """A target that is none: it is missing, or has other keys."""
        if target in self._world.dynamodb.tables and self._world.dynamodb.tables[target].items:
            self._wrong(f"something was written to {target}")

    def _is_untouched(self, job: dict[str, Any], status: Status, expected: Expected) -> bool:
        if expected.dry_run or expected.status is Status.FAILED:
            return True
        if status is Status.CANCELLED:
            return Status(job["cancelled_in"]) in _UNTOUCHED_IN
        return status is Status.FAILED and "nothing was cleared or written" in job["reason"]

    # --- sets ------------------------------------------------------------------------------------------------

    def _judge_set(self, name: str, tables: dict[str, str | None]) -> None:
        stored = self._world.s3.objects.get(f"native-exports/{name}/manifest.json")
        if stored is None:
            self._wrong(f"set {name} has no manifest")
            return
        manifest = json.loads(stored.body)
        said = {table["table_name"]: table for table in manifest["tables"]}
        if said.keys() != tables.keys():
            self._wrong(f"set {name} has the tables {sorted(said)}, {sorted(tables)} were asked for")
            return
        for table, outcome in tables.items():
            entry = said[table]
            self.outcomes.append(entry["status"])
            if outcome == "COMPLETED" and entry["status"] != "COMPLETED":
                self._wrong(f"set {name}: {table} is {entry['status']}: {entry['failure_code']}")
            if outcome != "COMPLETED" and (entry["status"] != "FAILED" or not entry["failure_message"]):
                self._wrong(f"set {name}: {table} is {entry['status']}, it must be FAILED with its reason")
            if outcome not in (None, "COMPLETED", entry["failure_code"]):
                self._wrong(f"set {name}: {table} failed with {entry['failure_code']}, not {outcome}")
        whole = all(outcome == "COMPLETED" for outcome in tables.values())
        if manifest["status"] != ("COMPLETE" if whole else "PARTIAL"):
            self._wrong(f"set {name} is {manifest['status']}")
