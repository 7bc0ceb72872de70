"""`python -m sandbox`: the commands are in sandbox.commands."""

import signal
import sys


def main() -> None:
    # Importing takes a quarter of a second, in which nothing is running that would have to be stopped: there Ctrl-C
    # simply ends the process. Also of a job started in the background, which inherits SIGINT ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sandbox.commands import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
