"""Which tables a run backs up: patterns and tags are looked up each time, and what they miss is told."""

import pytest

from chalicelib.errors import InvalidRequest, SelectionFailed
from chalicelib.settings import Settings, read_settings
from tests.fake_exports import refusal
from tests.functional.backup.world import DATE, HOUR_MS, World


@pytest.fixture
def selecting(aws):
    """A world of four tables, of which the settings choose by the entries given."""

    def made(entries: str) -> World:
        world = World(("app_eu", "app_us", "orders", "unwanted"))
        world.settings = _with_entries(world, entries)
        world.service = world.new_process()
        return world

    return made


def _with_entries(world: World, entries: str) -> Settings:
    environ = {"BACKUP_BUCKET": world.settings.backup_bucket, "ENVIRONMENT": "tests", "DYNAMODB_TABLES": entries}
    return read_settings({**environ, "LEDGER_TABLE": world.settings.ledger_table})


def tag(world: World, table_name: str, **tags: str) -> None:
    arn = world.dynamodb.describe_table(TableName=table_name)["Table"]["TableArn"]
    world.dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def finish(world: World) -> None:
    for key in world.dynamodb.complete_all():
        world.send(key)


def test_patterns_and_tags_choose_and_what_fits_nothing_is_in_the_manifest(selecting):
    world = selecting('["app_*", "tag:backup=daily", "old_*", "!unwanted"]')
    tag(world, "orders", backup="daily")
    tag(world, "unwanted", backup="daily")
    answer = world.start()
    assert [table["table_name"] for table in answer["tables"]] == ["app_eu", "app_us", "orders"]
    assert answer["unmatched"] == ["old_*"]
    finish(world)
    manifest = world.manifest()
    assert [table.table_name for table in manifest.tables] == ["app_eu", "app_us", "orders"]
    assert (manifest.status, manifest.unmatched) == ("COMPLETE", ("old_*",))


def test_a_table_made_later_is_in_the_next_set_and_a_started_set_keeps_its_own(selecting):
    world = selecting('["app_*"]')
    world.service.start_scheduled()
    world.create_table("app_new")
    assert [table["table_name"] for table in world.start()["tables"]] == ["app_eu", "app_us"]
    world.clock.advance(24 * HOUR_MS)
    names = [table["table_name"] for table in world.start()["tables"]]
    assert names == ["app_eu", "app_new", "app_us"]


def test_a_name_in_full_that_does_not_exist_is_failed_and_not_left_out(selecting):
    world = selecting('["orders", "gone"]')
    world.service.start_scheduled()
    finish(world)
    manifest = world.manifest()
    assert manifest.status == "PARTIAL"
    assert {table.table_name: table.failure_code for table in manifest.tables} == {
        "orders": None,
        "gone": "TableNotFoundException",
    }


def test_the_ledger_is_no_table_to_back_up_unless_it_is_named(selecting):
    world = selecting('["*"]')
    world.service.start_scheduled()
    assert world.set_row()["tables"] == ["app_eu", "app_us", "orders", "unwanted"]


def test_names_in_full_ask_for_no_list(selecting):
    world = selecting('["orders", "app_eu"]')
    world.watch()
    world.service.start_scheduled()
    assert "list_tables" not in world.calls
    assert not any(call in ("get_paginator", "get_resources") for call in world.calls)


def test_nothing_chosen_is_an_error_and_no_empty_set(selecting):
    world = selecting('["old_*"]')
    with pytest.raises(SelectionFailed, match=r"fits no table .* old_\*"):
        world.service.start_scheduled()
    assert world.set_row() == {}


def test_a_list_that_is_denied_names_the_permission(selecting, monkeypatch):
    world = selecting('["app_*"]')
    denied = refusal("AccessDeniedException", "ListTables", "not authorized")
    world.refuse("get_paginator", denied, when=lambda request: True)
    with pytest.raises(SelectionFailed, match=r"dynamodb:ListTables.*role"):
        world.service.start_scheduled()
    assert world.set_row(DATE) == {}


def test_by_hand_only_what_is_selected_now_can_be_asked_for(selecting):
    world = selecting('["app_*", "!app_us"]')
    answer = world.service.start_by_hand(["app_eu"])
    assert [table["table_name"] for table in answer["tables"]] == ["app_eu"]
    with pytest.raises(InvalidRequest, match=r"'app_us' is not selected .* app_eu"):
        world.service.start_by_hand(["app_us"])


def test_hundreds_of_tables_are_listed_page_by_page(aws):
    many = tuple(f"app_{number:03}" for number in range(130))
    world = World(("orders",))
    for name in many:
        world.create_table(name, items=0)
    world.settings = _with_entries(world, '["app_*", "tag:backup=daily"]')
    world.service = world.new_process()
    assert len(world.start()["tables"]) == 130
    assert len(world.dynamodb.exports) == 130
