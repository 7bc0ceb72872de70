"""Ports and directories that a sandbox needs for itself: asked for in one place, refused in one line."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import SandboxError

HOST = "127.0.0.1"
_LOCK_NAME = ".lock"
_HIGHEST_PORT = 65_535


def port_of(variable: str, option: str | None, default: int, *, lowest: int) -> int:
    """The port that `--port`, else the environment variable, asks for; an empty one counts as none at all."""
    name = "--port" if option is not None else variable
    text = (option if option is not None else os.environ.get(variable, "")).strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and lowest <= int(text) <= _HIGHEST_PORT):
        free = " (0 takes a free one)" if lowest == 0 else ""
        raise SandboxError(f"{name} is {text!r}, and must be a port from {lowest} to {_HIGHEST_PORT}{free}")
    return int(text)


def check_free(port: int, variable: str) -> None:
    """Raises SandboxError when another program listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise SandboxError(f"port {port} needs more rights than you have; set {variable} above 1023") from None
        except OSError:
            raise SandboxError(
                f"port {port} on {HOST} is taken by another program; end that program or set {variable} to a free port"
            ) from None


@contextmanager
def held(directory: Path, refusal: str) -> Iterator[None]:
    """The directory for this process alone, for as long as the block lasts; SandboxError(refusal) while another has it.

    The system gives it back however the process ends: one that was killed keeps nobody out. The lock's file stays:
    removed, it could be locked twice.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(refusal) from None
        yield
