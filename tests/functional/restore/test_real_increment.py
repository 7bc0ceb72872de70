"""An increment that AWS wrote, byte for byte, on a base that this test writes: restored in every mode."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.backup import layout
from chalicelib.backup.chain import links_of
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import ManifestTable, decode_manifest, encode_manifest
from chalicelib.clock import from_iso
from chalicelib.restore.datapath.raw_batch import attributes
from tests.functional.restore.faults import counts
from tests.functional.restore.world import BUCKET, PREFIX, World
from tests.thorough import thorough

SAMPLE = Path(__file__).parents[4] / "shared" / "export-samples" / "bucket" / "real-6" / "AWSDynamoDB"
KEYS = (("pk", "S", "HASH"), ("sk", "S", "RANGE"))
BASE, INCREMENT = "2026-01-14", "2026-01-15"
pytestmark = pytest.mark.skipif(not SAMPLE.is_dir(), reason="the real exports are not here")


def records() -> list[dict[str, Any]]:
    texts = [gzip.decompress(path.read_bytes()) for path in sorted(SAMPLE.glob("data/*.gz"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def back_up(world: World) -> list[dict[str, Any]]:
    """The items there are after the increment. Its file list is copied to another place, as its data files are."""
    (summary_path,) = SAMPLE.glob("*/manifest-summary.json")
    summary = json.loads(summary_path.read_text())
    untouched = [{"pk": {"S": "other"}, "sk": {"S": str(number)}} for number in range(5)]
    before = [attributes(each["OldImage"]) for each in records() if "OldImage" in each]
    now_ms, world.clock.now_ms = world.clock.now_ms, from_iso(summary["exportFromTime"]) + 60_000
    world.create_table("orders", KEYS)
    world.back_up({"orders": [*untouched, *before]}, date=BASE, keys=KEYS)
    world.back_up_increment(INCREMENT, {"orders": []}, base=BASE, keys=KEYS)
    world.clock.now_ms = now_ms
    replace_increment(world, summary_path, summary)
    return [*untouched, *(attributes(each["NewImage"]) for each in records() if "NewImage" in each)]


def replace_increment(world: World, summary_path: Path, summary: dict[str, Any]) -> None:
    folder = layout.export_prefix(PREFIX, INCREMENT, "orders")
    for path in SAMPLE.glob("data/*.gz"):
        world.s3.put_object(Bucket=BUCKET, Key=f"{folder}/AWSDynamoDB/data/{path.name}", Body=path.read_bytes())
    listed = (summary_path.parent / "manifest-files.json").read_bytes()
    files = listed.replace(b'"AWSDynamoDB/data/', f'"{folder}/AWSDynamoDB/data/'.encode())
    export = f"{folder}/AWSDynamoDB/{summary_path.parent.name}"
    world.s3.put_object(Bucket=BUCKET, Key=f"{export}/manifest-files.json", Body=files)
    key = layout.manifest_key(PREFIX, INCREMENT)
    content = world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    manifest = decode_manifest(content, key=key, exports_prefix=PREFIX, backup_date=INCREMENT)
    entry: ManifestTable = msgspec.structs.replace(
        manifest.tables[0],
        manifest_summary_key=f"{export}/manifest-summary.json",
        manifest_files_key=f"{export}/manifest-files.json",
        manifest_files_md5=md5_of(files),
        item_count=summary["itemCount"],
        data_files=len(files.splitlines()),
        export_from=summary["exportFromTime"],
        export_to=summary["exportToTime"],
    )
    assert len(links_of(entry)) == 2
    changed = msgspec.structs.replace(manifest, tables=(entry,), total_items_exported=entry.item_count)
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=encode_manifest(changed))


@pytest.mark.parametrize("mode", ["overwrite", *thorough(("changed_only", "missing_only"))])
def test_a_real_increment_is_restored_on_its_base(world, mode):
    expected = back_up(world)
    dry = world.restore(backup_date=INCREMENT, mode=mode, dry_run=True)
    assert (dry["status"], dry["blockers"], dry["tables"][0]["data_files_read_in_checking"]) == ("COMPLETED", [], 8)
    restore = world.restore(backup_date=INCREMENT, mode=mode, verify="full")
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == sorted(expected, key=repr)
    told = counts(restore)
    assert (
        told
        == {
            "overwrite": {"written": 12, "deleted": 2},
            "changed_only": {"written": 8, "unchanged": 2, "filtered": 4},
            "missing_only": {"written": 8, "skipped": 2, "filtered": 4},
        }[mode]
    )


def test_keys_are_found_in_a_real_increment(world):
    expected = back_up(world)
    asked = [{name: each["Keys"][name] for name in ("pk", "sk")} for each in records()]
    restore = world.restore(backup_date=INCREMENT, keys=asked, verify="full")
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == sorted((item for item in expected if item["pk"] != {"S": "other"}), key=repr)
    removed = [number for number, each in enumerate(records()) if "NewImage" not in each]
    assert restore["tables"][0]["keys_not_in_backup"] == removed
