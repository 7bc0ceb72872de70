"""`make demo`: the whole job on one machine, from the schedule to the item-by-item comparison.

Everything goes the way it goes on AWS: the deployed functions, their triggers, the HTTP API with a token. The demo
only plays the operator: it fires the schedule instead of waiting for the night, damages tables, and asks for restores.
Its second act is in `sandbox.demo_chain`.
"""

import json
from collections.abc import Mapping
from typing import Any

from sandbox import seed
from sandbox.api import ENDED, Api, finished_backup, has_ended, wait_for, wait_for_restore
from sandbox.compare import Snapshot, snapshot
from sandbox.demo_chain import show_a_chain
from sandbox.exports.snapshot import scan_in_wire_form
from sandbox.isolation import emulator_client
from sandbox.narrator import Narrator, print_differences
from sandbox.sandbox import Sandbox

_BAR_WIDTH = 28


def run_demo(sandbox: Sandbox, began: float) -> int:
    """Shows the job being done in a started sandbox; 0 when every item is as it was, 1 otherwise."""
    out = Narrator(began)
    dynamodb = emulator_client("dynamodb", sandbox.endpoint_url)
    scan_in_wire_form(dynamodb)
    is_whole = _show_a_restore(sandbox, dynamodb, out) and show_a_chain(sandbox, dynamodb, out)
    out.step("Every item is back, to the byte." if is_whole else "NOT everything is back: see above.")
    return 0 if is_whole else 1


def _show_a_restore(sandbox: Sandbox, dynamodb: Any, out: Narrator) -> bool:
    """Whether every item is as it was."""
    api = sandbox.api
    out.step("Four tables are made and filled, each with point-in-time recovery on.")
    _seed(sandbox, out)
    before = _snapshots(dynamodb)
    out.step("The daily schedule fires (on AWS: at 01:00). It starts a native export of every table, all at once.")
    backup_date = _back_up(sandbox, api, out)
    out.step("Something goes wrong: a script deletes and overwrites items.")
    _damage(sandbox, out)
    print_differences(out, before, _snapshots(dynamodb))
    out.step(
        f"POST /restores asks for {backup_date} back: a dry run first, which reads every data file and writes nothing."
    )
    plan_digest = _show_dry_run(api, backup_date, out)
    out.step("And now for real, held to that plan by its digest. Workers restore shards of all tables in parallel.")
    restore = _restore(api, {"backup_date": backup_date, "max_workers": 4, "plan_digest": plan_digest}, out)
    _print_receipt(sandbox, restore, out)
    out.step("Every item of every table is compared with what it was before the damage.")
    differences = print_differences(out, before, _snapshots(dynamodb))
    return restore["status"] == "COMPLETED" and not any(differences)


def _seed(sandbox: Sandbox, out: Narrator) -> None:
    dynamodb = sandbox.client("dynamodb")
    seed.create_tables(dynamodb)
    for table in seed.TABLES:
        count = seed.put_items(dynamodb, table.name, seed.items_of(table.name))
        out.say(f"{table.name:<14}{count:>7,} items   {table.about}")


def _back_up(sandbox: Sandbox, api: Api, out: Narrator) -> str:
    sandbox.fire_schedule("start_exports")
    out.say("Exports run; each one's last object raises an S3 event, and a function verifies and records it.")
    backup = wait_for("the day's manifest", lambda: _newest_backup(api))
    for table in backup["tables"]:
        files = f"{table['data_files']} data files"
        out.say(f"{table['table_name']:<14}{table['item_count']:>7,} items   {table['status']}, {files}")
    out.say(f"{backup['backup_date']} is {backup['status']}: s3://{backup['s3_bucket']}/{backup['manifest_s3_key']}")
    return str(backup["backup_date"])


def _newest_backup(api: Api) -> dict[str, Any] | None:
    backups = api.call("GET", "/backups?limit=1")["backups"]
    return finished_backup(api, backups[0]["backup_date"]) if backups else None


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
    dry_run = wait_for_restore(api, accepted["restore_id"])
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
        if out.is_terminal or has_ended(restore):
            out.replace(lines)
        return restore if has_ended(restore) else None

    return wait_for("the restore", look)


def _bar(table: Mapping[str, Any], status: str) -> str:
    done, total = table["written"], table["item_count"]
    share = done / total if total else float(status in ENDED)
    filled = round(share * _BAR_WIDTH)
    bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
    return f"{table['target_table']:<14}{bar} {share:>4.0%} {done:>7,} of {total:,} items   {status}"


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
