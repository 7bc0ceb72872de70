"""How the demo says what happens."""

import sys
import time
from collections.abc import Mapping, Sequence

from sandbox.compare import Difference, Snapshot, compare


class Narrator:
    """Says what happens, with the time since the demo began."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._is_terminal = sys.stdout.isatty()
        self._lines_to_replace = 0

    def step(self, text: str) -> None:
        self._lines_to_replace = 0
        print(f"\n[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)

    def say(self, text: str) -> None:
        print(f"           {text}", flush=True)

    def replace(self, lines: Sequence[str]) -> None:
        """Lines that change in place on a terminal; elsewhere they are written below each other."""
        if self._is_terminal and self._lines_to_replace:
            print(f"\x1b[{self._lines_to_replace}A", end="")
        for line in lines:
            print(("\x1b[2K" if self._is_terminal else "") + f"           {line}", flush=True)
        self._lines_to_replace = len(lines)

    @property
    def is_terminal(self) -> bool:
        return self._is_terminal


def print_differences(out: Narrator, before: Mapping[str, Snapshot], now: Mapping[str, Snapshot]) -> list[Difference]:
    """Of each table, by its name in both."""
    differences = []
    for name, snapshot_before in before.items():
        difference = compare(snapshot_before, now[name])
        differences.append(difference)
        out.say(f"{name:<14}{difference if difference else f'{len(snapshot_before):,} items, all as they were'}")
    return differences
