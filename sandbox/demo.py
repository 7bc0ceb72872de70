"""`make demo`: the whole job on one machine, from the schedule to the item-by-item comparison.

Everything goes the way it goes on AWS: the deployed functions, their triggers, the HTTP API with a token. The demo
only plays the operator: it fires the schedule instead of waiting for the night, damages tables, and asks for restores.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox import seed
from sandbox.compare import Difference, Snapshot, compare, snapshot
from sandbox.errors import SandboxError
from sandbox.exports.snapshot import scan_in_wire_form
from sandbox.isolation import emulator_client, open_local
from sandbox.sandbox import Sandbox

_POLL_S = 0.5
_PATIENCE_S = 120
_BAR_WIDTH = 28
_ENDED = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Api:
    """The deployed HTTP API, as a client with a token sees it."""

    url: str
    token: str

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer's JSON; SandboxError with the problem's text for anything but success."""
        request = urllib.request.Request(
            self.url.rstrip("/") + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with open_local(request, 30) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise SandboxError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        return answer


def run_demo(sandbox: Sandbox, began: float) -> int:
    """Shows the job being done in a started sandbox; 0 when every item is as it was, 1 otherwise."""
    out = Narrator(began)
    dynamodb = emulator_client("dynamodb", sandbox.endpoint_url)
    scan_in_wire_form(dynamodb)
    api = Api(sandbox.api_url, sandbox.token)
    out.step("Four tables are made and filled, each with point-in-time recovery on.")
    _seed(sandbox, out)
    before = {table.name: snapshot(dynamodb, table.name, table.key_names) for table in seed.TABLES}
    out.step("The daily schedule fires (on AWS: at 01:00). It starts a native export of every table, all at once.")
    backup_date = _back_up(sandbox, api, out)
    out.step("Something goes wrong: a script deletes and overwrites items.")
    _damage(sandbox, out)
    _print_differences(out, before, _snapshots(dynamodb))
    out.step(
        f"POST /restores asks for {backup_date} back: a dry run first, which reads every data file and writes nothing."
    )
    plan_digest = _show_dry_run(api, backup_date, out)
    out.step("And now for real, held to that plan by its digest. Workers restore shards of all tables in parallel.")
    restore = _restore(api, {"backup_date": backup_date, "max_workers": 4, "plan_digest": plan_digest}, out)
    _print_receipt(sandbox, restore, out)
    out.step("Every item of every table is compared with what it was before the damage.")
    differences = _print_differences(out, before, _snapshots(dynamodb))
    is_whole = restore["status"] == "COMPLETED" and not any(differences)
    out.step("Every item is back, to the byte." if is_whole else "NOT everything is back: see above.")
    return 0 if is_whole else 1


class Narrator:
    """Says what happens, with the time since the demo began."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._is_terminal = sys.stdout.isatty()
        self._lines_to_replace = 0

    def step(self, text: str) -> None:
        self._lines_to_replace = 0
        print(f"\n[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)

    def say(self, text: str) -> None:
        print(f"           {text}", flush=True)

    def replace(self, lines: Sequence[str]) -> None:
        """Lines that change in place on a terminal; elsewhere they are written below each other."""
        if self._is_terminal and self._lines_to_replace:
            print(f"\x1b[{self._lines_to_replace}A", end="")
        for line in lines:
            print(("\x1b[2K" if self._is_terminal else "") + f"           {line}", flush=True)
        self._lines_to_replace = len(lines)

    @property
    def is_terminal(self) -> bool:
        return self._is_terminal


def _seed(sandbox: Sandbox, out: Narrator) -> None:
    dynamodb = sandbox.client("dynamodb")
    seed.create_tables(dynamodb)
    for table in seed.TABLES:
        count = seed.put_items(dynamodb, table.name, seed.items_of(table.name))
        out.say(f"{table.name:<14}{count:>7,} items   {table.about}")


def _back_up(sandbox: Sandbox, api: Api, out: Narrator) -> str:
    sandbox.fire_schedule("start_exports")
    out.say("Exports run; each one's last object raises an S3 event, and a function verifies and records it.")
    backup = _wait_for("the day's manifest", lambda: _finished_backup(api))
    for table in backup["tables"]:
        files = f"{table['data_files']} data files"
        out.say(f"{table['table_name']:<14}{table['item_count']:>7,} items   {table['status']}, {files}")
    out.say(f"{backup['backup_date']} is {backup['status']}: s3://{backup['s3_bucket']}/{backup['manifest_s3_key']}")
    return str(backup["backup_date"])


def _finished_backup(api: Api) -> dict[str, Any] | None:
    backups = api.call("GET", "/backups")["backups"]
    if not backups or backups[0]["status"] not in ("COMPLETE", "PARTIAL"):
        return None
    return api.call("GET", f"/backups/{backups[0]['backup_date']}")


def _damage(sandbox: Sandbox, out: Narrator) -> None:
    """Deletes a third of the orders, overwrites some, and empties the catalog."""
    dynamodb = sandbox.client("dynamodb")
    orders = list(seed.items_of("demo-orders"))
    keys = [{name: order[name] for name in ("customer", "placed_at")} for order in orders[::3]]
    out.say(f"demo-orders:  {seed.delete_items(dynamodb, 'demo-orders', keys):,} items deleted")
    wrong = [{**order, "state": {"S": "lost"}, "total": {"N": "0"}} for order in orders[1::6]]
    out.say(f"demo-orders:  {seed.put_items(dynamodb, 'demo-orders', wrong):,} items overwritten")
    skus = [{"sku": item["sku"]} for item in seed.items_of("demo-catalog")]
    out.say(f"demo-catalog: {seed.delete_items(dynamodb, 'demo-catalog', skus):,} items deleted, all there were")
    devices = [{**item, "value": {"B": b"\x00wrong"}} for item in seed.items_of("demo-devices")][::2]
    out.say(f"demo-devices: {seed.put_items(dynamodb, 'demo-devices', devices):,} items overwritten")


def _show_dry_run(api: Api, backup_date: str, out: Narrator) -> str:
    """The digest of its plan."""
    accepted = api.call("POST", "/restores", {"backup_date": backup_date, "dry_run": True})
    dry_run = _wait_for("the dry run", lambda: _ended(api, accepted["restore_id"]))
    read = sum(table["data_files_read_in_checking"] for table in dry_run["tables"])
    items = sum(table["item_count"] for table in dry_run["tables"])
    size_mb = sum(table["uncompressed_bytes_read_in_checking"] for table in dry_run["tables"]) / 1e6
    out.say(f"{dry_run['status']}: {read} data files read and verified, {items:,} items, {size_mb:.1f} MB")
    for table in dry_run["tables"]:
        out.say(_estimate_text(table))
    out.say(f"blockers: {', '.join(dry_run['blockers']) or 'none'}")
    return str(dry_run["plan_digest"])


def _estimate_text(table: Mapping[str, Any]) -> str:
    """What on AWS the restore would cost, and how long it would take at least."""
    estimate = table["estimate"]
    limit = f", limited by {estimate['limited_by']}" if estimate["limited_by"] else ""
    units = f"{estimate['write_units']:>7,} write units, {estimate['usd']:.4f} USD"
    return f"{table['target_table']:<14}{units}, {estimate['expected_s']} s{limit}"


def _restore(api: Api, request: Mapping[str, Any], out: Narrator) -> dict[str, Any]:
    accepted = api.call("POST", "/restores", request)
    out.say(f"202 accepted: {accepted['restore_id']}")

    def look() -> dict[str, Any] | None:
        restore = api.call("GET", f"/restores/{accepted['restore_id']}")
        lines = [_bar(table, restore["status"]) for table in restore["tables"]]
        if out.is_terminal or _has_ended(restore):
            out.replace(lines)
        return restore if _has_ended(restore) else None

    return _wait_for("the restore", look)


def _bar(table: Mapping[str, Any], status: str) -> str:
    done, total = table["written"], table["item_count"]
    share = done / total if total else float(status in _ENDED)
    filled = round(share * _BAR_WIDTH)
    bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
    return f"{table['target_table']:<14}{bar} {share:>4.0%} {done:>7,} of {total:,} items   {status}"


def _ended(api: Api, restore_id: str) -> dict[str, Any] | None:
    restore = api.call("GET", f"/restores/{restore_id}")
    return restore if _has_ended(restore) else None


def _has_ended(restore: Mapping[str, Any]) -> bool:
    return restore["status"] in _ENDED and restore["receipt_key"] is not None


def _print_receipt(sandbox: Sandbox, restore: Mapping[str, Any], out: Narrator) -> None:
    out.step(f"The receipt: {restore['status']} ({restore['status_code']})")
    body = sandbox.client("s3").get_object(Bucket=sandbox.stage.backup_bucket, Key=restore["receipt_key"])["Body"]
    for table in json.load(body)["tables"]:
        balanced = f"{table['data_files_balanced']} of {table['data_files']} data files balanced"
        counts = f"{table['written']:,} written, {table['rejected']:,} rejected of {table['item_count']:,}"
        out.say(f"{table['target_table']:<14}{counts}; {balanced}")
    for line in (*restore["blockers"], *restore["failures"]):
        out.say(line)
    out.say(f"s3://{sandbox.stage.backup_bucket}/{restore['receipt_key']}")


def _snapshots(dynamodb: Any) -> dict[str, Snapshot]:
    return {table.name: snapshot(dynamodb, table.name, table.key_names) for table in seed.TABLES}


def _print_differences(out: Narrator, before: Mapping[str, Snapshot], now: Mapping[str, Snapshot]) -> list[Difference]:
    differences = []
    for name, snapshot_before in before.items():
        difference = compare(snapshot_before, now[name])
        differences.append(difference)
        out.say(f"{name:<14}{difference if difference else f'{len(snapshot_before):,} items, all as they were'}")
    return differences


def _wait_for(what: str, look: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(_POLL_S)
    raise SandboxError(f"{what} did not come within {_PATIENCE_S} s; the functions' logs say why")
