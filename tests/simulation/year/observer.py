"""What is seen of the sets while a year goes on: when they began and ended, what their manifests said, and every
removal the moment it begins. Knows nothing of why the service does what it does."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.simulation.aws.dynamodb import KeyTuple, Table
from tests.simulation.aws.expressions import Item
from tests.simulation.aws.rows import plain_row_at_once
from tests.simulation.replay import Document
from tests.simulation.world import PREFIX
from tests.simulation.year.policy import Policy, Seen, sets_to_keep

_SET = "BACKUP#"
_RUN = "ONDEMAND#"
_MANIFEST = "/manifest.json"
_SHIELD = "/keep.json"
# A run of retention that decided a moment ago may have had a clock that went a little fast.
_CLOCKS_DIFFER_MS = 10_000
Row = dict[str, Any]


class Observer:
    """`manifests`: by set, each that was written, by its revision. `finished_ms`: by set and revision, when it left the
    open work. `failed_ms`: by set and table, when an export of it was given up. `runs`: of on-demand backups, and
    whether each has ended; `failed_backups`: the tables without one, by run."""

    def __init__(self, world: Any, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self.manifests: dict[str, dict[int, Document]] = {}
        self.started_ms: dict[str, int] = {}
        self.finished_ms: dict[tuple[str, int], int] = {}
        self.failed_ms: dict[tuple[str, str], int] = {}
        self.removed_ms: dict[str, int] = {}
        self.runs: dict[str, bool] = {}
        self.failed_backups: dict[str, set[str]] = {}
        self.ledger_writes = 0
        self._new: set[str] = set()
        self._chain()

    def _chain(self) -> None:
        world = self._world
        on_write, on_create, on_remove = world.dynamodb.on_write, world.s3.on_create, world.s3.on_remove

        def wrote(table: Table, key: KeyTuple, old: Item | None, new: Item | None) -> None:
            on_write(table, key, old, new)
            if table.name == world.ledger.name:
                self.ledger_writes += 1
                if str(key[0]).startswith(_RUN) and new is not None:
                    self._wrote_run(str(key[0]).removeprefix(_RUN), str(key[1]), new)
                if str(key[0]).startswith(_SET):
                    self._wrote(str(key[0]).removeprefix(_SET), str(key[1]), old, new)

        def created(key: str) -> None:
            on_create(key)
            if key.endswith(_MANIFEST):
                manifest = json.loads(world.s3.objects[key].body)
                self.manifests.setdefault(_name(key), {})[manifest["revision"]] = manifest
                self._new.add(_name(key))

        def removed(key: str) -> None:
            on_remove(key)
            if key.endswith(_MANIFEST):
                self._removed(_name(key))
            elif f"{PREFIX}/{_name(key)}{_MANIFEST}" in world.s3.objects and not key.endswith(_SHIELD):
                self._world.watch.violated(f"{key} goes while its manifest stands")

        world.dynamodb.on_write, world.s3.on_create, world.s3.on_remove = wrote, created, removed

    # --- as it happens ---------------------------------------------------------------------------------------

    def _wrote(self, name: str, sk: str, old: Item | None, new: Item | None) -> None:
        now_ms = self._world.scheduler.clock()
        if sk == "SET" and new is not None:
            if old is None:
                self.started_ms[name] = now_ms
            elif "open_kind" in old and "open_kind" not in new:
                self.finished_ms[name, int(new["revision"]["N"])] = now_ms
        elif sk.startswith("EXPORT#") and new is not None and new["status"]["S"] == "FAILED":
            self.failed_ms[name, new["table_name"]["S"]] = now_ms

    def _wrote_run(self, name: str, sk: str, new: Item) -> None:
        if sk == "RUN":
            self.runs[name] = "open_kind" not in new
        elif new["status"]["S"] == "FAILED":
            self.failed_backups.setdefault(name, set()).add(new["table_name"]["S"])

    def _removed(self, name: str) -> None:
        """Of a set whose removal has begun the manifest goes first, and it is one that may go."""
        now_ms = self._world.scheduler.clock()
        self.removed_ms[name] = now_ms
        sets = self.sets()
        sets[name] = self._seen(name, self.manifests[name][max(self.manifests[name])])
        why = sets_to_keep(sets.values(), self._policy, now_ms + _CLOCKS_DIFFER_MS).get(name)
        if why:
            self._world.watch.violated(f"the manifest of {name} is removed, and it must stay: {', '.join(why[:4])}")

    # --- as it is --------------------------------------------------------------------------------------------

    def sets(self) -> dict[str, Seen]:
        """All there are: in the bucket with a manifest, or in the ledger."""
        standing = self.standing()
        names = {*standing, *(key[0].removeprefix(_SET) for key in self._world.ledger.items if key[1] == "SET")}
        return {name: self._seen(name, standing.get(name)) for name in sorted(names)}

    def standing(self) -> Mapping[str, Document]:
        """The manifests in the bucket, as they were seen when they were written."""
        objects = self._world.s3.objects
        return {
            name: said[max(said)] for name, said in self.manifests.items() if f"{PREFIX}/{name}{_MANIFEST}" in objects
        }

    def _seen(self, name: str, manifest: Document | None) -> Seen:
        row = self._world.ledger.items.get((f"{_SET}{name}", "SET"))
        is_open = row is not None and "open_kind" in row
        return Seen(
            name,
            manifest,
            is_open=is_open,
            is_shielded=f"{PREFIX}/{name}{_SHIELD}" in self._world.s3.objects,
            building_on=self._building_on(name) if is_open else frozenset(),
        )

    def _building_on(self, name: str) -> frozenset[str]:
        rows: list[Row] = [plain_row_at_once(item) for item in self._world.ledger.partitions[f"{_SET}{name}"].values()]
        links = [link for row in rows if row["sk"].startswith("EXPORT#") for link in row.get("base", [])]
        return frozenset(link["manifest_files_key"].split("/")[1] for link in links)

    def take_new(self) -> list[tuple[str, Document]]:
        """Each set that ended since the last time, with its last manifest."""
        taken = [(name, self.manifests[name][max(self.manifests[name])]) for name in sorted(self._new)]
        self._new.clear()
        return taken

    def tables(self) -> Counter[str]:
        """How those of all sets that ever ended have ended."""
        last = (said[max(said)] for said in self.manifests.values())
        return Counter(table["status"] for manifest in last for table in manifest["tables"])


def _name(key: str) -> str:
    return key.split("/")[1]
