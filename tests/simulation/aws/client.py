"""boto3's clients for one process: every call takes time, may fail, may kill the process, and is tried again as
botocore does it. The raw write path is answered through the same hook by which botocore lets moto answer.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from chalicelib import aws
from chalicelib.aws import Clients
from chalicelib.restore.datapath.raw_batch import plain
from tests.simulation.aws.dynamodb import Answer, Request, error
from tests.simulation.aws.raw import RAW_OPERATIONS
from tests.simulation.faults import Fault
from tests.simulation.scheduler import Dead

REGION = "eu-west-1"
ATTEMPTS = 3  # as chalicelib.aws configures botocore
_TIMEOUT_US = 5_000_000
_LATEST_EFFECT_US = 10_000_000
_TRANSACTION_US = (1_000, 6_000)
_LEFT = {"batch_write_item": "UnprocessedItems", "batch_get_item": "UnprocessedKeys"}
_SINGLE_WRITES = ("put_item", "update_item", "delete_item")
_TRIED_AGAIN = frozenset({"ProvisionedThroughputExceededException", "InternalServerError", "SlowDown", "InternalError"})
_TRIED_AGAIN_TOO = frozenset(
    {
        *("TransactionInProgressException", "ThrottlingException", "ThrottledException"),
        *("InternalErrorException", "InternalException"),
    }
)
# Of the services that do not fail as DynamoDB does: how they say that they are throttled, and that they failed.
_FAILURES = {
    "sns": ("ThrottledException", "InternalErrorException"),
    "events": ("ThrottlingException", "InternalException"),
}

Effect = Callable[[Request], Answer]


class Caller:
    """How one process calls AWS. `effects[(service, operation)]` is what a call does."""

    def __init__(self, world: Any, function: Callable[[], str]) -> None:
        self.world = world
        self.scheduler = world.scheduler
        self.faults = world.faults
        self.random = world.random
        self._function = function
        self.on_failure: Callable[[str, Exception], None] = lambda operation, failure: None  # may end the call

    def call(self, service: str, operation: str, request: Request, attempts: int = ATTEMPTS) -> Answer:
        for attempt in range(attempts):
            if attempt:
                self.scheduler.sleep(self.random.random() * min(20.0, 0.05 * 2**attempt))
            try:
                return {**self._attempt(service, operation, request), "ResponseMetadata": _metadata(attempt)}
            except (ClientError, ReadTimeoutError) as failure:
                if isinstance(failure, ClientError):
                    _metadata_of(failure)["RetryAttempts"] = attempt
                self.on_failure(operation, failure)
                if attempt == attempts - 1 or not _is_tried_again(failure):
                    raise
        raise AssertionError("unreachable")

    def _attempt(self, service: str, operation: str, request: Request) -> Answer:
        process = self.scheduler.check_alive()
        function = self._function()
        fault = self.faults.at_call(function, operation)
        if request.get("Key") == self.world.poison_key is not None and operation == "get_object":
            fault = Fault.KILLED_AFTER
        note = self.world.trace.call(process.name, function, service, operation, request, fault)
        self._travel(service, operation, request)
        if fault in (Fault.KILLED_BEFORE, Fault.KILLED_IN_FLIGHT):
            if fault is Fault.KILLED_IN_FLIGHT:
                late_us = self.random.randrange(_LATEST_EFFECT_US)
                self.scheduler.after(late_us, lambda: self._effect_of_the_dead(service, operation, request))
            self._die(process)
        if fault in (Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_LATE):
            late_us = _TIMEOUT_US + self.random.randrange(_LATEST_EFFECT_US)
            if fault is Fault.TIMEOUT_LATE:
                self.scheduler.after(late_us, lambda: self._effect_of_the_dead(service, operation, request))
            self._time_out()
        if fault in (Fault.THROTTLED, Fault.ERROR_BEFORE):
            raise _failure(service, operation, is_throttled=fault is Fault.THROTTLED)
        try:
            self._refuse_in_conflict(operation, request)
            with self._in_flight(operation, request):
                answer = self._effect(service, operation, request)
        except ClientError as refusal:
            note(str(refusal.response["Error"]["Code"]))
            self._die_or_wait(process, fault)
            raise
        self._die_or_wait(process, fault)
        if fault is Fault.TIMEOUT_AFTER:
            self._time_out()
        if fault is Fault.ERROR_AFTER:
            raise _failure(service, operation, is_throttled=False)
        return answer

    def _travel(self, service: str, operation: str, request: Request) -> None:
        """The request is on its way. A process that is killed meanwhile does not call it back."""
        try:
            self.scheduler.wait(self._latency_us() + self._of_slow_targets(operation, request))
        except Dead:
            self.scheduler.after(
                self.random.randrange(_LATEST_EFFECT_US),
                lambda: self._effect_of_the_dead(service, operation, request),
            )
            raise

    def _die_or_wait(self, process: Any, fault: Fault | None) -> None:
        if fault is Fault.KILLED_AFTER:
            self._die(process)
        self.scheduler.wait(self._latency_us())

    def _die(self, process: Any) -> None:
        self.world.kill(process, "killed by the simulation")
        raise Dead

    def _time_out(self) -> None:
        self.scheduler.wait(_TIMEOUT_US)
        raise ReadTimeoutError(endpoint_url="https://simulated")

    def _latency_us(self) -> int:
        if self.faults.hits(Fault.SLOW_CALL):
            return int(self.random.randrange(300_000, 4_500_000))
        return int(self.random.randrange(500, 8_000))

    def _of_slow_targets(self, operation: str, request: Request) -> int:
        if operation == "batch_write_item":
            is_to_target = self.world.ledger.name not in request["RequestItems"]
        else:
            is_to_target = operation == "put_item" and request["TableName"] != self.world.ledger.name
        return int(self.world.slow_writes_us) if is_to_target else 0

    def _refuse_in_conflict(self, operation: str, request: Request) -> None:
        """A row that is part of a transaction under way refuses writes and other transactions, also those that only
        check it: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html"""
        rows = _rows(operation, request, self.world.ledger.name)
        if not rows or not (self.faults.hits(Fault.CONFLICT) or rows & self.world.rows_in_flight):
            return
        if operation == "transact_write_items":
            self.world.counts["transaction conflicts"] += 1
            more = {"CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}]}
            raise error("TransactionCanceledException", "TransactWriteItems", more=more)
        if operation in _SINGLE_WRITES:
            raise error("TransactionConflictException", operation)

    @contextmanager
    def _in_flight(self, operation: str, request: Request) -> Iterator[None]:
        """A transaction takes its time at DynamoDB; its rows are held meanwhile, whatever becomes of the caller."""
        if operation != "transact_write_items":
            yield
            return
        rows = _rows(operation, request, self.world.ledger.name)
        held_us = self.random.randrange(*_TRANSACTION_US)
        self.world.rows_in_flight.update(rows)
        self.scheduler.after(held_us, lambda: self.world.rows_in_flight.difference_update(rows))
        yield
        self.scheduler.wait(held_us)

    def _effect(self, service: str, operation: str, request: Request) -> Answer:
        left: dict[str, Any] = {}
        if operation in _LEFT and self.faults.hits(Fault.UNPROCESSED):
            without_some = _without_some_writes if operation == "batch_write_item" else _without_some_keys
            request, left = without_some(request, self.random)
        if operation in _REFUSED_IN_PART and self.faults.hits(Fault.UNPROCESSED):
            return _REFUSED_IN_PART[operation](request, self.world.effects[(service, operation)], self.random)
        answer: Answer = self.world.effects[(service, operation)](request)
        return {**answer, _LEFT[operation]: left} if left else answer

    def _effect_of_the_dead(self, service: str, operation: str, request: Request) -> None:
        """Whether it succeeds or not, nobody hears of it."""
        try:
            self.world.effects[(service, operation)](request)
        except ClientError:
            return


def _is_tried_again(failure: Exception) -> bool:
    if isinstance(failure, ReadTimeoutError):
        return True
    code = failure.response["Error"]["Code"] if isinstance(failure, ClientError) else ""
    return code in _TRIED_AGAIN or code in _TRIED_AGAIN_TOO


def _failure(service: str, operation: str, *, is_throttled: bool) -> ClientError:
    if service in _FAILURES:
        throttled, failed = _FAILURES[service]
        return error(throttled if is_throttled else failed, operation, status=400 if is_throttled else 500)
    if service == "s3":
        return error("SlowDown" if is_throttled else "InternalError", operation, status=503 if is_throttled else 500)
    if is_throttled:
        return error("ProvisionedThroughputExceededException", operation)
    return error("InternalServerError", operation, status=500)


def _metadata(retry_attempts: int) -> dict[str, Any]:
    return {"HTTPStatusCode": 200, "RetryAttempts": retry_attempts}


def _metadata_of(failure: ClientError) -> dict[str, Any]:
    metadata: dict[str, Any] = failure.response["ResponseMetadata"]
    return metadata


def _without_some_writes(request: Request, random: Any) -> tuple[Request, dict[str, Any]]:
    """A batch whose last writes stay undone; at least one is done."""
    ((table, writes),) = request["RequestItems"].items()
    done = random.randrange(1, len(writes)) if len(writes) > 1 else 1
    left = {table: writes[done:]} if done < len(writes) else {}
    return {**request, "RequestItems": {table: writes[:done]}}, left


def _without_some_keys(request: Request, random: Any) -> tuple[Request, dict[str, Any]]:
    """A read whose last keys stay unread; at least one is read."""
    ((table, asked),) = request["RequestItems"].items()
    keys = asked["Keys"]
    done = random.randrange(1, len(keys)) if len(keys) > 1 else 1
    left = {table: {**asked, "Keys": keys[done:]}} if done < len(keys) else {}
    return {**request, "RequestItems": {table: {**asked, "Keys": keys[:done]}}}, left


def _deleted_in_part(request: Request, effect: Effect, random: Any) -> Answer:
    """The last of the objects are refused, each on its own."""
    asked = request["Delete"]["Objects"]
    done = random.randrange(len(asked))
    answer = effect({**request, "Delete": {**request["Delete"], "Objects": asked[:done]}}) if done else {}
    failed = {"Code": "InternalError", "Message": "We encountered an internal error. Please try again."}
    return {**answer, "Errors": [{**each, **failed} for each in asked[done:]]}


def _taken_in_part(request: Request, effect: Effect, random: Any) -> Answer:
    """The last of the entries are refused, each on its own."""
    entries = request["Entries"]
    done = random.randrange(len(entries))
    taken = effect({**request, "Entries": entries[:done]})["Entries"] if done else []
    failed = [{"ErrorCode": "InternalFailure", "ErrorMessage": "Internal failure"} for _ in entries[done:]]
    return {"FailedEntryCount": len(failed), "Entries": [*taken, *failed]}


_REFUSED_IN_PART: dict[str, Callable[[Request, Effect, Any], Answer]] = {
    "delete_objects": _deleted_in_part,
    "put_events": _taken_in_part,
}


def _rows(operation: str, request: Request, ledger: str) -> set[tuple[str, ...]]:
    """The ledger rows a transaction or a write of a single item is about."""
    if operation == "transact_write_items":
        writes = [write for entry in request["TransactItems"] for write in entry.values()]
    elif operation in _SINGLE_WRITES and request["TableName"] == ledger:
        writes = [request]
    else:
        return set()
    keys = [write.get("Key") or write["Item"] for write in writes]
    return {tuple(str(key[name]["S"]) for name in ("pk", "sk")) for key in keys}


# What the next page is asked for with, by what the last one said.
_NEXT = {
    "NextContinuationToken": "ContinuationToken",
    "NextKeyMarker": "KeyMarker",
    "NextVersionIdMarker": "VersionIdMarker",
}


class SimulatedClient:
    def __init__(self, service: str, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("__") or (self._service, operation) not in self._caller.world.effects:
            raise AttributeError(operation)
        return lambda **request: self._caller.call(self._service, operation, request)


class SimulatedS3(SimulatedClient):
    def __init__(self, caller: Caller) -> None:
        super().__init__("s3", caller)
        self.meta = SimpleNamespace(region_name=REGION)

    def get_object(self, **request: Any) -> Answer:
        answer = self._caller.call("s3", "get_object", request)
        return {**answer, "Body": Stream(answer["Body"], self._caller)}

    def put_object(self, **request: Any) -> Answer:
        body = request["Body"]  # read once: botocore sends the same bytes with every attempt
        content = body.read() if hasattr(body, "read") else bytes(body)
        return self._caller.call("s3", "put_object", {**request, "Body": content})

    def get_paginator(self, operation: str) -> Any:
        def pages(**request: Any) -> Iterator[Answer]:
            while True:
                answer = self._caller.call("s3", operation, request)
                yield answer
                if not answer["IsTruncated"]:
                    return
                more = {_NEXT[name]: answer[name] for name in _NEXT if name in answer}
                request = {**request, **more}

        return SimpleNamespace(paginate=pages)


class Stream:
    """An object's body; it may break, or end as if the object ended there, which botocore tells by the length."""

    def __init__(self, body: bytes, caller: Caller) -> None:
        self._body = body
        self._length = len(body)
        self._position = 0
        self._caller = caller

    def read(self, amount: int | None = None) -> bytes:
        self._caller.scheduler.wait(self._caller.random.randrange(200, 2_000))
        faults = self._caller.faults
        if faults.hits(Fault.STREAM_CUT):
            raise ResponseStreamingError(error="connection reset by the simulation")
        end = len(self._body) if amount is None else min(len(self._body), self._position + amount)
        if faults.hits(Fault.STREAM_ENDED):
            end = self._caller.random.randrange(self._position, end + 1)
            self._body = self._body[:end]
        block = self._body[self._position : end]
        self._position += len(block)
        if (amount is None or not block) and self._position < self._length:
            raise IncompleteReadError(actual_bytes=self._position, expected_bytes=self._length)
        return block

    def close(self) -> None:
        """A connection given back costs nothing here."""


class SimulatedDynamoDB(SimulatedClient):
    """With what the raw write path takes from a real client."""

    def __init__(self, caller: Caller) -> None:
        super().__init__("dynamodb", caller)
        real = _real_client()
        self.meta = SimpleNamespace(
            endpoint_url="http://dynamodb.simulated",
            config=SimpleNamespace(proxies={}, client_cert=None, user_agent="simulation"),
            region_name=REGION,
            service_model=real.meta.service_model,
            events=SimpleNamespace(emit=self._answer_raw, register=self._register),
        )
        self._handlers: dict[str, list[Callable[..., None]]] = {}
        self._known: set[str] = set()
        caller.on_failure = self._failed

    def _register(self, event: str, handler: Callable[..., None], unique_id: str | None = None) -> None:
        if unique_id is None or unique_id not in self._known:
            self._handlers.setdefault(event, []).append(handler)
        self._known |= {unique_id} if unique_id else set()

    def _failed(self, operation: str, failure: Exception) -> None:
        """What botocore's `needs-retry` tells after each attempt; a handler that raises ends the call."""
        name = _NEEDS_RETRY.get(operation, "")
        for handler in self._handlers.get(f"needs-retry.dynamodb.{name}", []):
            if not isinstance(failure, ClientError):
                handler(response=None, caught_exception=failure, attempts=1, operation=SimpleNamespace(name=name))
                continue
            status = _metadata_of(failure)["HTTPStatusCode"]
            response = (SimpleNamespace(status_code=status), failure.response)
            handler(response=response, caught_exception=None, attempts=1, operation=SimpleNamespace(name=name))

    def _get_credentials(self) -> Credentials:
        return Credentials("simulated", "simulated")

    def _answer_raw(self, event: str, *, request: Any) -> list[tuple[Any, Any]]:
        """`before-send`: one attempt, whose failure is the raw path's to handle."""
        operation = RAW_OPERATIONS[event.rpartition(".")[2]]
        document, raw_by_id = operation.given(json.loads(request.body))
        try:
            answer = self._caller.call("dynamodb", operation.name, document, attempts=1)
        except ClientError as failure:
            code, status = failure.response["Error"]["Code"], failure.response["ResponseMetadata"]["HTTPStatusCode"]
            refusal: dict[str, Any] = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code}
            if "Item" in failure.response:
                refusal["Item"] = plain(failure.response["Item"])
            return [(None, SimpleNamespace(status_code=status, content=json.dumps(refusal).encode()))]
        del answer["ResponseMetadata"]
        content = json.dumps(operation.answered(answer, raw_by_id), separators=(",", ":")).encode()
        return [(None, SimpleNamespace(status_code=200, content=content))]


_NEEDS_RETRY = {"batch_write_item": "BatchWriteItem", "create_backup": "CreateBackup"}


@cache
def _real_client() -> Any:
    return boto3.client(
        "dynamodb", region_name=REGION, aws_access_key_id="simulated", aws_secret_access_key="simulated"
    )


class SimulatedSQS(SimulatedClient):
    """Tells the queue of which chain of invocations a message is part, as the tracing header does."""

    def __init__(self, caller: Caller, container: Any) -> None:
        super().__init__("sqs", caller)
        self._container = container

    def send_message(self, **request: Any) -> Answer:
        return self._caller.call("sqs", "send_message", {**request, "Chain": self._container.invocation.chain + 1})


class SimulatedClients(Clients):
    def __init__(self, caller: Caller, container: Any) -> None:
        super().__init__()
        dynamodb = self._by_service["dynamodb"] = SimulatedDynamoDB(caller)
        dynamodb.meta.events.register(aws._ONCE, aws._give_up)  # as the real ones are made
        self._by_service["s3"] = SimulatedS3(caller)
        self._by_service["sqs"] = SimulatedSQS(caller, container)
        for service in ("application-autoscaling", "sns", "events"):
            self._by_service[service] = SimulatedClient(service, caller)
