"""The emulator's process: one port on 127.0.0.1, everything it writes below one directory, nothing left at its end.

It ends on SIGTERM and SIGINT, and, when asked to, as soon as its standard input closes: that is how it follows a
parent that was killed and could tell it nothing.
"""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.emulator import decisions, exports, functions, iam, scaling
from sandbox.emulator.asgi import App, Message, Receive, Scope, Send
from sandbox.emulator.layer import Layer
from sandbox.exports.clock import AdvancingClock
from sandbox.exports.requests import Limits

HOST = "127.0.0.1"
READY = "ready "  # on standard output, then the endpoint
REFUSED = "sandbox: "  # on standard error, then why it cannot start
_BACKLOG = 512
_SHUTDOWN_GRACE_S = 1.0


class PortTaken(Exception):
    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} on {HOST} is taken by another program; end that program or set SANDBOX_PORT to a free port"
        )


def listen(port: int) -> socket.socket:
    """A socket listening on the port, on a free one for 0. Raises PortTaken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortTaken(port) from error
    listener.listen(_BACKLOG)
    return listener


def run(listener: socket.socket, state_dir: Path, *, follow_stdin: bool, limits: Limits) -> None:
    """Serves until told to stop, then exits the process. ministack reads its settings when it is imported.

    `limits` are those of exports.
    """
    port = listener.getsockname()[1]
    temporary = _own_temporary_directory(state_dir)
    os.environ.update(ministack_environment(port))
    asyncio.run(_serve(listener, f"http://{HOST}:{port}", temporary, follow_stdin=follow_stdin, limits=limits))


def ministack_environment(port: int) -> dict[str, str]:
    return {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "AUTH": "true",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        # No daemon answers here: ministack clears away containers at its start, and another emulator's may be up.
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO"),
    }


def _own_temporary_directory(state_dir: Path) -> Path:
    # ministack unpacks functions into temporary directories and leaves some behind. The port is ours by now, so
    # no other emulator uses this directory: what is in it was left by one that was killed.
    temporary = state_dir / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    return temporary


async def _serve(
    listener: socket.socket, endpoint_url: str, temporary: Path, *, follow_stdin: bool, limits: Limits
) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    iam.install()
    decisions.install()
    functions.shorten_state_changes()
    forget_scaling = scaling.install()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = _SHUTDOWN_GRACE_S
    stop = _stop_event(follow_stdin=follow_stdin)

    async def stopped() -> None:
        await stop.wait()
        # First the functions: hypercorn would wait for the requests that wait for them.
        await asyncio.to_thread(functions.stop_workers)

    overlay = exports.install(endpoint_url, clock=AdvancingClock(), limits=limits)
    layer = Layer(app, overlay, on_reset=forget_scaling)
    # hypercorn spells out the ASGI messages in its types; ours are the plain mappings the standard has.
    served: Any = _announcing(layer, endpoint_url)
    await serve(served, config, shutdown_trigger=stopped)
    _exit(temporary)


def _announcing(app: App, endpoint_url: str) -> App:
    """Says on standard output when the emulator is ready, and that alone: later output goes to the log."""

    def announce(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            print(f"{READY}{endpoint_url}", flush=True)
            sys.stdout = sys.stderr

    async def announcing(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_announce(message: Message) -> None:
            await send(message)
            announce(message)

        await app(scope, receive, send_and_announce if scope["type"] == "lifespan" else send)

    return announcing


def _stop_event(*, follow_stdin: bool) -> asyncio.Event:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if follow_stdin:
        threading.Thread(
            target=_await_end_of_stdin, args=(lambda: loop.call_soon_threadsafe(stop.set),), daemon=True
        ).start()
    return stop


def _await_end_of_stdin(then: Callable[[], object]) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    then()


def _exit(temporary: Path) -> None:
    # ministack's pollers may have started a worker since the first stop. One that starts even later finds its
    # standard input closed when this process is gone, and ends by itself.
    functions.stop_workers()
    logging.shutdown()
    shutil.rmtree(temporary, ignore_errors=True)
    os._exit(0)  # ministack's threads are not made to be joined; a normal exit would wait for them
