"""Chains link by link: no line of a later export before every line of the earlier ones, whoever dies where."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.restore.datapath import chain_index
from chalicelib.restore.model import Kind, Stage, Status
from sandbox.exports.incremental import Delete, Insert, Update
from tests.functional.restore.faults import Killed, client_error, counts, is_to_target, quiet, status_of
from tests.functional.restore.world import BUCKET, World
from tests.thorough import thorough

BASE, FIRST, SECOND, LAST = "2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24"
COUNT = 40


def image(number: int, link: int) -> dict[str, Any]:
    """What an item was when this link was exported: writes can be told apart by their link."""
    return {"id": {"S": f"item-{number:05d}"}, "link": {"N": str(link)}}


class Chain:
    """Forty items, and three increments: 0 is changed each time, 1 removed and again there, 2 there and removed again,
    3 removed, 4 inserted and changed, 5 removed, made again, and removed. `expected`: the table at the end."""

    def __init__(self, world: World, partitions: int = 2) -> None:
        world.create_table("orders")
        live = dict.fromkeys(range(COUNT), 0)
        full = [image(number, 0) for number in live]
        self.exports = [world.back_up({"orders": full}, partitions=partitions)["orders"]]
        steps: list[tuple[str, dict[int, str]]] = [
            (FIRST, {0: "put", 1: "delete", 100: "put", 3: "delete", 5: "delete", 101: "put"}),
            (SECOND, {0: "put", 1: "put", 100: "delete", 101: "put", 5: "put", 102: "put"}),
            (LAST, {0: "put", 5: "delete", 103: "put", 102: "delete"}),
        ]
        base = BASE
        for link, (date, step) in enumerate(steps, start=1):
            changes: list[Any] = []
            for number, what in step.items():
                before = live.get(number)
                if what == "delete":
                    changes.append(Delete(image(number, live.pop(number))))
                elif before is None:
                    changes.append(Insert(image(number, link)))
                    live[number] = link
                else:
                    changes.append(Update(image(number, before), image(number, link)))
                    live[number] = link
            more = world.back_up_increment(date, {"orders": changes}, base=base, partitions=partitions)
            self.exports.append(more["orders"])
            base = date
        self.expected = sorted((image(number, link) for number, link in live.items()), key=repr)

        self.counts = {"written": 50, "deleted": 6}


class Order:
    """Watches every write to `orders`: those of a link only once all shards of the earlier links have ended."""

    def __init__(self, world: World, restore_id: str, more: Callable[[str, dict[str, Any]], None] = quiet) -> None:
        self.links: list[int] = []
        self._world = world
        self._restore_id = restore_id
        self._more = more
        world.hook = self

    def __call__(self, name: str, request: dict[str, Any]) -> None:
        if is_to_target(name, request) and status_of(self._world, self._restore_id) is Status.LOADING:
            self._look(request["RequestItems"]["orders"])
        self._more(name, request)

    def _look(self, writes: list[dict[str, Any]]) -> None:
        (table,) = self._world.services.records.tables(self._restore_id)
        now = next(link for link, end in enumerate(table.link_ends) if end > table.loading_ended)
        self.links.append(now)
        for write in writes:
            if "PutRequest" in write:
                assert int(write["PutRequest"]["Item"]["link"]["N"]) == now


def settle_after_kills(world: World, restore_id: str) -> dict[str, Any]:
    for _ in range(60):
        for record in world.messages():
            try:
                world.work(record)
            except Killed:
                world.services = world.new_process()
        restore = world.services.desk.describe(restore_id)
        if not world.open_work():
            return restore
        world.tick(2)
    raise AssertionError(f"does not converge: {restore}")


def test_many_workers_keep_to_the_order_of_the_links(world):
    """While one worker's write is under way, all others look for work: they find none of a later link."""
    chain = Chain(world, partitions=4)
    restore_id = world.ask(max_workers=4, verify="full")
    depth = [0]

    def others_work_meanwhile(name, request):
        if not is_to_target(name, request) or depth[0] > 3:
            return
        depth[0] += 1
        for record in world.messages():
            world.work(record)
        depth[0] -= 1

    order = Order(world, restore_id, others_work_meanwhile)
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == chain.expected
    assert counts(restore) == chain.counts
    assert set(order.links) == {0, 1, 2, 3}
    assert world.locks() == world.open_work() == []


@pytest.mark.parametrize("link", [1, *thorough((0, 2, 3))])
@pytest.mark.parametrize("is_after", [False, True])
def test_a_worker_killed_in_any_link_changes_neither_the_order_nor_the_counts(world, link, is_after):
    chain = Chain(world)
    restore_id = world.ask(max_workers=2)
    killed: list[str] = []

    def kill(name, request):
        if killed or not is_to_target(name, request) or status_of(world, restore_id) is not Status.LOADING:
            return
        (table,) = world.services.records.tables(restore_id)
        if table.loading_ended >= (table.link_ends[link - 1] if link else 0):
            killed.append(name)
            if is_after:  # the write takes effect; nobody lives to count it
                world.dynamodb.batch_write_item(**request)
            raise Killed

    Order(world, restore_id, kill)
    restore = settle_after_kills(world, restore_id)
    assert killed
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == chain.expected
    assert counts(restore) == chain.counts


@pytest.mark.parametrize("link", [1, *thorough((0, 2, 3))])
def test_a_link_that_fails_stops_the_later_ones_and_a_retry_goes_on_in_order(world, link):
    chain = Chain(world)
    restore_id = world.ask(max_workers=2)
    key = next(file.key for file in chain.exports[link].files if file.item_count)

    def deny(name, request):
        if name == "get_object" and request["Key"] == key:
            raise client_error("AccessDenied", "GetObject", 403)

    order = Order(world, restore_id, deny)
    restore = world.settle(restore_id)
    assert restore["status"] == "PARTIAL", restore
    assert max(order.links) == link
    assert restore["tables"][0]["shards_failed"] == 1
    assert key in " ".join(restore["failures"])
    shards = list(world.services.records.shards(restore_id, Kind.LOAD))
    assert {shard.stage for shard in shards if shard.link > link} <= {Stage.CHECKED}
    assert world.locks() == world.open_work() == []

    Order(world, restore_id)
    world.services.desk.retry_failed(restore_id)
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == chain.expected
    assert counts(restore) == chain.counts
    assert restore["failures"] == []


@pytest.mark.thorough
def test_a_link_that_fails_stops_the_later_ones_also_while_another_table_is_still_loaded(world):
    chain = Chain(world)
    add_table(world, "users")
    restore_id = world.ask(max_workers=2)
    key = next(file.key for file in chain.exports[1].files if file.item_count)
    until_ms = world.clock() + 10 * 60_000

    def deny(name, request):
        if name == "get_object" and request["Key"] == key:
            raise client_error("AccessDenied", "GetObject", 403)
        is_other = name == "batch_write_item" and "users" in request["RequestItems"]
        if is_other and status_of(world, restore_id) is Status.LOADING and world.clock() < until_ms:
            raise client_error("ThrottlingException", "BatchWriteItem")

    world.hook = deny
    restore = world.settle(restore_id)
    assert world.clock() >= until_ms
    assert restore["status"] == "PARTIAL"
    assert len(world.items("users")) == 20
    shards = [shard for shard in world.services.records.shards(restore_id, Kind.LOAD) if shard.source == "orders"]
    assert {shard.stage for shard in shards if shard.link > 1} == {Stage.CHECKED}
    assert {shard.attempt for shard in shards if shard.link > 1} == {1}  # of CHECKING


def add_table(world: World, name: str) -> None:
    """To the last set of the chain, with a full export."""
    key = f"native-exports/{LAST}/manifest.json"
    of_chain = json.loads(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    world.create_table(name)
    world.back_up({name: [image(number, 0) for number in range(20)]}, date=LAST)
    manifest = json.loads(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    for summed in ("tables", "total_tables_processed", "successful_exports", "total_items_exported"):
        manifest[summed] += of_chain[summed]
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(manifest))


@pytest.mark.parametrize("link", [1, *thorough((0, 2, 3))])
def test_a_chain_cancelled_in_any_link_goes_on_in_order(world, link):
    chain = Chain(world)
    restore_id = world.ask(max_workers=3, verify="full")

    def cancel(name, request):
        if not is_to_target(name, request) or status_of(world, restore_id) is not Status.LOADING:
            return
        (table,) = world.services.records.tables(restore_id)
        if table.loading_ended >= (table.link_ends[link - 1] if link else 0):
            world.services.desk.cancel(restore_id)

    order = Order(world, restore_id, cancel)
    assert world.settle(restore_id)["status"] == "CANCELLED"
    assert max(order.links) == link
    Order(world, restore_id)
    world.services.desk.resume(restore_id)
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == chain.expected
    assert counts(restore) == chain.counts


@pytest.mark.thorough
def test_a_link_given_up_after_its_workers_died_again_and_again_stops_the_later_ones(world):
    chain = Chain(world)
    restore_id = world.ask(max_workers=2)
    poison = next(file.key for file in chain.exports[1].files if file.item_count)

    def kill(name, request):
        if name == "get_object" and request["Key"] == poison:
            raise Killed

    order = Order(world, restore_id, kill)
    restore = settle_after_kills(world, restore_id)
    assert restore["status"] == "PARTIAL"
    assert max(order.links) == 1
    assert "given up" in restore["failures"][0]


@pytest.mark.parametrize("mode", ["overwrite", *thorough(("changed_only", "missing_only"))])
@pytest.mark.parametrize("date", [LAST, *thorough((BASE, FIRST, SECOND))])
def test_every_set_of_a_chain_comes_to_what_the_table_was_then(world, monkeypatch, mode, date):
    """Also where the keys of the increments do not fit into one turn."""
    monkeypatch.setattr(chain_index, "MOST_KEYS_PER_TURN", 6)
    Chain(world)
    link = [BASE, FIRST, SECOND, LAST].index(date)
    live = {
        0: dict.fromkeys(range(COUNT), 0),
        1: {number: 0 for number in range(COUNT) if number not in (1, 3, 5)} | {0: 1, 100: 1, 101: 1},
        2: {number: 0 for number in range(COUNT) if number != 3} | {0: 2, 1: 2, 101: 2, 5: 2, 102: 2},
        3: {number: 0 for number in range(COUNT) if number not in (3, 5)} | {0: 3, 1: 2, 101: 2, 103: 3},
    }[link]
    restore = world.restore(backup_date=date, mode=mode, verify="full", max_workers=3)
    assert restore["status"] == "COMPLETED", restore
    assert world.items("orders") == sorted((image(*each) for each in live.items()), key=repr)
    counts(restore)
    (table,) = restore["tables"]
    assert table["data_files_balanced"] == table["data_files"] == 2 * (link + 1)
    assert table["items_that_differ"] == 0
    shards = world.services.records.shards(restore["restore_id"], Kind.LOAD)
    turns = {file.turns for shard in shards for file in shard.planned_files()}
    assert turns == {1 if mode == "overwrite" or not link else -(-[0, 6, 12, 16][link] // 6)}


@pytest.mark.thorough
def test_a_resolved_chain_writes_every_key_once(world, monkeypatch):
    monkeypatch.setattr(chain_index, "MOST_KEYS_PER_TURN", 5)
    chain = Chain(world)
    restore_id = world.ask(mode="changed_only", max_workers=3)
    written: list[str] = []

    def watch(name, request):
        if is_to_target(name, request) and status_of(world, restore_id) is Status.LOADING:
            written.extend(write["PutRequest"]["Item"]["id"]["S"] for write in request["RequestItems"]["orders"])

    world.hook = watch
    restore = world.settle(restore_id)
    assert restore["status"] == "COMPLETED"
    assert sorted(written) == sorted(item["id"]["S"] for item in chain.expected)


def test_reading_back_in_turns_makes_each_turns_index_once_for_all_shards(world, monkeypatch):
    monkeypatch.setattr(chain_index, "MOST_KEYS_PER_TURN", 6)
    built: list[int] = []
    build = chain_index.build_chain_index

    def counted(*arguments: Any, **named: Any) -> chain_index.ChainIndex:
        built.append(named["turn"])
        return build(*arguments, **named)

    monkeypatch.setattr("chalicelib.restore.phases.selection.build_chain_index", counted)
    chain = Chain(world)
    restore = world.restore(verify="full", max_workers=1)
    assert restore["status"] == "COMPLETED"
    assert (restore["tables"][0]["items_compared"], restore["tables"][0]["items_that_differ"]) == (44, 0)
    assert len(list(world.services.records.shards(restore["restore_id"], Kind.LOAD))) == 4
    assert built == [0, 1, 2]
    assert world.items("orders") == chain.expected


@pytest.mark.parametrize("mode", ["overwrite", "changed_only"])
def test_clearing_first_leaves_exactly_the_chains_end(world, mode):
    chain = Chain(world)
    world.put("orders", [image(3, 9), image(777, 9)])
    body: dict[str, Any] = {"clear_existing_data": True} if mode == "overwrite" else {"mode": mode}
    restore = world.restore(**body)
    assert restore["status"] == "COMPLETED"
    strangers = [] if mode == "overwrite" else [image(777, 9)]
    assert world.items("orders") == sorted([*chain.expected, *strangers], key=repr)


# --- what is wrong with a chain --------------------------------------------------------------------------------------


def assert_blocked(world: World, *words: str, **body: Any) -> None:
    world.put("orders", [image(777, 9)])
    restore = world.restore(clear_existing_data=True, **body)
    assert (restore["status"], restore["status_code"]) == ("FAILED", 500)
    text = " ".join(restore["blockers"])
    for word in words:
        assert word in text, text
    assert world.items("orders") == [image(777, 9)]
    assert world.dynamodb.list_backups(TableName="orders")["BackupSummaries"] == []
    assert world.locks() == world.open_work() == []


def tamper(world: World, change: Callable[[dict[str, Any]], None], date: str = LAST) -> None:
    key = f"native-exports/{date}/manifest.json"
    manifest = json.loads(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    change(manifest["tables"][0])
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(manifest))


def test_a_link_whose_file_list_was_pruned_is_a_blocker_that_names_its_set(world):
    chain = Chain(world)
    world.s3.delete_object(Bucket=BUCKET, Key=chain.exports[1].files_key)
    assert_blocked(world, FIRST)


@pytest.mark.parametrize("link", [1, *thorough((0, 2, 3))])
def test_a_data_file_that_any_link_lacks_is_a_blocker(world, link):
    chain = Chain(world)
    key = chain.exports[link].files[0].key
    world.s3.delete_object(Bucket=BUCKET, Key=key)
    assert_blocked(world, key, [BASE, FIRST, SECOND, LAST][link])


def test_a_chain_without_its_full_export_is_a_blocker(world):
    Chain(world)
    tamper(world, lambda table: table.update(base=table["base"][1:]))
    assert_blocked(world, "orders")


def test_a_chain_that_lacks_a_link_in_the_middle_is_a_blocker(world):
    Chain(world)
    tamper(world, lambda table: table.update(base=[table["base"][0], table["base"][2]]))
    assert_blocked(world, "orders")


def test_a_link_in_ion_is_a_blocker(world):
    Chain(world)
    tamper(world, lambda table: table["base"][1].update(export_format="ION"))
    assert_blocked(world, "Amazon Ion")


def test_links_in_another_order_are_a_blocker(world):
    Chain(world)
    tamper(world, lambda table: table.update(base=[table["base"][0], table["base"][2], table["base"][1]]))
    assert_blocked(world, "orders")


def test_an_increment_without_any_base_is_a_blocker(world):
    Chain(world)
    tamper(world, lambda table: table.update(base=[]))
    assert_blocked(world, "orders")
