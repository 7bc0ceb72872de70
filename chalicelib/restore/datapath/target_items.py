"""Items as they stand in a target, read by their keys, and whether one is the same as in the export."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chalicelib.aws import THROTTLED, Client, error_code
from chalicelib.clock import Clock
from chalicelib.restore.datapath.keys import canonical_value
from chalicelib.restore.datapath.lines import Document, key_of
from chalicelib.restore.datapath.raw_batch import RawAnswer, attributes, plain
from chalicelib.restore.datapath.submission import Patience, Refusal, Submission, refusal_of
from chalicelib.restore.datapath.target import Target
from chalicelib.retry import Random, Sleep

READ_KEYS = 100  # BatchGetItem's limit


class _Read(msgspec.Struct, frozen=True):
    """A complete answer of BatchGetItem; keys that were left are given back as they were sent."""

    Responses: dict[str, list[Document]]
    UnprocessedKeys: dict[str, "_Keys"] = msgspec.field(default_factory=dict)


class _Keys(msgspec.Struct, frozen=True):
    Keys: list[Document]


_decode = msgspec.json.Decoder(_Read).decode
_encode = msgspec.json.Encoder().encode


class TargetItems:
    """Reads one table's items until `deadline_ms` (epoch milliseconds), consistently. Thread-safe.

    Raises OutOfTime (retryable) when the deadline is near, and TargetUnavailable when the table is gone or access to
    it denied (dynamodb:BatchGetItem).
    """

    def __init__(
        self,
        dynamodb: Client,
        table_name: str,
        *,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        deadline_ms: int,
        key_names: Sequence[str],
    ) -> None:
        target = Target(dynamodb, table_name, clock=clock, sleep=sleep, random=random, deadline_ms=deadline_ms)
        self._reads = Reads(target, key_names)

    @property
    def concurrency(self) -> int:
        """How many reads may be under way now."""
        return self._reads.target.flow.limit

    def read(self, keys: Sequence[Document]) -> list[Document | None]:
        """The items of up to 100 `keys` (DynamoDB JSON: binaries as base64) in their order; None: there is none, or
        no item of this table can have that key."""
        return self._reads.read(keys)

    def close(self) -> None:
        """Closes the kept connections. No thread may be reading."""
        self._reads.target.close()


class Reads:
    """The reads of a target that others may write to. Thread-safe."""

    def __init__(self, target: Target, key_names: Sequence[str]) -> None:
        self.target = target
        self._key_names = tuple(key_names)
        self._submission = Submission(target.table_name, target.backoff)

    def read(self, keys: Sequence[Document]) -> list[Document | None]:
        """As TargetItems.read."""
        if len(keys) > READ_KEYS:
            raise ValueError(f"{len(keys)} keys in one read, at most {READ_KEYS} are allowed")
        names = [_encode(key) for key in keys]
        found: dict[bytes, Document] = {}
        asked = list(dict(zip(names, keys, strict=True)).values())  # DynamoDB refuses a key that is asked for twice
        groups = [asked] if asked else []
        while groups:
            group = groups.pop()
            if not self._read_group(group, found) and len(group) > 1:
                middle = len(group) // 2
                groups += [group[:middle], group[middle:]]
        return [found.get(name) for name in names]

    def _read_group(self, group: list[Document], found: dict[bytes, Document]) -> bool:
        """Reads all of a group into `found`; false where DynamoDB refuses one of its keys."""
        patience = Patience(self.target.backoff)
        names = {_canonical_key(key): _encode(key) for key in group}
        pending = group
        retry = 0
        while True:
            items, left, refusal = self._send(pending)
            if refusal is not None and refusal.is_certain:
                return False
            if refusal is not None and patience.is_over(refusal):
                return False
            for item in items:
                key = key_of(item, self._key_names)
                name = names.get(_canonical_key(key)) if key is not None else None
                if name is not None:
                    found[name] = item
            if not left:
                return True
            retry = retry + 1 if len(left) == len(pending) else 0
            pending = left
            self._submission.wait(retry)

    def _send(self, keys: list[Document]) -> tuple[list[Document], list[Document], Refusal | None]:
        """One request: what was read, what was left to read, and why if it was an answer to these very keys."""
        room_ms = self._submission.room_ms()
        if self.target.raw is not None:
            request = {"RequestItems": {self.target.table_name: {"Keys": keys, "ConsistentRead": True}}}
            # A read that is not answered has no effect: nothing waits for it.
            answer = self.target.send_raw("BatchGetItem", _encode(request), room_ms, lambda: None)
            read = _understood(answer)
            if read is not None:
                items = read.Responses.get(self.target.table_name, [])
                left = [key for of_table in read.UnprocessedKeys.values() for key in of_table.Keys]
                self.target.flow.ended(throttled=bool(left) and not items)
                return items, left, None
        return self._send_over_client(keys)

    def _send_over_client(self, keys: list[Document]) -> tuple[list[Document], list[Document], Refusal | None]:
        name = self.target.table_name
        try:
            request = {name: {"Keys": [attributes(key) for key in keys], "ConsistentRead": True}}
        except (ValueError, TypeError, AttributeError):
            return [], keys, Refusal("MalformedItem", "a key is not valid DynamoDB JSON")
        try:
            answer = self.target.dynamodb.batch_get_item(RequestItems=request)
        except ClientError as error:
            self.target.flow.ended(throttled=error_code(error) in THROTTLED)
            return [], keys, refusal_of(error, name, "BatchGetItem")
        except (ParamValidationError, RecursionError):
            return [], keys, Refusal("MalformedItem", "a key is not valid DynamoDB JSON")
        except BotoCoreError:
            return [], keys, None
        if "Responses" not in answer:  # botocore makes this of a 200 that it cannot read
            return [], keys, None
        self.target.flow.ended()
        items = [plain(item) for item in answer["Responses"].get(name, [])]
        left = [plain(key) for of_table in answer.get("UnprocessedKeys", {}).values() for key in of_table["Keys"]]
        return items, left, None


def _understood(answer: RawAnswer | None) -> _Read | None:
    if answer is None or answer.status != 200:
        return None
    try:
        return _decode(answer.body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _canonical_key(key: Mapping[str, Any]) -> tuple[Any, ...]:
    """A key, so that equal keys are equal, also where a number is written otherwise."""
    return tuple((name, *_canonical(value)) for name, value in sorted(key.items()))


def _canonical(value: Any) -> tuple[str, bytes]:
    """Of what is no key's value, its text."""
    try:
        ((kind, content),) = value.items()
        return kind, canonical_value(kind, content)
    except (ValueError, TypeError, AttributeError):
        return "", str(value).encode(errors="replace")


def is_same_item(one: Document, other: Document) -> bool:
    """Whether two items in DynamoDB JSON are the same: attributes in any order, sets too, numbers by their value,
    binaries by their bytes."""
    try:
        return one == other or _are_same_attributes(one, other)
    except (RecursionError, TypeError, ValueError, AttributeError):
        return False


def _are_same_attributes(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(_is_same_value(value, other[name]) for name, value in one.items())


def _is_same_value(one: Any, other: Any) -> bool:
    if one == other:
        return True
    ((kind, content),) = one.items()
    ((other_kind, other_content),) = other.items()
    compare = _COMPARED.get(kind)
    return kind == other_kind and compare is not None and compare(content, other_content)


def _are_same_lists(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(map(_is_same_value, one, other))


def _are_same(kind: str) -> Callable[[Any, Any], bool]:
    return lambda one, other: canonical_value(kind, one) == canonical_value(kind, other)


def _are_same_sets(kind: str) -> Callable[[Any, Any], bool]:
    return lambda one, other: _sorted(kind, one) == _sorted(kind, other)


def _sorted(kind: str, members: Any) -> list[bytes]:
    if not isinstance(members, list):
        raise TypeError("no set")
    return sorted(canonical_value(kind, member) for member in members)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "N": _are_same("N"),
    "B": _are_same("B"),
    "NS": _are_same_sets("N"),
    "SS": _are_same_sets("S"),
    "BS": _are_same_sets("B"),
    "L": _are_same_lists,
    "M": _are_same_attributes,
}
