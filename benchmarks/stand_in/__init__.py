"""The two C programs: compiled when first needed, started on a core of their own.

`server.c` answers BatchWriteItem and GetObject; `limit.c` is the client that does nothing but inflate, hash and send.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from urllib.request import urlopen

from benchmarks.cache import cache_folder
from benchmarks.errors import NotMeasurable
from benchmarks.machine import SERVER_CORE, pin

_SOURCES = Path(__file__).parent


@dataclass(frozen=True)
class StandIn:
    """A running stand-in, for DynamoDB and S3 both."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """`requests`, `items`, `deletes`, `body_bytes`, `gets`, `refused`, since it was started."""
        with urlopen(f"{self.url}/?counts") as answer:
            found: dict[str, int] = json.load(answer)
            return found


@contextmanager
def stand_in(folder: Path, *, latency_ms: float = 0.0) -> Iterator[StandIn]:
    """Serves the objects below `folder` (`<bucket>/<key>`, each with its ETag in `<key>.etag`), and takes writes to
    any table. Raises NotMeasurable where there is no C compiler."""
    command = [str(server_program()), str(round(latency_ms * 1000)), str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: pin(SERVER_CORE)
    )
    assert process.stdin
    assert process.stdout
    try:
        yield StandIn(int(process.stdout.readline()))
    finally:
        process.stdin.close()  # which ends it
        process.wait(timeout=10)
        process.stdout.close()


def server_program() -> Path:
    return _compiled("server.c")


def limit_program() -> Path:
    """With libisal, else with zlib. Raises NotMeasurable where neither, or OpenSSL, can be linked."""
    try:
        return _compiled("limit.c", "-lisal", "-lcrypto")
    except NotMeasurable:
        return _compiled("limit.c", "-DWITH_ZLIB", "-lz", "-lcrypto")


def limit_inflates_with() -> str:
    return "zlib" if "zlib" in limit_program().name else "isal"


def _compiled(source_name: str, *options: str) -> Path:
    source = _SOURCES / source_name
    digest = hashlib.sha256(source.read_bytes() + repr(options).encode()).hexdigest()[:16]
    library = "-zlib" if "-lz" in options else ""
    program = cache_folder("programs") / f"{source.stem}{library}-{digest}"
    if program.exists():
        return program
    compiler = which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise NotMeasurable("there is no C compiler `cc` (Debian: apt-get install gcc libc6-dev), or set CC to another")
    made = program.with_suffix(f".{os.getpid()}")  # whoever else compiles it now, each sees a whole program
    _compile([compiler, "-O2", "-o", str(made), str(source), *options], source_name)
    made.rename(program)
    return program


def _compile(command: Sequence[str], source_name: str) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        needs = " It needs libisal-dev (or zlib1g-dev) and libssl-dev on Debian." if source_name == "limit.c" else ""
        raise NotMeasurable(f"{source_name} cannot be compiled.{needs} {run.stderr.strip()[-500:]}")
