"""What a mutation is, and how one is added."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutation:
    """`apply` is a context manager; `scenarios` are those whose seeds may find it."""

    name: str
    apply: Callable[[], Any]
    scenarios: tuple[str, ...]


MUTATIONS: list[Mutation] = []


def mutation(*scenarios: str) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Iterator[None]]]:
    def register(function: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        MUTATIONS.append(Mutation(function.__name__, contextmanager(function), scenarios))
        return function

    return register
