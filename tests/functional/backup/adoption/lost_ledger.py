"""What happens to a world before adoption, exports by hand and a ledger that is lost; what is seen of it afterwards."""

import secrets
from typing import Any

from chalicelib.errors import NotFound
from tests.fake_exports import FakeExport
from tests.functional.backup.world import BUCKET, DATE, LEDGER_TABLE, MINUTE_MS, PREFIX, World


def drop_ledger(world: World) -> None:
    """Every row of it."""
    for page in world.dynamodb.get_paginator("scan").paginate(TableName=LEDGER_TABLE):
        for item in page["Items"]:
            world.dynamodb.delete_item(TableName=LEDGER_TABLE, Key={"pk": item["pk"], "sk": item["sk"]})


def by_hand(world: World, table_name: str, backup_date: str = DATE, **more: Any) -> FakeExport:
    """An export as somebody starts it in the console, into a set's place."""
    arn = world.dynamodb.describe_table(TableName=table_name)["Table"]["TableArn"]
    request = {
        "TableArn": arn,
        "S3Bucket": BUCKET,
        "S3Prefix": f"{PREFIX}/{backup_date}/{table_name}",
        "ExportFormat": "DYNAMODB_JSON",
        "ClientToken": secrets.token_hex(8),
        **more,
    }
    answer = world.dynamodb.export_table_to_point_in_time(**request)
    return world.dynamodb.exports[answer["ExportDescription"]["ExportArn"]]


def rebuild(world: World, most_runs: int = 10) -> dict[str, Any]:
    """Asked for, and carried on by reconcile until it has ended."""
    world.service.rebuild.start("operator")
    for _ in range(most_runs):
        world.reconcile_a_minute_later()
        told = world.service.rebuild.describe()
        if told["status"] == "COMPLETED":
            return told
    raise AssertionError(told)


def seen(world: World) -> dict[str, Any]:
    """All that the API tells of the backups."""
    page = world.service.list_page(100, None)
    return {**page, "each": [world.service.describe(each["backup_date"]) for each in page["backups"]]}


def rows(world: World) -> dict[str, dict[str, Any]]:
    """The whole ledger, by key."""
    pages = world.dynamodb.get_paginator("scan").paginate(TableName=LEDGER_TABLE)
    return {f"{item['pk']['S']}/{item['sk']['S']}": item for page in pages for item in page["Items"]}


def finish(world: World) -> None:
    """Two more of reconcile's minutes."""
    for _ in range(2):
        world.clock.advance(MINUTE_MS)
        world.service.reconcile()


def is_rebuild_known(world: World) -> bool:
    try:
        world.service.rebuild.describe()
    except NotFound:
        return False
    return True
