"""Native on-demand backups: made after a while, listed by page, and listed as DELETED for a moment once they are."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from chalicelib.clock import epoch_ms
from tests.simulation.aws.dynamodb import Answer, DynamoDB, Request, error

_MADE_AFTER_MS = 2_500
_LISTED_AFTER_DELETION_MS = 2_000
_MOST_LISTED = 100
_SUMMARY = ("TableName", "TableArn", "BackupArn", "BackupName", "BackupStatus", "BackupType", "BackupSizeBytes")
_DETAILS = ("BackupArn", "BackupName", "BackupStatus", "BackupType", "BackupSizeBytes")


class Backups:
    """`by_arn`: also those that were deleted, with `deleted_at_ms`. `made_after_ms` says how long each takes."""

    def __init__(self, dynamodb: DynamoDB, clock: Callable[[], int]) -> None:
        self._dynamodb = dynamodb
        self._clock = clock
        self.by_arn: dict[str, dict[str, Any]] = dynamodb.backups
        self._listed: dict[str, dict[str, Any]] = {}
        self.made_after_ms: Callable[[], int] = lambda: _MADE_AFTER_MS
        self.page = _MOST_LISTED

    def create_backup(self, request: Request) -> Answer:
        """Names need not be unique: asked twice, there are two.
        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateBackup.html"""
        name = request["TableName"]
        if name not in self._dynamodb.tables:
            raise error("TableNotFoundException", "CreateBackup", f"Table not found: {name}")
        backup = self.add(name, request["BackupName"], "USER", self.made_after_ms())
        return {"BackupDetails": self._shown(backup, _DETAILS)}

    def add(self, table_name: str, backup_name: str, backup_type: str, made_after_ms: int = 0) -> dict[str, Any]:
        """Also those of others: SYSTEM, AWS_BACKUP."""
        table, now_ms = self._dynamodb.tables[table_name], self._clock()
        arn = f"{table.arn}/backup/{now_ms:014d}-{len(self.by_arn):08x}"
        self.by_arn[arn] = self._listed[arn] = {
            "BackupName": backup_name,
            "BackupArn": arn,
            "TableName": table_name,
            "TableArn": table.arn,
            "BackupType": backup_type,
            "BackupSizeBytes": 123,
            "BackupStatus": "CREATING",
            "created_at_ms": now_ms,
            "available_at_ms": now_ms + made_after_ms,
            "deleted_at_ms": None,
            "items": dict(table.items),
        }
        return self.by_arn[arn]

    def describe_backup(self, request: Request) -> Answer:
        backup = self._found(request, "DescribeBackup")
        return {"BackupDescription": {"BackupDetails": self._shown(backup, _DETAILS)}}

    def delete_backup(self, request: Request) -> Answer:
        """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DeleteBackup.html"""
        backup = self._found(request, "DeleteBackup")
        if self.status_of(backup) == "CREATING":
            raise error("BackupInUseException", "DeleteBackup", "the backup is being created")
        backup["deleted_at_ms"] = self._clock()
        return {"BackupDescription": {"BackupDetails": self._shown(backup, _DETAILS)}}

    def list_backups(self, request: Request) -> Answer:
        """https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListBackups.html"""
        wanted = request.get("BackupType", "USER")
        for gone in [each["BackupArn"] for each in self._listed.values() if self._is_gone(each)]:
            del self._listed[gone]
        found = [each for _, each in sorted(self._listed.items()) if self._is_listed(each, request, wanted)]
        after = request.get("ExclusiveStartBackupArn", "")
        found = [each for each in found if each["BackupArn"] > after]
        size = min(self.page, request.get("Limit", self.page))
        answer: Answer = {"BackupSummaries": [self._shown(each, _SUMMARY) for each in found[:size]]}
        if len(found) > size:
            answer["LastEvaluatedBackupArn"] = found[size - 1]["BackupArn"]
        return answer

    def status_of(self, backup: dict[str, Any]) -> str:
        if backup["deleted_at_ms"] is not None:
            return "DELETED"
        backup["BackupStatus"] = "CREATING" if self._clock() <= backup["available_at_ms"] else "AVAILABLE"
        return str(backup["BackupStatus"])

    def standing(self) -> list[dict[str, Any]]:
        """Those that are there, oldest first."""
        return [each for _, each in sorted(self._listed.items()) if each["deleted_at_ms"] is None]

    def _found(self, request: Request, operation: str) -> dict[str, Any]:
        backup = self.by_arn.get(request["BackupArn"])
        if backup is None or backup["deleted_at_ms"] is not None:
            raise error("BackupNotFoundException", operation, f"Backup not found: {request['BackupArn']}")
        return backup

    def _is_listed(self, backup: dict[str, Any], request: Request, wanted: str) -> bool:
        made_ms = backup["created_at_ms"]
        if "TableName" in request and request["TableName"] not in (backup["TableName"], backup["TableArn"]):
            return False
        if "TimeRangeLowerBound" in request and made_ms < epoch_ms(request["TimeRangeLowerBound"]):
            return False
        if "TimeRangeUpperBound" in request and made_ms >= epoch_ms(request["TimeRangeUpperBound"]):
            return False
        return wanted in (backup["BackupType"], "ALL")

    def _is_gone(self, backup: dict[str, Any]) -> bool:
        deleted_ms = backup["deleted_at_ms"]
        return deleted_ms is not None and self._clock() - deleted_ms >= _LISTED_AFTER_DELETION_MS

    def _shown(self, backup: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        made_at = datetime.fromtimestamp(backup["created_at_ms"] / 1000, UTC)
        shown = {name: backup[name] for name in names}
        return {**shown, "BackupStatus": self.status_of(backup), "BackupCreationDateTime": made_at}
