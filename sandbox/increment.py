"""An increment of a table, asked of the app: an incremental export of what has changed since its newest one."""

from collections.abc import Mapping
from typing import Any

from sandbox.api import Api, back_up
from sandbox.errors import SandboxError
from sandbox.exports.administration import advance_clock

# An incremental export covers 15 minutes to 24 hours
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html).
LEAST_WINDOW_S = 15 * 60


def back_up_changes(endpoint_url: str, api: Api, table_name: str, *, after_s: float = LEAST_WINDOW_S) -> dict[str, Any]:
    """The manifest of a set of one table's changes, of all up to now. Of a table that has no export to continue, the
    app makes a full one.

    `after_s`, in seconds, is how far the time of exports is moved on before, so that a window has passed since the last
    one. Raises SandboxError.
    """
    advance_clock(endpoint_url, after_s)
    manifest = back_up(api, [table_name], "INCREMENTAL_EXPORT")
    [table] = manifest["tables"]
    if table["status"] != "COMPLETED":
        raise SandboxError(f"the export of {table_name} failed: {table['failure_code']}: {table['failure_message']}")
    return manifest


def told(manifest: Mapping[str, Any]) -> str:
    """What a set of one table has, in one line."""
    [table] = manifest["tables"]
    name, backup_date = table["table_name"], manifest["backup_date"]
    if table["export_type"] == "FULL_EXPORT":
        return "; ".join([f"{backup_date}: all {table['item_count']:,} items of {name}", *table["notes"]])
    # Of a time longer than 24 hours there are several parts, and all but the last one are in its base.
    parts = [*(link for link in table["base"] if link["backup_date"] == backup_date), table]
    count = sum(part["item_count"] for part in parts)
    since = next(link for link in reversed(table["base"]) if link["backup_date"] != backup_date)["backup_date"]
    window = f"from {parts[0]['from'][:19]}Z to {parts[-1]['to'][:19]}Z"
    items = "item" if count == 1 else "items"
    return f"{backup_date}: {count:,} changed {items} of {name} since {since} ({window})"
