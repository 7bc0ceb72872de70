"""The writer over an S3 in process: what stands in the bucket afterwards, and in which order it came."""

import base64
import gzip
import hashlib
import json
import random
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.clock import from_iso
from sandbox.exports.incremental import Change, Delete, Insert, Update, write_incremental_export
from sandbox.exports.layout import (
    DataFile,
    ExportFacts,
    ExportKeys,
    Item,
    Window,
    change_line,
    files_manifest,
    one_part_etag,
    summary_manifest,
)
from sandbox.exports.partitions import Partitions
from sandbox.exports.writer import WrittenExport, write_export, write_partitions

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/orders"
_SESSION = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
_REAL_6 = Path(__file__).parents[3] / "../shared/export-samples/bucket/real-6"
needs_real_6 = pytest.mark.skipif(not _REAL_6.exists(), reason="the real exports are not at hand")
EMPTY_GZIP = bytes.fromhex("1f8b08000000000000ff0300" + "00" * 8)


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = _SESSION.client("s3")
        client.create_bucket(Bucket="backups")
        yield client


def _items(count: int) -> list[Item]:
    return [{"note": {"S": f"n{n}"}, "id": {"S": f"key-{n}"}} for n in range(count)]


def _write(s3: Any, items: list[Item], **options: Any) -> WrittenExport:
    arguments: dict[str, Any] = {
        "bucket": "backups",
        "prefix": "native-exports/orders",
        "table_arn": TABLE_ARN,
        "items": iter(items),
        "key_names": ("id",),
        "now_ms": lambda: 1_763_712_000_123,
        "random_bytes": random.Random(7).randbytes,
    }
    return write_export(s3, **{**arguments, **options})


def _read(s3: Any, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket="backups", Key=key)["Body"].read()
    return content


def _lines(s3: Any, written: WrittenExport) -> list[bytes]:
    text = b"".join(gzip.decompress(_read(s3, file.key)) for file in written.files)
    return text.split(b"\n")[:-1]


def test_export_holds_every_object_of_the_layout_and_nothing_else(s3: Any) -> None:
    written = _write(s3, _items(20))
    root = f"native-exports/orders/AWSDynamoDB/{written.export_id}/"
    names = ["_started", "manifest-files.json", "manifest-files.md5"]
    names += ["manifest-summary.json", "manifest-summary.md5"]
    listed = [each["Key"] for each in s3.list_objects_v2(Bucket="backups")["Contents"]]
    data = [key for key in listed if "/data/" in key]
    assert sorted(set(listed) - set(data)) == sorted(root + name for name in names)
    assert sorted(data) == sorted(file.key for file in written.files)
    assert all(re.fullmatch(re.escape(root) + r"data/[a-z2-7]{26}\.json\.gz", key) for key in data)
    assert re.fullmatch(r"01763712000123-[0-9a-f]{8}", written.export_id)
    assert written.export_arn == f"{TABLE_ARN}/export/{written.export_id}"
    assert _read(s3, root + "_started") == b""


def test_objects_come_in_order_started_data_files_and_the_summary_last(s3: Any) -> None:
    keys: list[str] = []

    def record(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in ("PutObject", "CompleteMultipartUpload"):
            keys.append(re.sub(r"/data/.*", "/data", params["Key"]).rpartition("/")[2])

    s3.meta.events.register("before-parameter-build.s3", record)
    _write(s3, _items(20), partitions=3)
    assert keys == [
        "_started",
        *["data"] * 3,
        "manifest-files.json",
        "manifest-files.md5",
        "manifest-summary.md5",
        "manifest-summary.json",
    ]


def test_manifest_agrees_with_each_stored_object(s3: Any) -> None:
    written = _write(s3, _items(50))
    entries = [json.loads(line) for line in _read(s3, written.files_key).split(b"\n")[:-1]]
    assert [entry["dataFileS3Key"] for entry in entries] == [file.key for file in written.files]
    for entry in entries:
        assert list(entry) == ["itemCount", "md5Checksum", "etag", "dataFileS3Key"]
        stored = s3.get_object(Bucket="backups", Key=entry["dataFileS3Key"])
        content = stored["Body"].read()
        assert stored["ETag"] == f'"{entry["etag"]}"'
        assert base64.b64encode(hashlib.md5(content).digest()).decode() == entry["md5Checksum"]
        assert gzip.decompress(content).count(b"\n") == entry["itemCount"]
        assert content.startswith(EMPTY_GZIP[:10])
    assert sum(entry["itemCount"] for entry in entries) == written.item_count == 50
    summary = json.loads(_read(s3, written.summary_key))
    assert summary["itemCount"] == 50
    assert summary["manifestFilesS3Key"] == written.files_key
    assert summary["s3Prefix"] == "native-exports/orders"


@pytest.mark.parametrize("suffix", [".md5", ".checksum"])
def test_checksum_objects_hold_base64_md5_without_newline(s3: Any, suffix: str) -> None:
    written = _write(s3, _items(3), checksum_suffix=suffix)
    for key in (written.files_key, written.summary_key):
        expected = base64.b64encode(hashlib.md5(_read(s3, key)).digest())
        assert _read(s3, key.removesuffix(".json") + suffix) == expected


def test_every_item_is_written_once_and_one_key_stays_in_one_file(s3: Any) -> None:
    items: list[Item] = [{"pk": {"S": f"k{n % 9}"}, "sk": {"N": str(n)}} for n in range(300)]
    written = _write(s3, items, key_names=("pk", "sk"), partitions=5)
    lines = [json.loads(line)["Item"] for line in _lines(s3, written)]
    assert sorted(lines, key=lambda item: int(item["sk"]["N"])) == items
    files_of_key: dict[str, set[str]] = {}
    for file in written.files:
        for line in gzip.decompress(_read(s3, file.key)).split(b"\n")[:-1]:
            files_of_key.setdefault(json.loads(line)["Item"]["pk"]["S"], set()).add(file.key)
    assert len(files_of_key) == 9
    assert all(len(files) == 1 for files in files_of_key.values())


def test_line_separators_inside_strings_do_not_split_lines(s3: Any) -> None:
    items: list[Item] = [{"id": {"S": f"a\u2028b\u0085c\n{n}"}} for n in range(8)]
    lines = _lines(s3, _write(s3, items))
    assert sorted(json.loads(line)["Item"]["id"]["S"] for line in lines) == [i["id"]["S"] for i in items]


def test_empty_table_gives_empty_gzip_files_of_twenty_bytes(s3: Any) -> None:
    written = _write(s3, [])
    assert len(written.files) == 4
    assert [_read(s3, file.key) for file in written.files] == [EMPTY_GZIP] * 4
    assert {file.etag for file in written.files} == {"7deb4078f238dd87d6af0538152c04e9-1"}  # as AWS' in 2026
    assert written.item_count == 0


def test_same_items_give_the_same_bytes(s3: Any) -> None:
    one, two = _write(s3, _items(40)), _write(s3, _items(40))
    assert [file.md5_digest for file in one.files] == [file.md5_digest for file in two.files]


def test_without_prefix_keys_start_at_the_root_and_summary_says_null(s3: Any) -> None:
    written = _write(s3, _items(1), prefix=None)
    assert written.summary_key == f"AWSDynamoDB/{written.export_id}/manifest-summary.json"
    assert b'"s3Prefix":null' in _read(s3, written.summary_key)


def test_refused_part_leaves_no_manifest_and_no_open_upload(s3: Any) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}, "UploadPart")

    s3.meta.events.register("before-call.s3.UploadPart", refuse)
    with pytest.raises(ClientError, match="Access Denied"):
        _write(s3, _items(5))
    listed = s3.list_objects_v2(Bucket="backups")["Contents"]
    assert [each["Key"].rpartition("/")[2] for each in listed] == ["_started"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="backups")


def test_kms_export_says_so_and_encrypts_its_objects(s3: Any) -> None:
    facts = ExportFacts("01-a", TABLE_ARN, "id", "backups", None, 1, 1, "KMS", "alias/backup")
    with Partitions(1) as partitions:
        partitions.fill([], ["id"])
        written = write_partitions(s3, facts, partitions)
    summary = json.loads(_read(s3, written.summary_key))
    assert (summary["s3SseAlgorithm"], summary["s3SseKmsKeyId"]) == ("KMS", "alias/backup")
    for key in (written.files[0].key, written.summary_key):
        assert s3.head_object(Bucket="backups", Key=key)["ServerSideEncryption"] == "aws:kms"


def test_memory_stays_flat_however_many_items_there_are() -> None:
    noise = random.Random(3)

    def items() -> Iterator[Item]:
        for n in range(400):
            yield {"id": {"S": str(n)}, "data": {"B": noise.randbytes(20_000)}}

    with Partitions(4) as partitions:
        tracemalloc.start()
        try:
            partitions.fill(items(), ["id"])
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert partitions.item_count == 400
    assert peak_bytes < 2_000_000  # of 8 MB, or 11 as base64


# --- incremental -----------------------------------------------------------------------------------------------------

CHANGES: list[Change] = [
    Insert({"z": {"S": "new"}, "id": {"S": "a"}, "b": {"B": b"\x00\xff"}}),
    Update({"id": {"S": "b"}, "n": {"N": "1"}}, {"n": {"N": "2"}, "id": {"S": "b"}}),
    Delete({"n": {"N": "1"}, "id": {"S": "c"}}),
]
FROM_MS, TO_MS = 1_763_640_000_000, 1_763_711_000_000


def _write_changes(s3: Any, changes: list[Change], **options: Any) -> WrittenExport:
    arguments: dict[str, Any] = {
        "bucket": "backups",
        "prefix": "native-exports/orders",
        "table_arn": TABLE_ARN,
        "records": iter(changes),
        "key_names": ("id",),
        "from_ms": FROM_MS,
        "to_ms": TO_MS,
        "now_ms": lambda: 1_763_712_000_123,
        "random_bytes": random.Random(8).randbytes,
    }
    return write_incremental_export(s3, **{**arguments, **options})


def test_incremental_exports_of_a_prefix_share_a_folder_for_their_data_and_nothing_else(s3: Any) -> None:
    one = _write_changes(s3, CHANGES)
    two = _write_changes(s3, CHANGES, random_bytes=random.Random(9).randbytes)
    listed = [each["Key"] for each in s3.list_objects_v2(Bucket="backups")["Contents"]]
    shared = [key for key in listed if "/data/" in key]
    assert sorted(shared) == sorted(file.key for file in (*one.files, *two.files))
    assert len(shared) == 8
    assert all(re.fullmatch(r"native-exports/orders/AWSDynamoDB/data/[a-z2-7]{26}\.json\.gz", key) for key in shared)
    names = ["_started", "manifest-files.json", "manifest-files.md5", "manifest-summary.json", "manifest-summary.md5"]
    for written in (one, two):
        root = f"native-exports/orders/AWSDynamoDB/{written.export_id}/"
        assert sorted(key for key in listed if key.startswith(root)) == [root + name for name in names]
        assert written.export_id.startswith("01763712000000-")  # a whole second


def test_records_say_before_and_after_with_their_attributes_in_order(s3: Any) -> None:
    lines = sorted(_lines(s3, _write_changes(s3, CHANGES)))
    assert lines == [
        b'{"Metadata":{"WriteTimestampMicros":{"N":"1763640000000000"}},"Keys":{"id":{"S":"a"}},'
        b'"NewImage":{"b":{"B":"AP8="},"id":{"S":"a"},"z":{"S":"new"}}}',
        b'{"Metadata":{"WriteTimestampMicros":{"N":"1763640000000001"}},"Keys":{"id":{"S":"b"}},'
        b'"OldImage":{"id":{"S":"b"},"n":{"N":"1"}},"NewImage":{"id":{"S":"b"},"n":{"N":"2"}}}',
        b'{"Metadata":{"WriteTimestampMicros":{"N":"1763640000000002"}},"Keys":{"id":{"S":"c"}},'
        b'"OldImage":{"id":{"S":"c"},"n":{"N":"1"}}}',
    ]


def test_without_old_images_a_removal_has_its_keys_alone(s3: Any) -> None:
    written = _write_changes(s3, CHANGES, view="NEW_IMAGE")
    records = sorted((json.loads(line) for line in _lines(s3, written)), key=lambda record: str(record["Keys"]))
    assert [list(record) for record in records] == [
        ["Metadata", "Keys", "NewImage"],
        ["Metadata", "Keys", "NewImage"],
        ["Metadata", "Keys"],
    ]
    assert json.loads(_read(s3, written.summary_key))["outputView"] == "NEW_IMAGE"


def test_an_incremental_summary_has_a_window_and_no_export_time(s3: Any) -> None:
    written = _write_changes(s3, CHANGES)
    summary = json.loads(_read(s3, written.summary_key))
    assert (summary["exportFromTime"], summary["exportToTime"]) == (
        "2025-11-20T12:00:00.000Z",
        "2025-11-21T07:43:20.000Z",
    )
    assert "exportTime" not in summary
    assert (summary["itemCount"], summary["billedSizeBytes"]) == (3, 10_000_000)
    entries = [json.loads(line) for line in _read(s3, written.files_key).split(b"\n")[:-1]]
    assert sum(entry["itemCount"] for entry in entries) == 3
    assert {entry["dataFileS3Key"] for entry in entries} == {file.key for file in written.files}


@needs_real_6
def test_the_manifests_of_a_real_incremental_export_come_out_byte_for_byte() -> None:
    (path,) = _REAL_6.rglob("manifest-summary.json")
    real = json.loads(path.read_bytes())
    window = Window(from_iso(real["exportFromTime"]), from_iso(real["exportToTime"]), real["outputView"])
    facts = ExportFacts(
        export_id=real["exportArn"].rpartition("/")[2],
        table_arn=real["tableArn"],
        table_id=real["tableId"],
        bucket=real["s3Bucket"],
        prefix=real["s3Prefix"],
        start_ms=from_iso(real["startTime"]),
        export_time_ms=0,
        window=window,
    )
    keys = ExportKeys(facts.prefix, facts.export_id, is_incremental=True)
    assert path.read_bytes() == summary_manifest(
        facts,
        manifest_files_key=keys.manifest_files,
        end_ms=from_iso(real["endTime"]),
        billed_size_bytes=real["billedSizeBytes"],
        item_count=real["itemCount"],
    )
    file_list = (_REAL_6 / keys.manifest_files).read_bytes()
    files = []
    for line in file_list.split(b"\n")[:-1]:
        entry = json.loads(line)
        digest = base64.b64decode(entry["md5Checksum"])
        files.append(DataFile(entry["dataFileS3Key"], entry["itemCount"], digest, one_part_etag(digest)))
        assert entry["dataFileS3Key"].startswith(keys.data_folder)
    assert files_manifest(files) == file_list


@needs_real_6
def test_the_records_of_a_real_incremental_export_come_out_byte_for_byte() -> None:
    paths = sorted(_REAL_6.rglob("*.json.gz"))
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).splitlines(keepends=True)]
    assert len(lines) == 5
    for line in lines:
        record = json.loads(line)
        shuffled = {name: dict(reversed(record[name].items())) for name in ("OldImage", "NewImage") if name in record}
        made = change_line(
            old=shuffled.get("OldImage"),
            new=shuffled.get("NewImage"),
            key_names=("pk", "sk"),
            written_at_us=int(record["Metadata"]["WriteTimestampMicros"]["N"]),
            view="NEW_AND_OLD_IMAGES",
        )
        assert made == line
