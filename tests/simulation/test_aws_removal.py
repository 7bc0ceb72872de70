"""The simulation's S3, on-demand backups, topics and buses answer as moto's do, to what retention and telling ask."""

import json
from random import Random
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.simulation.aws.backups import Backups
from tests.simulation.aws.dynamodb import DynamoDB
from tests.simulation.aws.s3 import S3
from tests.simulation.aws.telling import EventBuses, Topics
from tests.simulation.test_aws import Direct

_BUCKET = "tablevault-compared"
_TABLE = "orders"
_DEFINITION: dict[str, Any] = {
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
_PARTS = ("Versions", "DeleteMarkers", "Deleted", "Errors", "Contents", "CommonPrefixes")
_SHOWN = ("Key", "VersionId", "IsLatest", "Size", "DeleteMarker", "Prefix")


@pytest.fixture(autouse=True)
def _moto(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield


class Bucket:
    """One of the two. Versions are called by the order in which they were met, as each service has names of its own."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._names: dict[str, str] = {"null": "null"}

    def ask(self, operation: str, **request: Any) -> Any:
        try:
            answer = getattr(self._client, operation)(Bucket=_BUCKET, **self._in_its_words(request))
        except ClientError as failure:
            return failure.response["Error"]["Code"]
        if "VersionId" in request or "Deleted" in answer:
            for each in (answer, *answer.get("Deleted", [])):
                each.pop("DeleteMarker", None)  # of a marker that was removed moto does not say that it was one
        shown = {part: [self._shown(each) for each in answer[part]] for part in _PARTS if part in answer}
        of_all = {} if operation.startswith("list") else self._shown(answer)
        return {part: sorted(entries, key=str) for part, entries in shown.items()} | of_all

    def versions(self) -> list[tuple[str, str]]:
        """In the names of both, by key and then from the newest."""
        answer = self._client.list_object_versions(Bucket=_BUCKET)
        entries = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
        return sorted((entry["Key"], self._name(entry["VersionId"])) for entry in entries)

    def _shown(self, entry: Any) -> dict[str, Any]:
        shown = {name: entry[name] for name in _SHOWN if entry.get(name) not in (None, False)}
        return {name: self._name(value) if "VersionId" in name else value for name, value in shown.items()}

    def _name(self, version_id: str) -> str:
        return self._names.setdefault(version_id, f"version-{len(self._names):03d}")

    def _in_its_words(self, request: Any) -> Any:
        own = {name: version_id for version_id, name in self._names.items()}
        if isinstance(request, dict):
            return {name: self._in_its_words(value) for name, value in request.items()}
        if isinstance(request, list):
            return [self._in_its_words(value) for value in request]
        return own.get(request, request) if isinstance(request, str) else request


def _buckets(*, is_versioned: bool) -> list[Bucket]:
    real, simulated = boto3.client("s3"), S3(_BUCKET)
    real.create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    if is_versioned:
        real.put_bucket_versioning(Bucket=_BUCKET, VersioningConfiguration={"Status": "Enabled"})
        simulated.is_versioned = True
    return [Bucket(real), Bucket(Direct(simulated))]


def _step(random: Random, versions: list[tuple[str, str]]) -> tuple[str, dict[str, Any]]:
    """Nothing is removed that there never was: there S3 makes a delete marker, and moto none."""
    key = random.choice(("a/1", "a/2", "a/b/1", "b/1"))
    if key not in {name for name, _ in versions}:
        return "put_object", {"Key": key, "Body": b"x"}
    exact = random.choice(versions) if versions and random.random() < 0.6 else None
    named = {"Key": exact[0], "VersionId": exact[1]} if exact else {"Key": key}
    match random.randrange(6):
        case 0 | 1:
            return "put_object", {"Key": key, "Body": b"x" * random.randrange(9)}
        case 2:
            return "delete_object", named
        case 3:
            others = [
                {"Key": name, "VersionId": version} for name, version in random.sample(versions, len(versions) // 3)
            ]
            return "delete_objects", {"Delete": {"Objects": others or [{"Key": key}]}}
        case 4:
            # Of keys that are removed, and have older versions, moto lists the folders on.
            of_folders = {} if any(version != "null" for _, version in versions) else {"Delimiter": "/"}
            return "list_objects_v2", {"Prefix": random.choice(("", "a/")), **of_folders}
    return "list_object_versions", {"Prefix": random.choice(("", "a/", "b"))}


@pytest.mark.parametrize("is_versioned", [False, True])
def test_what_is_put_removed_and_listed_is_the_same(is_versioned):
    random = Random(5)
    moto, simulated = _buckets(is_versioned=is_versioned)
    markers = 0
    for _ in range(250):
        versions = moto.versions()
        assert simulated.versions() == versions
        operation, request = _step(random, versions)
        assert simulated.ask(operation, **request) == moto.ask(operation, **request), (operation, request)
        markers += "DeleteMarkers" in moto.ask("list_object_versions")
    assert bool(markers) is is_versioned


@pytest.mark.parametrize("is_versioned", [False, True])
def test_pages_of_versions_have_each_of_them_once_also_while_they_are_removed(is_versioned):
    s3 = S3(_BUCKET)
    s3.is_versioned = is_versioned
    for number in range(23):
        s3.put(f"a/{number % 7}", b"x")
    s3.delete_object({"Bucket": _BUCKET, "Key": "a/3"})
    everything = {(key, each.version_id) for key in {*s3.objects, *s3.older} for each in s3.versions_of(key)}
    s3.page_keys = 4
    seen: list[tuple[str, str]] = []
    request: dict[str, Any] = {"Bucket": _BUCKET, "Prefix": "a/"}
    while True:
        answer = s3.list_object_versions(request)
        page = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
        assert len(page) <= 4
        seen += [(each["Key"], each["VersionId"]) for each in page]
        objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in page]
        assert s3.delete_objects({"Bucket": _BUCKET, "Delete": {"Objects": objects, "Quiet": True}}) == {}
        if not answer["IsTruncated"]:
            break
        markers = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}
        request |= markers
    assert sorted(seen) == sorted(everything)
    assert (s3.objects, s3.older) == ({}, {})


def test_a_bucket_that_is_not_there_or_denied_is_refused_by_its_status():
    moto, simulated = boto3.client("s3"), S3(_BUCKET)
    with pytest.raises(ClientError) as by_moto:
        moto.head_bucket(Bucket="another")
    with pytest.raises(ClientError) as by_us:
        simulated.head_bucket({"Bucket": "another"})
    assert by_us.value.response["Error"]["Code"] == by_moto.value.response["Error"]["Code"] == "404"
    simulated.is_denied = True
    with pytest.raises(ClientError, match="403"):
        simulated.head_bucket({"Bucket": _BUCKET})


def test_deleting_more_than_a_thousand_objects_at_once_is_refused():
    objects = [{"Key": str(number)} for number in range(1001)]
    for client in (boto3.client("s3"), Direct(S3(_BUCKET))):
        with pytest.raises(ClientError):
            client.delete_objects(Bucket=_BUCKET, Delete={"Objects": objects})


# --- on-demand backups -----------------------------------------------------------------------------------------------


def _of_backups(clock: Any) -> tuple[Any, Backups]:
    real = boto3.client("dynamodb")
    real.create_table(TableName=_TABLE, **_DEFINITION)
    dynamodb = DynamoDB(clock, lambda follow: follow())
    dynamodb.create_table(_TABLE, **_DEFINITION)
    return real, Backups(dynamodb, clock)


def test_backups_have_the_same_lives():
    """In moto they are AVAILABLE at once, and gone at once."""
    now_ms = [1_000_000]
    real, backups = _of_backups(lambda: now_ms[0])
    outcomes = []
    for client in (real, Direct(backups)):
        made = client.create_backup(TableName=_TABLE, BackupName="one")["BackupDetails"]
        now_ms[0] += 60_000
        arn = made["BackupArn"]
        shown = client.describe_backup(BackupArn=arn)["BackupDescription"]["BackupDetails"]
        (listed,) = client.list_backups(TableName=_TABLE)["BackupSummaries"]
        deleted = client.delete_backup(BackupArn=arn)["BackupDescription"]["BackupDetails"]
        now_ms[0] += 60_000
        codes = []
        for ask in (client.describe_backup, client.delete_backup):
            with pytest.raises(ClientError) as refused:
                ask(BackupArn=arn)
            codes.append(refused.value.response["Error"]["Code"])
        with pytest.raises(ClientError) as refused:
            client.create_backup(TableName="missing", BackupName="one")
        codes.append(refused.value.response["Error"]["Code"])
        left = client.list_backups(TableName=_TABLE)["BackupSummaries"]
        names = ("BackupName", "BackupStatus", "BackupType")
        outcomes.append([*([each[name] for name in names] for each in (shown, listed, deleted)), codes, left])
        assert arn.rsplit("/", 2)[0] == made["BackupArn"].rsplit("/", 2)[0] == listed["TableArn"]
    assert outcomes[0] == outcomes[1]


def test_a_backup_takes_a_while_and_cannot_be_deleted_before():
    now_ms = [1_000_000]
    _, backups = _of_backups(lambda: now_ms[0])
    backups.made_after_ms = lambda: 5_000
    arn = backups.create_backup({"TableName": _TABLE, "BackupName": "one"})["BackupDetails"]["BackupArn"]
    with pytest.raises(ClientError, match="BackupInUseException"):
        backups.delete_backup({"BackupArn": arn})
    now_ms[0] += 5_001
    (listed,) = backups.list_backups({"TableName": _TABLE})["BackupSummaries"]
    assert listed["BackupStatus"] == "AVAILABLE"


def test_backups_are_listed_by_page_and_those_of_others_only_when_asked_for():
    now_ms = [1_000_000]
    _, backups = _of_backups(lambda: now_ms[0])
    for number in range(7):
        now_ms[0] += 1000
        backups.add(_TABLE, f"b-{number}", "SYSTEM" if number == 3 else "USER")
    backups.page = 2
    names, request = [], {"TableName": _TABLE}
    while True:
        answer = backups.list_backups(request)
        names += [each["BackupName"] for each in answer["BackupSummaries"]]
        if "LastEvaluatedBackupArn" not in answer:
            break
        request["ExclusiveStartBackupArn"] = answer["LastEvaluatedBackupArn"]
    assert names == ["b-0", "b-1", "b-2", "b-4", "b-5", "b-6"]
    backups.page = 100
    assert len(backups.list_backups({"TableName": _TABLE, "BackupType": "ALL"})["BackupSummaries"]) == 7


# --- telling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "is_taken"),
    [
        ({"Message": "m"}, True),
        ({"Message": "m", "Subject": "s" * 100}, True),
        ({"Message": "m", "Subject": "s" * 101}, False),
        ({"Message": "m" * 262_145}, False),
    ],
)
def test_messages_are_taken_or_refused_as_by_moto(more, is_taken):
    real = boto3.client("sns")
    arn = real.create_topic(Name="backups")["TopicArn"]
    topics = Topics(lambda: 0)
    topics.arns.add(arn)
    for client in (real, Direct(topics)):
        if is_taken:
            assert client.publish(TopicArn=arn, **more)["MessageId"]
        else:
            with pytest.raises(ClientError, match="InvalidParameter"):
                client.publish(TopicArn=arn, **more)
    assert [told.request for told in topics.published] == ([{"TopicArn": arn, **more}] if is_taken else [])
    for client in (real, Direct(topics)):
        with pytest.raises(ClientError) as refused:
            client.publish(TopicArn=f"{arn}-another", **more)
        assert refused.value.response["Error"]["Code"] in ("NotFound", "InvalidParameter")


def test_entries_are_taken_one_by_one_as_by_moto():
    good = {"Source": "tablevault", "DetailType": "Backup", "Detail": json.dumps({"a": 1})}
    entries = [good, {**good, "Detail": "{"}, {**good, "Source": ""}, {"Source": "s", "Detail": "{}"}]
    buses = EventBuses(lambda: 0)
    answers = [client.put_events(Entries=entries) for client in (boto3.client("events"), Direct(buses))]
    told = [(answer["FailedEntryCount"], [each.get("ErrorCode") for each in answer["Entries"]]) for answer in answers]
    assert told[0] == told[1]
    assert [each.request for each in buses.taken] == [good]
    for client in (boto3.client("events"), Direct(buses)):
        with pytest.raises(ClientError, match="ValidationException"):
            client.put_events(Entries=[good] * 11)
