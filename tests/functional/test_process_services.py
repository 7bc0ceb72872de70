"""`services()` of one process: made once, and anew when Parameter Store says something else."""

import logging
import subprocess
import sys

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws import Clients
from chalicelib.errors import SettingsInvalid, Unavailable
from chalicelib.services import FAILURE_KEPT_MS, SETTINGS_KEPT_MS, ProcessServices
from tests.functional.conftest import REGION

PATH = "/test/stg/infra"
ENVIRON = {"BACKUP_BUCKET": "backups", "ENVIRONMENT": "stg", "DYNAMODB_TABLES": '["orders"]'}


class Counted(Clients):
    """Clients of moto. Counts what is asked of Parameter Store, and breaks it when told."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = 0
        self.error: Exception | None = None
        self.ssm = boto3.client("ssm", region_name=REGION)

    def get(self, service: str):
        return self if service == "ssm" else super().get(service)

    def get_parameters_by_path(self, **request):
        self.readings += 1
        if self.error is not None:
            raise self.error
        return self.ssm.get_parameters_by_path(**request)


class Process:
    def __init__(self, **environ: str) -> None:
        self.clients = Counted()
        self.now_ms = 1_000_000
        self.environ = {**ENVIRON, **environ}
        self.services = ProcessServices(
            self.environ, make_clients=lambda: self.clients, clock=lambda: self.now_ms, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def put(self, name: str, value: str) -> None:
        self.clients.ssm.put_parameter(Name=f"{PATH}/{name}", Value=value, Type="String", Overwrite=True)


@pytest.fixture
def process(aws):
    process = Process(SSM_PARAMETER_PATH=PATH)
    process.put("LEDGER_TABLE_NAME", "first-ledger")
    return process


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetParametersByPath")


def denied() -> ClientError:
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "GetParametersByPath")


@pytest.mark.parametrize("path", [{}, {"SSM_PARAMETER_PATH": ""}, {"SSM_PARAMETER_PATH": " "}])
def test_without_a_path_parameter_store_is_never_asked(aws, path):
    process = Process(**path)
    first = process.services()
    process.now_ms += 10 * SETTINGS_KEPT_MS
    assert process.services() is first
    assert process.clients.readings == 0


def test_the_settings_of_the_path_are_those_of_the_services(process):
    assert process.services().settings.ledger_table == "first-ledger"
    assert process.services() is process.services()
    assert process.clients.readings == 1


def test_a_change_is_noticed_after_a_quarter_of_an_hour(process, caplog):
    caplog.set_level(logging.INFO, "tablevault")
    first = process.services()
    process.put("LEDGER_TABLE_NAME", "second-ledger")
    process.now_ms += SETTINGS_KEPT_MS - 1
    assert process.services() is first
    process.now_ms += 1
    second = process.services()
    assert (first.settings.ledger_table, second.settings.ledger_table) == ("first-ledger", "second-ledger")
    assert process.services() is second
    assert process.clients.readings == 2
    assert [(record.message, record.changed) for record in caplog.records] == [
        ("settings have changed", ["ledger_table"])
    ]


def test_services_stay_the_same_while_the_settings_do(process):
    first = process.services()
    process.put("SOMETHING_ELSE", "changed")
    for _ in range(3):
        process.now_ms += SETTINGS_KEPT_MS
        assert process.services() is first
    assert process.clients.readings == 4


@pytest.mark.parametrize(
    ("name", "value", "is_trigger"),
    [
        ("BACKUP_SCHEDULE", "cron(0 2 * * ? *)", True),
        ("RESTORE_QUEUE", "another", True),
        ("RESTORE_DEAD_LETTER_QUEUE", "another", True),
        ("RESTORE_MAX_CONCURRENCY", "3", True),
        ("S3_EXPORTS_PREFIX", "elsewhere", True),
        ("BACKUP_HOUR", "3", False),
    ],
)
def test_a_change_that_only_a_deployment_carries_out_is_warned_of(process, caplog, name, value, is_trigger):
    process.services()
    process.put(name, value)
    process.now_ms += SETTINGS_KEPT_MS
    process.services()
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert ["deploy again" in message for message in warnings] == ([True] if is_trigger else [])


def test_settings_that_cannot_be_read_again_stay_in_use(process, caplog):
    first = process.services()
    process.put("LEDGER_TABLE_NAME", "second-ledger")
    process.now_ms += SETTINGS_KEPT_MS
    process.clients.error = denied()
    assert process.services() is first
    [record] = caplog.records
    assert (record.levelname, record.message) == (
        "WARNING",
        "settings cannot be read again; those from before stay in use",
    )
    assert "ssm:GetParametersByPath" in caplog.text
    process.now_ms += FAILURE_KEPT_MS - 1
    assert process.services() is first
    assert process.clients.readings == 2
    process.clients.error = None
    process.now_ms += 1
    assert process.services().settings.ledger_table == "second-ledger"


def test_a_wrong_parameter_does_not_stop_what_runs(process, caplog):
    first = process.services()
    process.put("BACKUP_HOUR", "24")
    process.now_ms += SETTINGS_KEPT_MS
    assert process.services() is first
    assert (
        f"BACKUP_HOUR: is '24'; allowed: a whole number from 0 to 23 (from parameter {PATH}/BACKUP_HOUR)" in caplog.text
    )


def test_an_outage_does_not_stop_what_runs(process, caplog):
    first = process.services()
    process.now_ms += SETTINGS_KEPT_MS
    process.clients.error = throttled()
    assert process.services() is first
    assert "ThrottlingException" in caplog.text


@pytest.mark.parametrize(("error", "expected"), [(denied(), SettingsInvalid), (throttled(), Unavailable)])
def test_the_first_reading_raises_and_the_next_one_is_a_new_chance(process, error, expected):
    process.clients.error = error
    for _ in range(2):
        with pytest.raises(expected):
            process.services()
    process.clients.error = None
    assert process.services().settings.ledger_table == "first-ledger"


def test_a_cold_start_ends_within_its_ten_seconds_however_long_it_is_throttled(process):
    began_ms = process.now_ms
    process.clients.error = throttled()
    with pytest.raises(Unavailable):
        process.services()
    assert process.now_ms - began_ms <= 4_000


def test_a_process_without_a_path_imports_and_makes_nothing_for_it():
    code = (
        "import os, sys; os.environ.update({environ}); import app; "
        "assert 'chalicelib.parameters' not in sys.modules; assert not app.services()._clients._by_service"
    )
    subprocess.run([sys.executable, "-c", code.format(environ=ENVIRON)], check=True, capture_output=True)
