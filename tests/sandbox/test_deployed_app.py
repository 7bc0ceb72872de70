"""An app of the product's shape, deployed by the real `chalice deploy`: all its triggers, and IAM as on AWS."""

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox.errors import SandboxError
from sandbox.sandbox import Sandbox

pytestmark = pytest.mark.e2e

_TOY_APP = Path(__file__).parent / "toy_app"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("sandbox")
    project = shutil.copytree(_TOY_APP, directory / "project")
    (project / "chalicelib" / "__pycache__").mkdir(exist_ok=True)
    (project / "chalicelib" / "__pycache__" / "stale.pyc").write_bytes(b"")
    with Sandbox(state_dir=directory / "state", project_dir=project) as running:
        yield running


def test_a_route_without_an_authorizer_is_open(sandbox: Sandbox) -> None:
    assert _http(sandbox, "/health", token=None)[::2] == (200, {"status": "ok"})


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 403)])
def test_a_route_with_an_authorizer_refuses_who_is_unknown(sandbox: Sandbox, token: str | None, status: int) -> None:
    assert _http(sandbox, "/things/a/parts/b", token=token)[0] == status


def test_path_parameters_and_the_callers_name_reach_the_function(sandbox: Sandbox) -> None:
    status, _, body = _http(sandbox, "/things/2026-11-21T01%3A00/parts/a%20b")
    assert status == 200
    assert (body["name"], body["caller"]) == ("2026-11-21T01:00", "sandbox")


def test_a_preflight_request_is_answered_without_a_token(sandbox: Sandbox) -> None:
    status, headers, _ = _http(sandbox, "/things", token=None, method="OPTIONS")
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == "https://console.example.com"
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "Idempotency-Key" in headers["Access-Control-Allow-Headers"]


def test_a_role_that_lacks_a_permission_is_denied(sandbox: Sandbox) -> None:
    assert _http(sandbox, "/forbidden")[2] == {"code": "AccessDeniedException"}
    sandbox.client("dynamodb").describe_table(TableName=sandbox.stage.ledger_table)


def test_send_message_grants_the_batch_call_and_the_queue_wakes_its_function(sandbox: Sandbox) -> None:
    assert _http(sandbox, "/things", method="POST", body={"restore": 1})[0] == 202
    _await(lambda: ("shard", '{"restore": 1}') in _rows(sandbox))


def test_a_fired_schedule_writes_an_object_whose_event_arrives(sandbox: Sandbox) -> None:
    sandbox.fire_schedule("start_exports")
    _await(lambda: ("export", "native-exports/2026-11-21/manifest-summary.json") in _rows(sandbox))
    assert ("schedule", "aws.events") in _rows(sandbox)


def test_a_function_without_a_schedule_cannot_be_fired(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="no EventBridge rule targets record_export"):
        sandbox.fire_schedule("record_export")


def test_what_a_function_prints_is_in_its_logs(sandbox: Sandbox) -> None:
    sandbox.fire_schedule("reconcile")
    assert "reconcile looked around" in sandbox.logs("reconcile")
    assert sandbox.logs("record_dead_letter") == []


def test_the_ledger_and_the_queues_are_as_on_aws(sandbox: Sandbox) -> None:
    stage, dynamodb, sqs = sandbox.stage, sandbox.client("dynamodb"), sandbox.client("sqs")
    table = dynamodb.describe_table(TableName=stage.ledger_table)["Table"]
    projections = {index["IndexName"]: index["Projection"] for index in table["GlobalSecondaryIndexes"]}
    assert projections == {
        "by_kind": {"ProjectionType": "ALL"},
        "open_work": {"ProjectionType": "KEYS_ONLY"},
    }
    time_to_live = dynamodb.describe_time_to_live(TableName=stage.ledger_table)["TimeToLiveDescription"]
    assert time_to_live == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at_s"}
    queue_url = sqs.get_queue_url(QueueName=stage.restore_queue)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "120"
    redrive = json.loads(attributes["RedrivePolicy"])
    assert redrive["maxReceiveCount"] == 3
    assert redrive["deadLetterTargetArn"].endswith(f":{stage.restore_dead_letter_queue}")
    assert "Status" not in sandbox.client("s3").get_bucket_versioning(Bucket=stage.backup_bucket)
    parameter = sandbox.client("ssm").get_parameter(Name=stage.api_tokens_parameter)["Parameter"]
    assert parameter["Type"] == "SecureString"


def test_a_worker_that_waits_is_listed_but_not_busy(sandbox: Sandbox) -> None:
    pid = _http(sandbox, "/things/a/parts/b")[2]["worker_pid"]
    assert pid in sandbox.lambda_worker_pids("api_handler")
    _await(lambda: not sandbox.lambda_worker_pids("api_handler", busy_only=True))


def test_a_worker_can_be_found_in_the_middle_of_its_work_and_killed(sandbox: Sandbox) -> None:
    queue_url = sandbox.client("sqs").get_queue_url(QueueName=sandbox.stage.restore_queue)["QueueUrl"]
    sandbox.client("sqs").send_message(QueueUrl=queue_url, MessageBody='"hang"')
    _await(lambda: ("shard", '"hang"') in _rows(sandbox))
    [pid] = sandbox.lambda_worker_pids("restore_shards", busy_only=True)
    os.kill(pid, signal.SIGKILL)
    _await(lambda: pid not in sandbox.lambda_worker_pids("restore_shards"))
    _await(lambda: not sandbox.lambda_worker_pids("restore_shards", busy_only=True))


def test_a_call_that_names_an_export_is_authorized_on_that_export(sandbox: Sandbox) -> None:
    table_arn = "arn:aws:dynamodb:us-east-1:000000000000:table/demo-orders"
    caller = _dynamodb_of_a_user_allowed(sandbox, ["dynamodb:DescribeExport"], f"{table_arn}/export/*")
    with pytest.raises(ClientError) as unknown:
        caller.describe_export(ExportArn=f"{table_arn}/export/01234567890123-abcdef01")
    assert unknown.value.response["Error"]["Code"] == "ExportNotFoundException"
    with pytest.raises(ClientError) as denied:
        caller.describe_export(ExportArn=table_arn.replace("orders", "other") + "/export/01234567890123-ab")
    assert denied.value.response["Error"]["Code"] == "AccessDeniedException"


def test_a_second_deploy_replaces_the_routes_and_keeps_the_url(sandbox: Sandbox) -> None:
    before, source = sandbox.api_url, sandbox.project_dir / "app.py"
    assert _http(sandbox, "/things/a/parts/b")[0] == 200
    source.write_text(source.read_text().replace("/things/{name}/parts/{part}", "/things/{name}/pieces/{part}"))
    sandbox.deploy()
    assert sandbox.api_url == before
    assert _http(sandbox, "/health", token=None)[0] == 200
    assert _http(sandbox, "/things/a/pieces/b", token=None)[0] == 401
    assert _http(sandbox, "/things/a/pieces/b")[2]["part"] == "b"
    assert _http(sandbox, "/things/a/parts/b")[0] == 403  # as API Gateway answers for a path it does not know


def test_only_the_app_is_packaged_and_the_project_stays_clean(sandbox: Sandbox) -> None:
    packages = list((sandbox.state_dir / "app" / ".chalice" / "deployments").glob("*.zip"))
    assert packages
    for package in packages:
        with zipfile.ZipFile(package) as archive:
            assert not [name for name in archive.namelist() if "__pycache__" in name]
    assert {path.name for path in (sandbox.project_dir / ".chalice").iterdir()} == {
        "config.json",
        "policy-api.json",
        "policy-triggers.json",
    }


def test_a_deploy_that_fails_says_what_chalice_said(sandbox: Sandbox) -> None:
    broken = sandbox.project_dir / "app.py"
    intact = broken.read_text()
    broken.write_text(intact + "\nraise RuntimeError('no region')\n")
    try:
        with pytest.raises(SandboxError, match="no region"):
            sandbox.deploy()
    finally:
        broken.write_text(intact)


def test_the_record_of_what_an_earlier_emulator_had_is_dropped(tmp_path: Path) -> None:
    # With it, Chalice would try to delete from the new emulator what the project has lost since.
    record = tmp_path / "app" / ".chalice" / "deployed" / "sandbox.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    sandbox = Sandbox(state_dir=tmp_path, project_dir=_TOY_APP)
    try:
        sandbox.start()
    finally:
        sandbox.stop()
    assert not record.exists()


def _http(
    sandbox: Sandbox, path: str, *, token: str | None = "", method: str = "GET", body: object = None
) -> tuple[int, Any, Any]:
    """Status, headers and JSON body; `token` is the sandbox's own unless given, None sends none."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token or sandbox.token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(sandbox.api_url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.loads(error.read() or b"null")


def _rows(sandbox: Sandbox) -> set[tuple[str, str]]:
    items = sandbox.client("dynamodb").scan(TableName=sandbox.stage.ledger_table, ConsistentRead=True)["Items"]
    return {(item["pk"]["S"], item["sk"]["S"]) for item in items}


def _dynamodb_of_a_user_allowed(sandbox: Sandbox, actions: list[str], resource: str) -> Any:
    import boto3

    iam = sandbox.client("iam")
    iam.create_user(UserName="reader")
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}],
    }
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    return boto3.client(
        "dynamodb",
        endpoint_url=sandbox.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )


def _await(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
