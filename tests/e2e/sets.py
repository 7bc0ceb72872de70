"""A small table of our own, and the backup sets that the deployed app makes of it."""

from collections.abc import Iterable
from typing import Any

from sandbox import seed
from sandbox.api import back_up, finished_backup
from sandbox.compare import Snapshot, snapshot
from sandbox.exports.administration import advance_clock, steer_exports
from sandbox.exports.course import Course
from sandbox.exports.snapshot import scan_in_wire_form
from sandbox.increment import LEAST_WINDOW_S, back_up_changes
from sandbox.isolation import emulator_client
from sandbox.sandbox import Sandbox
from tests.e2e.conftest import wait_for

KEY_NAMES = ("owner", "number")
INDEX = "by-state"
Item = dict[str, dict[str, Any]]


def note(number: int, text: str = "as it was") -> Item:
    return {
        "owner": {"S": f"owner-{number % 7}"},
        "number": {"N": str(number)},
        "text": {"S": text},
        "state": {"S": "open" if number % 3 else "done"},
    }


class Notes:
    """A table with both kinds of index, and what stands in it. The stage selects it if its name begins with `e2e-`."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.name = name
        self.sandbox = sandbox
        self.dynamodb = emulator_client("dynamodb", sandbox.endpoint_url)
        self.wire = emulator_client("dynamodb", sandbox.endpoint_url)
        scan_in_wire_form(self.wire)

    def create(self, items: Iterable[Item]) -> "Notes":
        projection = {"ProjectionType": "ALL"}
        by_state = [{"AttributeName": "state", "KeyType": "HASH"}]
        by_owner = [{"AttributeName": "owner", "KeyType": "HASH"}, {"AttributeName": "text", "KeyType": "RANGE"}]
        kinds = {"owner": "S", "number": "N", "state": "S", "text": "S"}
        self.dynamodb.create_table(
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()],
            KeySchema=[{"AttributeName": "owner", "KeyType": "HASH"}, {"AttributeName": "number", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[{"IndexName": INDEX, "KeySchema": by_state, "Projection": projection}],
            LocalSecondaryIndexes=[{"IndexName": "by-text", "KeySchema": by_owner, "Projection": projection}],
        )
        self.dynamodb.update_continuous_backups(
            TableName=self.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        self.put(items)
        return self

    def put(self, items: Iterable[Item]) -> None:
        seed.put_items(self.dynamodb, self.name, list(items))

    def delete(self, numbers: Iterable[int]) -> None:
        keys = [{name: note(number)[name] for name in KEY_NAMES} for number in numbers]
        seed.delete_items(self.dynamodb, self.name, keys)

    def now(self) -> Snapshot:
        return snapshot(self.wire, self.name, KEY_NAMES)

    def indexes(self) -> set[str]:
        table = self.dynamodb.describe_table(TableName=self.name)["Table"]
        return {each["IndexName"] for kind in ("Global", "Local") for each in table[f"{kind}SecondaryIndexes"]}

    def back_up(self) -> dict[str, Any]:
        """The manifest of a full set of the table as it stands."""
        return back_up(self.sandbox.api, [self.name])

    def back_up_changes(self) -> dict[str, Any]:
        """The manifest of an incremental set of what changed since the newest one."""
        return back_up_changes(self.sandbox.endpoint_url, self.sandbox.api, self.name)

    def back_up_changes_unseen(self, course: Course) -> dict[str, Any]:
        """The same, with an export that ends without an event: reconcile finds out. Its table may have failed."""
        advance_clock(self.sandbox.endpoint_url, LEAST_WINDOW_S)
        steer_exports(self.sandbox.endpoint_url, self.name, course)
        request = {"tables": [self.name], "export_type": "INCREMENTAL_EXPORT"}
        started = self.sandbox.api.call("POST", "/backups", request)
        [table] = started["tables"]

        def has_ended() -> bool:
            export = self.dynamodb.describe_export(ExportArn=table["export_arn"])["ExportDescription"]
            return bool(export["ExportStatus"] != "IN_PROGRESS")

        wait_for("the export's end", has_ended)

        def look() -> dict[str, Any] | None:
            self.sandbox.fire_schedule("reconcile")
            return finished_backup(self.sandbox.api, started["backup_date"])

        # The emulator fires the schedule every minute, too: when that was just before the export's end, reconcile looks
        # at it a minute later.
        return wait_for("the set", look, seconds=120)
