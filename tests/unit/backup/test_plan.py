"""The plan of a set, of its exports, and their client tokens: functions of their inputs."""

from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.backup.capture import CapturedTable
from chalicelib.backup.definition import Attribute, KeyAttribute, TableDefinition
from chalicelib.backup.failures import failure_of, may_pass
from chalicelib.backup.plan import Failure, client_token, plan_exports, plan_set
from chalicelib.backup.rows import ExportParameters, SetRow
from chalicelib.backup.running import started_at_ms
from chalicelib.backup.timing import RecoveryWindow
from chalicelib.selection import Chosen
from chalicelib.settings import AsOf, read_settings

NOW_MS = 1_795_222_820_000  # 2026-11-21T01:00:20Z
SETTINGS = read_settings({"BACKUP_BUCKET": "bucket", "ENVIRONMENT": "tests", "DYNAMODB_TABLES": '["orders"]'})


def captured(name: str, *, recovery: bool = True) -> CapturedTable:
    definition = TableDefinition(
        table_name=name,
        table_arn=f"arn:aws:dynamodb:r:123456789012:table/{name}",
        captured_at="2026-11-21T01:00:20.000Z",
        keys=(KeyAttribute("id", "HASH"),),
        attributes=(Attribute("id", "S"),),
        billing_mode="PAY_PER_REQUEST",
        point_in_time_recovery=recovery,
    )
    return CapturedTable(definition, RecoveryWindow(NOW_MS - 86_400_000, NOW_MS - 300_000))


def set_row(settings=SETTINGS, date="2026-11-21", *, by_hand=False) -> SetRow:
    return plan_set(settings, date, Chosen(("orders",), ("gone_*",)), NOW_MS, by_hand=by_hand)


def parameters_of(settings=SETTINGS, *, by_hand=False) -> ExportParameters:
    planned = plan_exports(settings, set_row(settings, by_hand=by_hand), captured("orders"))
    assert not isinstance(planned, Failure)
    (parameters,) = planned.parameters
    return parameters


def test_a_set_names_what_was_chosen_and_what_chose_nothing():
    row = set_row()
    assert (row.tables, row.unmatched, row.is_open) == (["orders"], ["gone_*"], True)


def test_an_export_stands_in_its_tables_folder_of_the_set():
    assert parameters_of().s3_prefix == "native-exports/2026-11-21/orders"
    assert parameters_of() == parameters_of()


def test_a_table_without_point_in_time_recovery_says_how_to_switch_it_on():
    planned = plan_exports(SETTINGS, set_row(), captured("off", recovery=False))
    assert isinstance(planned, Failure)
    assert planned.code == "PointInTimeRecoveryUnavailableException"
    assert "update-continuous-backups --table-name off" in planned.message


def test_asked_and_used_time_are_both_in_the_plan():
    settings = SETTINGS._replace(as_of=AsOf(None, 3600))  # twenty seconds ago: not restorable yet
    parameters = parameters_of(settings)
    assert parameters.requested_time_ms == NOW_MS - 20_000
    assert parameters.export_time_ms == NOW_MS - 300_000


def test_a_set_by_hand_shows_now_whatever_the_schedule_says():
    settings = SETTINGS._replace(as_of=AsOf(None, 0))
    parameters = parameters_of(settings, by_hand=True)
    assert (parameters.requested_time_ms, parameters.export_time_ms) == (None, None)


def test_a_token_is_the_same_for_the_same_export_and_no_other():
    parameters = parameters_of()
    token = parameters.client_token
    assert token == client_token("2026-11-21", parameters)
    assert len(token) <= 64  # AWS' limit of idempotency tokens
    others = {
        client_token("2026-11-22", parameters),
        client_token("2026-11-21", parameters, attempt=2),
        client_token("2026-11-21", msgspec.structs.replace(parameters, s3_bucket="another-stage")),
        client_token("2026-11-21", msgspec.structs.replace(parameters, table_arn="another")),
        client_token("2026-11-21", msgspec.structs.replace(parameters, export_time_ms=1)),
    }
    assert len(others | {token}) == 6


def error(code: str, status: int = 400) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "TheCall")


@pytest.mark.parametrize(
    "passing",
    [
        error("ThrottlingException"),
        error("LimitExceededException"),
        error("InternalServerError", 500),
        error("Anything", 503),
        error("ExpiredTokenException"),
        EndpointConnectionError(endpoint_url="x"),
    ],
)
def test_what_passes_by_itself_is_not_a_failure(passing):
    assert may_pass(passing)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ResourceNotFoundException", "table orders does not exist"),
        ("TableNotFoundException", "table orders does not exist"),
        ("AccessDeniedException", "no permission for TheCall for table orders"),
        ("PointInTimeRecoveryUnavailableException", "--table-name orders"),
        ("InvalidExportTimeException", "TheCall for table orders was refused: InvalidExportTimeException: m"),
        ("ExportConflictException", "was refused"),
        ("NoSuchBucket", "was refused"),
    ],
)
def test_a_failure_for_good_says_what_to_which_table(code, said):
    assert not may_pass(error(code))
    assert said in failure_of("orders", error(code)).message


def test_an_exports_start_stands_in_its_id():
    assert started_at_ms("arn:x/export/01795222820000-0123abcd") == NOW_MS
    assert started_at_ms("arn:x/export/other") == 0
