"""VERIFYING by itself: shards as loading leaves them in moto's ledger, the proof in moto's S3."""

import json
from dataclasses import dataclass, field
from typing import Any, cast

import boto3
import msgspec
import pytest

from chalicelib.restore.model import FileCheckpoint, Job, Kind, PlannedFile, Shard, Stage, Status, Table
from chalicelib.restore.phases import verifying
from chalicelib.restore.phases.verifying import verify_table
from chalicelib.restore.records import RestoreRecords, shard_sk
from chalicelib.restore.work import Ended, Invocation, Surroundings
from tests.functional.conftest import REGION

BUCKET = "tablevault-tests"
JOB = Job(
    restore_id="r-1",
    status=Status.VERIFYING,
    created_at_ms=0,
    moved_at_ms=0,
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


@dataclass
class Loaded:
    """A table as loading left it."""

    s3: Any
    records: RestoreRecords
    shards: list[Shard] = field(default_factory=list)

    def shard(self, *parts: tuple[PlannedFile, FileCheckpoint], **changes: Any) -> None:
        number = len(self.shards)
        shard = Shard(
            sk=shard_sk(Kind.LOAD, 0, number),
            kind=Kind.LOAD,
            source="orders",
            number=number,
            stage=Stage.DONE,
            files=msgspec.json.encode([part for part, _ in parts]).decode(),
            checkpoint=msgspec.json.encode([checkpoint for _, checkpoint in parts]).decode(),
        )
        self.shards.append(msgspec.structs.replace(shard, **changes))

    def verify(self) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
        """What the table's row is told, and the lines in the bucket by their data files."""
        self.records.put_shards(JOB, self.shards)
        table = Table(source="orders", target="orders", number=0, item_count=0, definition_key="d")
        shard = Shard(sk=shard_sk(Kind.VERIFY, 0, 0), kind=Kind.VERIFY, source="orders", number=0)
        run = Invocation(10**15, 10**15, lambda checkpoint: None)
        answer = verify_table(cast(Surroundings, self), run, JOB, table, shard)
        assert isinstance(answer, Ended)
        body = self.s3.get_object(Bucket=BUCKET, Key="restores/r-1/data-files/orders.jsonl")["Body"].read()
        lines = [json.loads(line) for line in body.split(b"\n")[:-1]]
        assert len({line["data_file"] for line in lines}) == len(lines)
        return dict(answer.table_set), {line["data_file"]: line for line in lines}


@pytest.fixture
def loaded(ledger) -> Loaded:
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Loaded(s3, RestoreRecords(ledger))


def file(key: str = "a", items: int = 10, **part: Any) -> PlannedFile:
    return PlannedFile(key, "etag", 100, "md5", items, False, **part)


def done(**counts: Any) -> FileCheckpoint:
    return FileCheckpoint(verified=True, **counts)


def test_a_file_is_balanced_when_every_line_of_it_is_accounted_for(loaded):
    loaded.shard((file("a"), done(written=7, rejected=2, filtered=1)), (file("b"), done(written=9)))
    loaded.shard((file("c"), FileCheckpoint(written=10)), (file("empty", 0), done()))
    totals, lines = loaded.verify()
    assert totals == {"balanced": 2, "unbalanced": 2}
    assert {key: line["balanced"] for key, line in lines.items()} == {"a": True, "b": False, "c": False, "empty": True}
    assert lines["a"] == {
        "data_file": "a",
        "link": 0,
        "item_count": 10,
        "balanced": True,
        "written": 7,
        "unchanged": 0,
        "skipped": 0,
        "deleted": 0,
        "rejected": 2,
        "filtered": 1,
        "failure": None,
    }


@pytest.mark.parametrize(
    ("stage", "balanced"),
    [(Stage.DONE, 1), (Stage.COMPARED, 1), (Stage.NOT_COMPARED, 1), (Stage.CHECKED, 0), (Stage.FAILED, 0)],
)
def test_only_what_was_loaded_is_balanced_whatever_its_counts(loaded, stage, balanced):
    loaded.shard((file(), done(written=10)), stage=stage, reason="why" if stage is Stage.FAILED else None)
    totals, lines = loaded.verify()
    assert totals == {"balanced": balanced, "unbalanced": 1 - balanced}
    assert lines["a"]["failure"] == ("why" if stage is Stage.FAILED else None)


def test_slices_of_a_file_are_one_result(loaded):
    loaded.shard((file(first_line=6), done(written=4)), (file("b"), done(written=10)))
    loaded.shard((file(end_line=3), done(written=2, rejected=1)))
    loaded.shard((file(first_line=3, end_line=6), done(skipped=3)))
    totals, lines = loaded.verify()
    assert totals == {"balanced": 2, "unbalanced": 0}
    counts = [lines["a"][name] for name in ("item_count", "written", "rejected", "skipped")]
    assert counts == [10, 6, 1, 3]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_slice_that_is_missing_or_failed_makes_its_file_unbalanced(loaded, lost):
    ranges = [(0, 3), (3, 6), (6, None)]
    for number, (begin, end) in enumerate(ranges):
        if number != lost:
            loaded.shard((file(first_line=begin, end_line=end), done(written=(end or 10) - begin)))
    totals, _ = loaded.verify()
    assert totals == {"balanced": 0, "unbalanced": 1}
    begin, end = ranges[lost]
    loaded.shard(
        (file(first_line=begin, end_line=end), done(written=(end or 10) - begin)), stage=Stage.FAILED, reason="why"
    )
    totals, lines = loaded.verify()
    assert totals == {"balanced": 0, "unbalanced": 1}
    assert lines["a"]["failure"] == "why"


def test_a_slice_does_not_make_up_for_what_another_one_lacks(loaded):
    loaded.shard((file(end_line=5), done(written=6)))
    loaded.shard((file(first_line=5), done(written=4)))
    assert loaded.verify()[0] == {"balanced": 0, "unbalanced": 1}


def test_turns_of_a_file_are_one_result_and_count_each_line_once(loaded):
    for turn, (written, elsewhere) in enumerate([(3, 7), (6, 4), (1, 9)]):
        counts = done(written=written, elsewhere=elsewhere)
        parts = (file(turn=turn, turns=3), counts), (file("empty", 0, turn=turn, turns=3), done())
        loaded.shard(*parts, link=1)
    totals, lines = loaded.verify()
    assert totals == {"balanced": 2, "unbalanced": 0}
    assert (lines["a"]["written"], lines["a"]["link"]) == (10, 1)


def test_a_turn_that_is_missing_makes_even_an_empty_file_unbalanced(loaded):
    loaded.shard((file("empty", 0, turns=2), done()), (file("a", turns=2), done(written=10)))
    assert loaded.verify()[0] == {"balanced": 0, "unbalanced": 2}


@pytest.mark.parametrize("written", [(10, 10), (4, 4), (0, 0)])
def test_lines_that_no_turn_or_more_than_one_took_are_not_balanced(loaded, written):
    for turn, count in enumerate(written):
        loaded.shard((file(turn=turn, turns=2), done(written=count, elsewhere=10 - count)))
    assert loaded.verify()[0] == {"balanced": 0, "unbalanced": 1}


def test_the_proof_of_many_files_goes_over_a_file_on_disk(loaded, monkeypatch):
    monkeypatch.setattr(verifying, "_HELD_BYTES", 1_000)
    for number in range(0, 100, 5):
        loaded.shard(*((file(f"data/{each}"), done(written=10)) for each in range(number, number + 5)))
    totals, lines = loaded.verify()
    assert totals == {"balanced": 100, "unbalanced": 0}
    assert set(lines) == {f"data/{number}" for number in range(100)}
