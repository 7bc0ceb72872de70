"""What must be true of what people were told: of every set that ended, each time that it did, with all that failed; and
nothing twice but where an answer was lost."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.simulation.replay import Document
from tests.simulation.year.answers import LostAnswers
from tests.simulation.year.observer import Observer

_ID = re.compile(r"^Notification (\S+);", re.MULTILINE)
_REVISION = re.compile(r"^Manifest, revision (\d+):", re.MULTILINE)
_UNREAD = re.compile(r"^Its manifest cannot be read now:", re.MULTILINE)
_FAILED = "Failed tables, which cannot be restored from this backup:\n"
_FAILED_BACKUPS = "Tables without one:\n"
_RUN = "ON_DEMAND_FINISHED"
_CHANNELS = ("topic", "bus")


@dataclass(frozen=True)
class Said:
    """A notice as one channel took it. `revision`: None where what it is about could not be read, or is no set."""

    at_ms: int
    channel: str
    notification_id: str
    what: str
    name: str
    revision: int | None
    text: str

    @classmethod
    def by_topic(cls, at_ms: int, request: dict[str, Any]) -> "Said":
        text = request["Message"]
        found, revision = _ID.search(text), _REVISION.search(text)
        assert found is not None
        _, what, name, _ = found[1].split("/", 3)
        return cls(at_ms, "topic", found[1], what, name, int(revision[1]) if revision else None, text)

    @classmethod
    def by_bus(cls, at_ms: int, entry: dict[str, Any]) -> "Said":
        detail = json.loads(entry["Detail"])
        _, what, name, _ = detail["notification_id"].split("/", 3)
        revision = None if "reason" in detail else detail.get("revision")
        return cls(at_ms, "bus", detail["notification_id"], what, name, revision, entry["Detail"])


class TellingVerdict:
    def __init__(self, world: Any, observer: Observer) -> None:
        self._world = world
        self._observer = observer
        self._answers = LostAnswers(world)
        self._said: list[Said] = []
        self.repeated = 0
        self._published = 0
        self._put = 0
        self._judged: set[tuple[str, int]] = set()
        self._judged_runs: set[str] = set()

    def judge(self) -> None:
        """Of all that has come to rest."""
        self._take()
        self._judge_repeated()
        for name, manifests in self._observer.manifests.items():
            for revision, manifest in manifests.items():
                if (name, revision) not in self._judged and self._is_final(name, revision):
                    self._judge_set(name, revision, manifest)
                    self._judged.add((name, revision))
        for name, has_ended in self._observer.runs.items():
            if has_ended and name not in self._judged_runs:
                self._judge_run(name, sorted(self._observer.failed_backups.get(name, ())))
                self._judged_runs.add(name)

    def _take(self) -> None:
        """What came since the last time."""
        for told in self._world.topics.published[self._published :]:
            self._said.append(Said.by_topic(told.at_ms, told.request))
        for told in self._world.event_buses.taken[self._put :]:
            self._said.append(Said.by_bus(told.at_ms, told.request))
        self._published, self._put = len(self._world.topics.published), len(self._world.event_buses.taken)

    # --- once ------------------------------------------------------------------------------------------------

    def _judge_repeated(self) -> None:
        ids: dict[Any, set[str]] = defaultdict(set)
        times: dict[tuple[str, str], int] = defaultdict(int)
        for said in self._said:
            times[said.channel, said.notification_id] += 1
            if said.what == "FINISHED" and said.revision is not None:
                ids[said.channel, said.name, said.revision].add(said.notification_id)
        for (channel, name, revision), different in ids.items():
            if len(different) > 1:
                self._wrong(f"of {name}, revision {revision}, the {channel} was told {len(different)} times")
        self.repeated = sum(times.values()) - len(times)
        for (channel, notification_id), count in times.items():
            if count > 1 + self._answers.lost[channel, notification_id]:
                self._wrong(f"the {channel} was told {count} times, and no answer was lost: {notification_id}")

    # --- at all, and with all that failed --------------------------------------------------------------------

    def _is_final(self, name: str, revision: int) -> bool:
        """Whether the set ended with this manifest: it is not being made now, and no later one took its place before
        people could be told of it."""
        row = self._world.ledger.items.get((f"BACKUP#{name}", "SET"))
        is_open = row is not None and "open_kind" in row
        return not is_open and revision == max(self._observer.manifests[name])

    def _judge_set(self, name: str, revision: int, manifest: Document) -> None:
        for channel in _CHANNELS:
            said = [
                each
                for each in self._said
                if (each.channel, each.what, each.name) == (channel, "FINISHED", name)
                and each.revision in ((revision, None) if name in self._observer.removed_ms else (revision,))
            ]
            if not said:
                self._wrong(f"of {name}, revision {revision}, the {channel} was told nothing")
                continue
            failed = [table["table_name"] for table in manifest["tables"] if table["status"] != "COMPLETED"]
            if said[-1].revision is not None:
                self._judge_text(said[-1], manifest["status"], failed)
            elif not _UNREAD.search(said[-1].text) and "reason" not in said[-1].text:
                self._wrong(f"of {name} the {channel} was told something else")

    def _judge_run(self, name: str, failed: list[str]) -> None:
        """Of on-demand backups."""
        for channel in _CHANNELS:
            said = [each for each in self._said if (each.channel, each.what, each.name) == (channel, _RUN, name)]
            if len({each.notification_id for each in said}) != 1:
                self._wrong(f"of the on-demand backups {name} the {channel} was told {len(said)} different things")
                continue
            self._judge_text(said[0], "PARTIAL" if failed else "COMPLETE", failed)

    def _judge_text(self, said: Said, status: str, failed: list[str]) -> None:
        unnamed = [table for table in failed if table not in _named(said)]
        if unnamed or status not in said.text:
            self._wrong(f"of {said.name}, which is {status}, the {said.channel} was not told that {unnamed} failed")
        more = [table for table in _named(said) if table not in failed]
        if more:
            self._wrong(f"of {said.name} the {said.channel} was told that {more} failed")

    def _wrong(self, text: str) -> None:
        self._world.watch.violated(text)


def _named(said: Said) -> list[str]:
    """The tables that it says failed."""
    if said.channel == "bus":
        return [each["table"] for each in json.loads(said.text)["failures"]]
    _, _, rest = said.text.partition(_FAILED_BACKUPS if said.what == _RUN else _FAILED)
    lines = rest.partition("\n\n")[0].splitlines()
    return [line.removeprefix("- ").partition(" ")[0].rstrip(":") for line in lines]
