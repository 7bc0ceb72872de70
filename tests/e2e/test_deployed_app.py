"""The deployed app in the sandbox: real triggers, real processes, IAM enforced. In the order a set lives through."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sandbox import commands, seed
from sandbox.api import Api, back_up
from sandbox.compare import compare, snapshot
from sandbox.demo import run_demo
from sandbox.exports.snapshot import scan_in_wire_form
from sandbox.isolation import emulator_client, open_local
from tests.e2e.conftest import wait_for

pytestmark = pytest.mark.e2e
ENDED = ("COMPLETED", "PARTIAL", "FAILED", "CANCELLED")


@pytest.fixture(scope="session")
def demonstrated(sandbox):
    """The demo has run: four tables, a complete set of today, a finished dry run and restore; and a chain of three sets
    of demo-catalog, each restored into a table of its own. Its exit status."""
    return run_demo(sandbox, time.monotonic())


def status_of(api, restore_id):
    return api.call("GET", f"/restores/{restore_id}")


def ended(api, restore_id):
    restore = status_of(api, restore_id)
    return restore if restore["status"] in ENDED and restore["receipt_key"] else None


def answer(api, method, path, body=None, token=None, content_type="application/json"):
    """Status, content type and JSON of any answer, good or bad."""
    headers = {"Content-Type": content_type} | ({"Authorization": token} if token else {})
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(api.url + path, method=method, headers=headers, data=data)
    try:
        with open_local(request, 30) as response:
            return response.status, response.headers["Content-Type"], json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], json.loads(error.read() or b"{}")


def test_the_demo_brings_every_item_back(demonstrated):
    assert demonstrated == 0


def test_the_schedule_firing_twice_starts_nothing_twice(sandbox, demonstrated):
    def exports():
        pages = sandbox.client("dynamodb").list_exports(MaxResults=25)
        return sorted(export["ExportArn"] for export in pages["ExportSummaries"])

    before = exports()
    sandbox.fire_schedule("start_exports")
    sandbox.fire_schedule("reconcile")
    assert exports() == before
    assert len(before) == len(seed.TABLES) + 3  # those of the second act


@pytest.mark.usefixtures("demonstrated")
@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), ("Bearer wrong-token-of-some-length", 403), ("Basic abc", 403), ("Bearer ", 403)],
)
def test_without_the_right_token_nobody_gets_in(api, token, status):
    assert answer(api, "GET", "/restores", token=token)[0] == status
    assert answer(api, "POST", "/restores", body={}, token=token)[0] == status
    assert answer(api, "GET", "/health", token=token)[0] == 200


def test_wrong_requests_are_problem_documents(api, demonstrated):
    token = f"Bearer {api.token}"
    wrong = {"max_workers": 0, "mode": "missing_only", "clear_existing_data": True, "tables": "demo-orders"}
    status, content_type, problem = answer(api, "POST", "/restores", wrong, token)
    assert (status, content_type, problem["code"]) == (422, "application/problem+json", "invalid_request")
    assert {error["path"] for error in problem["errors"]} == {"$.max_workers", "$.mode", "$.tables"}
    assert answer(api, "POST", "/restores", b"{", token)[0] == 400
    for body in ({"backup_date": "2020-01-01"}, {"tables": ["nobodys"], "backup_date": time.strftime("%Y-%m-%d")}):
        assert answer(api, "POST", "/restores", body, token)[0] == 404
    assert answer(api, "GET", "/restores/r-20200101T000000Z-00000000", token=token)[2]["code"] == "restore_not_found"
    assert answer(api, "GET", "/backups/2020-01-01", token=token)[0] == 404


def test_a_message_that_is_not_ours_ends_in_quarantine(sandbox, demonstrated):
    sqs, s3 = sandbox.client("sqs"), sandbox.client("s3")
    queue_url = sqs.get_queue_url(QueueName=sandbox.stage.restore_queue)["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="somebody else's message")

    def kept():
        listed = s3.list_objects_v2(Bucket=sandbox.stage.backup_bucket, Prefix="quarantine/").get("Contents", [])
        bodies = [s3.get_object(Bucket=sandbox.stage.backup_bucket, Key=item["Key"])["Body"].read() for item in listed]
        return [body for body in bodies if b"somebody else's message" in body]

    assert len(wait_for("the message", kept)) == 1
    attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def is_empty():
        counts = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=attributes)["Attributes"]
        return all(count == "0" for count in counts.values())

    assert wait_for("an empty queue", is_empty)


def test_a_dead_letter_that_is_not_ours_ends_in_quarantine_too(sandbox, demonstrated):
    sqs, s3 = sandbox.client("sqs"), sandbox.client("s3")
    queue_url = sqs.get_queue_url(QueueName=sandbox.stage.restore_dead_letter_queue)["QueueUrl"]
    sqs.send_message(QueueUrl=queue_url, MessageBody="a dead stranger")

    def kept():
        listed = s3.list_objects_v2(Bucket=sandbox.stage.backup_bucket, Prefix="quarantine/").get("Contents", [])
        bodies = [s3.get_object(Bucket=sandbox.stage.backup_bucket, Key=item["Key"])["Body"].read() for item in listed]
        return any(b"a dead stranger" in body for body in bodies)

    assert wait_for("the message", kept)


def test_a_target_under_restore_is_refused_and_a_cancelled_restore_gives_it_back(api, demonstrated):
    token = f"Bearer {api.token}"
    first = api.call("POST", "/restores", {"tables": ["demo-orders"], "max_workers": 1})["restore_id"]
    status, _, problem = answer(api, "POST", "/restores", {"tables": ["demo-orders"]}, token)
    assert (status, problem["code"]) == (409, "target_locked")
    assert first in problem["detail"]
    assert api.call("POST", f"/restores/{first}/cancel")["status"] == "CANCELLING"
    restore = wait_for("the cancelled restore", lambda: ended(api, first))
    assert restore["status"] == "CANCELLED"
    assert answer(api, "POST", f"/restores/{first}/cancel", token=token)[0] == 409
    second = api.call("POST", "/restores", {"tables": ["demo-archive"], "dry_run": True})["restore_id"]
    assert wait_for("the second restore", lambda: ended(api, second))["status"] == "COMPLETED"


@pytest.mark.thorough  # its claim has to lapse; the simulation kills workers at every call
def test_a_worker_killed_in_the_middle_of_a_restore_loses_nothing(sandbox, api, demonstrated):
    dynamodb = emulator_client("dynamodb", sandbox.endpoint_url)
    scan_in_wire_form(dynamodb)
    orders = next(table for table in seed.TABLES if table.name == "demo-orders")
    # The cancelled restore above only wrote what is in the backup: the table is as it was.
    before = snapshot(dynamodb, orders.name, orders.key_names)
    body = {"tables": ["demo-orders"], "clear_existing_data": True, "max_workers": 2}
    restore_id = api.call("POST", "/restores", body)["restore_id"]

    def is_loading():
        restore = status_of(api, restore_id)
        assert restore["status"] not in ENDED, "it was over before a worker could be killed"
        return restore["status"] == "LOADING" and restore["tables"][0]["written"] > 0

    wait_for("loading", is_loading)
    victims = sandbox.lambda_worker_pids("restore_shards", busy_only=True)
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)

    def look():
        sandbox.fire_schedule("reconcile")  # on AWS, its schedule fires every minute
        return ended(api, restore_id)

    restore = wait_for("the restore", look, seconds=120)
    assert (restore["status"], restore["status_code"]) == ("COMPLETED", 200)
    table = restore["tables"][0]
    assert table["written"] == table["item_count"] == len(before)
    assert table["cleared"] == len(before)
    assert table["safety_backup_arn"]
    difference = compare(before, snapshot(dynamodb, orders.name, orders.key_names))
    assert not difference, difference


def test_a_set_by_hand_is_recorded_by_events_with_odd_keys_beside_it(sandbox, api, demonstrated):
    bucket, s3 = sandbox.stage.backup_bucket, sandbox.client("s3")
    for key in (
        "native-exports/not a date/x/manifest-summary.json",
        "native-exports/2026-01-01/ümläut+plus%3A/AWSDynamoDB/01700000000000-abcdef01/manifest-summary.json",
    ):
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    started = api.call("POST", "/backups", {"tables": ["demo-devices"]})

    def finished():
        backup = api.call("GET", f"/backups/{started['backup_date']}")
        return backup if backup["status"] in ("COMPLETE", "PARTIAL") else None

    backup = wait_for("the set", finished)
    assert backup["status"] == "COMPLETE"
    assert [table["table_name"] for table in backup["tables"]] == ["demo-devices"]
    newest = api.call("GET", "/backups?limit=1")["backups"][0]
    assert newest["backup_date"] == started["backup_date"]


def test_the_increment_command_asks_the_app_for_what_has_changed(
    sandbox, api, project, demonstrated, monkeypatch, capsys
):
    since = back_up(api, ["demo-devices"])["backup_date"]
    device = next(seed.items_of("demo-devices"))
    seed.delete_items(
        sandbox.client("dynamodb"), "demo-devices", [{name: device[name] for name in ("serial", "metric")}]
    )
    monkeypatch.setattr(commands, "REPOSITORY", project)
    assert commands.run(["increment", "demo-devices"]) == 0
    said = capsys.readouterr().out
    assert f": 1 changed item of demo-devices since {since} (from " in said
    [table] = api.call("GET", f"/backups/{said.partition(':')[0]}")["tables"]
    assert (table["export_type"], table["base"][0]["backup_date"]) == ("INCREMENTAL_EXPORT", since)
    assert "not selected" in str(commands.run(["increment", "nobodys"]))


def test_chalice_local_serves_the_api_with_its_authorizer_against_the_sandbox(sandbox, api, project, demonstrated):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chalice = Path(sys.executable).parent / "chalice"
    command = [str(chalice), "local", "--stage", "local", "--port", str(port), "--no-autoreload"]
    log = (project.parent / "chalice-local.log").open("wb")
    local = subprocess.Popen(command, cwd=project, stdout=log, stderr=log)
    try:
        here = Api(f"http://127.0.0.1:{port}", api.token)

        def is_up():
            try:
                return answer(here, "GET", "/health")[0] == 200
            except urllib.error.URLError:
                return False

        wait_for("chalice local", is_up)
        assert answer(here, "GET", "/restores")[0] == 401
        assert answer(here, "GET", "/restores", token="Bearer wrong-token-of-some-length")[0] == 403
        assert here.call("GET", "/backups")["backups"] == api.call("GET", "/backups")["backups"]
        restore_id = here.call("POST", "/restores", {"tables": ["demo-devices"], "max_workers": 2})["restore_id"]
        assert wait_for("the restore", lambda: ended(here, restore_id))["status"] == "COMPLETED"
    finally:
        local.terminate()
        local.wait(10)
        log.close()


def test_nothing_that_was_logged_holds_a_token_or_an_item(sandbox, demonstrated):
    functions = ("api_handler", "authorize", "start_exports", "record_export", "restore_shards", "reconcile")
    logs = "\n".join(line for function in functions for line in sandbox.logs(function))
    assert "restore ended" in logs
    assert sandbox.token not in logs
    for item_content in ("customer-0", "Grüße", "\\u2028", "thing 1"):
        assert item_content not in logs
