"""What a benchmark hands over, and how it is shown: tables in Markdown, and whether a target is met."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """How much is measured. `is_tiny`: once, as little as runs through every line; the figures mean nothing."""

    is_tiny: bool = False
    rounds: int = 5


@dataclass(frozen=True)
class Table:
    """`rows`: one text per column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    heading: str = ""

    def markdown(self) -> str:
        lines = [_line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows)]
        return "\n".join([f"**{self.heading}**", "", *lines] if self.heading else lines)


@dataclass(frozen=True)
class Target:
    what: str
    wanted: str
    measured: str
    is_met: bool


@dataclass(frozen=True)
class Figures:
    """`raw`: every single run, as JSON has it."""

    title: str
    tables: Sequence[Table]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    raw: Any = field(default_factory=dict)

    def markdown(self) -> str:
        """The section of the results; without the runs."""
        parts = [f"### {self.title}", *(table.markdown() for table in self.tables)]
        if self.targets:
            rows = [
                (each.what, each.wanted, each.measured, "met" if each.is_met else "**missed**") for each in self.targets
            ]
            parts.append(Table(("target", "wanted", "measured", ""), rows).markdown())
        if self.notes:
            parts.append("\n".join(f"* {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"

    def encoded(self) -> str:
        return json.dumps(asdict(self), indent=1)


def interleaved(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Runs A B C A B C …: what slows the machine down for a while slows all of them down."""
    runs: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, run in contenders.items():
            say(f"  round {number + 1} of {rounds}: {name}")
            runs[name].append(run())
    return runs


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(percent / 100 * len(ordered) + 0.5) - 1))]


def say(text: str) -> None:
    """How far it is, for whoever waits."""
    sys.stderr.write(text + "\n")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
