"""`python -m sandbox.emulator --port 4599 --state-dir DIR`: the emulated AWS alone, without the app."""

import argparse
import os
import sys
from pathlib import Path

from sandbox.emulator.exports import SettingInvalid, limits_of
from sandbox.emulator.server import REFUSED, PortTaken, listen, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.emulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--state-dir", type=Path, required=True, help="where everything it writes goes")
    parser.add_argument(
        "--follow-stdin", action="store_true", help="end as soon as standard input closes, so with the parent"
    )
    arguments = parser.parse_args()
    try:
        limits = limits_of(os.environ)
        listener = listen(arguments.port)
    except (PortTaken, SettingInvalid) as error:
        sys.exit(f"{REFUSED}{error}")
    run(listener, arguments.state_dir.resolve(), follow_stdin=arguments.follow_stdin, limits=limits)


if __name__ == "__main__":
    main()
