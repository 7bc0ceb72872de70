"""Looking at sets: from the bucket alone for restores, from ledger and bucket for the API."""

import pytest

from chalicelib.backup.catalog import set_key
from chalicelib.backup.reading import latest_manifest, read_manifest, set_names
from chalicelib.errors import Conflict, ManifestInvalid, NotFound
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, PREFIX


def next_day(world) -> None:
    world.clock.advance(24 * HOUR_MS)


def complete(world, *failed: str) -> str:
    """A finished set of the next day, in which `failed` tables failed; its name."""
    next_day(world)
    backup_date = str(world.service.start_scheduled()["backup_date"])
    for export in world.dynamodb.running():
        if export.request["TableArn"].rsplit("/", 1)[-1] in failed:
            world.dynamodb.fail(export, "S3NoSuchBucket", "failed by the test")
        else:
            world.dynamodb.complete(export, partitions=1)
    world.reconcile_a_minute_later()
    return backup_date


def test_lists_are_newest_first_paged_and_name_what_they_cannot_read(world):
    world.finished_set()
    next_day(world)
    world.service.start_scheduled()
    world.service.start_by_hand(("orders",))
    first = world.service.list_page(2, None)
    assert [each["backup_date"] for each in first["backups"]] == ["2026-11-22T010020Z", "2026-11-22"]
    assert [each["status"] for each in first["backups"]] == ["OPEN", "OPEN"]
    assert first["next_before"] == "2026-11-22"
    second = world.service.list_page(2, first["next_before"])
    assert [(each["backup_date"], each["status"], each["total_tables"]) for each in second["backups"]] == [
        (DATE, "COMPLETE", 2)
    ]
    assert second["next_before"] is None
    world.corrupt(set_key("2026-11-22"))
    damaged = world.service.list_page(20, None)
    assert [each["backup_date"] for each in damaged["backups"]] == ["2026-11-22T010020Z", DATE]
    assert damaged["unreadable"] == ["2026-11-22"]


def test_one_set_is_shown_from_the_ledger_while_open_and_from_its_manifest_after(world):
    world.service.start_scheduled()
    opened = world.service.describe(DATE)
    assert opened["status"] == "OPEN"
    assert [table["status"] for table in opened["tables"]] == ["IN_PROGRESS", "IN_PROGRESS"]
    for key in world.dynamodb.complete_all():
        world.send(key)
    finished = world.service.describe(DATE)
    assert (finished["status"], finished["total_items_exported"]) == ("COMPLETE", 4)
    assert finished["tables"][0]["manifest_files_key"].startswith(f"{PREFIX}/{DATE}/orders/")


def test_an_unknown_set_is_not_found_and_says_what_exists(world):
    world.finished_set()
    for name in ("2020-01-01", "nonsense", "../" + DATE):
        with pytest.raises(NotFound, match=DATE) as raised:
            world.service.describe(name)
        assert raised.value.code == "backup_not_found"


def test_a_set_without_a_manifest_cannot_be_restored_yet(world):
    world.service.start_scheduled()
    with pytest.raises(Conflict) as raised:
        read_manifest(world.s3, BUCKET, PREFIX, DATE)
    assert raised.value.code == "backup_not_complete"


def test_without_any_set_the_error_says_so(world):
    with pytest.raises(NotFound, match="no backups yet"):
        read_manifest(world.s3, BUCKET, PREFIX, DATE)
    with pytest.raises(NotFound, match="no backups yet"):
        latest_manifest(world.s3, BUCKET, PREFIX, None)


def test_the_latest_set_is_the_newest_in_which_every_asked_table_succeeded(world):
    first = complete(world)
    second = complete(world, "orders")
    next_day(world)
    third = str(world.service.start_scheduled()["backup_date"])

    def latest(tables):
        return latest_manifest(world.s3, BUCKET, PREFIX, tables).backup_date

    assert set_names(world.s3, BUCKET, PREFIX) == [third, second, first]
    assert latest(None) == first
    assert latest(("orders",)) == first
    assert latest(("catalog",)) == second
    assert latest(("orders", "catalog")) == first
    with pytest.raises(NotFound, match=third):
        latest(("orders", "unknown"))


def test_set_names_are_only_those_of_sets(world):
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/notes/readme", Body=b"")
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/2026-11-21", Body=b"")
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}-other/2026-11-21/x", Body=b"")
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/2026-11-20T010203Z/x", Body=b"")
    assert set_names(world.s3, BUCKET, PREFIX) == ["2026-11-20T010203Z"]


def test_a_manifest_of_a_newer_schema_is_refused_and_not_passed_over(world):
    key = f"{PREFIX}/{DATE}/manifest.json"
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b'{"schema_version": 3}')
    with pytest.raises(ManifestInvalid, match="newer tablevault"):
        read_manifest(world.s3, BUCKET, PREFIX, DATE)
    with pytest.raises(ManifestInvalid, match="newer tablevault"):
        latest_manifest(world.s3, BUCKET, PREFIX, None)
