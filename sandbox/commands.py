"""The sandbox's commands. `up`: the embedded AWS with the app deployed, until Ctrl-C. `local`: the HTTP API with
`chalice local` beside it. `increment`: an incremental set of a table, beside a running one. `demo`: the whole job,
shown once. `clean`: removes what they left.
"""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sandbox.api import api_file_of, read_api
from sandbox.demo import run_demo
from sandbox.errors import SandboxError
from sandbox.increment import back_up_changes, told
from sandbox.isolation import PROFILE
from sandbox.local import aws_config_of, running_endpoint, serve_local
from sandbox.places import held, port_of
from sandbox.sandbox import REPOSITORY, Sandbox, default_state_dir
from sandbox.seed import TABLES, create_tables, items_of, put_items

DEFAULT_PORT = 4599
DEFAULT_LOCAL_PORT = 8000


def run(words: Sequence[str]) -> int | str:
    """Runs one command; what `sys.exit` takes: a status, or one line that says what is wrong."""
    arguments = _parse(words)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # SIGTERM ends this like Ctrl-C does, through the `with` that stops the emulator.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status: int = arguments.run(arguments)
    except SandboxError as error:
        return f"sandbox: {error}"
    except KeyboardInterrupt:
        print("\nThe sandbox is stopped; nothing of it is left running.")
        return 0
    return status


def up(arguments: argparse.Namespace) -> int:
    """Starts everything, says how to use it, and waits. Raises SandboxError, also if the emulator ends."""
    began = time.monotonic()
    port = port_of("SANDBOX_PORT", arguments.port, DEFAULT_PORT, lowest=0)
    project_dir = arguments.project_dir.resolve()
    aws_config = aws_config_of(project_dir)
    state_dir = default_state_dir(port) if port else None
    with ExitStack() as stack:
        stack.enter_context(
            held(aws_config.parent, "a sandbox is running from this directory already; stop it, or use another clone")
        )
        if state_dir:
            refusal = f"a sandbox is running on port {port} already; stop it, or set SANDBOX_PORT to a free port"
            stack.enter_context(held(state_dir, refusal))
        print("Starting the embedded AWS and deploying the app with `chalice deploy` …", flush=True)
        sandbox = stack.enter_context(
            Sandbox(port, state_dir, project_dir=project_dir, aws_config=aws_config, bundle=arguments.bundle)
        )
        if arguments.seed:
            print("Making and filling the demo's tables …", flush=True)
            create_tables(sandbox.client("dynamodb"))
            for table in TABLES:
                put_items(sandbox.client("dynamodb"), table.name, items_of(table.name))
        print(_greeting(sandbox, aws_config, time.monotonic() - began), flush=True)
        sandbox.wait()
        raise SandboxError(f"the emulator has ended; its log is {sandbox.state_dir / 'emulator.log'}")


def local(arguments: argparse.Namespace) -> int:
    """Serves the HTTP API until Ctrl-C. Raises SandboxError when no sandbox answers, or the port is taken."""
    serve_local(REPOSITORY, port_of("LOCAL_PORT", arguments.port, DEFAULT_LOCAL_PORT, lowest=1))


def increment(arguments: argparse.Namespace) -> int:
    """Asks the app for an increment of a table, and says what it has. Raises SandboxError when no sandbox answers."""
    aws_config = aws_config_of(REPOSITORY)
    endpoint_url, api = running_endpoint(aws_config), read_api(api_file_of(aws_config))
    if api is None:
        raise SandboxError("the app is not deployed yet: wait until the sandbox says that it is ready")
    print(told(back_up_changes(endpoint_url, api, arguments.table)))
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Starts everything, shows the job being done, and stops everything; 1 when a single item differs."""
    began = time.monotonic()
    port = port_of("SANDBOX_PORT", arguments.port, 0, lowest=0)
    state_dir = default_state_dir("demo")
    with held(state_dir, "a demo is running already; wait for its end"):
        print(
            "[  0.0 s] Starting an embedded AWS on this machine and deploying the app with `chalice deploy` …",
            flush=True,
        )
        with Sandbox(port, state_dir) as sandbox:
            result = run_demo(sandbox, began)
    print(_where_to_look_next(state_dir), flush=True)
    return result


def clean(arguments: argparse.Namespace) -> int:
    """Removes the state and logs of every sandbox of this user that is not running."""
    for state_dir in sorted(default_state_dir("").parent.glob("sandbox-*")):
        with held(state_dir, f"{_shown(state_dir)} is in use: stop that sandbox or demo first"):
            shutil.rmtree(state_dir)
            print(f"removed {_shown(state_dir)}")
    return 0


def _where_to_look_next(state_dir: Path) -> str:
    return f"""
           Where to look next
           README.md             what tablevault is, its settings and its API
           docs/ARCHITECTURE.md  how a restore survives being killed, repeated and cut off
           make sandbox          keep all this running and talk to the API yourself
           {_shown(state_dir)}   the logs of this run
"""


def _shown(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("up", help="start it, deploy the app, and wait for Ctrl-C")
    command.set_defaults(run=up)
    _add_port(command, f"SANDBOX_PORT, else {DEFAULT_PORT}; 0 takes a free one")
    command.add_argument(
        "--bundle",
        action="store_true",
        help="deploy the wheels of requirements.txt too, as on AWS (Linux on x86_64; needs the network once)",
    )
    command.add_argument(
        "--project-dir", type=Path, default=REPOSITORY, help="the Chalice project to deploy (default: this one)"
    )
    command.add_argument("--no-seed", dest="seed", action="store_false", help="do not make and fill the demo's tables")
    command = commands.add_parser("local", help="serve the HTTP API with chalice local, beside a running sandbox")
    command.set_defaults(run=local)
    _add_port(command, f"LOCAL_PORT, else {DEFAULT_LOCAL_PORT}")
    command = commands.add_parser("increment", help="back up what has changed in a table of a running sandbox")
    command.set_defaults(run=increment)
    command.add_argument("table", help="a table that the stage backs up, such as demo-orders")
    command = commands.add_parser("demo", help="back up, damage and restore tables, and compare every item")
    command.set_defaults(run=demo)
    _add_port(command, "SANDBOX_PORT, else a free one")
    command = commands.add_parser("clean", help="remove the state and logs of sandboxes and demos")
    command.set_defaults(run=clean)
    return parser.parse_args(words)


def _add_port(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument("--port", help=f"port on 127.0.0.1 (default: {default})")


def _greeting(sandbox: Sandbox, aws_config: Path, took_s: float) -> str:
    return f"""
Ready after {took_s:.1f} s. Ctrl-C stops everything.

  AWS endpoint   {sandbox.endpoint_url}   (key and secret: test)
  API            {sandbox.api_url}
  API token      {sandbox.token}
  Logs           {sandbox.state_dir}

Try (answers are JSON in one line; add `| jq` to read them more easily, if you have it):

  export API={sandbox.api_url}
  export TOKEN={sandbox.token}
  curl -s $API/health

  # Back up. Ask again until the set's status is COMPLETE, in some seconds: before, there is nothing to restore.
  curl -s -H "Authorization: Bearer $TOKEN" -X POST $API/backups
  curl -s -H "Authorization: Bearer $TOKEN" $API/backups

  # Then a dry run, and how far it is, by the restore_id that it answers.
  curl -s -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
       -d '{{"backup_date": "latest", "dry_run": true}}' $API/restores
  curl -s -H "Authorization: Bearer $TOKEN" $API/restores/RESTORE_ID

The API with `chalice local`, reloading:   make local   (in another terminal)
The AWS command line, if it is installed:  AWS_CONFIG_FILE={aws_config} aws --profile {PROFILE} s3 ls
"""
