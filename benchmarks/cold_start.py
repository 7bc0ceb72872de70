"""Cold start: how long each deployed function takes until it can work, and how large the package is, against a bare
boto3 Lambda that makes the same clients.

Each time is of a fresh process, from before the first import until everything is made that the function's first
event needs: app.py imported, clients and services there. What Lambda does before (the download, starting Python) is
the same for both and is not in it.
"""

import inspect
import re
import sys
import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import chalice
import chalice.app

from benchmarks.cache import cache_folder
from benchmarks.child import ROOT, found_by
from benchmarks.figures import Figures, Size, Table, Target, interleaved, median

LIMIT_RATIO = 1.3
_OF_WORK = ("dynamodb", "s3", "sqs")
_LEAST_RUNS = 15
_PROGRAM = "import time; t = time.perf_counter(); {work}; print((time.perf_counter() - t) * 1000)"
_NAMED = "import os; os.environ['AWS_LAMBDA_FUNCTION_NAME'] = 'tablevault-prod-{name}'; "
_CLIENTS = "clients = [boto3.client(name) for name in {names}]"
_WITH_CLIENTS = (
    "from app import services; s = services(); {needed}; clients = [s._clients.get(name) for name in {names}]"
)


def _function(name: str, needed: str) -> str:
    return _NAMED.format(name=name) + _WITH_CLIENTS.format(needed=needed, names=_OF_WORK)


_BARE = {
    "bare boto3: " + ", ".join(_OF_WORK): f"import boto3; {_CLIENTS.format(names=_OF_WORK)}",
    "bare boto3: ssm": f"import boto3; {_CLIENTS.format(names=('ssm',))}",
}
_OURS = {
    "api_handler": _WITH_CLIENTS.format(needed="s.desk", names=_OF_WORK),
    "restore_shards": _function("restore_shards", "s.worker; import chalicelib.restore.phases.loading"),
    "start_exports, record_export": _function("start_exports", "s.backups"),
    "reconcile": _function("reconcile", "s.backups; s.restore_sweep"),
    "authorize": "from chalicelib.api.authorizer import services; s = services(); s.token_store; s._clients.get('ssm')",
}
_BARE_LIBRARIES = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")


def measure(size: Size) -> Figures:
    programs = _BARE | _OURS
    if size.is_tiny:
        programs = dict([*list(_BARE.items())[:1], *list(_OURS.items())[:1]])
    for work in programs.values():
        _started_ms(work)  # so that all of its modules are byte-compiled
    contenders = {name: partial(_started_ms, work) for name, work in programs.items()}
    runs = interleaved(contenders, 1 if size.is_tiny else max(_LEAST_RUNS, size.rounds))
    rows = [(name, f"{median(of_one):.0f}", f"{_ratio(runs, name):.2f}") for name, of_one in runs.items()]
    return Figures(
        title="Cold start",
        tables=[Table(("function", "ms", "× bare boto3"), rows, "Until the function can work"), _packages(size)],
        targets=[_target(name, _ratio(runs, name)) for name in runs if name in _OURS],
        notes=[
            f"Median of {len(next(iter(runs.values())))} fresh processes each, interleaved, on one core; modules are"
            " byte-compiled and in the page cache.",
            "authorize is compared with a bare Lambda that makes only the client it needs, ssm.",
            "The package is what `chalice deploy` uploads, with libraries as they are installed here.",
        ],
        raw=runs,
    )


def _started_ms(work: str) -> float:
    environ = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache_folder("bytecode"))}
    return float(found_by([sys.executable, "-c", _PROGRAM.format(work=work)], environ=environ))


def _bare_of(name: str, runs: dict[str, list[float]]) -> list[float]:
    of_work, of_authorizer = list(_BARE)
    return runs[of_authorizer] if "ssm" in name or name == "authorize" else runs[of_work]


def _ratio(runs: dict[str, list[float]], name: str) -> float:
    return median(one / bare for one, bare in zip(runs[name], _bare_of(name, runs), strict=True))


def _target(name: str, ratio: float) -> Target:
    return Target(f"import time of {name}", f"≤ {LIMIT_RATIO}×", f"{ratio:.2f}×", ratio <= LIMIT_RATIO)


# --- the package -----------------------------------------------------------------------------------------------------


def _packages(size: Size) -> Table:
    own = _own_files()
    libraries = [] if size.is_tiny else list(_of_libraries(_required()))
    rows = [
        ("bare boto3", *map(_megabytes, _sizes([] if size.is_tiny else list(_of_libraries(_BARE_LIBRARIES))))),
        ("tablevault", *map(_megabytes, _sizes([*libraries, *_of_chalice(), *own]))),
        ("of which its own code", *map(_megabytes, _sizes(own))),
    ]
    return Table(("package", "MB zipped", "MB unzipped"), rows, "Package")


def _required() -> list[str]:
    text = (ROOT / "requirements.txt").read_text()
    return re.findall(r"^([\w.-]+)==", text, re.MULTILINE)


def _of_libraries(names: Sequence[str]) -> Iterable[Path]:
    for name in names:
        for file in distribution(name).files or []:
            if file.suffix != ".pyc" and ".." not in file.parts:
                yield Path(str(file.locate()))


def _of_chalice() -> list[Path]:
    """Chalice deploys only its runtime: https://github.com/aws/chalice/blob/1.34.0/chalice/deploy/packager.py"""
    return [Path(inspect.getfile(chalice)), Path(inspect.getfile(chalice.app))]


def _own_files() -> list[Path]:
    return [ROOT / "app.py", *(path for path in (ROOT / "chalicelib").rglob("*") if path.suffix in (".py", ".json"))]


def _sizes(files: Sequence[Path]) -> tuple[int, int]:
    contents = [path.read_bytes() for path in files]
    return sum(len(zlib.compress(content, 6)) for content in contents), sum(map(len, contents))


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f}"
