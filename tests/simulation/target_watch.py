"""What must never happen to a restore's target, looked at as each write takes effect; and who may make a table."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from chalicelib.ledger.writes import plain_row
from chalicelib.restore.model import PHASES, Status
from chalicelib.restore.new_table import FINISHED, OWNER_TAG
from tests.simulation.aws.dynamodb import KeyTuple, Table
from tests.simulation.aws.expressions import Item
from tests.simulation.chains import link_of
from tests.simulation.lambdas import Container
from tests.simulation.scheduler import Task

_MAY_CLEAR = frozenset({Status.CLEARING, Status.CANCELLING})
_MAY_LOAD = frozenset({Status.LOADING, Status.CANCELLING})
_MAY_MAKE = frozenset({Status.CREATING, Status.CANCELLING})
_MAY_FINISH = frozenset({Status.FINISHING, Status.CANCELLING})
_WINDOW_US = 5_000_000
_BATCH = 25  # writes, of one request

Row = dict[str, Any]


class TargetWatch:
    def __init__(self, world: Any) -> None:
        self._world = world
        self.on_move: Callable[[str, Status], None] = lambda restore_id, to: None
        self.is_stranger = False  # whether somebody else writes right now
        self._looked_at: tuple[int, str, bool] | None = None
        self._cancelling_since_us: dict[str, int] = {}
        self._claimed_at_us: dict[tuple[str, str], int] = {}
        self._loading_began: set[str] = set()
        self._link_begun: dict[tuple[str, str], int] = {}  # by restore and target, the last link of which was claimed
        self._waiting: list[Task] = []
        self._units: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by target: when, how many
        self._shares: dict[str, list[tuple[int, float]]] = defaultdict(list)  # by target: of writers, when they began

    # --- items -----------------------------------------------------------------------------------------------

    def wrote(self, table: Table, key: KeyTuple, old: Item | None, new: Item | None) -> None:
        if self.is_stranger:
            return
        what = f"{'delete' if new is None else 'put'} of {key} in {table.name}"
        job = self._holder(table.name)
        if job is None:
            self._violated(f"{what}: no restore holds its lock")
            return
        self._check_item(what, job, table, old, new)
        moment = (self._world.scheduler.now_us, table.name, new is None)
        if moment == self._looked_at:
            return  # another item of the same batch
        self._looked_at = moment
        status = Status(job["status"])
        claimed = self._claims_of_writer(what, job["restore_id"])
        is_clearing = new is None and any(row["kind"] == "clear" for row in claimed)
        if status not in (_MAY_CLEAR if is_clearing else _MAY_LOAD):
            self._violated(f"{what}: the restore that holds its lock is {status}")
        if job["dry_run"]:
            self._violated(f"{what}: by a dry run")
        if is_clearing:
            self._check_may_clear(what, table, job)
        elif new is None and claimed and not any(row.get("line_kind") == "record" for row in claimed):
            self._violated(f"{what}: by a shard that has no removals")

    def _check_item(self, what: str, job: Row, table: Table, old: Item | None, new: Item | None) -> None:
        if job["mode"] == "missing_only" and (old is not None or new is None):
            self._violated(f"{what}: it stands there, and {job['restore_id']} was asked to write what is missing")
        begun = self._link_begun.get((job["restore_id"], table.name), 0)
        is_in_turn = job["mode"] == "overwrite" and not job["key_count"]
        if new is not None and is_in_turn and link_of(new) < begun:
            self._violated(f"{what}: it is of link {link_of(new)}, and link {begun} has begun")

    def _claims_of_writer(self, what: str, restore_id: str) -> list[Row]:
        """Nothing is written but under a live claim: of the slot that writes, or, where a killed worker's request is
        still on its way, of any."""
        slot = self._slot()
        live = self.live_claims(f"RESTORE#{restore_id}")
        live = [row for row in live if slot is None or row.get("claimed_slot") == slot]
        if not live and not self._world.watch.has_lost_rows:  # a claim may be among what the ledger lost
            self._violated(f"{what}: slot {slot} of {restore_id} holds no claim")
        return live

    def _slot(self) -> int | None:
        task = self._world.scheduler.current
        invocation = task.process.invocation if task and isinstance(task.process, Container) else None
        return int(json.loads(invocation.message)["slot"]) if invocation else None

    def _check_may_clear(self, what: str, table: Table, job: Row) -> None:
        restore_id = job["restore_id"]
        if not job["clear_existing_data"]:
            self._violated(f"{what}: nobody asked {restore_id} to clear")
        if restore_id in self._loading_began:
            self._violated(f"{what}: by CLEARING, and LOADING of {restore_id} has begun before")
        rows = self._world.watch.rows(f"RESTORE#{restore_id}")
        unchecked = [row["sk"] for row in rows if row["sk"].startswith("SHARD#load#") and row["stage"] == "TODO"]
        if unchecked:
            self._violated(f"{what}: {unchecked[0]} is not checked yet")
        backups = self._world.dynamodb.backups.values()
        environment = self._world.settings.environment
        name = f"tablevault-{environment}-{restore_id}" + (f"-{job['resumes']}" if job["resumes"] else "")
        safe = [each for each in backups if each["BackupName"] == name]
        if job["safety_backup"] and not any(
            each["TableName"] == table.name and each["BackupStatus"] == "AVAILABLE" for each in safe
        ):
            self._violated(f"{what}: its safety backup is not AVAILABLE")

    # --- tables ----------------------------------------------------------------------------------------------

    def changed_table(self, table: Table, what: str) -> None:
        if self.is_stranger:
            return
        if what != "made" and self._slot() is None:
            return  # a setting that arrives late is the same once more
        told = f"{what} of table {table.name}"
        job = self._holder(table.name)
        if job is None:
            self._violated(f"{told}: no restore holds its lock")
            return
        if table.tags.get(OWNER_TAG, "").removesuffix(FINISHED) != job["restore_id"]:
            self._violated(f"{told}: {job['restore_id']} did not make it")
        if Status(job["status"]) not in (_MAY_MAKE if what == "made" else _MAY_FINISH):
            self._violated(f"{told}: {job['restore_id']} is {job['status']}")
        kind = "create" if what == "made" else "finish"
        claimed = self._claims_of_writer(told, job["restore_id"])
        if claimed and not any(row["kind"] == kind for row in claimed):
            self._violated(f"{told}: by a shard of another kind")

    # --- write units -----------------------------------------------------------------------------------------

    def consumed(self, table_name: str, units: int) -> None:
        if table_name != self._world.ledger.name and not self.is_stranger:
            self._units[table_name].append((self._world.scheduler.now_us, units))

    def check_units(self, target: str, per_s: int) -> None:
        """That a restore kept to its limit: in no window more than its units, and what its writers begin with: a
        second's share each. What takes effect late is counted in another window than it was paid in."""
        late = sum(self._world.faults.injected.values()) + self._world.lambdas.kills
        slack = per_s + _BATCH * late
        spent = self._units[target]
        start, held = 0, 0
        for at_us, units in spent:
            held += units
            while spent[start][0] < at_us - _WINDOW_US:
                held -= spent[start][1]
                start += 1
            began = sum(share for when, share in self._shares[target] if at_us - _WINDOW_US <= when <= at_us)
            if held > per_s * _WINDOW_US / 1e6 + began + slack:
                self._violated(f"{held} write units of {target} within 5 s, {per_s} a second were allowed")
                return

    # --- claims ----------------------------------------------------------------------------------------------

    def claimed(self, pk: str, row: Row) -> None:
        self._claimed_at_us[pk, row["sk"]] = self._world.scheduler.now_us
        job = self._world.watch.row(pk, "JOB")
        if row["kind"] != "load" or job is None or job["status"] != Status.LOADING:
            return
        table = self._world.watch.row(pk, f"TABLE#{row['sk'].split('#')[2]}")
        if table is None:
            return
        place = (job["restore_id"], table["target"])
        self._link_begun[place] = max(self._link_begun.get(place, 0), row.get("link", 0))
        is_in_turn = job["mode"] == "overwrite" and not job["key_count"]
        if table["loading_failed"] and row.get("link", 0) and is_in_turn:
            self._check_no_failure_before(pk, row, table)
        if job.get("max_write_units"):
            opened = max(1, min(job["max_workers"], table["loading_total"] - table["loading_ended"]))
            share = job["max_write_units"] / min(opened, self._world.concurrency)
            self._shares[table["target"]].append((self._world.scheduler.now_us, share))

    def _check_no_failure_before(self, pk: str, row: Row, table: Row) -> None:
        prefix = f"SHARD#load#{table['number']:04d}#"
        loads = [each for each in self._world.watch.rows(pk) if each["sk"].startswith(prefix)]
        if any(each["stage"] == "FAILED" and each.get("link", 0) < row["link"] for each in loads):
            self._violated(f"{pk}/{row['sk']} of link {row['link']} was begun after a failure in an earlier link")

    def moved(self, pk: str, restore_id: str, to: Status) -> None:
        if to is Status.CANCELLING:
            self._cancelling_since_us[pk] = self._world.scheduler.now_us
        if to in PHASES and to is not Status.REOPENING:
            self._cancelling_since_us.pop(pk, None)
        if to is Status.LOADING:
            self._loading_began.add(restore_id)
        if to is Status.CLEARING and restore_id in self._loading_began:
            self._violated(f"{pk} went to CLEARING, and had been LOADING before")
        self.on_move(restore_id, to)
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._world.scheduler.unpark(task)

    def wait_for_move(self) -> None:
        """The running task waits until any restore moves."""
        task = self._world.scheduler.current
        assert task is not None
        self._waiting.append(task)
        self._world.scheduler.park()

    def live_claims(self, pk: str) -> list[Row]:
        """Those under which somebody may write: none that was granted after the restore was cancelled."""
        now_ms = self._world.scheduler.clock()
        last_us = self._cancelling_since_us.get(pk, self._world.scheduler.now_us)
        return [
            row
            for row in self._world.watch.rows(pk)
            if row.get("claimed_until_ms", 0) > now_ms and self._claimed_at_us.get((pk, row["sk"]), 0) <= last_us
        ]

    def _holder(self, table_name: str) -> Row | None:
        lock: Item | None = self._world.ledger.items.get((f"LOCK#{table_name}", "LOCK"))
        if lock is None:
            return None
        job: Row | None = self._world.watch.row(f"RESTORE#{plain_row(lock)['restore_id']}", "JOB")
        return job

    def _violated(self, text: str) -> None:
        self._world.watch.violated(text)
