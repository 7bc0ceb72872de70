"""The export engine as a part of the emulator: its limits from the environment, its hooks in ministack."""

from collections.abc import Mapping
from typing import Any

from sandbox.emulator import silence, writes
from sandbox.exports.capture import Capture
from sandbox.exports.clock import AdvancingClock
from sandbox.exports.engine import ExportOverlay
from sandbox.exports.requests import Limits

LEAST_WINDOW = "SANDBOX_EXPORT_LEAST_WINDOW_S"
MOST_RUNNING = "SANDBOX_EXPORTS_AT_ONCE"
_LONGEST = 9  # digits


class SettingInvalid(Exception):
    """`str` says which environment variable is wrong, and what it may be."""


def limits_of(environ: Mapping[str, str]) -> Limits:
    """AWS' limits, or what SANDBOX_EXPORT_LEAST_WINDOW_S (seconds, of an incremental export) and
    SANDBOX_EXPORTS_AT_ONCE say. Raises SettingInvalid."""
    limits = Limits()
    return Limits(
        least_window_ms=_whole_number(environ, LEAST_WINDOW, limits.least_window_ms // 1000) * 1000,
        most_running=_whole_number(environ, MOST_RUNNING, limits.most_running),
    )


def install(endpoint_url: str, *, clock: AdvancingClock, **options: Any) -> ExportOverlay:
    """Puts the engine's hooks into ministack, in this process, and makes the engine; `options` are its own."""
    capture = Capture(clock)
    writes.install(capture)
    return ExportOverlay(endpoint_url, capture, clock=clock, mute=silence.install(), **options)


def _whole_number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise SettingInvalid(f"{name} is {text!r}, and must be a whole number from 0 on; without it, it is {default}")
    return int(text)
