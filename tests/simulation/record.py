"""What many runs come to, for a person and for docs/RELIABILITY.md."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.runner import Result


@dataclass
class Record:
    runs: int = 0
    calls: int = 0
    kills: int = 0
    virtual_s: float = 0.0
    failed: list[Result] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    scenarios: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        self.runs += 1
        self.calls += result.calls
        self.kills += result.kills
        self.virtual_s += result.virtual_s
        self.scenarios[result.scenario] += 1
        self.outcomes.update((result.scenario, outcome) for outcome in result.outcomes)
        self.delivered.update(result.counts)
        self.injected.update(result.injected)
        if result.violations:
            self.failed.append(result)

    def lines(self, wall_s: float) -> Iterable[str]:
        """A Markdown table."""
        delivered = ", ".join(f"{count:,} {what}" for what, count in sorted(self.delivered.items()))
        yield "| what | how many |"
        yield "| --- | --- |"
        yield f"| runs | {self.runs:,} |"
        yield f"| runs with a violation | {len(self.failed):,} |"
        yield f"| calls to AWS and log lines in the traces | {self.calls:,} |"
        yield f"| delivered | {delivered} |"
        yield f"| handlers killed, by faults and deadlines | {self.kills:,} |"
        yield f"| faults injected | {sum(self.injected.values()):,} |"
        for kind, count in self.injected.most_common():
            yield f"| &nbsp;&nbsp;{kind} | {count:,} |"
        yield f"| virtual time | {self.virtual_s / 3600:,.0f} hours |"
        yield f"| wall time | {wall_s:,.0f} s |"
        yield ""
        yield "| scenario | runs | how its restores and exports ended |"
        yield "| --- | --- | --- |"
        for scenario, runs in sorted(self.scenarios.items()):
            ended = {outcome: count for (name, outcome), count in self.outcomes.items() if name == scenario}
            said = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(ended.items()))
            yield f"| {scenario} | {runs:,} | {said} |"
