"""Calls that only the sandbox answers, and AWS has not: to move the time of exports on, to say how exports go, and to
make on-demand backups older.

The messages, and the functions that send them to a running emulator.
"""

import json
import urllib.error
import urllib.request
from typing import Any

import msgspec

from sandbox.errors import SandboxError
from sandbox.exports.course import Course
from sandbox.isolation import open_local

CLOCK_PATH = "/_sandbox/export-clock"
COURSES_PATH = "/_sandbox/export-courses"
AGES_PATH = "/_sandbox/backup-ages"
_TIMEOUT_S = 10


class Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CLOCK_PATH's message; `{}` only asks for the time. The answer is `{"now_ms": …}`."""

    advance_seconds: float = 0.0


class NextExports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """COURSES_PATH's message: how the next exports of a table go, one after the other, in whatever region it is.
    They follow those that are in store for it already."""

    table_name: str
    courses: tuple[Course, ...]


class Older(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AGES_PATH's message: by how much the creation of every on-demand backup moves back. The answer is
    `{"backups": …}`, how many there are."""

    days: float


def advance_clock(endpoint_url: str, seconds: float = 0.0) -> int:
    """Moves the time of exports on, and returns it in epoch milliseconds. Raises SandboxError.

    Writes before and after it are then so far apart, as are recovery windows and the exports' own times. Functions and
    clients go on by the machine's clock.
    """
    answer = _send(endpoint_url, CLOCK_PATH, Advance(seconds))
    now_ms: int = answer["now_ms"]
    return now_ms


def steer_exports(endpoint_url: str, table_name: str, *courses: Course) -> None:
    """How the table's next exports go, each with a course of its own. Raises SandboxError."""
    _send(endpoint_url, COURSES_PATH, NextExports(table_name, courses))


def age_backups(endpoint_url: str, days: float) -> int:
    """Makes all on-demand backups that there are older, and returns how many that is. Raises SandboxError.

    They are dated by the machine's clock, and retention takes none that is younger than a day.
    """
    answer = _send(endpoint_url, AGES_PATH, Older(days))
    backups: int = answer["backups"]
    return backups


def _send(endpoint_url: str, path: str, message: msgspec.Struct) -> dict[str, Any]:
    request = urllib.request.Request(endpoint_url + path, data=msgspec.json.encode(message), method="POST")
    try:
        with open_local(request, _TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        raise SandboxError(f"{path}: {json.load(error)['message']}") from error
    return answer
