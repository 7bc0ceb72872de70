"""The export's bytes: against literals, and against exports that AWS wrote, where those are at hand."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from chalicelib.clock import from_iso
from sandbox.exports.layout import (
    DataFile,
    ExportFacts,
    ExportKeys,
    Item,
    checksum,
    files_manifest,
    item_line,
    new_export_id,
    one_part_etag,
    partition_of,
    summary_manifest,
)

_SAMPLES = Path(__file__).parents[3] / "../shared/export-samples/bucket"
_FULL_SAMPLES = {
    "real-1": "demo_prefix/AWSDynamoDB/01605130432834-8a918b87",
    "real-2": "AWSDynamoDB/01668227450456-b6733290",
}

EVERY_TYPE: Item = {
    "name": {"S": 'naïve \u2028 \u0085 🗄 "quoted" back\\slash a/b \t'},
    "empty": {"S": ""},
    "number": {"N": "12345678901234567890123456789012345678"},
    "binary": {"B": b"\x00\xff\xfe"},
    "empty binary": {"B": b""},
    "yes": {"BOOL": True},
    "nothing": {"NULL": True},
    "list": {"L": [{"N": "1"}, {"M": {"deep": {"B": b"deep"}}}, {"L": []}]},
    "map": {"M": {}},
    "strings": {"SS": ["b", "a"]},
    "numbers": {"NS": ["3", "-2E-130"]},
    "binaries": {"BS": [b"hello", b"\xff"]},
    "id": {"S": "k"},
}


def test_item_line_holds_all_ten_types_compact_raw_and_key_first() -> None:
    assert (
        item_line(EVERY_TYPE, ["id"])
        == (
            '{"Item":{"id":{"S":"k"},'
            '"name":{"S":"naïve \u2028 \u0085 🗄 \\"quoted\\" back\\\\slash a/b \\t"},"empty":{"S":""},'
            '"number":{"N":"12345678901234567890123456789012345678"},"binary":{"B":"AP/+"},"empty binary":{"B":""},'
            '"yes":{"BOOL":true},"nothing":{"NULL":true},'
            '"list":{"L":[{"N":"1"},{"M":{"deep":{"B":"ZGVlcA=="}}},{"L":[]}]},"map":{"M":{}},'
            '"strings":{"SS":["b","a"]},"numbers":{"NS":["3","-2E-130"]},"binaries":{"BS":["aGVsbG8=","/w=="]}}}\n'
        ).encode()
    )


def test_item_line_puts_partition_key_before_sort_key_wherever_they_stood() -> None:
    item: Item = {"a": {"S": "x"}, "sk": {"N": "7"}, "pk": {"B": b"\x01"}}
    assert item_line(item, ["pk", "sk"]) == (b'{"Item":{"pk":{"B":"AQ=="},"sk":{"N":"7"},"a":{"S":"x"}}}\n')


def test_binary_in_wire_form_is_not_encoded_twice() -> None:
    as_bytes: Item = {"id": {"B": b"\x00\x01"}, "set": {"BS": [b"x"]}}
    on_the_wire: Item = {"id": {"B": "AAE="}, "set": {"BS": ["eA=="]}}
    assert item_line(on_the_wire, ["id"]) == item_line(as_bytes, ["id"])
    assert partition_of(on_the_wire, "id", 64) == partition_of(as_bytes, "id", 64)


def test_partition_depends_on_the_partition_key_alone_and_every_partition_gets_some() -> None:
    items = [{"pk": {"S": f"key-{n}"}, "sk": {"N": str(n)}} for n in range(400)]
    partitions = [partition_of(item, "pk", 7) for item in items]
    assert set(partitions) == set(range(7))
    assert [partition_of({"pk": item["pk"], "sk": {"N": "0"}}, "pk", 7) for item in items] == partitions


@pytest.mark.parametrize(
    ("prefix", "root"),
    [
        (None, "AWSDynamoDB/01-a/"),
        ("exports", "exports/AWSDynamoDB/01-a/"),
        ("exports/", "exports/AWSDynamoDB/01-a/"),
        ("2023-01-18/07:26:00", "2023-01-18/07:26:00/AWSDynamoDB/01-a/"),
    ],
)
def test_keys_stand_below_prefix_and_export_id(prefix: str | None, root: str) -> None:
    keys = ExportKeys(prefix, "01-a")
    assert keys.root == root
    assert keys.started == root + "_started"
    assert keys.checksum_of(keys.manifest_summary) == root + "manifest-summary.md5"
    assert re.fullmatch(re.escape(root) + r"data/[a-z2-7]{26}\.json\.gz", keys.data_file(bytes(range(16))))


def test_checksum_suffix_of_the_documentation() -> None:
    keys = ExportKeys(None, "01-a", ".checksum")
    assert keys.checksum_of(keys.manifest_files) == "AWSDynamoDB/01-a/manifest-files.checksum"


def test_export_id_is_start_time_padded_to_fourteen_digits() -> None:
    assert new_export_id(1605130432834, b"\x8a\x91\x8b\x87") == "01605130432834-8a918b87"


def test_manifests_are_the_literal_bytes() -> None:
    digest = hashlib.md5(b"").digest()
    assert (
        files_manifest([DataFile("p/é.json.gz", 0, digest, one_part_etag(digest))])
        == (
            '{"itemCount":0,"md5Checksum":"1B2M2Y8AsgTpgAmY7PhCfg==",'
            '"etag":"59adb24ef3cdbe0297f05b395827453f-1","dataFileS3Key":"p/é.json.gz"}\n'
        ).encode()
    )
    facts = ExportFacts("01-a", "arn:t", "table-id", "bucket", None, 1_000, 2_005)
    summary = summary_manifest(
        facts, manifest_files_key="AWSDynamoDB/x", end_ms=3_000, billed_size_bytes=4, item_count=5
    )
    assert summary == (
        b'{"version":"2020-06-30","exportArn":"arn:t/export/01-a","startTime":"1970-01-01T00:00:01.000Z",'
        b'"endTime":"1970-01-01T00:00:03.000Z","tableArn":"arn:t","tableId":"table-id",'
        b'"exportTime":"1970-01-01T00:00:02.005Z","s3Bucket":"bucket","s3Prefix":null,'
        b'"s3SseAlgorithm":"AES256","s3SseKmsKeyId":null,"manifestFilesS3Key":"AWSDynamoDB/x",'
        b'"billedSizeBytes":4,"itemCount":5,"outputFormat":"DYNAMODB_JSON"}'
    )


def _real(sample: str, name: str) -> bytes:
    path = _SAMPLES / sample / _FULL_SAMPLES[sample] / name
    if not path.exists():
        pytest.skip("the real exports are not at hand")
    return path.read_bytes()


def _facts_of(summary: dict[str, Any]) -> ExportFacts:
    return ExportFacts(
        export_id=summary["exportArn"].rpartition("/")[2],
        table_arn=summary["tableArn"],
        table_id=summary["tableId"],
        bucket=summary["s3Bucket"],
        prefix=summary["s3Prefix"],
        start_ms=from_iso(summary["startTime"]),
        export_time_ms=from_iso(summary["exportTime"]),
    )


@pytest.mark.parametrize("sample", _FULL_SAMPLES)
def test_real_summary_comes_out_byte_for_byte(sample: str) -> None:
    real = _real(sample, "manifest-summary.json")
    summary = json.loads(real)
    facts = _facts_of(summary)
    assert real == summary_manifest(
        facts,
        manifest_files_key=ExportKeys(facts.prefix, facts.export_id).manifest_files,
        end_ms=from_iso(summary["endTime"]),
        billed_size_bytes=summary["billedSizeBytes"],
        item_count=summary["itemCount"],
    )


@pytest.mark.parametrize("sample", _FULL_SAMPLES)
def test_real_files_manifest_comes_out_byte_for_byte_with_computed_etags(sample: str) -> None:
    real = _real(sample, "manifest-files.json")
    files = []
    for line in real.split(b"\n")[:-1]:
        entry = json.loads(line)
        digest = base64.b64decode(entry["md5Checksum"])
        files.append(DataFile(entry["dataFileS3Key"], entry["itemCount"], digest, one_part_etag(digest)))
    assert files_manifest(files) == real


@pytest.mark.parametrize("sample", _FULL_SAMPLES)
@pytest.mark.parametrize("manifest", ["manifest-files", "manifest-summary"])
def test_real_checksum_objects_come_out_byte_for_byte(sample: str, manifest: str) -> None:
    assert checksum(_real(sample, f"{manifest}.json")) == _real(sample, f"{manifest}.md5")
