"""Defects in what a restore does with items: modes, keys, chains, new tables, reading back, limits."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import msgspec

from chalicelib.restore import claims, decision, worker
from chalicelib.restore.datapath import changed_only, missing_only
from chalicelib.restore.datapath.chain_index import ChainIndex
from chalicelib.restore.model import Job, Shard, Table
from chalicelib.restore.phases import creating, finishing, planner
from chalicelib.restore.phases.passage import Passage
from chalicelib.restore.phases.selection import Selection
from chalicelib.restore.work import Answer, Invocation, Surroundings
from tests.simulation.mutations.mutation import mutation


@mutation("chain-in-turn", "chain-in-turns")
def the_order_of_links_ignored() -> Iterator[None]:
    with patch.object(Table, "claimable_shards", property(lambda self: self.loading_total)):
        yield


@mutation("chain-retried-after-damage")
def a_later_link_begun_after_a_failure() -> Iterator[None]:
    """A shard that failed counts as loaded: the next link is begun, and waited for."""

    def next_end(self: Table) -> int:
        return next((end for end in self.link_ends if end > self.loading_ended), self.loading_total)

    with (
        patch.object(Table, "claimable_shards", property(next_end)),
        patch.object(Table, "loading_due", property(lambda self: self.loading_total)),
    ):
        yield


@mutation("missing-only", "chain-missing-only")
def the_condition_dropped_from_missing_only() -> Iterator[None]:
    always = "attribute_not_exists(#hash) OR attribute_exists(#hash)"
    with patch.object(missing_only, "_CONDITION", always):
        yield


@mutation("chain-changed-only", "chain-missing-only", "chain-keys")
def a_chain_index_one_link_behind() -> Iterator[None]:
    last_link = ChainIndex.last_link

    with patch.object(ChainIndex, "last_link", lambda self, digest: max(0, last_link(self, digest) - 1)):
        yield


@mutation("chain-changed-only", "chain-in-turns")
def an_index_of_another_turn() -> Iterator[None]:
    """What was made for the first turn is kept for all of them."""
    build = Selection._index

    with patch.object(Selection, "_index", lambda self, turn, turns: build(self, 0, turns)):
        yield


@mutation("changed-only", "chain-changed-only")
def everything_taken_for_unchanged() -> Iterator[None]:
    with patch.object(changed_only, "is_same_item", lambda one, other: True):
        yield


@mutation("keys", "chain-keys")
def found_keys_lost_when_a_worker_stops() -> Iterator[None]:
    """Only those count that the last worker has seen itself."""
    init = Passage.__init__

    def forgetful(self: Passage, *where: Any, **what: Any) -> None:
        init(self, *where, **what)
        self._found = [set() for _ in self._found]

    with patch.object(Passage, "__init__", forgetful):
        yield


@mutation("verified", "chain-in-turns", "chain-in-turn")
def a_comparison_written_over_the_loading() -> Iterator[None]:
    """COMPARING keeps its checkpoint where LOADING has its own, which the proof is made of."""
    with patch.object(claims, "_checkpoint_of", lambda phase: "checkpoint"):
        yield


@mutation("verified")
def differences_not_counted() -> Iterator[None]:
    outcome = decision._is_whole

    def generous(job: Job, table: Table) -> bool:
        return outcome(job, msgspec.structs.replace(table, differing=0))

    with patch.object(decision, "_is_whole", generous):
        yield


@mutation("create-taken")
def a_table_of_others_taken_for_ours() -> Iterator[None]:
    owner = creating._owner

    def anybody(dynamodb: Any, table_arn: str) -> str:
        return owner(dynamodb, table_arn) or _Anybody()

    with patch.object(creating, "_owner", anybody):
        yield


class _Anybody(str):
    """Equal to every restore's id."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


@mutation("create-missing")
def every_target_finished() -> Iterator[None]:
    """Also one that stood there before."""
    finish = finishing.finish_target

    def careless(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
        return finish(around, run, job, msgspec.structs.replace(table, is_new=True), shard)

    with patch.object(finishing, "finish_target", careless):
        yield


@mutation("write-units")
def a_share_of_write_units_for_each_worker_alone() -> Iterator[None]:
    def all_of_it(self: Any, job: Job, table: Table, claim: Any) -> float | None:
        return job.max_write_units

    with patch.object(worker._Run, "_share_of_write_units", all_of_it):
        yield


@mutation("plan-digest")
def a_plan_digest_not_looked_at() -> Iterator[None]:
    after = decision._after_checking

    def blind(job: Job, tables: Any) -> Any:
        return after(msgspec.structs.replace(job, plan_digest=None), tables)

    with patch.object(decision, "_after_checking", blind):
        yield


@mutation("slices")
def slices_that_leave_a_line_between_them() -> Iterator[None]:
    slices_of = planner.slices_of

    def short(file: Any) -> list[Any]:
        return [
            msgspec.structs.replace(part, end_line=part.end_line - 1) if part.end_line else part
            for part in slices_of(file)
        ]

    with patch.object(planner, "slices_of", short):
        yield


@mutation("missing-only", "chain-missing-only", "resumed-twice")
def a_put_in_doubt_taken_for_exact() -> Iterator[None]:
    """The split of the counts is called exact although a put's answer was lost."""
    writer = missing_only.MissingOnlyWriter
    with patch.object(writer, "is_approximate", property(lambda self: False)):
        yield


@mutation("chain-in-turn", "chain-in-turns", "slices", "verified")
def writes_of_a_link_not_waited_for() -> Iterator[None]:
    """As writes without an answer are: the next link begins while one of the last may still take effect."""
    with patch.object(worker._Run, "_all_is_answered", lambda self: True):
        yield
