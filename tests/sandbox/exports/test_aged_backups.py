"""On-demand backups that are made older: what ListBackups and DescribeBackup say of them then."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from sandbox.errors import SandboxError
from sandbox.exports.administration import AGES_PATH, age_backups

from .emulator import Emulator


def made_at(dynamodb: Any, backup_arn: str) -> datetime:
    details = dynamodb.describe_backup(BackupArn=backup_arn)["BackupDescription"]["BackupDetails"]
    moment: datetime = details["BackupCreationDateTime"]
    return moment


def test_backups_of_every_table_and_region_are_older_by_as_much(
    emulator: Emulator, dynamodb: Any, make_table: Callable[..., str]
) -> None:
    elsewhere = emulator.client("dynamodb", region_name="eu-central-1")
    name = make_table().rpartition("/")[2]
    definition = dynamodb.describe_table(TableName=name)["Table"]
    elsewhere.create_table(
        TableName=name,
        KeySchema=definition["KeySchema"],
        AttributeDefinitions=definition["AttributeDefinitions"],
        BillingMode="PAY_PER_REQUEST",
    )
    arns = {
        client: client.create_backup(TableName=name, BackupName="older")["BackupDetails"]["BackupArn"]
        for client in (dynamodb, elsewhere)
    }
    before = {client: made_at(client, arn) for client, arn in arns.items()}
    assert age_backups(emulator.endpoint_url, 1.5) == len(arns)
    for client, arn in arns.items():
        moved = before[client] - made_at(client, arn)
        assert abs(moved - timedelta(days=1.5)) < timedelta(milliseconds=1)
    [listed] = dynamodb.list_backups(TableName=name)["BackupSummaries"]
    assert listed["BackupCreationDateTime"] == made_at(dynamodb, arns[dynamodb])
    late = dynamodb.create_backup(TableName=name, BackupName="late")["BackupDetails"]
    assert late["BackupCreationDateTime"] > before[dynamodb]


def test_a_backup_cannot_get_younger(emulator: Emulator) -> None:
    with pytest.raises(SandboxError, match=f"{AGES_PATH}: backups cannot get younger, by 2.0 days"):
        age_backups(emulator.endpoint_url, -2)


@pytest.mark.parametrize("body", [b"{}", b"no json", b'{"days": 1, "table": "t"}'])
def test_an_order_that_makes_no_sense_is_refused(emulator: Emulator, body: bytes) -> None:
    request = urllib.request.Request(emulator.endpoint_url + AGES_PATH, data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert answer.code == 400
        assert json.load(answer)["message"]
