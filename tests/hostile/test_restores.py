"""Restores from a bucket somebody else wrote to, end to end: refused with a reason, and nothing touched, not even read,
outside of the set."""

import gzip
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import pytest

from chalicelib.api.problems import problem
from chalicelib.backup.export_files import md5_of
from chalicelib.backup.manifest import LARGEST_MANIFEST_BYTES
from chalicelib.backup.reading import latest_manifest, read_manifest
from chalicelib.errors import ManifestInvalid, NotFound
from chalicelib.restore.phases import pinning
from tests.functional.restore.world import BUCKET, DATE, PREFIX, numbered
from tests.hostile.properties import assert_showable

MANIFEST = f"{PREFIX}/{DATE}/manifest.json"
ORDERS = f"{PREFIX}/{DATE}/orders/"
SECRET = "the-customer's-secret"
Document = dict[str, Any]


@pytest.fixture
def prepared(world):
    world.create_table("orders")
    world.put("orders", numbered(3))
    world.export = world.back_up({"orders": numbered(40, secret={"S": SECRET})}, partitions=2)["orders"]
    return world


def read(world, key: str) -> bytes:
    return bytes(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())


def tamper_manifest(world, change: Callable[[Document], None]) -> None:
    document = json.loads(read(world, MANIFEST))
    change(document)
    world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=json.dumps(document))


def tamper_file_list(world, change: Callable[[list[Document]], list[Document]]) -> None:
    """Its MD5 in the manifest fits again: the attacker writes both."""
    entries = [json.loads(line) for line in read(world, world.export.files_key).splitlines()]
    content = b"".join(json.dumps(entry).encode() + b"\n" for entry in change(entries))
    world.s3.put_object(Bucket=BUCKET, Key=world.export.files_key, Body=content)
    tamper_manifest(world, lambda document: document["tables"][0].update(manifest_files_md5=md5_of(content)))


class Calls:
    """Every call to S3 from now on, paginated ones too: its name and the key or prefix it asks for."""

    def __init__(self, client: Any) -> None:
        self.made: list[tuple[str, str, str]] = []
        client.meta.events.register_first("before-parameter-build.s3", self._note)

    def _note(self, params: Document, model: Any, **_: Any) -> None:
        self.made.append((model.name, params["Bucket"], str(params.get("Key", params.get("Prefix", "")))))

    def reads_outside(self, *places: str) -> list[tuple[str, str, str]]:
        return [call for call in self.made if call[1] != BUCKET or not call[2].startswith(places)]


def assert_refused_untouched(world, restore, caplog) -> None:
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    assert restore["blockers"]
    for text in restore["blockers"]:
        assert_showable(text)
        assert SECRET not in text
    assert world.items("orders") == numbered(3)
    assert world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []
    assert world.locks() == world.open_work() == []
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps([vars(record) for record in caplog.records], default=str)


# --- the manifest -----------------------------------------------------------------------------------------------------

BELOW = f"{PREFIX}/{DATE}/orders/AWSDynamoDB/01795222820000-0123abcd"


def foreign_keys(key: str) -> list[str]:
    """Beside what is wrong with any key, the right one changed a little."""
    folder, name = key.rsplit("/", 1)
    parent, last = folder.rsplit("/", 1)
    changed = [
        f"{key}\n", f"{key}\x00", f"{key}/", f"{key}/{name}", f"/{key}", f"{folder}//{name}", f"{folder}/./{name}",
        f"{folder}/../{last}/{name}", f"{parent}//{last}/{name}", f"{folder}\r\n/{name}", f"{folder}-evil/{name}",
        f"{parent}/%2e%2e/{name}", f"{parent}/../{name}", f"{parent}/./{name}", f"{parent}/..\\x/{name}",
        f"{parent}/\uff0e\uff0e/{name}", f"{parent}/{'1' * 1_100}/{name}", f"s3://other-bucket/{key}", key.upper(),
        key.replace("orders", "orders-evil"), key.replace("orders", "\u043erders"), key.replace(DATE, "2026-11-20"),
        f"{key[:-1]}\u043d",
    ]  # fmt: skip
    return [*FOREIGN_KEYS, *changed]


FOREIGN_KEYS = [
    "elsewhere/manifest-files.json",
    f"{PREFIX}/{DATE}/orders/../users/AWSDynamoDB/01795222820000-0123abcd/manifest-files.json",
    f"arn:aws:s3:::other-bucket/{BELOW}/manifest-files.json",
    f"{BELOW}/manifest-files.json",
    f"{BELOW}/manifest-summary.json/manifest-files.json",
    MANIFEST,
    ORDERS,
    "",
]


def set_in_table(name: str, value: Any, document: Document) -> None:
    document["tables"][0][name] = value


@pytest.mark.parametrize("name", ["manifest_files_key", "manifest_summary_key", "definition_key"])
def test_a_manifest_that_points_elsewhere_is_refused_before_anything_is_read(prepared, name):
    world = prepared
    for key in foreign_keys(json.loads(read(world, MANIFEST))["tables"][0][name]):
        tamper_manifest(world, partial(set_in_table, name, key))
        calls = Calls(world.s3)
        with pytest.raises(ManifestInvalid, match="outside of") as raised:
            world.ask(backup_date=DATE, clear_existing_data=True)
        assert_showable(raised.value.message)
        assert set(calls.made) == {("GetObject", BUCKET, MANIFEST)}, key
    assert world.locks() == world.open_work() == world.messages() == []


LIES: list[tuple[str, Any, str]] = [
    ("table_name", "../users", "cannot be a table's name"),
    ("table_name", "orders\n", "cannot be a table's name"),
    ("table_name", "o" * 256, "cannot be a table's name"),
    ("table_name", "orders#LOCK", "cannot be a table's name"),
    ("table_name", "\u043erders", "cannot be a table's name"),
    ("table_name", "users", "outside of"),
    ("item_count", -1, "item_count"),
    ("item_count", 2**63, "item_count"),
    ("item_count", 40.0, "item_count"),
    ("item_count", True, "item_count"),
    ("item_count", 41, "total_items_exported is 40, its tables make 41"),
    ("manifest_files_md5", None, "has no MD5"),
    ("manifest_files_md5", "x" * 24, "has no MD5"),
    ("export_type", "INCREMENTAL", "Invalid enum value"),
    ("export_format", "CSV", "in CSV"),
    ("status", "\x1b[2J" * 1_000, "Invalid enum value"),
]


def test_a_manifest_that_lies_about_a_table_is_a_problem_of_the_request(prepared):
    world = prepared
    manifest = read(world, MANIFEST)
    for name, value, reason in LIES:
        world.s3.put_object(Bucket=BUCKET, Key=MANIFEST, Body=manifest)
        tamper_manifest(world, partial(set_in_table, name, value))
        with pytest.raises(ManifestInvalid) as raised:
            world.ask(backup_date=DATE)
        assert reason in raised.value.message
        assert_showable(raised.value.message)
        answer = problem(raised.value)
        assert (answer.status_code, json.loads(answer.body)["code"]) == (409, "manifest_invalid")
        with pytest.raises(ManifestInvalid):  # and `latest` does not silently bring back an older state
            world.ask()
    assert world.locks() == world.open_work() == []


def test_a_manifest_of_gigabytes_is_not_read_to_its_end(prepared):
    """Its size is known from reading it only: what S3 says may be anything."""
    read_bytes = []

    class Endless:
        def read(self, amount: int) -> bytes:
            read_bytes.append(min(amount, 1_000_000))
            return b" " * read_bytes[-1]

        def close(self) -> None:
            read_bytes.append(0)

    class Endlessly:
        def get_object(self, **_: Any) -> Document:
            return {"Body": Endless(), "ETag": '"e"', "ContentLength": 5}

    with pytest.raises(ManifestInvalid, match=f"more than {LARGEST_MANIFEST_BYTES} bytes"):
        read_manifest(Endlessly(), BUCKET, PREFIX, DATE)
    assert read_bytes[-1] == 0
    assert sum(read_bytes) <= LARGEST_MANIFEST_BYTES + 1


def test_a_manifest_with_too_many_tables_is_refused(prepared):
    table = {"table_name": "abc", "status": "FAILED"}
    tamper_manifest(prepared, lambda document: document.update(tables=[table] * 10_001))
    with pytest.raises(ManifestInvalid, match="length <= 10000"):
        prepared.ask(backup_date=DATE)


def test_sets_without_end_do_not_hold_up_who_asks_for_the_latest(prepared, monkeypatch):
    monkeypatch.setattr("chalicelib.backup.reading._MOST_LOOKED_AT", 3)
    for day in range(1, 6):
        prepared.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/9999-12-{day:02d}/x", Body=b"")
    calls = Calls(prepared.s3)
    with pytest.raises(NotFound, match="of the newest 3 backups none holds"):
        latest_manifest(prepared.s3, BUCKET, PREFIX, None)
    assert [name for name, _, _ in calls.made].count("GetObject") == 3


# --- what the manifest names ------------------------------------------------------------------------------------------


def other_definition(world, **changes: Any) -> bytes:
    return json.dumps({**json.loads(read(world, f"{ORDERS}table.json")), **changes}).encode()


DEFINITIONS = {
    "huge": (lambda world: b" " * 1_048_577 + b"{}", "more than 1048576 bytes"),
    "deep": (lambda world: b'{"tags":' + b"[" * 100_000, "is not a table definition"),
    "empty": (lambda world: b"", "is not a table definition"),
    "another table's": (lambda world: other_definition(world, table_name="users"), "of another table, users"),
    "no name": (lambda world: other_definition(world, table_name="\n" * 9_000), "cannot be a table's name"),
    "three keys": (lambda world: other_definition(world, keys=[{"attribute_name": "id", "key_type": "HASH"}] * 3),
                   "keys that no table can have"),
    "an untyped key": (lambda world: other_definition(world, attributes=[]), "keys that no table can have"),
    "a key twice": (lambda world: other_definition(world, keys=[
        {"attribute_name": "id", "key_type": role} for role in ("HASH", "RANGE")]), "keys that no table can have"),
    "a control character": (lambda world: other_definition(
        world, keys=[{"attribute_name": "\x1b[2J\n", "key_type": "HASH"}],
        attributes=[{"attribute_name": "\x1b[2J\n", "attribute_type": "S"}]), r"'\x1b[2J\n' (S, HASH)"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), DEFINITIONS.values(), ids=DEFINITIONS)
def test_a_hostile_definition_is_a_blocker(prepared, caplog, content, reason):
    world = prepared
    world.s3.put_object(Bucket=BUCKET, Key=f"{ORDERS}table.json", Body=content(world))
    restore = world.restore(clear_existing_data=True)
    assert_refused_untouched(world, restore, caplog)
    assert reason in restore["blockers"][0]


def entry_of(entries: list[Document]) -> Document:
    return next(entry for entry in entries if entry["itemCount"])


FILE_LISTS: dict[str, tuple[Callable[[list[Document]], list[Document]], str]] = {
    "another table": (lambda all_: [*all_, {**all_[0],
                                           "dataFileS3Key": f"{BELOW.replace('orders', 'users')}/data/a.json.gz"}],
                      "outside of"),
    "another bucket": (lambda all_: [*all_, {**all_[0], "dataFileS3Key": "s3://other/a.json.gz"}], "outside of"),
    "a file twice": (lambda all_: [*all_, entry_of(all_)], "a second time"),
    "a file too few": (lambda all_: [each for each in all_ if each is not entry_of(all_)], "the manifest 40"),
    "none": (lambda all_: [], "counts 0 items"),
    "a missing file": (lambda all_: [*all_, {**all_[0], "itemCount": 0, "dataFileS3Key": all_[0]["dataFileS3Key"]
                                            .replace(".json", "x.json")}], "missing from the bucket"),
    "too many items": (lambda all_: [{**each, "itemCount": 2**50} for each in all_], "cannot hold"),
    "a negative count": (lambda all_: [{**each, "itemCount": -1} for each in all_], "is no data file's record"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), FILE_LISTS.values(), ids=FILE_LISTS)
def test_a_hostile_file_list_is_a_blocker_and_followed_nowhere(prepared, caplog, change, reason):
    world = prepared
    tamper_file_list(world, change)
    calls = Calls(world.s3)
    restore = world.restore(backup_date=DATE, clear_existing_data=True)
    assert_refused_untouched(world, restore, caplog)
    assert any(reason in text for text in restore["blockers"])
    assert calls.reads_outside(MANIFEST, ORDERS, f"restores/{restore['restore_id']}/") == []
    assert {key for name, _, key in calls.made if name == "GetObject"} <= {
        MANIFEST, world.export.files_key, f"{ORDERS}table.json", *(file.key for file in world.export.files)
    }  # fmt: skip


def test_a_folder_full_of_strangers_is_a_blocker(prepared, caplog, monkeypatch):
    monkeypatch.setattr(pinning, "_MOST_STRANGERS", 2)
    folder = prepared.export.files_key.rsplit("/", 1)[0]
    for number in range(3):
        prepared.s3.put_object(Bucket=BUCKET, Key=f"{folder}/data/stranger-{number}", Body=b"")
    restore = prepared.restore(clear_existing_data=True)
    assert_refused_untouched(prepared, restore, caplog)
    assert "that its export did not write" in restore["blockers"][0]


# --- data files -------------------------------------------------------------------------------------------------------


def replace_data(world, change: Callable[[bytes], bytes], *, extra_items: int = 0) -> None:
    """A data file with other lines, and a file list and a manifest that fit: no checksum tells."""
    key = next(file.key for file in world.export.files if file.item_count)
    body = gzip.compress(change(gzip.decompress(read(world, key))))
    etag = world.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')

    def fitted(entries: list[Document]) -> list[Document]:
        for entry in entries:
            if entry["dataFileS3Key"] == key:
                entry.update(etag=etag, md5Checksum=md5_of(body), itemCount=entry["itemCount"] + extra_items)
        return entries

    tamper_file_list(world, fitted)
    tamper_manifest(world, lambda document: add_items(document, extra_items))


def add_items(document: Document, count: int) -> None:
    document["tables"][0]["item_count"] += count
    document["total_items_exported"] += count


SMUGGLE = (
    b'{"Item":{"id":{"S":"%s"}}}},{"DeleteRequest":{"Key":{"id":{"S":"item-00001"}}}},{"PutRequest":{"Item":{"id":{"S":"x"}}}'
    % SECRET.encode()
)


def test_smuggled_requests_are_rejected_lines_and_nothing_else(prepared, caplog):
    caplog.set_level(logging.DEBUG, "tablevault")
    world = prepared
    replace_data(world, lambda text: SMUGGLE + b"\n" + text + SMUGGLE + b"\n", extra_items=2)
    restore = world.restore()
    assert (restore["status"], restore["status_code"]) == ("PARTIAL", 207)
    (table,) = restore["tables"]
    assert (table["written"], table["rejected"]) == (40, 2)
    assert len(world.items("orders")) == 40
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps({name: restore[name] for name in ("blockers", "warnings", "failures")})


def test_a_dry_run_tells_smuggled_requests_beforehand(prepared):
    replace_data(prepared, lambda text: text + SMUGGLE + b"\n", extra_items=1)
    restore = prepared.restore(dry_run=True)
    assert "1 lines are no items and will be rejected" in restore["warnings"][0]
    assert SECRET not in restore["warnings"][0]


def test_a_bomb_in_a_changed_file_is_found_before_anything_is_cleared(prepared, caplog):
    key = next(file.key for file in prepared.export.files if file.item_count)
    prepared.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(b"\n" * 30_000_000))
    restore = prepared.restore(clear_existing_data=True)
    assert_refused_untouched(prepared, restore, caplog)
    assert "more lines than the manifest says" in restore["blockers"][0]


def test_what_stands_in_the_recorded_bucket_is_never_asked_for(prepared):
    """Its name is where the set was made; a copy is restored from where it is."""
    other = boto3.client("s3").create_bucket(
        Bucket="other-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    assert other["Location"]
    tamper_manifest(prepared, lambda document: document.update(s3_bucket="other-bucket", manifest_s3_key="x/y"))
    calls = Calls(prepared.s3)
    assert prepared.restore(backup_date=DATE)["status"] == "COMPLETED"
    assert {bucket for _, bucket, _ in calls.made} == {BUCKET}
