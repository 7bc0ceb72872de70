"""The emulator as a process: a taken port, and that nothing of it outlives it or its parent."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from sandbox.emulator_process import EmulatorProcess
from sandbox.errors import SandboxError
from sandbox.isolation import emulator_client

pytestmark = pytest.mark.e2e

_REPOSITORY = Path(__file__).resolve().parents[2]
_TOY_APP = Path(__file__).parent / "toy_app"
_LAST_OF_THE_GREETING = (
    "The AWS command line, if it is installed:  AWS_CONFIG_FILE={config} aws --profile tablevault-sandbox s3 ls\n"
)
_HANG = """
import os, pathlib, time

def handler(event, context):
    path = pathlib.Path(event["pid_file"])
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    time.sleep(300)
"""


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatorProcess]:
    process = EmulatorProcess(0, tmp_path / "state")
    yield process
    process.stop()
    process.stop()  # as when a test and its fixture both clean up; nothing is to happen


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_taken_port_is_named_with_what_to_do_and_nothing_is_started(taken_port: int, tmp_path: Path) -> None:
    with pytest.raises(SandboxError) as refusal:
        EmulatorProcess(taken_port, tmp_path)
    assert str(refusal.value) == (
        f"port {taken_port} on 127.0.0.1 is taken by another program; "
        "end that program or set SANDBOX_PORT to a free port"
    )


def test_a_limit_of_exports_that_is_no_number_is_named_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_EXPORTS_AT_ONCE", "many")
    with pytest.raises(SandboxError, match="SANDBOX_EXPORTS_AT_ONCE is 'many', and must be a whole number"):
        EmulatorProcess(0, tmp_path)


def test_limits_of_exports_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SANDBOX_EXPORTS_AT_ONCE", "0")
    process = EmulatorProcess(0, tmp_path / "state")
    try:
        dynamodb = emulator_client("dynamodb", process.endpoint_url)
        table_arn = dynamodb.create_table(
            TableName="limited",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )["TableDescription"]["TableArn"]
        recovery = {"PointInTimeRecoveryEnabled": True}
        dynamodb.update_continuous_backups(TableName="limited", PointInTimeRecoverySpecification=recovery)
        with pytest.raises(dynamodb.exceptions.LimitExceededException):
            dynamodb.export_table_to_point_in_time(TableArn=table_arn, S3Bucket="backups")
    finally:
        process.stop()


def test_the_command_line_says_a_port_is_taken_in_one_line(taken_port: int, tmp_path: Path) -> None:
    environment = {**os.environ, "SANDBOX_PORT": str(taken_port), "XDG_CACHE_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox", "up", "--project-dir", str(shutil.copytree(_TOY_APP, tmp_path / "app"))],
        cwd=_REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"sandbox: port {taken_port} on 127.0.0.1 is taken by another program; "
        "end that program or set SANDBOX_PORT to a free port"
    ]


def test_only_loopback_is_served(emulator: EmulatorProcess) -> None:
    assert emulator.endpoint_url.startswith("http://127.0.0.1:")
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc/net")
    port = int(emulator.endpoint_url.rsplit(":", 1)[1])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listeners = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [address for address in listeners if int(address.split(":")[1], 16) == port] == [f"0100007F:{port:04X}"]


def test_sigterm_ends_the_emulator_its_busy_workers_and_its_temporary_files(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    worker = _start_hanging_function(emulator.endpoint_url, tmp_path)
    assert list((tmp_path / "state" / "tmp").iterdir())
    os.kill(emulator.pid, signal.SIGTERM)
    emulator.wait()
    assert emulator.exit_status == 0
    _await(lambda: not _is_alive(worker))
    assert not (tmp_path / "state" / "tmp").exists()


def test_nothing_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from sandbox.emulator_process import EmulatorProcess\n"
        "emulator = EmulatorProcess(0, Path(sys.argv[1]))\n"
        "print(emulator.pid, emulator.endpoint_url, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    try:
        with parent.stdout:
            pid, endpoint_url = parent.stdout.readline().split()
        worker = _start_hanging_function(endpoint_url, tmp_path)
    finally:
        parent.kill()
        parent.wait()
    _await(lambda: not _is_alive(int(pid)) and not _is_alive(worker))


def test_ctrl_c_stops_everything_and_takes_the_config_of_stage_local_along(tmp_path: Path) -> None:
    project = shutil.copytree(_TOY_APP, tmp_path / "app")
    up = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "up", "--port", "0", "--project-dir", str(project)],
        cwd=_REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell starts background jobs
    )
    assert up.stdout is not None
    impatience = threading.Timer(120, up.kill)  # a process that does not end is a failure, not a suite that hangs
    impatience.start()
    try:
        with up.stdout:
            said = "".join(
                iter(up.stdout.readline, _LAST_OF_THE_GREETING.format(config=project / ".sandbox" / "aws-config"))
            )
            config = (project / ".sandbox" / "aws-config").read_text()
            up.send_signal(signal.SIGINT)
            assert "nothing of it is left running" in up.stdout.read()
    finally:
        impatience.cancel()
        up.kill()
        up.wait()
    endpoint_url = re.search(r"http://127.0.0.1:\d+", said)
    assert endpoint_url
    assert f"endpoint_url = {endpoint_url[0]}\n" in config
    assert "/_aws/execute-api/" in said
    with socket.socket() as gone, pytest.raises(ConnectionRefusedError):
        gone.connect(("127.0.0.1", int(endpoint_url[0].rsplit(":", 1)[1])))
    assert not (project / ".sandbox" / "aws-config").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["app"]


def _start_hanging_function(endpoint_url: str, directory: Path) -> int:
    """The process id of a worker that is in the middle of its handler."""
    functions = emulator_client("lambda", endpoint_url)
    code = BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", _HANG)
    role = emulator_client("iam", endpoint_url).create_role(
        RoleName="hang", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []})
    )
    functions.create_function(
        FunctionName="hang",
        Runtime="python3.11",
        Role=role["Role"]["Arn"],
        Handler="app.handler",
        Timeout=300,
        Code={"ZipFile": code.getvalue()},
    )
    _await(lambda: functions.get_function(FunctionName="hang")["Configuration"]["State"] == "Active")
    pid_file = directory / "pid"
    functions.invoke(
        FunctionName="hang", InvocationType="Event", Payload=json.dumps({"pid_file": str(pid_file)}).encode()
    )
    _await(pid_file.exists)
    return int(pid_file.read_text())


def _await(condition: Callable[[], bool], timeout_s: float = 8) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has collected yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
