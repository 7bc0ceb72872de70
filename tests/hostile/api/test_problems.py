"""A hostile set is a problem document that says what is wrong with the set, never a failure inside."""

import json

import pytest

from tests.functional.api.gateway import assert_problem
from tests.functional.restore.world import BUCKET, DATE, PREFIX
from tests.hostile.properties import assert_showable

MANIFEST = f"{PREFIX}/{DATE}/manifest.json"
REQUESTS = [
    ("POST", "/restores", {"backup_date": DATE}),
    ("POST", "/restores", {"backup_date": DATE, "dry_run": True, "tables": ["orders"]}),
    ("POST", "/restores", {}),
    ("GET", f"/backups/{DATE}", None),
]
CONTENTS = {
    "empty": b"",
    "deep": b"[" * 100_000,
    "large": b" " * (16 * 1024 * 1024 + 1),
    "not UTF-8": b'{"schema_version":1,"backup_date":"\xff"}',
    "half a pair": b'{"schema_version":1,"backup_date":"\\ud800"}',
    "a number without end": b'{"schema_version":' + b"9" * 100_000 + b"}",
    "newer": b'{"schema_version":4611686018427387904}',
}
CHANGES = {
    "a key elsewhere": {"manifest_files_key": f"{PREFIX}/{DATE}/users/AWSDynamoDB/1/manifest-files.json"},
    "a table that is none": {"table_name": "../\x1b[2J\n" * 500},
    "a count that is none": {"item_count": 1e300},
    "another format": {"export_format": "ION\n" * 5_000},
}


def assert_refused(api) -> None:
    for method, path, body in REQUESTS:
        answer = api.call(method, path, body)
        assert_problem(answer, 409, "manifest_invalid")
        assert_showable(answer.body["detail"])
    assert api.world.locks() == api.world.open_work() == []


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_manifest_is_a_problem_of_the_set(api, content):
    api.world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=content)
    assert_refused(api)


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_manifest_that_lies_is_a_problem_of_the_set(api, changes):
    manifest = json.loads(api.world.s3.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read())
    manifest["tables"][0].update(changes)
    api.world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=json.dumps(manifest))
    assert_refused(api)


@pytest.mark.usefixtures("backed_up")
def test_an_archived_manifest_is_a_problem_of_the_set(api):
    content = api.world.s3.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read()
    api.world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=content, StorageClass="GLACIER")
    assert_refused(api)
