"""S3 refuses to delete: the set stays marked and is told of, the others go, and no chain is broken."""

import logging

import pytest

from tests.fake_exports import refusal
from tests.functional.backup.pruning.world import PruningWorld
from tests.functional.backup.world import PREFIX

FULL, INCREMENT, OTHER, NEWEST = "2026-11-08", "2026-11-09", "2026-11-10", "2026-11-20"
LOCKED = {"Code": "AccessDenied", "Message": "Access Denied because object protected by object lock."}


@pytest.fixture
def world(aws) -> PruningWorld:
    world = PruningWorld(versioned=True)
    world.put_set(FULL)
    world.put_set(INCREMENT, {"orders": [FULL]})
    world.put_set(OTHER)
    world.put_set(NEWEST)
    return world


class LockedS3:
    """DeleteObjects answers with errors for keys that contain a text, and deletes the others."""

    def __init__(self, s3, text: str, error: dict[str, str]) -> None:
        self._s3, self.text, self._error = s3, text, error

    def __getattr__(self, name):
        return getattr(self._s3, name)

    def delete_objects(self, **request):
        objects = request["Delete"]["Objects"]
        locked = [each for each in objects if self.text and self.text in each["Key"]]
        free = [each for each in objects if each not in locked]
        if free:
            self._s3.delete_objects(**{**request, "Delete": {"Objects": free, "Quiet": True}})
        return {"Errors": [{**each, **self._error} for each in locked]}


def test_a_locked_object_is_told_of_its_set_stays_marked_and_the_others_go(world, caplog):
    s3 = world.s3
    world.s3 = LockedS3(s3, f"{OTHER}/orders/AWSDynamoDB", LOCKED)
    with caplog.at_level(logging.ERROR, "tablevault"):
        result = world.prune()
    assert result["removed"] == [INCREMENT, FULL]
    assert result["left"] == [OTHER]
    (failure,) = result["failures"]
    assert (failure["backup_date"], failure["code"]) == (OTHER, "AccessDenied")
    assert failure["key"].startswith(f"{PREFIX}/{OTHER}/orders/AWSDynamoDB/")
    assert "8 objects cannot be deleted" in failure["message"]  # each in two versions
    assert "Object Lock" in failure["message"]
    assert [record.backup_date for record in caplog.records] == [OTHER]
    assert world.mark(OTHER).stage == "REMOVING"
    assert world.sets() == [NEWEST]
    assert world.rows(OTHER) == ["EXPORT#orders", "REMOVAL", "SET"]
    # The manifest is hidden, and its marker stays as long as it hides something.
    assert f"{PREFIX}/{OTHER}/manifest.json" in world.versions(OTHER)
    world.s3 = s3
    assert world.prune()["removed"] == [OTHER]
    world.assert_gone(OTHER)


def test_an_error_that_passes_says_so(world):
    world.s3 = LockedS3(world.s3, f"{OTHER}/orders/table.json", {"Code": "InternalError", "Message": "try again"})
    (failure,) = world.prune()["failures"]
    assert "the next run tries again" in failure["message"]


def test_an_object_that_is_gone_already_is_no_error(world):
    world.s3 = LockedS3(world.s3, "table.json", {"Code": "NoSuchVersion", "Message": ""})
    result = world.prune()
    assert result["failures"] == []


def test_a_locked_version_of_the_manifest_stays_hidden(world):
    s3 = world.s3
    world.s3 = LockedS3(s3, f"{OTHER}/manifest.json", LOCKED)
    assert world.prune()["left"] == [OTHER]
    assert OTHER not in world.sets()
    world.s3 = s3
    world.prune()
    world.assert_gone(OTHER)


def refuse_manifest(world: PruningWorld, date: str, error: Exception) -> None:
    world.refuse("delete_object", error, when=lambda request: request["Key"] == f"{PREFIX}/{date}/manifest.json")


def test_where_a_manifest_may_not_be_deleted_its_set_is_as_before_with_all_it_builds_on(world):
    refuse_manifest(world, INCREMENT, refusal("AccessDenied", "DeleteObject"))
    result = world.prune()
    assert result["removed"] == [OTHER]
    assert sorted(result["left"]) == [FULL, INCREMENT]
    (failure,) = result["failures"]
    assert (failure["backup_date"], failure["code"]) == (INCREMENT, "AccessDenied")
    assert world.marked() == []
    assert world.sets() == [FULL, INCREMENT, NEWEST]
    world.assert_whole()
    world.mend()
    assert world.prune()["removed"] == [INCREMENT, FULL]


def test_a_manifest_of_which_nobody_knows_whether_it_is_deleted_keeps_what_its_set_builds_on(world):
    refuse_manifest(world, INCREMENT, refusal("SlowDown", "DeleteObject"))
    for _ in range(2):
        result = world.prune()
        assert sorted(result["left"]) == [FULL, INCREMENT]
        assert world.marked() == [INCREMENT]
        world.assert_whole()
    world.mend()
    assert world.prune()["removed"] == [INCREMENT, FULL]
    world.assert_gone(INCREMENT, FULL)


def test_what_was_begun_before_is_never_given_back(world):
    world.removals.begin(world.take_mark(OTHER))
    world.s3.delete_objects(
        Bucket="tablevault-tests", Delete={"Objects": [{"Key": key} for key in world.objects[OTHER][:1]]}
    )
    refuse_manifest(world, OTHER, refusal("AccessDenied", "DeleteObject"))
    assert world.prune()["failures"][0]["code"] == "AccessDenied"
    assert world.mark(OTHER).stage == "REMOVING"


@pytest.mark.parametrize("operation", ["delete_objects", "list_object_versions"])
def test_a_call_that_fails_is_of_its_set_alone(world, operation):
    def is_of_other(request) -> bool:
        return OTHER in repr(request)

    world.refuse(operation, refusal("SlowDown", operation), when=is_of_other)
    result = world.prune()
    assert result["removed"] == [INCREMENT, FULL]
    assert [(each["backup_date"], each["code"]) for each in result["failures"]] == [(OTHER, "SlowDown")]
    world.mend()
    assert world.prune()["removed"] == [OTHER]


def test_every_call_to_the_bucket_that_is_made_here_names_its_owner(aws):
    world = PruningWorld(BACKUP_BUCKET_OWNER="123456789012")
    for date in (OTHER, NEWEST):
        world.put_set(date)
    seen = set()

    def before(name, request):
        if "Bucket" in request and not (name == "get_object" and request["Key"].endswith("manifest.json")):
            assert request["ExpectedBucketOwner"] == "123456789012", name
            seen.add(name)

    world.before = before
    world.prune()
    assert {"delete_object", "delete_objects", "list_object_versions", "list_objects_v2"} <= seen
