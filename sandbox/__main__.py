"""`python -m sandbox up`: the embedded AWS with the app deployed, until Ctrl-C. `demo`: the whole job, shown once."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from sandbox.demo import run_demo
from sandbox.errors import SandboxError
from sandbox.isolation import PROFILE
from sandbox.sandbox import REPOSITORY, Sandbox, default_state_dir
from sandbox.seed import TABLES, create_tables, items_of, put_items

DEFAULT_PORT = 4599


def main() -> None:
    arguments = _parse(sys.argv[1:])
    # A shell starts background jobs with SIGINT ignored, and this process would inherit that: it would be deaf.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # SIGTERM ends this like Ctrl-C does, through the `with` that stops the emulator.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(arguments.run(arguments))
    except SandboxError as error:
        sys.exit(f"sandbox: {error}")
    except KeyboardInterrupt:
        print("\nThe sandbox is stopped; nothing of it is left running.")


def up(arguments: argparse.Namespace) -> int:
    """Starts everything, says how to use it, and waits. Raises SandboxError, also if the emulator ends."""
    began = time.monotonic()
    port, project_dir = arguments.port, arguments.project_dir.resolve()
    print("Starting the embedded AWS and deploying the app with `chalice deploy` …", flush=True)
    # Stage `local` looks for this file at this place, from the project's directory.
    aws_config = project_dir / ".sandbox" / "aws-config"
    state_dir = default_state_dir(port) if port else None
    with Sandbox(port, state_dir, project_dir=project_dir, aws_config=aws_config, bundle=arguments.bundle) as sandbox:
        if arguments.seed:
            print("Making and filling the demo's tables …", flush=True)
            create_tables(sandbox.client("dynamodb"))
            for table in TABLES:
                put_items(sandbox.client("dynamodb"), table.name, items_of(table.name))
        print(_greeting(sandbox, aws_config, time.monotonic() - began), flush=True)
        sandbox.wait()
        raise SandboxError(f"the emulator has ended; its log is {sandbox.state_dir / 'emulator.log'}")


def demo(arguments: argparse.Namespace) -> int:
    """Starts everything, shows the job being done, and stops everything; 1 when a single item differs."""
    began = time.monotonic()
    state_dir = default_state_dir("demo")
    print(
        "[  0.0 s] Starting an embedded AWS on this machine and deploying the app with `chalice deploy` …", flush=True
    )
    with Sandbox(arguments.port, state_dir) as sandbox:
        result = run_demo(sandbox, began)
    print(_where_to_look_next(state_dir), flush=True)
    return result


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


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("up", help="start it, deploy the app, and wait for Ctrl-C")
    command.set_defaults(run=up)
    _add_port(command, DEFAULT_PORT)
    command.add_argument(
        "--bundle",
        action="store_true",
        help="deploy the wheels of requirements.txt too, as on AWS (Linux on x86_64; needs the network once)",
    )
    command.add_argument(
        "--project-dir", type=Path, default=REPOSITORY, help="the Chalice project to deploy (default: this one)"
    )
    command.add_argument("--no-seed", dest="seed", action="store_false", help="do not make and fill the demo's tables")
    command = commands.add_parser("demo", help="back up, damage and restore tables, and compare every item")
    command.set_defaults(run=demo)
    _add_port(command, 0)
    return parser.parse_args(arguments)


def _add_port(command: argparse.ArgumentParser, default: int) -> None:
    command.add_argument(
        "--port",
        type=int,
        default=os.environ.get("SANDBOX_PORT", default),
        help=f"port on 127.0.0.1 (default: SANDBOX_PORT, else {default or 'a free one'}; 0 takes a free one)",
    )


def _greeting(sandbox: Sandbox, aws_config: Path, took_s: float) -> str:
    return f"""
Ready after {took_s:.1f} s. Ctrl-C stops everything.

  AWS endpoint   {sandbox.endpoint_url}   (key and secret: test)
  API            {sandbox.api_url}
  API token      {sandbox.token}
  Logs           {sandbox.state_dir}

Try:

  export API={sandbox.api_url}
  export TOKEN={sandbox.token}
  curl -s $API/health
  curl -s -H "Authorization: Bearer $TOKEN" $API/backups
  curl -s -H "Authorization: Bearer $TOKEN" -X POST $API/backups
  curl -s -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
       -d '{{"backup_date": "latest", "dry_run": true}}' $API/restores

The AWS command line:   AWS_CONFIG_FILE={aws_config} aws --profile {PROFILE} s3 ls
The API, reloading:     chalice local --stage local
"""


if __name__ == "__main__":
    main()
