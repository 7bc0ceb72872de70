"""What comes about between the plan and the removal: shields, restores, open sets, errors."""

from threading import Lock

import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.backup.catalog import set_key
from chalicelib.backup.manifest import encode_manifest
from chalicelib.errors import Conflict
from chalicelib.ledger import Update
from tests.fake_exports import refusal
from tests.functional.backup.pruning.world import Meanwhile, PruningWorld, a_manifest
from tests.functional.backup.world import BUCKET, PREFIX

FULL, INCREMENT, OTHER, NEWEST = "2026-11-08", "2026-11-09", "2026-11-10", "2026-11-20"


def put_all(world: PruningWorld) -> None:
    world.put_set(FULL)
    world.put_set(INCREMENT, {"orders": [FULL]})
    world.put_set(OTHER)
    world.put_set(NEWEST)


def assert_all_but_other_are_kept(world: PruningWorld) -> None:
    assert world.prune()["removed"] == [OTHER]
    assert world.sets() == [FULL, INCREMENT, NEWEST]
    assert world.marked() == []
    world.assert_whole()


def test_a_shield_that_comes_before_the_mark_is_seen_after_it(world):
    put_all(world)
    lock = Lock()

    def shield(name, request):
        if name == "put_item":
            with lock:  # none of the marks is made before
                if world.shields.find(INCREMENT) is None:
                    world.shields.keep(INCREMENT, "ann")

    world.before = shield
    assert_all_but_other_are_kept(world)


def test_a_shield_that_comes_after_the_mark_is_refused_and_counts_if_it_came_in_time(world):
    put_all(world)
    world.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{FULL}/x", Body=b"")
    refused = []

    def keep():
        with pytest.raises(Conflict) as raised:
            world.shields.keep(INCREMENT, "ann")
        refused.append(raised.value.code)

    world.asleep = keep
    assert FULL in world.prune()["removed"]
    assert refused == ["backup_being_removed"]
    assert world.sets() == [NEWEST]


def test_a_shield_put_while_the_set_is_marked_keeps_it_if_the_run_sees_it(world):
    put_all(world)
    key = f"{PREFIX}/{INCREMENT}/keep.json"
    world.asleep = lambda: world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    assert_all_but_other_are_kept(world)


def test_a_shield_that_comes_too_late_shields_nothing_and_goes_with_the_next_run(world):
    put_all(world)
    key = f"{PREFIX}/{OTHER}/keep.json"
    Meanwhile(world, "batch_write_item", lambda: world.s3.put_object(Bucket=BUCKET, Key=key, Body=b""))
    world.prune()
    assert key in world.all_keys()
    assert OTHER in world.prune()["removed"]
    world.assert_gone(OTHER)


def test_a_restore_that_began_before_the_mark_keeps_its_set_and_all_that_builds_on(world):
    put_all(world)
    world.asleep = lambda: world.reads.append(INCREMENT)
    assert_all_but_other_are_kept(world)
    world.reads, world.asleep = [], lambda: None
    assert world.prune()["removed"] == [INCREMENT, FULL]


def test_a_new_set_that_builds_on_one_that_goes_keeps_it(world):
    put_all(world)
    world.asleep = lambda: world.put_set("2026-11-21", {"orders": [FULL, INCREMENT]}, manifest=False, is_open=True)
    assert_all_but_other_are_kept(world)


def test_a_set_that_is_opened_again_after_the_last_look_stays_and_so_does_what_it_builds_on(world):
    put_all(world)
    opened: list[str] = []

    def open_again(name, request):
        if name == "transact_write_items" and INCREMENT in repr(request) and not opened:
            opened.append(name)
            world.ledger.write(Update(set_key(INCREMENT), set={"open_kind": "BACKUP"}))

    world.before = open_again
    assert_all_but_other_are_kept(world)
    assert opened


def test_what_the_second_look_alone_would_remove_is_left_to_the_next_run(world):
    put_all(world)
    world.reads = [OTHER]

    def end():
        world.reads.clear()

    world.asleep = end
    result = world.prune()
    assert (result["removed"], result["left"]) == ([INCREMENT, FULL], [OTHER])
    assert world.prune()["removed"] == [OTHER]


THROTTLED = refusal("SlowDown", "ListObjectsV2")
NO_ANSWER = ReadTimeoutError(endpoint_url="https://s3")


@pytest.mark.parametrize("error", [THROTTLED, NO_ANSWER], ids=["throttled", "no answer"])
@pytest.mark.parametrize("operation", ["list_objects_v2", "get_object", "query", "batch_get_item"])
@pytest.mark.parametrize("when", ["first look", "second look"])
def test_where_something_cannot_be_read_nothing_is_removed_and_nothing_stays_marked(plain, error, operation, when):
    put_all(plain)
    keys = plain.all_keys()
    is_failing = [when == "first look"]

    def before(name, request):
        is_one = operation in ("query", "batch_get_item") or NEWEST in repr(request)
        if is_failing[0] and name == operation and is_one:
            raise error

    plain.before = before
    plain.asleep = lambda: is_failing.append(is_failing.pop() or True)
    with pytest.raises(type(error)):
        plain.prune()
    plain.mend()
    assert plain.all_keys() == keys
    assert plain.marked() == []


def test_where_restores_cannot_be_listed_nothing_is_removed(plain):
    put_all(plain)

    def fail():
        raise refusal("ThrottlingException", "Query")

    plain.read = fail
    with pytest.raises(type(THROTTLED)):
        plain.prune()
    assert len(plain.sets()) == 4


def test_a_manifest_that_disappears_while_it_is_looked_at_is_none(plain):
    put_all(plain)

    def vanish(name, request):
        if name == "get_object" and OTHER in request["Key"]:
            plain.s3.delete_object(Bucket=BUCKET, Key=request["Key"])

    plain.before = vanish
    assert plain.prune()["removed"] == [OTHER, INCREMENT, FULL]


def test_a_manifest_that_comes_to_an_unfinished_set_after_the_mark_counts(plain):
    put_all(plain)
    plain.put_set("2026-11-11", manifest=False)
    body = encode_manifest(a_manifest("2026-11-11", {"orders": [FULL]}))
    key = f"{PREFIX}/2026-11-11/manifest.json"
    plain.asleep = lambda: plain.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    plain.bases["2026-11-11"] = {FULL}
    plain.prune()
    plain.assert_whole()
