"""What the exports of a table hold, link by link, and what a restore of them comes to. Knows nothing of the service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.exports.incremental import Change, Delete, Insert, Update

# Every item of every scenario holds it; it may stand in tables, exports and rejected lines, and nowhere else.
ITEM_MARK = "itemcontent"

Item = dict[str, Any]
Items = Mapping[str, Item]  # by their ids


@dataclass(frozen=True)
class Backed:
    """A table of a set: its number of items, how many of them DynamoDB refuses, and what is wrong with its files. With
    `increments`, the set is the last of a chain: the full export is as many days older. `has_settings`: its definition
    has all that is put on a table after its load."""

    name: str
    items: int = 110
    refused: int = 0
    damaged: bool = False
    files: int = 3
    increments: int = 0
    has_settings: bool = False


@dataclass(frozen=True)
class Chain:
    """Of each link what it says of an id: the item as it is then, or None, that it is removed. `refused`: lines of the
    first link that DynamoDB refuses."""

    links: tuple[Mapping[str, Item | None], ...]
    refused: int = 0

    @classmethod
    def of(cls, items: Sequence[Item]) -> "Chain":
        """One full export."""
        return cls(({item["id"]["S"]: item for item in items},))

    @property
    def lines(self) -> int:
        return sum(len(link) for link in self.links) + self.refused

    @property
    def last_words(self) -> dict[str, Item | None]:
        words: dict[str, Item | None] = {}
        for link in self.links:
            words.update(link)
        return words

    def images(self, name: str) -> list[Item | None]:
        """All that the chain ever said of an id."""
        return [link[name] for link in self.links if name in link]


@dataclass(frozen=True)
class Wish:
    """What a restore is asked for, as far as it decides what becomes of items. `keys`: ids, or None for all."""

    mode: str = "overwrite"
    clears: bool = False
    keys: tuple[str, ...] | None = None


@dataclass
class Outcome:
    """`items`: those that stand there in the end. `missing_keys`: positions of asked keys that the backup lacks."""

    items: dict[str, Item]
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("written", "unchanged", "skipped", "deleted", "rejected", "filtered"), 0)
    )
    missing_keys: list[int] | None = None

    def put(self, name: str, item: Item | None) -> None:
        if item is None:
            self.items.pop(name, None)
            self.counts["deleted"] += 1
        else:
            self.items[name] = item
            self.counts["written"] += 1


def outcome_of(chain: Chain, before: Items, wish: Wish) -> Outcome:
    """What a restore that nothing disturbs comes to."""
    outcome = Outcome({} if wish.clears else dict(before))
    if wish.mode == "overwrite" and wish.keys is None:
        for link in chain.links:
            for name, item in link.items():
                outcome.put(name, item)
        outcome.counts["rejected"] = chain.refused
        return outcome
    words = chain.last_words
    for name in words if wish.keys is None else wish.keys:
        if name in words:
            _act(outcome, wish.mode, name, words[name])
    outcome.counts["filtered"] = chain.lines - sum(outcome.counts.values())
    if wish.keys is not None:
        outcome.missing_keys = [at for at, name in enumerate(wish.keys) if words.get(name) is None]
    return outcome


def _act(outcome: Outcome, mode: str, name: str, item: Item | None) -> None:
    standing = outcome.items.get(name)
    if mode == "missing_only" and (item is None or standing is not None):
        outcome.counts["skipped"] += 1
    elif mode == "changed_only" and standing == item:
        outcome.counts["unchanged"] += 1
    else:
        outcome.put(name, item)


# --- what the exports of a table hold ------------------------------------------------------------------------------


def chain_of(table: Backed) -> Chain:
    full: dict[str, Item | None] = {item["id"]["S"]: item for item in full_items(table) if item["id"]["S"]}
    links = [full]
    for changes in changes_of(table):
        links.append({})
        for change in changes:
            match change:
                case Delete(old):
                    links[-1][old["id"]["S"]] = None
                case Insert(new) | Update(_, new):
                    links[-1][new["id"]["S"]] = dict(new)
    return Chain(tuple(links), table.refused)


def changes_of(table: Backed) -> list[list[Change]]:
    """Of every increment: some items are changed, some removed, some come back, and some are new."""
    standing = {number: item_of(table.name, number, "backup") for number in range(table.items - table.refused)}
    gone: list[int] = []
    increments = []
    for day in range(1, table.increments + 1):
        changes: list[Change] = []
        back, gone = gone[::2], gone[1::2]
        new = range(10_000 * day, 10_000 * day + max(1, table.items // 10))
        for number in list(standing):
            if number % 7 == day % 7:
                changes.append(Delete(standing.pop(number)))
                gone.append(number)
            elif number % 5 == day % 5:
                changed = item_of(table.name, number, f"increment-{day}")
                changes.append(Update(standing[number], changed))
                standing[number] = changed
        for number in (*back, *new):
            standing[number] = item_of(table.name, number, f"increment-{day}")
            changes.append(Insert(standing[number]))
        increments.append(changes)
    return increments


def full_items(table: Backed) -> list[Item]:
    items = [item_of(table.name, number, "backup") for number in range(table.items - table.refused)]
    refused = [{"id": {"S": ""}, "n": {"N": str(number)}, "said": {"S": ITEM_MARK}} for number in range(table.refused)]
    return items + refused


def standing_items(name: str, count: int) -> list[Item]:
    """What a target holds before: of the ids that the backup has too, some with other values and some just so; and
    strangers."""
    shared = [item_of(name, number, "backup" if number % 6 == 0 else "before") for number in range(0, count, 2)]
    return shared + [item_of(name, 100_000 + number, "stranger") for number in range(count // 2)]


def item_of(name: str, number: int, said: str) -> Item:
    return {
        "id": {"S": f"{ITEM_MARK}-{name}-{number:06d}"},
        "n": {"N": str(number)},
        "said": {"S": said},
        "raw": {"B": bytes([number % 256, 255, 0])},
    }


def link_of(item: Item) -> int:
    """Which link of its chain an item of a backup is of."""
    _, _, number = item["said"]["S"].partition("increment-")
    return int(number or 0)
