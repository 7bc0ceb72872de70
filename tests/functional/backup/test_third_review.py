"""What single parts do not show: retention, adoption, increments and runs of on-demand backups with each other."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from moto import mock_aws

from chalicelib.backup.catalog import export_key, set_key
from chalicelib.backup.on_demand.service import OnDemandBackups
from chalicelib.backup.pruning import gathering
from chalicelib.backup.pruning.pruner import SetPruner
from chalicelib.backup.pruning.removals import Removals
from chalicelib.errors import Conflict, NotFound, Unavailable
from chalicelib.ledger import Ledger, Update
from tests.functional.backup.adoption.lost_ledger import by_hand, drop_ledger, finish, rebuild, seen
from tests.functional.backup.pruning.world import PruningWorld
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, LEDGER_TABLE, PREFIX, Stopped, Watched, World
from tests.thorough import thorough

DAY_MS = 24 * HOUR_MS
OLD, NEWEST = "2026-11-10", "2026-11-20"


# --- retention and what is not ours --------------------------------------------------------------------------


def test_a_shield_protects_a_folder_of_others_too(aws):
    """Objects alone, in no folders: without a shield it is none of ours, and with one it stays all the more."""
    world = PruningWorld()
    world.put_set(NEWEST)
    key = f"{PREFIX}/{OLD}/report.csv"
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"of others")
    world.shields.keep(OLD, "ann")
    assert world.prune()["removed"] == []
    assert key in world.all_keys()
    world.shields.release(OLD)
    assert world.prune()["removed"] == []
    assert key in world.all_keys()


@pytest.mark.parametrize("manifest", [True, *thorough([False])])
@pytest.mark.parametrize("shield", [False, True])
def test_of_a_folder_of_very_many_objects_not_all_are_listed(aws, monkeypatch, manifest, shield):
    monkeypatch.setattr(gathering, "_MOST_PAGES", 1)
    world = PruningWorld()
    world.put_set(NEWEST)
    world.put_set(OLD, manifest=manifest, rows=False)
    for number in range(1001):
        world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{OLD}/a{number:04d}", Body=b"")
    if shield:
        world.shields.keep(OLD, "ann")
    pages = []
    world.before = lambda name, request: pages.append(request) if name == "list_objects_v2" else None
    plan = world.pruner().plan()
    assert not any("ContinuationToken" in request for request in pages)
    assert (plan["removals"], plan["not_ours"]) == {
        (False, False): ([], [OLD]),
        (False, True): ([], []),
        (True, False): ([OLD], []),
        (True, True): ([], []),
    }[manifest, shield]


def test_a_plan_names_only_as_many_sets_as_an_answer_has_room_for(aws):
    """No manifest can be read, most likely for want of the key: each set may be what all later ones build on."""
    world = PruningWorld()
    for day in range(130):
        date = (datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%d")
        world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{date}/manifest.json", Body=b"not readable")
    (oldest,) = [each for each in world.pruner().plan()["sets"] if each["backup_date"] == "2026-06-01"]
    (reason,) = [each for each in oldest["reasons"] if each["code"] == "MAY_BE_NEEDED"]
    assert len(reason["names"]) == 100
    assert "and 124 more" in reason["text"]


def test_a_shield_is_encrypted_with_the_key_of_the_set_beside_it(aws):
    """A bucket that takes only objects with that key takes no shield without it."""
    world = PruningWorld(S3_SSE_KMS_KEY_ID="alias/backups", BACKUP_BUCKET_OWNER="123456789012")
    world.put_set(NEWEST)
    asked = []
    world.before = lambda name, request: asked.append(request) if name == "put_object" else None
    world.watched_shields().keep(NEWEST, "ann")
    (request,) = asked
    assert (request["ServerSideEncryption"], request["SSEKMSKeyId"]) == ("aws:kms", "alias/backups")
    assert (request["ExpectedBucketOwner"], request["IfNoneMatch"]) == ("123456789012", "*")


# --- retention and a lost ledger -----------------------------------------------------------------------------


def expired_world(versioned: bool) -> World:
    """A set of long ago, of two tables, and a newer one."""
    world = World(("alpha", "beta"), RETENTION_DAYS="3", RETENTION_MINIMUM="1")
    if versioned:
        world.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    world.finished_set()
    world.clock.advance(10 * DAY_MS)
    world.finished_set()
    return world


def prune(world: World) -> None:
    ledger = Ledger(Watched(world.dynamodb, world), LEDGER_TABLE, sleep=lambda seconds: None)
    s3 = Watched(world.s3, world)
    pruner = SetPruner(world.settings, ledger, s3, world.clock, lambda seconds: None, lambda: ())
    pruner.run(world.clock() + HOUR_MS)


@pytest.mark.thorough
@pytest.mark.parametrize("versioned", [False, True], ids=["unversioned", "versioned"])
def test_what_is_left_of_a_set_that_was_being_removed_never_becomes_a_complete_one(versioned):
    """The ledger is lost with the mark, and rebuilt: however many objects were deleted by then."""
    reached: set[int] = set()
    deleted = 0
    while deleted == len(reached):
        with mock_aws():
            world = expired_world(versioned)
            reached.add(stopped_after_deleting(world, deleted))
            drop_ledger(world)
            rebuild(world)
            finish(world)
            assert_not_complete_without_a_table(world)
        deleted += 1
    assert len(reached) > 10


def stopped_after_deleting(world: World, count: int) -> int:
    """How many objects were deleted of all but the manifest: DeleteObjects does what it can of what it was asked."""
    left = [count]

    def before(name, request):
        if name == "delete_objects":
            asked = request["Delete"]["Objects"]
            request["Delete"] = {"Objects": asked[: left[0]], "Quiet": True}
            left[0] -= len(asked)
            if not request["Delete"]["Objects"]:
                raise Stopped

    def after(name, request):
        if name == "delete_objects" and left[0] <= 0:
            raise Stopped

    world.before, world.after = before, after
    with suppress(Stopped):
        prune(world)
    world.mend()
    return count - max(0, left[0])


def assert_not_complete_without_a_table(world: World) -> None:
    try:
        manifest = world.manifest()
    except (NotFound, Conflict):
        return
    exported = {table.table_name for table in manifest.tables if table.status == "COMPLETED"}
    assert manifest.status != "COMPLETE" or exported == set(world.tables), manifest


@pytest.mark.thorough
def test_a_rebuild_that_stops_while_it_brings_a_finished_set_up_to_its_manifest_does_it_the_next_time():
    calls, was_reached = 0, True
    while was_reached:
        calls += 1
        with mock_aws():
            world = World()
            world.finished_set()
            before = seen(world)
            world.lose(export_key(DATE, "catalog"))
            world.ledger.write(Update(set_key(DATE), set={"tables": ["orders"], "status": "PARTIAL"}))
            world.service.rebuild.start("operator")
            stop = world.stop_after(calls)
            with suppress(Stopped):
                world.service.reconcile()
            was_reached = stop.was_reached
            world.mend()
            rebuild(world)
            assert seen(world) == before
    assert calls > 4


def test_an_export_that_comes_while_retention_decides_is_adopted_where_the_set_stays(aws):
    world = World()
    world.finished_set()
    world.create_table("users")
    removals = Removals(world.ledger, world.clock)
    mark = removals.mark(DATE, "a test wants it")
    key = world.dynamodb.complete(by_hand(world, "users"))
    with pytest.raises(Unavailable):
        world.send(key)
    assert removals.take_away(mark)
    assert world.send(key) == "adopted"
    assert world.manifest().successful_exports == 3


def test_an_export_that_comes_while_its_set_goes_is_left_to_go_with_it(aws):
    world = World()
    world.finished_set()
    world.create_table("users")
    removals = Removals(world.ledger, world.clock)
    assert removals.begin(removals.mark(DATE, "a test wants it"))
    assert world.send(world.dynamodb.complete(by_hand(world, "users"))) == "set_is_removed"


# --- runs of on-demand backups -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 3000, "2026-11-21#", "../2026-11-21", ""])
def test_a_run_of_no_possible_name_is_not_asked_of_the_ledger(aws, name):
    world = World()
    world.watch()
    backups = OnDemandBackups(
        world.settings,
        Ledger(Watched(world.dynamodb, world), LEDGER_TABLE),
        world.dynamodb,
        world.clock,
        lambda seconds: None,
        lambda: 0.0,
    )
    with pytest.raises(NotFound) as raised:
        backups.describe(name)
    assert raised.value.code == "backup_not_found"
    assert len(raised.value.message) < 200
    assert world.calls == []
