"""Parameter Store read through a real client: SecureStrings, pages, what is below and beside the path, and refusals."""

import boto3
import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ReadTimeoutError,
)
from botocore.stub import Stubber

from chalicelib.errors import SettingsInvalid, Unavailable
from chalicelib.parameters import load
from chalicelib.retry import Backoff
from tests.functional.conftest import REGION

PATH = "/test/stg/infra"
REQUIRED = {"BACKUP_BUCKET_NAME": "backups", "ENVIRONMENT": "stg", "ORDERS_TABLE_NAME": "orders-stg"}
ENVIRON = {
    "SSM_PARAMETER_PATH": PATH,
    "BACKUP_BUCKET": "backups",
    "ENVIRONMENT": "stg",
    "DYNAMODB_TABLES": '["orders"]',
}
DEADLINE_MS = 4_000


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_ms = 0

    def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def backoff(self) -> Backoff:
        return Backoff(lambda: self.now_ms, self.sleep, lambda: 0.999, DEADLINE_MS)


@pytest.fixture
def ssm(aws):
    return boto3.client("ssm", region_name=REGION)


def put(ssm, name, value, kind="String"):
    ssm.put_parameter(Name=name, Value=value, Type=kind)


def read(ssm, environ=None):
    return load({"SSM_PARAMETER_PATH": PATH} if environ is None else environ, lambda: ssm, Time().backoff())


class Recorded:
    """A client that remembers its calls."""

    def __init__(self, client):
        self._client = client
        self.calls = []

    def __getattr__(self, name):
        def call(**request):
            self.calls.append((name, dict(request)))
            return getattr(self._client, name)(**request)

        return call


def test_settings_come_from_the_path_alone(ssm):
    for name, value in REQUIRED.items():
        put(ssm, f"{PATH}/{name}", value)
    put(ssm, f"{PATH}/BACKUP_HOUR_STR", "3")
    put(ssm, f"{PATH}/below/BACKUP_MINUTE", "1")
    put(ssm, "/test/stg/BACKUP_MINUTE", "2")
    put(ssm, f"{PATH}-other/BACKUP_MINUTE", "3")
    settings = read(ssm)
    assert (settings.backup_bucket, settings.environment, str(settings.dynamodb_tables)) == (
        "backups",
        "stg",
        "orders-stg",
    )
    assert settings.as_of.second_of_day == 3 * 3600


def test_a_secure_string_is_decrypted_and_nobody_elses_is(ssm):
    for name, value in REQUIRED.items():
        put(ssm, f"{PATH}/{name}", value, "SecureString")
    put(ssm, f"{PATH}/DATABASE_PASSWORD", "hunter2", "SecureString")
    put(ssm, f"{PATH}/BACKUP_HOUR", "7", "SecureString")
    recorded = Recorded(ssm)
    settings = read(recorded, {"SSM_PARAMETER_PATH": PATH, "BACKUP_HOUR": "1"})
    assert (settings.backup_bucket, str(settings.dynamodb_tables)) == ("backups", "orders-stg")
    opened = [
        name for operation, request in recorded.calls if operation == "get_parameters" for name in request["Names"]
    ]
    assert sorted(opened) == sorted(f"{PATH}/{name}" for name in REQUIRED)
    assert not any(request["WithDecryption"] for name, request in recorded.calls if name == "get_parameters_by_path")


def test_nothing_is_decrypted_where_nothing_of_ours_is_a_secure_string(ssm):
    put(ssm, f"{PATH}/DATABASE_PASSWORD", "hunter2", "SecureString")
    recorded = Recorded(ssm)
    assert read(recorded, ENVIRON).backup_bucket == "backups"
    assert [name for name, _ in recorded.calls] == ["get_parameters_by_path"]


@pytest.mark.parametrize("kind", ["String", "SecureString"])
def test_every_page_is_read(ssm, kind):
    for number in range(23):
        put(ssm, f"{PATH}/T{number:02d}_TABLE_NAME", f"table-{number:02d}", kind)
    put(ssm, f"{PATH}/ZZZ", "not ours")
    recorded = Recorded(ssm)
    settings = read(recorded, {**ENVIRON, "DYNAMODB_TABLES": ""})
    assert [entry.text for entry in settings.dynamodb_tables.entries] == [f"table-{n:02d}" for n in range(23)]
    pages = [name for name, _ in recorded.calls]
    assert pages == ["get_parameters_by_path"] * 3 + ["get_parameters"] * (3 if kind == "SecureString" else 0)


def test_an_empty_page_is_not_the_last_one(ssm):
    """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html: the service stops
    where it likes, and a token says that there is more."""
    parameter = {"Name": f"{PATH}/RESTORE_QUEUE", "Value": "woken", "Type": "String"}
    with Stubber(ssm) as stub:
        stub.add_response("get_parameters_by_path", {"Parameters": [], "NextToken": "more"})
        stub.add_response("get_parameters_by_path", {"Parameters": [parameter]})
        assert read(ssm, ENVIRON).restore_queue == "woken"
        stub.assert_no_pending_responses()


def test_a_secure_string_that_is_deleted_meanwhile_is_not_there(ssm):
    sealed = {"Name": f"{PATH}/BACKUP_HOUR", "Value": "ciphertext", "Type": "SecureString"}
    with Stubber(ssm) as stub:
        stub.add_response("get_parameters_by_path", {"Parameters": [sealed]})
        stub.add_response("get_parameters", {"Parameters": [], "InvalidParameters": [sealed["Name"]]})
        assert read(ssm, ENVIRON).as_of.second_of_day is None


def test_nothing_under_the_path_is_missing_and_not_denied(ssm):
    with pytest.raises(SettingsInvalid) as raised:
        read(ssm)
    assert {fault.path for fault in raised.value.faults} == {"BACKUP_BUCKET", "ENVIRONMENT", "DYNAMODB_TABLES"}
    assert f"under {PATH}, 0 of 0 parameters" in raised.value.message


# --- refusals and outages -------------------------------------------------------------------------------------------

KMS = "The ciphertext refers to a customer master key that does not exist, or you are not allowed to access"


@pytest.mark.parametrize("is_complete", [True, False])
def test_without_permission_nothing_is_called_missing(ssm, is_complete):
    """Also where the environment has all that is required: the path may hold what it does not."""
    with Stubber(ssm) as stub:
        stub.add_client_error("get_parameters_by_path", "AccessDeniedException", "not authorized", http_status_code=400)
        with pytest.raises(SettingsInvalid) as raised:
            read(ssm, ENVIRON if is_complete else None)
    [fault] = raised.value.faults
    assert fault.path == "SSM_PARAMETER_PATH"
    assert f"ssm:GetParametersByPath on parameter{PATH};" in fault.message
    assert "not authorized" in fault.message


def test_without_permission_to_decrypt_the_fault_names_kms_and_the_path(ssm):
    sealed = {"Name": f"{PATH}/BACKUP_HOUR", "Value": "ciphertext", "Type": "SecureString"}
    with Stubber(ssm) as stub:
        stub.add_response("get_parameters_by_path", {"Parameters": [sealed]})
        stub.add_client_error("get_parameters", "AccessDeniedException", KMS, http_status_code=400)
        with pytest.raises(SettingsInvalid) as raised:
            read(ssm, ENVIRON)
    [fault] = raised.value.faults
    assert fault.path == "SSM_PARAMETER_PATH"
    assert all(text in fault.message for text in (f"ssm:GetParameters on parameter{PATH}/*", "kms:Decrypt", KMS))


@pytest.mark.parametrize("code", ["ValidationException", "InvalidKeyId", "UnrecognizedClientException"])
def test_what_somebody_must_mend_is_a_fault_of_the_path_in_aws_own_words(ssm, code):
    with Stubber(ssm) as stub:
        stub.add_client_error("get_parameters_by_path", code, "says AWS", http_status_code=400)
        with pytest.raises(SettingsInvalid) as raised:
            read(ssm, ENVIRON)
    [fault] = raised.value.faults
    assert f"is '{PATH}', which cannot be read: {code}: says AWS" in fault.message


@pytest.mark.parametrize(("code", "status"), [("ThrottlingException", 400), ("InternalServerError", 500), ("Odd", 503)])
def test_who_is_throttled_waits_for_its_turn(ssm, code, status):
    time = Time()
    with Stubber(ssm) as stub:
        for _ in range(3):
            stub.add_client_error("get_parameters_by_path", code, http_status_code=status)
        stub.add_response("get_parameters_by_path", {"Parameters": []})
        assert load(ENVIRON, lambda: ssm, time.backoff()).backup_bucket == "backups"
    assert 0 < time.now_ms < DEADLINE_MS


def test_throttling_without_end_is_an_outage_and_says_nothing_of_settings(ssm):
    time = Time()
    with Stubber(ssm) as stub:
        for _ in range(100):
            stub.add_client_error("get_parameters_by_path", "ThrottlingException")
        with pytest.raises(Unavailable) as raised:
            load(ENVIRON, lambda: ssm, time.backoff())
    assert (
        raised.value.message
        == f"the settings under {PATH} cannot be read from Parameter Store now (ThrottlingException)"
    )
    assert DEADLINE_MS / 2 < time.now_ms <= DEADLINE_MS


class Broken:
    def __init__(self, error):
        self._error = error

    def get_parameters_by_path(self, **_):
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://ssm"),
        ConnectTimeoutError(endpoint_url="https://ssm"),
        ReadTimeoutError(endpoint_url="https://ssm"),
    ],
)
def test_no_answer_is_an_outage(error):
    with pytest.raises(Unavailable):
        read(Broken(error), ENVIRON)


def test_a_deployer_without_credentials_is_told_so():
    with pytest.raises(SettingsInvalid, match=r"SSM_PARAMETER_PATH: .*Unable to locate credentials"):
        read(Broken(NoCredentialsError()), ENVIRON)


def test_a_deployer_without_a_region_is_told_so():
    """It is the making of the client that fails."""

    def ssm():
        raise NoRegionError

    with pytest.raises(SettingsInvalid, match=r"SSM_PARAMETER_PATH: .*You must specify a region"):
        load(ENVIRON, ssm, Time().backoff())


def test_what_is_no_path_is_not_asked_for(ssm):
    recorded = Recorded(ssm)
    with pytest.raises(SettingsInvalid, match="such as /test/stg/infra"):
        read(recorded, {**ENVIRON, "SSM_PARAMETER_PATH": "test/stg"})
    assert recorded.calls == []
