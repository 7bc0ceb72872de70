"""What becomes of the ledger's rows of exports: attempts, and when each table of a set was planned and completed."""

from typing import Any

_MOST_ATTEMPTS = 3
Row = dict[str, Any]


class ExportWatch:
    """`planned_ms` and `completed_ms` are by set and table: when its parameters were written down first, and when the
    last of its exports was recorded."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.planned_ms: dict[tuple[str, str], int] = {}
        self.completed_ms: dict[tuple[str, str], int] = {}

    def wrote(self, what: str, before: Row | None, after: Row) -> None:
        place = (after["backup_date"], after["table_name"])
        now_ms = self._world.scheduler.clock()
        if after.get("parameters"):
            self.planned_ms.setdefault(place, now_ms)
        if after["status"] == "COMPLETED":
            self.completed_ms[place] = now_ms
        if after["attempt"] > _MOST_ATTEMPTS:
            self._wrong(f"{what} has attempt {after['attempt']}")
        if before is None or self._world.watch.has_lost_rows:  # then a row may be made again from its set
            return
        if (before["status"], after["status"]) == ("IN_PROGRESS", "PENDING"):
            self._tried_again(what, before, after)
        elif before.get("parameters") not in (None, after.get("parameters")):
            self._wrong(f"{what}: its parameters are others now")
        if (before["status"], after["status"]) == ("PENDING", "IN_PROGRESS"):
            self._started(what, after)

    def _tried_again(self, what: str, before: Row, after: Row) -> None:
        if self._world.exports.by_arn[before["export_arn"]].status != "FAILED":
            self._wrong(f"{what} is tried again, and its export has not failed")
        if after["attempt"] != before["attempt"] + 1:
            self._wrong(f"{what} went from attempt {before['attempt']} to {after['attempt']}")
        token, next_token = before["parameters"]["client_token"], after["parameters"]["client_token"]
        if token == next_token or {**before["parameters"], "client_token": next_token} != after["parameters"]:
            self._wrong(f"{what} is tried again with the same token, or as another export")

    def _started(self, what: str, row: Row) -> None:
        export = self._world.exports.by_arn[row["export_arn"]]
        if export.request["ClientToken"] != row["parameters"]["client_token"]:
            self._wrong(f"{what} is running as the export of another attempt")

    def _wrong(self, text: str) -> None:
        self._world.watch.violated(text)
