"""PLANNING by itself: exports in moto's S3, shards in moto's ledger, and a clock that runs out when a test says so."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
import msgspec
import pytest

from chalicelib.backup.export_files import md5_of
from chalicelib.restore.model import Job, Kind, LineKind, Link, Mode, Shard, Status, Table
from chalicelib.restore.phases import planner, planning
from chalicelib.restore.phases.planning import plan_table
from chalicelib.restore.records import RestoreRecords, shard_sk
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded
from sandbox.exports.incremental import Change, Delete, Insert, write_incremental_export
from sandbox.exports.writer import WrittenExport, write_export
from tests.functional.conftest import REGION

BUCKET = "tablevault-tests"
NOON_MS = 1_795_176_000_000
FOREVER_MS = 10**15


@dataclass
class Planner:
    """One table's planning. `links` is what PLANNING is given; `now_ms` moves by `call_ms` with every look at it."""

    s3: Any
    records: RestoreRecords
    now_ms: int = NOON_MS
    call_ms: int = 0
    links: list[Link] = field(default_factory=list)
    exports: list[WrittenExport] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    checkpoint: str | None = None

    def clock(self) -> int:
        self.now_ms += self.call_ms
        return self.now_ms

    def full(self, items: int, partitions: int = 4) -> None:
        self._add(
            write_export(
                self.s3,
                bucket=BUCKET,
                prefix="p/2026-11-20/orders",
                table_arn="arn",
                items=[{"id": {"S": f"i{number}"}} for number in range(items)],
                key_names=["id"],
                partitions=partitions,
            ),
            LineKind.ITEM,
        )

    def increment(self, items: int, partitions: int = 4) -> None:
        day = 20 + len(self.links)
        changes: list[Change] = [Insert({"id": {"S": f"n{number}"}}) for number in range(items - 1)]
        changes += [Delete({"id": {"S": "i1"}})]
        written = write_incremental_export(
            self.s3,
            bucket=BUCKET,
            prefix=f"p/2026-11-{day}/orders",
            table_arn="arn",
            records=changes,
            key_names=["id"],
            from_ms=NOON_MS,
            to_ms=NOON_MS + 1000,
            partitions=partitions,
        )
        self._add(written, LineKind.RECORD)

    def _add(self, written: WrittenExport, kind: LineKind) -> None:
        file_list = self.s3.get_object(Bucket=BUCKET, Key=written.files_key)["Body"].read()
        self.links.append(Link(written.files_key, md5_of(file_list), written.item_count, kind))
        self.exports.append(written)

    def plan(self, *, soft_stop_ms: int = FOREVER_MS, **job: Any) -> Answer:
        """One claim of the PLAN shard; a checkpoint that is saved or yielded is where the next one begins."""
        shard = Shard(
            sk=shard_sk(Kind.PLAN, 0, 0),
            kind=Kind.PLAN,
            source="orders",
            number=0,
            files=msgspec.json.encode(self.links).decode(),
            checkpoint=self.checkpoint,
        )

        def save(checkpoint: str) -> None:
            self.checkpoint = checkpoint
            self.saved.append(checkpoint)

        run = Invocation(soft_stop_ms, soft_stop_ms + 30_000, save)
        around = cast(Surroundings, _Around(self))
        answer = plan_table(around, run, _job(**job), self.table(), shard)
        self.checkpoint = answer.checkpoint or self.checkpoint
        return answer

    def table(self) -> Table:
        items = sum(link.item_count for link in self.links)
        return Table(source="orders", target="orders", number=0, item_count=items, definition_key="p/table.json")

    def planned(self, **job: Any) -> dict[str, Any]:
        """What a plan sets of its table when nothing stops it."""
        answer = self.plan(**job)
        assert isinstance(answer, Ended)
        assert [note.text for note in answer.notes] == []
        return dict(answer.table_set)

    def shards(self) -> list[Shard]:
        return list(self.records.shards("r-1", Kind.LOAD, 0))


class _Around:
    def __init__(self, planner: Planner) -> None:
        self.records, self.s3, self.clock = planner.records, planner.s3, planner.clock


def _job(**changes: Any) -> Job:
    job = Job(
        restore_id="r-1",
        status=Status.PLANNING,
        created_at_ms=NOON_MS,
        moved_at_ms=NOON_MS,
        bucket=BUCKET,
        exports_prefix="p",
        backup_date="2026-11-21",
        dry_run=False,
        clear_existing_data=False,
        safety_backup=False,
        max_workers=2,
        table_count=1,
        targets=["orders"],
        requested_by="tests",
    )
    return msgspec.structs.replace(job, **changes)


@pytest.fixture
def planning_of(ledger) -> Planner:
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Planner(s3, RestoreRecords(ledger))


def keys_of(shards: list[Shard]) -> list[str]:
    return sorted(file.key for shard in shards for file in shard.planned_files())


def test_a_full_export_is_planned_with_every_object_pinned(planning_of):
    planning_of.full(50, partitions=6)
    totals = planning_of.planned()
    shards = planning_of.shards()
    assert keys_of(shards) == sorted(file.key for file in planning_of.exports[0].files)
    assert {(shard.link, shard.line_kind) for shard in shards} == {(0, LineKind.ITEM)}
    recorded = {file.key: file for file in planning_of.exports[0].files}
    for file in (file for shard in shards for file in shard.planned_files()):
        stands = planning_of.s3.head_object(Bucket=BUCKET, Key=file.key)
        assert (file.etag, file.size_bytes) == (stands["ETag"].strip('"'), stands["ContentLength"])
        assert (file.item_count, file.content_check) == (recorded[file.key].item_count, False)
        assert (file.first_line, file.end_line, file.turn, file.turns) == (0, None, 0, 1)
    assert (totals["data_files"], totals["loading_total"], totals["link_ends"]) == (6, len(shards), [len(shards)])
    assert totals["checking_total"] == len(shards) + 1
    assert planning_of.saved == []  # one link: nothing to go on from but the beginning


def test_a_chain_is_numbered_on_link_by_link(planning_of):
    planning_of.full(50)
    planning_of.increment(5, partitions=3)
    planning_of.increment(9, partitions=2)
    totals = planning_of.planned()
    shards = planning_of.shards()
    assert [shard.number for shard in shards] == list(range(len(shards)))
    ends = totals["link_ends"]
    assert ends[-1] == totals["loading_total"] == len(shards)
    for link, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        of_link = shards[begin:end]
        assert keys_of(of_link) == sorted(file.key for file in planning_of.exports[link].files)
        kind = LineKind.RECORD if link else LineKind.ITEM
        assert {(shard.link, shard.line_kind) for shard in of_link} == {(link, kind)}
    assert totals["data_files"] == 9
    assert len(planning_of.saved) == 2


def test_a_chain_that_is_resolved_is_planned_once_per_turn_and_claimable_at_once(planning_of, monkeypatch):
    monkeypatch.setattr(planning, "turns_needed", lambda records: {14: 3}[records])
    planning_of.full(50)
    planning_of.increment(5)
    planning_of.increment(9)
    totals = planning_of.planned(mode=Mode.MISSING_ONLY)
    shards = planning_of.shards()
    assert totals["link_ends"] == [len(shards)]
    assert totals["data_files"] == 12
    turns = [{file.turn for file in shard.planned_files()} for shard in shards]
    assert turns == sorted(turns, key=min)  # so that a worker rarely needs another turn's index
    assert all(len(each) == 1 for each in turns)
    every = sorted(file.key for export in planning_of.exports for file in export.files)
    for turn in range(3):
        assert keys_of([shard for shard, own in zip(shards, turns, strict=True) if own == {turn}]) == every
    assert {file.turns for shard in shards for file in shard.planned_files()} == {3}


def test_asked_keys_of_a_chain_and_a_table_without_increments_need_one_turn(planning_of, monkeypatch):
    monkeypatch.setattr(planning, "turns_needed", lambda records: 3)
    planning_of.full(50)
    planning_of.planned(mode=Mode.CHANGED_ONLY)
    assert {file.turns for shard in planning_of.shards() for file in shard.planned_files()} == {1}
    planning_of.increment(5)
    assert planning_of.planned(key_count=2)["link_ends"] == [len(planning_of.shards())]
    assert {file.turns for shard in planning_of.shards() for file in shard.planned_files()} == {1}


def test_a_large_data_file_becomes_slices_that_cover_it(planning_of, monkeypatch):
    monkeypatch.setattr(planner, "SLICE_BYTES", 60)
    planning_of.full(40, partitions=1)
    totals = planning_of.planned()
    parts = sorted(
        (file for shard in planning_of.shards() for file in shard.planned_files()), key=lambda p: p.first_line
    )
    assert len(parts) > 2
    assert [part.first_line for part in parts[1:]] == [part.end_line for part in parts[:-1]]
    assert (parts[0].first_line, parts[-1].end_line) == (0, None)
    assert totals["data_files"] == 1


# --- cut off, and again ----------------------------------------------------------------------------------------------


def rows(shards: list[Shard]) -> list[bytes]:
    return [msgspec.json.encode(shard) for shard in shards]


def test_a_planner_that_runs_out_of_time_again_and_again_writes_the_same_plan(planning_of, monkeypatch):
    planning_of.full(400, partitions=60)
    planning_of.increment(30, partitions=30)
    monkeypatch.setattr(planner, "FILES_PER_SHARD", 1)
    expected, whole = planning_of.planned(max_workers=1000), rows(planning_of.shards())
    planning_of.records.drop_shards_from("r-1", Kind.LOAD, 0, 0)
    planning_of.checkpoint, planning_of.call_ms = None, 1_000
    answers: list[Answer] = []
    while not answers or isinstance(answers[-1], Yielded):
        answers.append(planning_of.plan(soft_stop_ms=planning_of.now_ms + 12_000, max_workers=1000))
    *yielded, ended = answers
    assert len(yielded) > 5
    assert all(isinstance(answer, Yielded) and answer.progressed for answer in yielded)
    assert isinstance(ended, Ended)
    assert dict(ended.table_set) == expected
    assert rows(planning_of.shards()) == whole


def test_what_the_bucket_changed_between_two_claims_is_planned_as_it_stands_now(planning_of, monkeypatch):
    planning_of.full(100, partitions=30)
    planning_of.call_ms = 1_000
    answer = planning_of.plan(soft_stop_ms=planning_of.now_ms + 12_000, max_workers=1000)
    assert isinstance(answer, Yielded)
    assert 0 < len(planning_of.shards()) < 30
    changed = planning_of.shards()[0].planned_files()[0].key
    body = planning_of.s3.get_object(Bucket=BUCKET, Key=changed)["Body"].read()
    planning_of.s3.put_object(Bucket=BUCKET, Key=changed, Body=body)  # in one part: another ETag
    planning_of.call_ms = 0
    planning_of.planned(max_workers=1000)
    planned = {file.key: file for shard in planning_of.shards() for file in shard.planned_files()}
    assert len(planned) == 30
    assert planned[changed].etag == hashlib.md5(body).hexdigest()
    assert [file.key for file in planned.values() if file.content_check] == [changed]


def test_a_planner_that_has_no_time_to_read_says_so_and_has_not_moved_on(planning_of):
    planning_of.full(10)
    planning_of.call_ms = 1_000
    answer = planning_of.plan(soft_stop_ms=planning_of.now_ms)
    assert isinstance(answer, Yielded)
    assert not answer.progressed
    assert "could not be listed in the time left" in str(answer.reason)
    assert planning_of.shards() == []


def test_shards_that_an_earlier_plan_had_beyond_this_one_are_gone(planning_of):
    planning_of.full(100, partitions=30)
    planning_of.planned(max_workers=1000)
    assert len(planning_of.shards()) == 30
    totals = planning_of.planned(max_workers=1)
    assert len(planning_of.shards()) == totals["loading_total"] < 10


# --- what is wrong with a link ---------------------------------------------------------------------------------------


def blockers(planning_of, **job: Any) -> list[str]:
    answer = planning_of.plan(**job)
    assert isinstance(answer, Ended)
    assert {note.level for note in answer.notes} == {"blocker"}
    return [note.text for note in answer.notes]


def test_a_link_whose_file_list_was_changed_is_named_and_nothing_is_planned(planning_of):
    planning_of.full(20)
    planning_of.increment(5)
    planning_of.increment(5)
    planning_of.planned()
    key = planning_of.links[1].manifest_files_key
    body = planning_of.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    planning_of.s3.put_object(Bucket=BUCKET, Key=key, Body=body.replace(b'"itemCount":1', b'"itemCount":2'))
    planning_of.s3.delete_object(Bucket=BUCKET, Key=planning_of.links[2].manifest_files_key)
    damaged, missing = blockers(planning_of)
    assert damaged.startswith("orders: backup set 2026-11-21: ")
    assert "it is damaged or was changed" in damaged
    assert missing.startswith("orders: backup set 2026-11-22: ")
    assert planning_of.shards() == []
    assert planning_of.checkpoint == planning.PlanState().encode()  # asked again, it begins at the beginning


def test_missing_data_files_of_an_increment_are_named_with_their_set(planning_of):
    planning_of.full(20)
    planning_of.increment(9)
    gone = planning_of.exports[1].files[2].key
    planning_of.s3.delete_object(Bucket=BUCKET, Key=gone)
    (text,) = blockers(planning_of)
    assert text.startswith(f"orders: 1 data files are missing from the bucket: {gone}; put them back")
    assert "2026-11-21" in text


def test_a_link_whose_counts_contradict_its_set_is_a_blocker(planning_of):
    planning_of.full(20)
    planning_of.increment(9)
    planning_of.links[1] = msgspec.structs.replace(planning_of.links[1], item_count=8)
    (text,) = blockers(planning_of)
    assert text == "orders: its file list in backup set 2026-11-21 counts 9 items, the manifest 8; neither is used"


def test_a_shard_whose_links_are_gone_is_never_an_empty_plan(planning_of):
    (text,) = blockers(planning_of)
    assert "no chain that can be restored" in text


def test_increments_without_their_full_export_are_not_planned(planning_of):
    planning_of.increment(5)
    (text,) = blockers(planning_of)
    assert "no chain that can be restored" in text
    assert planning_of.shards() == []


def test_increments_of_others_in_the_shared_folder_are_left_alone(planning_of):
    planning_of.full(20)
    planning_of.increment(9)
    folder = planning_of.exports[1].files[0].key.rpartition("/")[0]
    for number in range(30):
        planning_of.s3.put_object(Bucket=BUCKET, Key=f"{folder}/another{number}.json.gz", Body=b"x")
    planning_of.planned()
    assert not any("another" in key for key in keys_of(planning_of.shards()))


def test_objects_that_change_from_turn_to_turn_are_a_blocker(planning_of, monkeypatch):
    monkeypatch.setattr(planning, "turns_needed", lambda records: 2)
    planning_of.full(20)
    planning_of.increment(9)
    planning_of.plan(mode=Mode.MISSING_ONLY)
    state = planning.PlanState.decode(planning_of.saved[1])  # both links in their first turn
    assert (state.passes, len(state.digests)) == (2, 2)
    planning_of.checkpoint = planning_of.saved[1]
    planning_of.s3.put_object(Bucket=BUCKET, Key=planning_of.exports[0].files[0].key, Body=b"x" * 900)
    (text,) = blockers(planning_of, mode=Mode.MISSING_ONLY)
    assert "were changed while they were planned; ask again" in text
    assert planning_of.shards() == []


# --- the digest ------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_is_read_and_not_of_how_many_workers_read_it(planning_of):
    planning_of.full(50, partitions=12)
    planning_of.increment(9)
    digest = planning_of.planned(max_workers=1)["plan_digest"]
    assert len(digest) == 64
    assert planning_of.planned(max_workers=1000)["plan_digest"] == digest
    changed = planning_of.exports[1].files[0].key
    body = planning_of.s3.get_object(Bucket=BUCKET, Key=changed)["Body"].read()
    planning_of.s3.put_object(Bucket=BUCKET, Key=changed, Body=body)
    assert planning_of.planned()["plan_digest"] != digest
