"""Starting sets: every table's export is its own, nothing starts twice, and what cannot start yet starts later."""

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.backup.definition import decode_definition
from chalicelib.errors import Conflict, InvalidRequest
from tests.fake_exports import refusal
from tests.functional.backup.world import BUCKET, DATE, HOUR_MS, PREFIX, TABLES, World


def of(table_name: str):
    """Requests about one table."""
    return lambda request: table_name in str(request)


def test_a_scheduled_run_starts_every_table_and_writes_down_how(world):
    answer = world.start()
    assert answer["backup_date"] == DATE
    assert answer["status"] == "OPEN"
    assert {table["table_name"]: table["status"] for table in answer["tables"]} == dict.fromkeys(TABLES, "IN_PROGRESS")
    assert world.set_row()["tables"] == list(TABLES)
    for table_name in TABLES:
        (export,) = world.dynamodb.of_table(table_name)
        row = world.export_row(table_name)
        assert export.request == {
            "TableArn": row["parameters"]["table_arn"],
            "S3Bucket": BUCKET,
            "S3Prefix": f"{PREFIX}/{DATE}/{table_name}",
            "ExportFormat": "DYNAMODB_JSON",
            "ClientToken": row["parameters"]["client_token"],
        }
        assert row["export_arn"] == export.arn


def test_the_definition_stands_in_the_bucket_before_the_export_starts(world):
    seen = []

    def before(name, request):
        if name == "export_table_to_point_in_time":
            table = request["TableArn"].rsplit("/", 1)[-1]
            seen.append(f"{PREFIX}/{DATE}/{table}/table.json" in world.list_keys())

    world.before = before
    world.service.start_scheduled()
    assert seen == [True] * len(TABLES)


def test_table_json_holds_what_is_needed_to_make_the_table_again(world):
    world.dynamodb.update_time_to_live(
        TableName="orders", TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    arn = world.dynamodb.describe_table(TableName="orders")["Table"]["TableArn"]
    world.dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "sales"}])
    world.service.start_scheduled()
    key = f"{PREFIX}/{DATE}/orders/table.json"
    definition = decode_definition(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), key)
    assert definition.table_arn == arn
    assert [(each.attribute_name, each.key_type) for each in definition.keys] == [("id", "HASH")]
    assert definition.billing_mode == "PAY_PER_REQUEST"
    assert definition.time_to_live_attribute == "expires"
    assert definition.tags == {"team": "sales"}
    assert definition.point_in_time_recovery


def test_what_an_export_is_started_with_is_in_the_ledger_before_it_starts(world):
    seen = []

    def before(name, request):
        if name == "export_table_to_point_in_time":
            table_name = request["TableArn"].rsplit("/", 1)[-1]
            seen.append(world.export_row(table_name)["parameters"]["client_token"] == request["ClientToken"])
            seen.append(world.set_row()["tables"] == list(TABLES))

    world.before = before
    world.service.start_scheduled()
    assert seen == [True] * 2 * len(TABLES)


def test_running_twice_the_same_day_starts_nothing_twice(world):
    first = world.start()
    world.clock.advance(9 * HOUR_MS)
    assert world.start(world.new_process()) == first
    assert len(world.dynamodb.exports) == len(TABLES)


def test_running_again_after_the_set_is_finished_starts_nothing(world):
    world.finished_set()
    manifest = world.manifest()
    assert world.start()["status"] == "COMPLETE"
    assert len(world.dynamodb.exports) == len(TABLES)
    assert world.manifest() == manifest


def test_the_next_day_is_another_set(world):
    world.service.start_scheduled()
    world.clock.advance(24 * HOUR_MS)
    assert world.start()["backup_date"] == "2026-11-22"
    assert len(world.dynamodb.exports) == 2 * len(TABLES)


def test_two_runs_at_once_start_every_table_once(world):
    other: list[Any] = []

    def before(name, request):
        # The second run overtakes the first one between its plan and its SET row.
        if name == "put_item" and not other:
            other.append(None)
            other[0] = world.start(world.new_process())

    world.before = before
    assert world.start()["tables"] == other[0]["tables"]
    assert len(world.dynamodb.exports) == len(TABLES)


def test_the_parameters_that_were_written_first_count(aws):
    """Another run with other settings comes between this one's description of the table and its parameters: after
    this one's lease, which it overstays."""
    world = World(("orders",))
    ours, other = world.settings, world.settings._replace(s3_sse_kms_key_id="alias/first")
    overtaken: list[bool] = []

    def before(name, request):
        if name == "update_item" and "parameters" in str(request) and not overtaken:
            overtaken.append(True)
            world.clock.advance(60_000)
            world.settings = other
            world.new_process().start_scheduled()
            world.settings = ours

    world.before = before
    world.service.start_scheduled()
    assert overtaken
    assert set(world.statuses().values()) == {"IN_PROGRESS"}
    keys = [export.request.get("S3SseKmsKeyId") for export in world.dynamodb.exports.values()]
    assert keys == ["alias/first"]


@pytest.mark.parametrize("kind", ["missing", "no recovery", "denied", "refused"])
def test_one_tables_failure_is_named_and_the_others_go_on(world, kind):
    if kind == "missing":
        world.dynamodb.delete_table(TableName="orders")
        code, text = "TableNotFoundException", "orders does not exist"
    elif kind == "no recovery":
        world.enable_recovery("orders", enabled=False)
        code, text = "PointInTimeRecoveryUnavailableException", "update-continuous-backups --table-name orders"
    elif kind == "denied":
        error = refusal("AccessDeniedException", "ExportTableToPointInTime", "not authorized")
        world.refuse("export_table_to_point_in_time", error, when=of("orders"))
        code, text = "AccessDeniedException", "no permission for ExportTableToPointInTime for table orders"
    else:
        error = refusal("ValidationException", "ExportTableToPointInTime", "bad parameter")
        world.refuse("export_table_to_point_in_time", error, when=of("orders"))
        code, text = "ValidationException", "bad parameter"
    answer = world.start()
    (failed,) = [table for table in answer["tables"] if table["table_name"] == "orders"]
    assert failed["status"] == "FAILED"
    assert failed["failure_code"] == code
    assert text in failed["failure_message"]
    assert world.statuses() == {"orders": "FAILED", "catalog": "IN_PROGRESS"}
    for key in world.dynamodb.complete_all():
        world.send(key)
    manifest = world.manifest()
    assert manifest.status == "PARTIAL"
    assert [table.table_name for table in manifest.tables] == list(TABLES)
    assert manifest.tables[0].failure_code == code


def test_a_denied_description_fails_its_table_and_names_the_call(world):
    denied = refusal("AccessDeniedException", "ListTagsOfResource", "not authorized")
    world.refuse("list_tags_of_resource", denied, when=of("orders"))
    world.service.start_scheduled()
    row = world.export_row("orders")
    assert row["status"] == "FAILED"
    assert "no permission for ListTagsOfResource for table orders" in row["failure_message"]
    assert world.statuses()["catalog"] == "IN_PROGRESS"


def test_a_set_whose_tables_all_fail_is_finished_at_once_and_names_each(world):
    for name in TABLES:
        world.enable_recovery(name, enabled=False)
    assert world.start()["status"] == "PARTIAL"
    manifest = world.manifest()
    assert (manifest.status, manifest.successful_exports, manifest.failed_exports) == ("PARTIAL", 0, 2)
    assert all("enable it" in str(table.failure_message) for table in manifest.tables)
    assert not world.is_open()


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException", "ExportTableToPointInTime"),
        refusal("LimitExceededException", "ExportTableToPointInTime"),
        EndpointConnectionError(endpoint_url="http://nowhere"),
    ],
    ids=["throttled", "too many exports", "no answer"],
)
def test_what_may_pass_stays_pending_and_reconcile_starts_it(world, error):
    world.refuse("export_table_to_point_in_time", error, when=of("orders"))
    world.service.start_scheduled()
    assert world.statuses()["orders"] == "PENDING"
    is_full = "LimitExceeded" in str(error)  # then nothing more is started, which may have been the other table's turn
    assert is_full or world.statuses()["catalog"] == "IN_PROGRESS"
    assert world.export_row("orders")["failure_message"]
    world.reconcile_a_minute_later()
    assert world.statuses()["orders"] == "PENDING"
    world.mend()
    world.reconcile_a_minute_later()
    assert set(world.statuses().values()) == {"IN_PROGRESS"}
    assert "failure_code" not in world.export_row("orders")
    assert len(world.dynamodb.exports) == len(TABLES)


def test_a_table_that_could_not_be_described_is_planned_when_it_can(world):
    world.refuse("describe_table", refusal("ThrottlingException", "DescribeTable"), when=of("orders"))
    world.service.start_scheduled()
    assert "parameters" not in world.export_row("orders")
    world.mend()
    world.reconcile_a_minute_later()
    row = world.export_row("orders")
    assert row["status"] == "IN_PROGRESS"
    assert row["parameters"]["s3_prefix"] == f"{PREFIX}/{DATE}/orders"


def test_an_export_that_cannot_be_started_for_a_day_fails(world):
    error = refusal("LimitExceededException", "ExportTableToPointInTime", "too many exports")
    world.refuse("export_table_to_point_in_time", error, when=of("orders"))
    world.service.start_scheduled()
    world.clock.advance(25 * HOUR_MS)
    world.service.reconcile()
    row = world.export_row("orders")
    assert (row["status"], row["failure_code"]) == ("FAILED", "NotStarted")
    assert "too many exports" in row["failure_message"]


def test_an_export_started_but_not_written_down_is_found_beyond_the_tokens_hours(world):
    # The export runs, the ledger does not know; eight hours later its client token is forgotten.
    away = EndpointConnectionError(endpoint_url="http://nowhere")
    world.refuse(
        "update_item", away, when=lambda request: of("EXPORT#orders")(request) and "IN_PROGRESS" in str(request)
    )
    with pytest.raises(EndpointConnectionError):
        world.service.start_scheduled()
    (export,) = world.dynamodb.of_table("orders")
    world.mend()
    world.clock.advance(9 * HOUR_MS)
    world.service.reconcile()
    assert world.dynamodb.of_table("orders") == [export]
    assert world.export_row("orders")["export_arn"] == export.arn


def test_an_export_of_the_table_into_another_place_is_not_taken_for_ours(world):
    error = refusal("ThrottlingException", "ExportTableToPointInTime")
    world.refuse("export_table_to_point_in_time", error, when=of("orders"))
    world.service.start_scheduled()
    world.mend()
    arn = world.dynamodb.describe_table(TableName="orders")["Table"]["TableArn"]
    world.clock.advance(9 * HOUR_MS)
    other = world.dynamodb.export_table_to_point_in_time(
        TableArn=arn, S3Bucket=BUCKET, S3Prefix="by-hand", ClientToken="x"
    )
    world.service.reconcile()
    ours = world.export_row("orders")["export_arn"]
    assert ours != other["ExportDescription"]["ExportArn"]


def test_the_parameters_of_a_set_stay_when_the_settings_change(aws):
    world = World(("orders",))
    world.refuse("export_table_to_point_in_time", refusal("ThrottlingException", "X"), when=of("orders"))
    world.service.start_scheduled()
    world.mend()
    world.settings = world.settings._replace(s3_sse_kms_key_id="alias/new")
    world.service = world.new_process()
    world.reconcile_a_minute_later()
    (export,) = world.dynamodb.exports.values()
    assert "S3SseKmsKeyId" not in export.request


def test_optional_parameters_are_sent_as_configured(aws):
    world = World(("orders",), S3_SSE_KMS_KEY_ID="alias/backups", BACKUP_BUCKET_OWNER="123456789012")
    world.service.start_scheduled()
    (export,) = world.dynamodb.exports.values()
    assert (export.request["S3SseAlgorithm"], export.request["S3SseKmsKeyId"]) == ("KMS", "alias/backups")
    assert export.request["S3BucketOwner"] == "123456789012"


def test_an_as_of_time_is_clamped_into_the_recovery_window_and_both_are_kept(aws):
    world = World(("orders",), BACKUP_HOUR="0")
    world.service.start_scheduled()
    parameters = world.export_row("orders")["parameters"]
    assert parameters["requested_time_ms"] == 1_795_219_200_000  # 2026-11-21T00:00:00Z
    # moto's window begins when recovery was enabled, that is, when this test began.
    assert parameters["export_time_ms"] != parameters["requested_time_ms"] or parameters["export_time_ms"] is None


def test_a_set_by_hand_has_its_own_name_and_only_the_asked_tables(world):
    answer = world.service.start_by_hand(("catalog",))
    assert answer["backup_date"] == "2026-11-21T010020Z"
    assert answer["links"] == {"self": "/backups/2026-11-21T010020Z"}
    assert [table["table_name"] for table in answer["tables"]] == ["catalog"]
    assert world.set_row(answer["backup_date"])["by_hand"]
    world.clock.advance(1000)
    assert len(world.service.start_by_hand(None)["tables"]) == len(TABLES)


def test_a_table_that_is_not_configured_is_refused_and_the_configured_ones_are_named(world):
    with pytest.raises(InvalidRequest) as raised:
        world.service.start_by_hand(("orders", "unknown", "orders"))
    texts = [fault.message for fault in raised.value.faults]
    assert any("'unknown' is not selected" in text and "orders, catalog" in text for text in texts)
    assert any("'orders' more than once" in text for text in texts)
    assert world.dynamodb.exports == {}


def test_a_second_set_by_hand_in_one_second_with_other_tables_is_a_conflict(world):
    world.service.start_by_hand(("catalog",))
    with pytest.raises(Conflict):
        world.service.start_by_hand(("orders",))
    assert world.service.start_by_hand(("catalog",))["tables"]
    assert len(world.dynamodb.exports) == 1


def test_the_functions_own_result_has_the_fields_that_the_field_knows(world):
    result = world.service.start_scheduled()
    assert result == {
        "statusCode": 200,
        "backup_date": DATE,
        "environment": "tests",
        "backup_type": "DYNAMODB_NATIVE_EXPORT",
        "total_tables_processed": 2,
        "successful_exports": 2,
        "failed_exports": 0,
        "total_items_exported": 0,
        "total_size_mb": 0.0,
        "manifest_s3_key": f"{PREFIX}/{DATE}/manifest.json",
        "s3_bucket": BUCKET,
        "failures": {},
        "unmatched": [],
    }
    for key in world.dynamodb.complete_all():
        world.send(key)
    again = world.service.start_scheduled()
    assert again["total_items_exported"] == 4
    assert again["total_size_mb"] > 0


@pytest.mark.parametrize(("without_recovery", "status_code"), [(("orders",), 207), (TABLES, 500)])
def test_the_functions_status_code_says_whether_some_or_all_failed_and_why(world, without_recovery, status_code):
    for name in without_recovery:
        world.enable_recovery(name, enabled=False)
    result = world.service.start_scheduled()
    assert (result["statusCode"], result["failed_exports"]) == (status_code, len(without_recovery))
    assert result["failures"].keys() == set(without_recovery)
    assert all("enable it" in text for text in result["failures"].values())


def test_recovery_that_is_off_is_switched_on_where_that_is_asked_for_and_it_says_so(aws):
    world = World(("orders", "catalog"), ENABLE_PITR="true")
    world.enable_recovery("orders", enabled=False)
    assert world.service.start_scheduled()["statusCode"] == 200
    for key in world.dynamodb.complete_all():
        world.send(key)
    manifest = world.manifest()
    assert manifest.status == "COMPLETE"
    notes = {table.table_name: table.notes for table in manifest.tables}
    assert notes == {"orders": ("point-in-time recovery was off, and was switched on",), "catalog": ()}
    recovery = world.dynamodb.describe_continuous_backups(TableName="orders")["ContinuousBackupsDescription"]
    assert recovery["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_recovery_that_may_not_be_switched_on_fails_its_table_and_names_the_right(aws):
    world = World(("orders", "catalog"), ENABLE_PITR="true")
    world.enable_recovery("orders", enabled=False)
    denied = refusal("AccessDeniedException", "UpdateContinuousBackups", "not authorized")
    world.refuse("update_continuous_backups", denied, when=of("orders"))
    assert world.service.start_scheduled()["statusCode"] == 207
    assert "no permission for UpdateContinuousBackups for table orders" in world.export_row("orders")["failure_message"]


@pytest.mark.parametrize("by_hand", [False, True], ids=["schedule", "by hand"])
def test_what_is_not_started_in_time_is_left_to_reconcile(aws, by_hand):
    """A run of hundreds of tables must end before its caller does: the time is up after the first export here."""
    names = tuple(f"table-{number:02}" for number in range(40))
    world = World(names)

    def after(name, request):
        if name == "export_table_to_point_in_time":
            world.clock.advance(241_000 if not by_hand else 16_000)

    world.after = after
    started = world.service.start_by_hand(None) if by_hand else world.service.start_scheduled()
    world.mend()
    assert 1 <= len(world.dynamodb.exports) < 40
    world.reconcile_a_minute_later()
    assert len(world.dynamodb.exports) == 40
    assert world.is_open(str(started["backup_date"]))
