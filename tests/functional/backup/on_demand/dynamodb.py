"""moto's DynamoDB, with what it lacks of backups: CREATING, DELETED, the clock's time, filters, pages, and refusals.

In moto (moto/dynamodb/models, moto/dynamodb/responses.py) backups are AVAILABLE at once and dated by the machine's
clock, ListBackups knows of no BackupType, time, page or limit, and one is made or deleted while one is being made.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListBackups.html
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from chalicelib.clock import epoch_ms
from tests.fake_exports import refusal


class BackingUpDynamoDB:
    """`takes_ms`: how long a backup is CREATING. `kinds`: the BackupType of those that are not USER, by ARN.
    `unlisted`: ARNs that ListBackups does not show yet. `shows_deleted`: it still tells of those that were deleted."""

    def __init__(self, client: Any, clock: Callable[[], int]) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.RLock()
        self._made: dict[str, dict[str, Any]] = {}
        self._deleted: dict[str, dict[str, Any]] = {}
        self.takes_ms = 30_000
        self.kinds: dict[str, str] = {}
        self.unlisted: set[str] = set()
        self.shows_deleted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_backup(self, **request: Any) -> Any:
        with self._lock:
            if any(each["BackupStatus"] == "CREATING" for each in self.backups(request["TableName"])):
                raise refusal("BackupInUseException", "CreateBackup", "Another backup of the table is being made")
            details = self._client.create_backup(**request)["BackupDetails"]
            made = datetime.fromtimestamp(self._clock() / 1000, UTC)
            details |= {"BackupCreationDateTime": made, "TableName": request["TableName"]}
            self._made[details["BackupArn"]] = details
            return {"BackupDetails": self._as_now(details)}

    def describe_backup(self, **request: Any) -> Any:
        with self._lock:
            if self.shows_deleted and request["BackupArn"] in self._deleted:
                return {"BackupDescription": {"BackupDetails": self._deleted[request["BackupArn"]]}}
            answer = self._client.describe_backup(**request)["BackupDescription"]
            details = self._as_now(self._made[request["BackupArn"]])
            return {"BackupDescription": {**answer, "BackupDetails": details}}

    def list_backups(self, **request: Any) -> Any:
        with self._lock:
            self._client.list_backups(**{**request, "TableName": "none"})  # for its opinion of the request
            found = self.backups() + (list(self._deleted.values()) if self.shows_deleted else [])
        wanted = sorted((each for each in found if self._is_wanted(each, request)), key=lambda each: each["BackupArn"])
        rest = [each for each in wanted if each["BackupArn"] > request.get("ExclusiveStartBackupArn", "")]
        page = rest[: request.get("Limit", 100)]
        last = {"LastEvaluatedBackupArn": page[-1]["BackupArn"]} if len(page) < len(rest) else {}
        return {"BackupSummaries": page, **last}

    def delete_backup(self, **request: Any) -> Any:
        with self._lock:
            details = self._as_now(self._made.get(request["BackupArn"], {}))
            if details.get("BackupStatus") == "CREATING":
                raise refusal("BackupInUseException", "DeleteBackup", "The backup is being made")
            answer = self._client.delete_backup(**request)
            self._deleted[request["BackupArn"]] = {**details, "BackupStatus": "DELETED"}
            del self._made[request["BackupArn"]]
            return answer

    def backups(self, table_name: str | None = None) -> list[dict[str, Any]]:
        """All that there are, or those of a table, oldest first."""
        with self._lock:
            made = [self._as_now(each) for each in self._made.values() if table_name in (None, each["TableName"])]
        return sorted(made, key=lambda each: (each["BackupCreationDateTime"], str(each["BackupArn"])))

    def forget(self, arn: str) -> None:
        """As if somebody had deleted it while it was being made."""
        with self._lock:
            self._client.delete_backup(BackupArn=arn)
            self._deleted[arn] = {**self._made.pop(arn), "BackupStatus": "DELETED", "BackupType": "USER"}

    def _as_now(self, details: dict[str, Any]) -> dict[str, Any]:
        if not details:
            return {}
        is_being_made = self._clock() - epoch_ms(details["BackupCreationDateTime"]) < self.takes_ms
        now = {
            **details,
            "BackupStatus": "CREATING" if is_being_made else "AVAILABLE",
            "BackupType": self.kinds.get(details["BackupArn"], "USER"),
        }
        if is_being_made:
            del now["BackupSizeBytes"]
        return now

    def _is_wanted(self, backup: dict[str, Any], request: dict[str, Any]) -> bool:
        kind, since = request.get("BackupType", "USER"), request.get("TimeRangeLowerBound")
        return (
            backup["BackupArn"] not in self.unlisted
            and kind in ("ALL", backup["BackupType"])
            and request.get("TableName") in (None, backup["TableName"])
            and (since is None or backup["BackupCreationDateTime"] >= since)
        )
