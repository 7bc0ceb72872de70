"""What happened, in order: kept as it is while a run goes, put into words only when it failed."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation.faults import Fault

_SHOWN = 160


class Trace:
    def __init__(self, clock_us: Callable[[], int], start_us: int, most: int | None = None) -> None:
        """`most`: only so many entries are kept, the last ones."""
        self._clock_us = clock_us
        self._start_us = start_us
        self.entries: deque[list[Any]] = deque(maxlen=most)
        self.total = 0  # calls

    def call(
        self, process: str, function: str, service: str, operation: str, request: dict[str, Any], fault: Fault | None
    ) -> Callable[[str], None]:
        """Returns what takes the call's refusal, if there is one."""
        entry = [self._clock_us(), process, f"{service}.{operation}", request, fault, ""]
        self.entries.append(entry)
        self.total += 1

        def note(refusal: str) -> None:
            entry[5] = refusal

        return note

    def say(self, process: str, text: str) -> None:
        self.entries.append([self._clock_us(), process, text, None, None, ""])

    def lines(self) -> Iterator[str]:
        for at_us, process, what, request, fault, refusal in self.entries:
            said = f"{(at_us - self._start_us) / 1e6:12.6f}  {process:<22} {what}"
            if request is not None:
                said += f" {_brief(request)}"
            if fault is not None:
                said += f"  << {fault.value} >>"
            yield said + (f"  = {refusal}" if refusal else "")


def _brief(request: dict[str, Any]) -> str:
    if "TransactItems" in request:
        return "; ".join(_write(verb, write) for entry in request["TransactItems"] for verb, write in entry.items())
    if "RequestItems" in request:
        return ", ".join(f"{name} x{len(writes)}" for name, writes in request["RequestItems"].items())
    if "Key" in request or "Item" in request:
        return _write("", request)
    words = [str(request[name]) for name in ("TableName", "IndexName", "Prefix", "MessageBody") if name in request]
    values = request.get("ExpressionAttributeValues", {})
    return " ".join([*words, *(str(next(iter(value.values()))) for value in values.values())])[:_SHOWN]


def _write(verb: str, request: dict[str, Any]) -> str:
    key = request.get("Key") or request.get("Item") or {}
    if isinstance(key, str):
        return key
    named = "/".join(str(next(iter(key[name].values()))) for name in ("pk", "sk") if name in key)
    values = request.get("ExpressionAttributeValues", {})
    shown = {name: next(iter(value.values())) for name, value in values.items() if name.startswith(":u")}
    return f"{verb} {named} {list(shown.values()) if shown else ''}".strip()[:_SHOWN]
