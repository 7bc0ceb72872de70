"""The emulator as a child process: started, waited for, and ended with every process it started."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from sandbox.emulator.server import READY, REFUSED
from sandbox.errors import SandboxError
from sandbox.isolation import isolated_environment

_REPOSITORY = Path(__file__).resolve().parents[1]
_COMMAND = (sys.executable, "-m", "sandbox.emulator", "--follow-stdin")
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 10


class EmulatorProcess:
    """`python -m sandbox.emulator` and its Lambda workers, in a process group of their own.

    The emulator ends by itself as soon as this process does, however it ends: it reads a pipe from us.
    """

    def __init__(self, port: int, state_dir: Path) -> None:
        """Starts the emulator and waits until it answers; port 0 takes a free one. Raises SandboxError."""
        state_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = state_dir / "emulator.log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*_COMMAND, "--port", str(port), "--state-dir", str(state_dir)],
                cwd=_REPOSITORY,
                env=isolated_environment(os.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C in a terminal goes to every process of the group: the emulator is to outlive the
                # one who stops it in order.
                start_new_session=True,
            )
        try:
            self.endpoint_url = self._await_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """0 after an orderly end; None while it runs."""
        return self._process.poll()

    def wait(self) -> None:
        """Returns when the emulator has ended."""
        self._process.wait()

    def stop(self) -> None:
        """Ends the emulator and its workers, at the latest by force; a second call does nothing."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _await_ready(self) -> str:
        stdout = self._process.stdout
        assert stdout is not None
        readable, _, _ = select.select([stdout], [], [], _START_TIMEOUT_S)
        line = stdout.readline().decode() if readable else ""
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        last_words = "".join(self.log_path.read_text(errors="replace").strip().splitlines()[-1:])
        if last_words.startswith(REFUSED):
            raise SandboxError(last_words.removeprefix(REFUSED))
        reason = last_words or f"no answer in {_START_TIMEOUT_S} s"
        raise SandboxError(f"the emulator did not start: {reason} (log: {self.log_path})")
