"""The API's operations: what each takes, needs and answers. Routes are registered and described from the same entry."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from chalice.app import Response

from chalicelib.api.requests import Nothing

Handler = Callable[..., Response]
Answer = TypeVar("Answer", bound=msgspec.Struct)


class Operation(msgspec.Struct, frozen=True):
    """`answers`: one type, or one of several. `scope` None: needs no token. `body` None: has none. `is_repeatable`:
    takes an `Idempotency-Key`. `codes`: of the problems of its own, besides those of all."""

    name: str
    method: str
    path: str
    about: str
    answers: tuple[type[msgspec.Struct], ...]
    status: int = 200
    scope: str | None = None
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    is_repeatable: bool = False
    codes: tuple[str, ...] = ()

    @property
    def path_parameters(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def answer_fields(self) -> frozenset[str]:
        """The fields that every answer of it has."""
        return frozenset.intersection(*(frozenset(each.__struct_fields__) for each in self.answers))


def built(answers: type[Answer], body: Mapping[str, Any]) -> Answer:
    """A service's plain answer as its declared type. Raises msgspec.ValidationError where the two differ."""
    return msgspec.convert(body, answers)
