"""`python -m sandbox up`: the embedded AWS with the app deployed, until Ctrl-C."""

import argparse
import os
import signal
import sys
import time

from sandbox.errors import SandboxError
from sandbox.isolation import PROFILE
from sandbox.sandbox import REPOSITORY, Sandbox, default_state_dir

DEFAULT_PORT = 4599
_AWS_CONFIG = REPOSITORY / ".sandbox" / "aws-config"


def main() -> None:
    arguments = _parse(sys.argv[1:])
    # SIGTERM ends this like Ctrl-C does, through the `with` that stops the emulator.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        up(arguments.port, bundle=arguments.bundle)
    except SandboxError as error:
        sys.exit(f"sandbox: {error}")
    except KeyboardInterrupt:
        print("\nThe sandbox is stopped; nothing of it is left running.")


def up(port: int, *, bundle: bool) -> None:
    """Starts everything, says how to use it, and waits. Raises SandboxError, also if the emulator ends."""
    began = time.monotonic()
    print("Starting the embedded AWS and deploying the app with `chalice deploy` …", flush=True)
    with Sandbox(port, default_state_dir(port), aws_config=_AWS_CONFIG, bundle=bundle) as sandbox:
        print(_greeting(sandbox, time.monotonic() - began), flush=True)
        sandbox.wait()
        raise SandboxError(f"the emulator has ended; its log is {sandbox.state_dir / 'emulator.log'}")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("up", help="start it, deploy the app, and wait for Ctrl-C")
    command.add_argument(
        "--port",
        type=int,
        default=os.environ.get("SANDBOX_PORT", DEFAULT_PORT),
        help=f"port on 127.0.0.1 (default: SANDBOX_PORT, else {DEFAULT_PORT}; 0 takes a free one)",
    )
    command.add_argument(
        "--bundle",
        action="store_true",
        help="deploy the wheels of requirements.txt too, as on AWS (Linux on x86_64; needs the network once)",
    )
    return parser.parse_args(arguments)


def _greeting(sandbox: Sandbox, took_s: float) -> str:
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

The AWS command line:   AWS_CONFIG_FILE={_AWS_CONFIG} aws --profile {PROFILE} s3 ls
The API, reloading:     chalice local --stage local
"""


if __name__ == "__main__":
    main()
