"""Whoever may write into the bucket chooses names and contents: nothing of it leads out of its place, raises, or takes
a set's tables away."""

from typing import Any

import msgspec
import pytest

from sandbox.exports.writer import write_export
from tests.functional.backup.adoption.lost_ledger import by_hand, finish, rebuild, rows
from tests.functional.backup.world import BUCKET, DATE, PREFIX, World

NEW = "2026-11-20T120000Z"
SUMMARY = "AWSDynamoDB/01795222820000-0123abcd/manifest-summary.json"
_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/"


def put(world: World, key: str, body: bytes = b"{}") -> None:
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=body)


def rebuilt(world: World) -> dict[str, Any]:
    told = rebuild(world)
    finish(world)
    return told


@pytest.mark.parametrize(
    "key",
    [
        f"{PREFIX}/{NEW}/..//table.json",
        f"{PREFIX}/{NEW}/a b/{SUMMARY}",
        f"{PREFIX}/{NEW}/é/{SUMMARY}",
        f"{PREFIX}/{NEW}/{'x' * 256}/table.json",
        f"{PREFIX}/{NEW}/orders#1/{SUMMARY}",
        f"{PREFIX}/{NEW}/orders/readme.txt",
        f"{PREFIX}/{NEW}/orders/AWSDynamoDB/data/x.json.gz",
        f"{PREFIX}/{NEW}/orders/AWSDynamoDB/not-an-id/manifest-summary.json",
        f"{PREFIX}/{NEW}/orders/AWSDynamoDB/../{SUMMARY}",
        f"{PREFIX}/{NEW}/note.txt",
    ],
)
def test_what_is_no_export_is_named_as_a_problem_and_nothing_is_written(world, key):
    put(world, key)
    told = rebuilt(world)
    assert [problem["backup_date"] for problem in told["problems"]] == [NEW]
    assert not [name for name in rows(world) if name.startswith("BACKUP#")]


@pytest.mark.parametrize("name", ["2026-11-2", "٢٠٢٦-11-21", "latest", "..", "2026-11-21T25", "restores"])
def test_what_is_no_sets_name_is_passed_over(world, name):
    put(world, f"{PREFIX}/{name}/orders/{SUMMARY}")
    assert rebuilt(world)["sets"] == 0


def test_a_day_that_the_calendar_lacks_is_a_set_all_the_same_or_a_problem(world):
    world.send(world.dynamodb.complete(by_hand(world, "orders", "2026-99-99")))
    finish(world)
    told = rebuilt(world)
    assert told["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        msgspec.json.encode({"version": "2020-06-30", "exportArn": 1}),
    ],
)
def test_a_summary_that_is_none_fails_its_table_and_no_other(world, body):
    put(world, f"{PREFIX}/{NEW}/catalog/{SUMMARY}", body)
    world.dynamodb.complete(by_hand(world, "orders", NEW))
    rebuilt(world)
    manifest = world.manifest(NEW)
    assert {table.table_name: table.status for table in manifest.tables} == {"catalog": "FAILED", "orders": "COMPLETED"}
    table = manifest.table("catalog")
    assert table is not None
    assert table.failure_code == "ExportInvalid"
    assert len(str(table.failure_message)) < 1000


def written(world: World, folder: str, table_arn: str) -> str:
    """A whole export, agreeing with itself, of any table, in any folder."""
    done = write_export(
        world.s3,
        bucket=BUCKET,
        prefix=f"{PREFIX}/{NEW}/{folder}",
        table_arn=table_arn,
        items=[{"id": {"S": "1"}}],
        key_names=["id"],
        export_id="01795222820000-0123abcd",
        now_ms=world.clock,
        export_time_ms=world.clock(),
        partitions=1,
    )
    return str(done.summary_key)


@pytest.mark.parametrize(
    "arn",
    [
        f"{_ARN}catalog",
        f"{_ARN}orders/index/x",
        "arn:aws:dynamodb:us-east-1:12:table/orders",
        "table/orders",
        f"{_ARN}orders\n",
    ],
)
def test_an_export_of_another_table_than_its_folders_is_not_adopted(world, arn):
    key = written(world, "orders", arn)
    assert world.send(key) == "unknown_set"
    rebuilt(world)
    (table,) = world.manifest(NEW).tables
    assert (table.table_name, table.status, table.failure_code) == ("orders", "FAILED", "ExportInvalid")


def test_one_of_another_accounts_table_does_not_replace_what_failed(world):
    world.service.start_scheduled()
    for export in world.dynamodb.running():
        world.dynamodb.fail(export, "S3NoSuchBucket", "no bucket")
    finish(world)
    before = rows(world)
    done = write_export(
        world.s3,
        bucket=BUCKET,
        prefix=f"{PREFIX}/{DATE}/orders",
        table_arn="arn:aws:dynamodb:us-east-1:999999999999:table/orders",
        items=[],
        key_names=["id"],
        export_id="01795222820000-0123abcd",
        now_ms=world.clock,
        export_time_ms=world.clock(),
        partitions=1,
    )
    assert world.send(str(done.summary_key)) == "unknown_export"
    assert rows(world) == before


def test_the_definition_of_another_table_is_not_taken_for_an_exports(world):
    world.finished_set()
    body = world.s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{DATE}/catalog/table.json")["Body"].read()
    put(world, f"{PREFIX}/{NEW}/orders/table.json", body)
    world.send(world.dynamodb.complete(by_hand(world, "orders", NEW)))
    finish(world)
    (table,) = world.manifest(NEW).tables
    assert (table.status, table.failure_code) == ("FAILED", "DefinitionInvalid")


def test_of_very_many_exports_in_one_folder_the_newest_are_looked_at(world):
    for number in range(200):
        put(world, f"{PREFIX}/{NEW}/orders/AWSDynamoDB/{number:014d}-0123abcd/manifest-summary.json", b"{")
    world.dynamodb.complete(by_hand(world, "orders", NEW))
    world.service.rebuild.start("operator")
    world.watch()
    world.reconcile_a_minute_later()
    assert world.calls.count("get_object") < 120
    world.mend()
    finish(world)
    assert world.manifest(NEW).status == "COMPLETE"


def test_very_many_folders_are_a_problem_and_no_set(world, monkeypatch):
    monkeypatch.setattr("chalicelib.backup.adoption.folders._MOST_TABLES", 5)
    for number in range(7):
        put(world, f"{PREFIX}/{NEW}/table-{number}/table.json")
    told = rebuilt(world)
    assert "more than 5 folders" in told["problems"][0]["message"]
    assert not [name for name in rows(world) if name.startswith("BACKUP#")]
