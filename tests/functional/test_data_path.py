"""Reader, transfer and writer together: from an object in S3 (moto) into a table."""

import base64
import gzip
import hashlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest
from botocore.config import Config

from chalicelib.errors import DataFileDamaged, TargetUnavailable
from chalicelib.restore.datapath.item_line import is_item_line
from chalicelib.restore.datapath.progress import Counts, FileProgress
from chalicelib.restore.datapath.reader import DataFile, DataFileReader, verify_data_file
from chalicelib.restore.datapath.record_line import record_of
from chalicelib.restore.datapath.transfer import transfer
from chalicelib.restore.datapath.writer import BatchWriter, Rejected
from chalicelib.retry import Backoff
from tests.faults import FakeTime, FlakyClient, ScriptedDynamoDB, lines

TABLE = "orders"
BUCKET = "backups"
SAMPLES = Path(__file__).parents[3] / "shared" / "export-samples" / "bucket"
Item = dict[str, Any]
ALL_TYPES: Item = {
    "s": {"S": "Grüße, \u2028 \"quoted\" \\ 😀"},
    "empty": {"S": ""},
    "n": {"N": "-1234567890123456789012345678901234567.8"},
    "b": {"B": base64.b64encode(bytes(range(256))).decode()},
    "yes": {"BOOL": True},
    "nothing": {"NULL": True},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2.5"]},
    "bs": {"BS": ["AAE=", "aGVsbG8="]},
    "l": {"L": [{"N": "1"}, {"B": "AAE="}, {"L": []}]},
    "m": {"M": {"deep": {"M": {"b": {"B": "/+8="}, "bs": {"BS": ["AA=="]}}}}},
}  # fmt: skip


CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


@pytest.fixture(scope="module")
def clients():
    """Made once, as in the product; moto answers them while `_aws` is in effect."""
    return {service: boto3.client(service, **CREDENTIALS) for service in ("s3", "dynamodb")}


@pytest.fixture(autouse=True)
def _aws():
    with moto.mock_aws():
        yield


@pytest.fixture
def s3(clients):
    clients["s3"].create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return clients["s3"]


@pytest.fixture
def dynamodb(clients):
    return _table(clients["dynamodb"], "pk")


def _table(client, key: str):
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def store(s3: Any, key: str, data: bytes, item_count: int) -> DataFile:
    etag = s3.put_object(Bucket=BUCKET, Key=key, Body=data)["ETag"].strip('"')
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    return DataFile(key, etag, len(data), md5, item_count)


def store_items(s3: Any, key: str, items: list[Item]) -> DataFile:
    return store(s3, key, gzip.compress(b"".join(line + b"\n" for line in lines(items))), len(items))


def items_of(prefix: str, count: int) -> list[Item]:
    rng = random.Random(prefix)
    return [{"pk": {"S": f"{prefix}{i}"}, "noise": {"S": rng.randbytes(400).hex()}, **ALL_TYPES} for i in range(count)]


def load(
    s3: Any,
    dynamodb: Any,
    files: list[DataFile],
    begun: list[FileProgress] | None = None,
    stop: Callable[[], bool] = lambda: False,
    time: FakeTime | None = None,
) -> tuple[list[tuple[int, Counts]], list[Rejected]]:
    """Loads `files` as a worker does; their progress, and the rejected lines."""
    time = time or FakeTime()
    deadline_ms = time.now_ms + 600_000
    retry = Backoff(time.clock, time.sleep, time.random, deadline_ms)
    progress = begun or [FileProgress() for _ in files]
    rejected: list[Rejected] = []

    def report(index, batch, result):
        progress[index].add(batch.first_line, len(batch.lines), result.counts)
        rejected.extend(result.rejected)

    readers = [
        (i, DataFileReader(s3, BUCKET, file, retry=retry).batches(progress[i].position()[0]))
        for i, file in enumerate(files)
    ]
    writer = BatchWriter(
        dynamodb, TABLE, clock=time.clock, sleep=time.sleep, random=time.random, deadline_ms=deadline_ms
    )
    with closing(writer):
        transfer(readers, writer, stop=stop, on_result=report)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer-")]
    return [one.position() for one in progress], rejected


def scanned(dynamodb: Any) -> dict[str, Item]:
    """The table's items by key, binaries as base64 again, sets in order."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=TABLE)
    items = [item for page in pages for item in page["Items"]]
    return {next(iter(item["pk"].values())): _plain(item) for item in items}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sorted(_plain(v)) if name in ("SS", "NS", "BS") else _plain(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def by_key(*item_lists: list[Item]) -> dict[str, Item]:
    return {item["pk"]["S"]: _plain(item) for items in item_lists for item in items}


def test_several_files_of_all_types_arrive_exactly(s3, dynamodb):
    first, second = items_of("a", 30), items_of("b", 51)
    files = [store_items(s3, "a", first), store_items(s3, "b", second), store_items(s3, "c", [])]
    positions, rejected = load(s3, dynamodb, files)
    assert positions == [(30, Counts(written=30)), (51, Counts(written=51)), (0, Counts())]
    assert rejected == []
    assert scanned(dynamodb) == by_key(first, second)


def test_binaries_are_not_encoded_twice_on_either_path(s3, dynamodb):
    """A malformed line sends its whole batch over boto3: both paths must store the same bytes."""
    items = items_of("a", 50)
    data = list(lines(items))
    data[30] = b'{"Item":'
    file = store(s3, "a", gzip.compress(b"".join(line + b"\n" for line in data)), 50)
    _, rejected = load(s3, dynamodb, [file])
    assert [(r.line_index, r.code) for r in rejected] == [(5, "MalformedLine")]
    expected = by_key(items)
    del expected["a30"]
    assert scanned(dynamodb) == expected


def test_items_dynamodb_refuses_are_isolated(s3, dynamodb):
    items = items_of("a", 60)
    items[3] = {"pk": {"S": "too large"}, "v": {"S": "x" * 410_000}}
    items[40] = {"pk": {"N": "5"}}
    items[59] = {"no": {"S": "key"}}
    positions, rejected = load(s3, dynamodb, [store_items(s3, "a", items)])
    assert positions == [(60, Counts(written=57, rejected=3))]
    assert {r.code for r in rejected} == {"ValidationException"}
    assert sorted(json.loads(r.line)["Item"].keys() == items[59].keys() for r in rejected) == [False, False, True]
    assert not any("xxx" in r.message for r in rejected)
    assert scanned(dynamodb) == by_key([item for i, item in enumerate(items) if i not in (3, 40, 59)])


def test_a_missing_table_ends_the_transfer(s3, dynamodb):
    file = store_items(s3, "a", items_of("a", 60))
    dynamodb.delete_table(TableName=TABLE)
    with pytest.raises(TargetUnavailable, match="does not exist"):
        load(s3, dynamodb, [file])


def test_a_missing_file_ends_the_transfer(s3, dynamodb):
    file = store_items(s3, "a", items_of("a", 60))
    s3.delete_object(Bucket=BUCKET, Key="a")
    with pytest.raises(DataFileDamaged, match="missing"):
        load(s3, dynamodb, [file])


def test_a_changed_object_is_found_by_its_pinned_etag(s3, dynamodb):
    file = store_items(s3, "a", items_of("a", 60))
    store_items(s3, "a", items_of("b", 60))
    with pytest.raises(DataFileDamaged, match="changed"):
        load(s3, dynamodb, [file])
    assert scanned(dynamodb) == {}


def test_a_stream_that_breaks_while_it_is_written_changes_nothing(s3, dynamodb):
    items = items_of("a", 100)
    files = [store_items(s3, "a", items)]
    assert files[0].size_bytes > 20_000
    flaky = FlakyClient(s3, "get_object", "drop cut:5000 end:3000 slowdown cut:1 end:0")
    positions, _ = load(flaky, dynamodb, files)
    assert positions == [(100, Counts(written=100))]
    assert scanned(dynamodb) == by_key(items)
    assert flaky.calls[-1]["Range"] == "bytes=8001-"


def test_stopping_and_going_on_from_the_checkpoint_is_exact(s3, dynamodb):
    items = [{"pk": {"S": f"k{i}"}} for i in range(500)]
    files = [store_items(s3, "a", items[:130]), store_items(s3, "b", items[130:])]
    progress = [FileProgress() for _ in files]
    rounds = 0
    while sum(one.position()[0] for one in progress) < 500:
        pulls = iter(range(6))

        def is_over(pulls: Iterator[int] = pulls) -> bool:
            return next(pulls, None) is None

        positions, _ = load(s3, dynamodb, files, progress, stop=is_over)
        progress = [FileProgress(line, counts) for line, counts in positions]
        rounds += 1
    assert rounds > 3
    assert [one.position() for one in progress] == [(130, Counts(written=130)), (370, Counts(written=370))]
    assert scanned(dynamodb) == by_key(items)


def test_a_flaky_endpoint_over_http_loses_and_doubles_nothing(s3):
    """The raw path over real sockets, under every fault it knows, with several threads."""
    items = items_of("a", 500)
    files = [store_items(s3, "a", items[:250]), store_items(s3, "b", items[250:])]
    script = "ok throttle ok drop ok 500 unprocessed:7 partial ok ok garbage close unprocessed:25 ok throttle drop " * 4
    with ScriptedDynamoDB(script) as server:
        client = boto3.client("dynamodb", endpoint_url=server.endpoint_url, config=Config(proxies={}), **CREDENTIALS)
        positions, rejected = load(s3, client, files, time=_Patient())
    assert rejected == []
    assert positions == [(250, Counts(written=250)), (250, Counts(written=250))]
    assert {json.loads(key)["S"]: _plain(item) for key, item in server.items.items()} == by_key(items)


class _Patient(FakeTime):
    """Several threads sleep at once: time does not add up."""

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(seconds / 100)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real exports are not here")
def test_real_exports_are_verified(s3):
    line_count = 0
    for manifest in sorted(SAMPLES.glob("*/**/AWSDynamoDB/*/manifest-files.json")):
        is_full = "real-6" not in manifest.parts
        for facts in map(json.loads, manifest.read_text().splitlines()):
            path = next(SAMPLES.glob(f"*/{facts['dataFileS3Key']}"), None)
            if path is None:
                continue
            file = store(s3, facts["dataFileS3Key"], path.read_bytes(), facts["itemCount"])
            assert file.md5 == facts["md5Checksum"]
            lines_of_file: list[bytes] = []
            observe = partial(_keep_lines, lines_of_file)
            found = verify_data_file(s3, BUCKET, file, observe=observe, retry=_retry())
            assert (found.damage, found.line_count) == (None, facts["itemCount"])
            assert all(map(is_item_line, lines_of_file)) is is_full or not lines_of_file
            assert all(map(record_of, lines_of_file)) is not is_full or not lines_of_file
            line_count += found.line_count
    assert line_count > 0


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real exports are not here")
def test_a_real_export_is_restored_line_by_line(s3, clients):
    dynamodb = _table(clients["dynamodb"], "sk")
    paths = sorted((SAMPLES / "real-1").rglob("*.json.gz"))
    texts = [gzip.decompress(path.read_bytes()) for path in paths]
    files = [
        store(s3, path.name, path.read_bytes(), text.count(b"\n")) for path, text in zip(paths, texts, strict=True)
    ]
    load(s3, dynamodb, files)
    expected = [json.loads(line)["Item"] for text in texts for line in text.splitlines()]
    stored = dynamodb.scan(TableName=TABLE)["Items"]
    assert len(stored) == 3
    assert sorted(map(_plain, stored), key=str) == sorted(map(_plain, expected), key=str)


def _keep_lines(kept: list[bytes], first_line: int, lines: Sequence[bytes]) -> None:
    assert first_line == len(kept)
    kept += lines


def _retry() -> Backoff:
    time = FakeTime()
    return Backoff(time.clock, time.sleep, time.random, time.now_ms + 60_000)
