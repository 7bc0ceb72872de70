"""What ListBackups tells, of the whole account and region: a page of a hundred costs one call, where asking about each
table would cost one each, and five calls a second are allowed.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListBackups.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import THROTTLED, Client, error_code
from chalicelib.backup.retention.on_demand import ListedBackup
from chalicelib.clock import Clock, epoch_ms
from chalicelib.errors import OutOfTime
from chalicelib.retry import Backoff, Random, Sleep

_PAGE = 100
_SHORTEST_WAIT_MS = 400
_LONGEST_WAIT_MS = 3_000


class BackupList:
    def __init__(self, dynamodb: Client, clock: Clock, sleep: Sleep, random: Random) -> None:
        self._dynamodb = dynamodb
        self._clock = clock
        self._sleep = sleep
        self._random = random

    def read(self, stop_at_ms: int, since_ms: int | None = None) -> list[ListedBackup]:
        """All backups of type USER, or those that were asked for at `since_ms` or later. Never a part of them.

        Waits where it is throttled. Raises OutOfTime when the last page is not there by `stop_at_ms`, and botocore's
        errors.
        """
        request: dict[str, Any] = {"BackupType": "USER", "Limit": _PAGE}
        if since_ms is not None:
            request["TimeRangeLowerBound"] = datetime.fromtimestamp(since_ms / 1000, UTC)
        found: dict[str, ListedBackup] = {}
        while True:
            answer = self._page(request, stop_at_ms)
            found |= {str(each["BackupArn"]): listed_backup(each) for each in answer.get("BackupSummaries", [])}
            if not answer.get("LastEvaluatedBackupArn"):
                return list(found.values())
            request["ExclusiveStartBackupArn"] = answer["LastEvaluatedBackupArn"]

    def _page(self, request: Mapping[str, Any], stop_at_ms: int) -> dict[str, Any]:
        backoff = Backoff(
            self._clock, self._sleep, self._random, stop_at_ms, base_ms=_SHORTEST_WAIT_MS, cap_ms=_LONGEST_WAIT_MS
        )
        retry = 0
        while True:
            if backoff.remaining_ms() <= 0:
                raise OutOfTime("not all on-demand backups could be listed in time; they will be listed again")
            try:
                answer: dict[str, Any] = self._dynamodb.list_backups(**request)
                return answer
            except ClientError as error:
                if error_code(error) not in THROTTLED or not backoff.wait(retry):
                    raise
            retry += 1


def listed_backup(details: Mapping[str, Any]) -> ListedBackup:
    """Of a BackupSummary, or of BackupDetails, which have the same fields."""
    return ListedBackup(
        arn=str(details["BackupArn"]),
        name=str(details["BackupName"]),
        created_at_ms=epoch_ms(details["BackupCreationDateTime"]),
        status=str(details["BackupStatus"]),
        backup_type=str(details["BackupType"]),
        size_bytes=int(details.get("BackupSizeBytes") or 0),
    )
