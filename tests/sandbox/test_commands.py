"""What the sandbox's commands refuse: in one line that says what to do, with status 1 and no traceback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import commands, local
from sandbox.errors import SandboxError
from sandbox.isolation import write_aws_config
from sandbox.places import check_free, held, port_of
from sandbox.stage import read_stage
from tests.sandbox.test_emulator_process import _TOY_APP

_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def make(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As from a terminal, also when the tests themselves were started by make."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *words],
        cwd=_REPOSITORY,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


# --- ports -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["99999", "-1", "http", "80 80", "4599.0", "٤٥٩٩", "1" * 5000])
def test_a_port_that_is_none_is_refused_by_the_name_of_its_variable(text: str, monkeypatch) -> None:
    monkeypatch.setenv("SANDBOX_PORT", text)
    with pytest.raises(SandboxError, match=r"^SANDBOX_PORT is .* must be a port from 0 to 65535"):
        port_of("SANDBOX_PORT", None, 4599, lowest=0)
    with pytest.raises(SandboxError, match=r"^--port is"):
        port_of("SANDBOX_PORT", text, 4599, lowest=0)


def test_an_empty_port_is_the_default_and_an_option_goes_before_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("SANDBOX_PORT", " ")
    assert port_of("SANDBOX_PORT", None, 4599, lowest=0) == 4599
    monkeypatch.setenv("SANDBOX_PORT", "4600")
    assert [port_of("SANDBOX_PORT", option, 4599, lowest=0) for option in (None, "0")] == [4600, 0]
    with pytest.raises(SandboxError, match="from 1 to"):
        port_of("LOCAL_PORT", "0", 8000, lowest=1)


def test_a_taken_port_is_named_with_its_variable(taken_port: int) -> None:
    with pytest.raises(
        SandboxError, match=f"^port {taken_port} on 127.0.0.1 is taken .* set LOCAL_PORT to a free port$"
    ):
        check_free(taken_port, "LOCAL_PORT")


@pytest.mark.parametrize("command", ["up", "demo", "local"])
def test_a_command_says_in_one_line_what_is_wrong_with_its_port(command: str, monkeypatch) -> None:
    said = commands.run([command, "--port", "99999"])
    assert isinstance(said, str)
    assert said.startswith("sandbox: --port is '99999'")
    assert "\n" not in said


# --- make local ------------------------------------------------------------------------------------------------------


def test_local_says_that_no_sandbox_runs(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no sandbox is running: start one with 'make sandbox'"):
        local.serve_local(tmp_path, 8000)


def test_local_says_that_the_sandbox_was_killed(tmp_path: Path, taken_port: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    write_aws_config(local.aws_config_of(tmp_path), endpoint_url)
    with pytest.raises(SandboxError, match=f"no sandbox answers at {endpoint_url}, it was probably killed"):
        local.serve_local(tmp_path, 8000)


def test_local_refuses_a_taken_port_before_chalice_starts(tmp_path: Path, taken_port: int, monkeypatch) -> None:
    monkeypatch.setattr(local, "running_endpoint", lambda aws_config: "http://127.0.0.1:1")
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("chalice was started"))
    with pytest.raises(SandboxError, match=f"port {taken_port}"):
        local.serve_local(tmp_path, taken_port)


def test_local_becomes_a_chalice_that_can_start_itself_again_to_reload(tmp_path: Path, monkeypatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(local, "running_endpoint", lambda aws_config: "http://127.0.0.1:1")
    monkeypatch.setattr(local, "check_free", lambda port, variable: None)
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    monkeypatch.chdir(tmp_path)
    local.serve_local(tmp_path, 8123)
    (command,) = started
    assert command[1:] == ["local", "--stage", "local", "--port", "8123"]
    assert os.access(command[0], os.X_OK)


# --- increment -------------------------------------------------------------------------------------------------------


def test_increment_says_that_the_app_is_not_deployed_yet(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(commands, "REPOSITORY", tmp_path)
    assert "no sandbox is running" in str(commands.run(["increment", "demo-orders"]))
    monkeypatch.setattr(commands, "running_endpoint", lambda aws_config: "http://127.0.0.1:1")
    assert "not deployed yet" in str(commands.run(["increment", "demo-orders"]))


# --- directories -----------------------------------------------------------------------------------------------------


def test_a_second_sandbox_in_one_clone_is_refused_and_leaves_the_firsts_config_alone(tmp_path: Path) -> None:
    project = shutil.copytree(_TOY_APP, tmp_path / "app")
    config = local.aws_config_of(project)
    write_aws_config(config, "http://127.0.0.1:4599")
    before = config.read_text()
    with held(config.parent, "not reached"):
        second = subprocess.run(
            [sys.executable, "-m", "sandbox", "up", "--port", "0", "--project-dir", str(project)],
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert second.returncode == 1
    assert second.stderr.splitlines() == [
        "sandbox: a sandbox is running from this directory already; stop it, or use another clone"
    ]
    assert config.read_text() == before


def test_a_directory_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from sandbox.places import held\n"
        "with held(Path(sys.argv[1]), 'refused'):\n    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=_REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SandboxError, match="refused"), held(tmp_path, "refused"):
            pytest.fail("two hold it")
        holder.kill()
        holder.wait()
    with held(tmp_path, "refused"):
        pass


def test_clean_removes_what_sandboxes_left_but_not_from_one_that_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("sandbox-4599", "sandbox-demo", "other"):
        (tmp_path / "tablevault" / name / "app").mkdir(parents=True)
    with held(tmp_path / "tablevault" / "sandbox-demo", "not reached"):
        said = commands.run(["clean"])
    assert "sandbox-demo is in use" in str(said)
    assert sorted(path.name for path in (tmp_path / "tablevault").iterdir()) == ["other", "sandbox-demo"]
    assert commands.run(["clean"]) == 0
    assert [path.name for path in (tmp_path / "tablevault").iterdir()] == ["other"]


# --- stages, interrupts, make ----------------------------------------------------------------------------------------


def write_config(project: Path, text: str) -> None:
    (project / ".chalice").mkdir()
    (project / ".chalice" / "config.json").write_text(text)


def test_a_stage_that_names_no_queue_gets_the_apps_defaults(tmp_path: Path) -> None:
    write_config(
        tmp_path, '{"app_name": "t", "stages": {"sandbox": {"environment_variables": {"BACKUP_BUCKET": "bucket"}}}}'
    )
    stage = read_stage(tmp_path, "sandbox")
    assert (stage.restore_queue, stage.restore_dead_letter_queue) == (
        "tablevault-restore",
        "tablevault-restore-dead-letter",
    )
    assert (stage.ledger_table, stage.api_tokens_parameter) == ("tablevault-ledger", "/tablevault/api-tokens")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "is no Chalice project"),
        ('{"app_name": "t", "stages": {}}', "has no stage sandbox"),
        ('{"app_name": "t", "stages": {"sandbox": {}}}', "BACKUP_BUCKET: is required"),
    ],
)
def test_a_project_without_a_usable_stage_says_so(tmp_path: Path, config: str | None, says: str) -> None:
    if config is not None:
        write_config(tmp_path, config)
    with pytest.raises(SandboxError, match=says):
        assert read_stage(tmp_path, "sandbox").backup_bucket


def test_ctrl_c_while_it_is_still_importing_ends_it_without_a_traceback() -> None:
    # The interpreter says by `-X importtime` when it begins to import the commands, long before it is done.
    starting = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "sandbox", "demo"],
        cwd=_REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert starting.stdout is not None
    assert starting.stderr is not None
    try:
        for line in starting.stderr:
            if "botocore" in line:
                break
        began = time.monotonic()
        starting.send_signal(signal.SIGINT)
        _, said = starting.communicate(timeout=10)
    finally:
        starting.kill()
        starting.wait()
    assert time.monotonic() - began < 5
    assert starting.returncode == -signal.SIGINT
    assert "Traceback" not in said


def test_make_names_a_python_that_does_not_exist(tmp_path: Path) -> None:
    said = make("install", "PYTHON=no-such-python", f"VENV={tmp_path}/venv")
    assert said.returncode == 2
    assert "There is no Python at 'no-such-python'. Use: make PYTHON=/path/to/python3.11" in said.stderr
    assert "Traceback" not in said.stderr


def test_make_help_lists_every_target() -> None:
    text = (_REPOSITORY / "Makefile").read_text()
    targets = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    listed = [line.split()[0] for line in make("help").stdout.splitlines()]
    assert sorted(listed) == sorted(targets)


def test_make_deploy_asks_for_a_stage(tmp_path: Path) -> None:
    (tmp_path / "deployer").mkdir()
    (tmp_path / "deployer" / ".installed").touch()
    said = make("deploy", f"DEPLOYER={tmp_path}/deployer")
    assert said.returncode == 2
    assert "make deploy STAGE=prod" in said.stderr
