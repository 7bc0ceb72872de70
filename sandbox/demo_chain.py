"""The demo's second act: a table is backed up in full, and then, twice, only what has changed; and it is restored as it
stood at each of the three dates. Days pass in seconds: the emulator's exports have a clock that can be moved on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sandbox import seed
from sandbox.api import Api, back_up, wait_for_restore
from sandbox.compare import Snapshot, compare, snapshot
from sandbox.exports.administration import advance_clock
from sandbox.increment import back_up_changes
from sandbox.narrator import Narrator, print_differences
from sandbox.sandbox import Sandbox

TABLE = "demo-catalog"
_KEY_NAMES = ("sku",)
# One incremental export covers 24 hours at most.
_DAY_S = 23 * 3600


class Day(NamedTuple):
    """A set, and a copy of the table taken at its time."""

    number: int
    manifest: Mapping[str, Any]
    copy: Snapshot

    @property
    def target(self) -> str:
        """The table that it is restored into."""
        return f"catalog-day-{self.number}"


def show_a_chain(sandbox: Sandbox, dynamodb: Any, out: Narrator) -> bool:
    """Whether every item of each day is as it was. `dynamodb` gives scans in wire form."""
    out.step(
        f"POST /backups: {TABLE} in full; then twice, each 23 hours later by the clock of exports, what has changed."
    )
    days = _back_up_three_times(sandbox, dynamodb, out)
    out.step(
        "Each day is restored into a new table, all three at once: the full export, then every increment up to it."
    )
    restores = _restore(sandbox.api, days)
    for day, restore in zip(days, restores, strict=True):
        _print_restore(days, day, restore, out)
    out.step("Every item of the three tables is compared with a copy that was taken on that day.")
    now = {day.target: snapshot(dynamodb, day.target, _KEY_NAMES) for day in days}
    differences = print_differences(out, {day.target: day.copy for day in days}, now)
    return all(restore["status"] == "COMPLETED" for restore in restores) and not any(differences)


def _back_up_three_times(sandbox: Sandbox, dynamodb: Any, out: Narrator) -> list[Day]:
    advance_clock(sandbox.endpoint_url, 1)  # a window begins at a whole second: the first act's writes are before it
    days = [Day(1, back_up(sandbox.api, [TABLE]), snapshot(dynamodb, TABLE, _KEY_NAMES))]
    _print_set(days[0], out)
    for number in (2, 3):
        _change(sandbox.client("dynamodb"), number)
        copy = snapshot(dynamodb, TABLE, _KEY_NAMES)
        difference = compare(days[-1].copy, copy)
        out.say(
            f"{difference.changed} items are overwritten, {difference.missing} deleted, {difference.unexpected} added"
        )
        manifest = back_up_changes(sandbox.endpoint_url, sandbox.api, TABLE, after_s=_DAY_S)
        days.append(Day(number, manifest, copy))
        _print_set(days[-1], out)
    return days


def _change(dynamodb: Any, number: int) -> None:
    """Other items on each day, and some that the day before had changed, added or deleted: ten of those are back."""
    items = list(seed.items_of(TABLE))
    changed, deleted = items[50 * number :][:90], items[300 + 20 * number :][:30]
    added = [{**item, "sku": {"N": str(10_000 + 10 * number + place)}} for place, item in enumerate(items[:20])]
    seed.put_items(
        dynamodb, TABLE, [{**item, "price": {"N": f"{number}.99"}} for item in changed] + items[340:350] + added
    )
    seed.delete_items(dynamodb, TABLE, [{"sku": item["sku"]} for item in deleted])


def _print_set(day: Day, out: Narrator) -> None:
    [table] = day.manifest["tables"]
    window = f", of {table['from'][:16]} to {table['to'][:16]}" if table["from"] else ""
    what = f"{table['export_type']:<19}{table['item_count']:>4} items{window}"
    out.say(f"day {day.number}  {day.manifest['backup_date']}  {what}")


def _restore(api: Api, days: Sequence[Day]) -> list[dict[str, Any]]:
    accepted = [api.call("POST", "/restores", _request(day)) for day in days]
    return [wait_for_restore(api, each["restore_id"]) for each in accepted]


def _request(day: Day) -> dict[str, Any]:
    target_tables = {TABLE: day.target}
    return {
        "backup_date": day.manifest["backup_date"],
        "target_tables": target_tables,
        "create_missing_tables": True,
        "max_workers": 2,
    }


def _print_restore(days: Sequence[Day], day: Day, restore: Mapping[str, Any], out: Narrator) -> None:
    [table] = restore["tables"]
    [source] = day.manifest["tables"]
    names = {*(link["backup_date"] for link in source["base"]), day.manifest["backup_date"]}
    chain = " + ".join(f"day {each.number}" for each in days if each.manifest["backup_date"] in names)
    counts = f"{table['written']:>6,} written, {table['deleted']:>2} deleted of {table['item_count']:>5,}"
    out.say(f"{day.target:<14}{counts}   {restore['status']}, from {chain}")
    for line in (*restore["blockers"], *restore["failures"]):
        out.say(line)
