"""DynamoDB's condition, key condition, filter and update expressions, as far as the service writes them.

An expression this cannot read is a ValueError: silence would let a condition hold that does not. Each is compiled
once; the semantics are compared with moto's in test_aws.py.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

Item = dict[str, Any]
Names = dict[str, str]
Values = dict[str, Any]
Predicate = Callable[[Item | None, Names, Values], bool]

_TOKEN = re.compile(r"\s*(?:(<=|>=|<>|[=<>(),])|([#:]?[A-Za-z_][A-Za-z0-9_.]*))")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def comparable(value: Any) -> Any:
    """A scalar AttributeValue as something Python orders within one type as DynamoDB does."""
    ((kind, content),) = value.items()
    return Decimal(content) if kind == "N" else content


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"cannot read the expression {text!r} at {position}")
            self._tokens.append(match[1] or match[2])
            position = match.end()
        self._next = 0

    def parse(self) -> Predicate:
        predicate = self._any_of()
        if self._next != len(self._tokens):
            raise ValueError(f"cannot read the expression {self._text!r} to its end")
        return predicate

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._peek()
        if expected is not None and token != expected:
            raise ValueError(f"{expected!r} expected in {self._text!r}, not {token!r}")
        self._next += 1
        return token

    def _any_of(self) -> Predicate:
        left = self._all_of()
        while self._peek().upper() == "OR":
            self._take()
            left = _either(left, self._all_of())
        return left

    def _all_of(self) -> Predicate:
        left = self._one()
        while self._peek().upper() == "AND":
            self._take()
            left = _both(left, self._one())
        return left

    def _one(self) -> Predicate:
        if self._peek() == "(":
            self._take()
            inside = self._any_of()
            self._take(")")
            return inside
        if self._peek().upper() == "NOT":
            self._take()
            negated = self._one()
            return lambda item, names, values: not negated(item, names, values)
        name = self._take()
        if self._peek() == "(":
            return self._function(name)
        operator = self._take()
        if operator.upper() == "IN":
            return self._membership(name)
        return _comparison(name, _COMPARISONS[operator], self._take())

    def _function(self, name: str) -> Predicate:
        self._take("(")
        attribute = self._take()
        prefix = ""
        if name == "begins_with":
            self._take(",")
            prefix = self._take()
        self._take(")")
        if name == "attribute_exists":
            return lambda item, names, values: _path(attribute, names) in (item or {})
        if name == "attribute_not_exists":
            return lambda item, names, values: _path(attribute, names) not in (item or {})
        if name == "begins_with":
            return _beginning(attribute, prefix)
        raise ValueError(f"the function {name} is not known here")

    def _membership(self, attribute: str) -> Predicate:
        self._take("(")
        allowed = [self._take()]
        while self._peek() == ",":
            self._take()
            allowed.append(self._take())
        self._take(")")
        return lambda item, names, values: (item or {}).get(_path(attribute, names)) in [values[a] for a in allowed]


def _path(token: str, names: Names) -> str:
    return names[token] if token.startswith("#") else token


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda item, names, values: left(item, names, values) and right(item, names, values)


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda item, names, values: left(item, names, values) or right(item, names, values)


def _comparison(attribute: str, compare: Callable[[Any, Any], bool], operand: str) -> Predicate:
    def predicate(item: Item | None, names: Names, values: Values) -> bool:
        value = (item or {}).get(_path(attribute, names))
        other = values[operand]
        if value is None or value.keys() != other.keys():
            return False
        return compare(comparable(value), comparable(other))

    return predicate


def _beginning(attribute: str, prefix: str) -> Predicate:
    def predicate(item: Item | None, names: Names, values: Values) -> bool:
        value = (item or {}).get(_path(attribute, names))
        return value is not None and "S" in value and value["S"].startswith(values[prefix]["S"])

    return predicate


@lru_cache(maxsize=1024)
def condition(text: str) -> Predicate:
    return _Parser(text).parse()


def holds(request: dict[str, Any], clause: str, item: Item | None) -> bool:
    """Whether a request's clause holds for an item; true where the request has none."""
    if clause not in request:
        return True
    names = request.get("ExpressionAttributeNames", {})
    return condition(request[clause])(item, names, request.get("ExpressionAttributeValues", {}))


@lru_cache(maxsize=1024)
def _clauses(text: str) -> tuple[tuple[str, str, str], ...]:
    """(verb, attribute, value) of every change of an UpdateExpression."""
    changes = []
    for verb, body in re.findall(r"(SET|ADD|REMOVE) (.*?)(?= SET | ADD | REMOVE |$)", text):
        for term in body.split(","):
            attribute, _, value = term.strip().replace(" = ", " ").partition(" ")
            changes.append((verb, attribute, value))
    return tuple(changes)


def updated(item: Item, request: dict[str, Any]) -> Item:
    """The item as an UpdateExpression leaves it."""
    names, values = request.get("ExpressionAttributeNames", {}), request.get("ExpressionAttributeValues", {})
    result = dict(item)
    for verb, attribute, value in _clauses(request["UpdateExpression"]):
        name = _path(attribute, names)
        if verb == "SET":
            result[name] = values[value]
        elif verb == "ADD" and "NS" in values[value]:
            before = set(result.get(name, {"NS": []})["NS"])
            result[name] = {"NS": sorted(before | set(values[value]["NS"]), key=Decimal)}
        elif verb == "ADD":
            number = Decimal(result.get(name, {"N": "0"})["N"])
            result[name] = {"N": str(number + Decimal(values[value]["N"]))}
        else:
            result.pop(name, None)
    return result
