"""Faults on script: wrappers around real clients, and a small DynamoDB over HTTP that fails when told to.

A script is words: each call takes the next one, and after the last word everything is "ok".
"""

import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError


class FakeTime:
    """A clock that only sleeping moves. `random` is the middle of every range."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms
        self.slept_s: list[float] = []

    def clock(self) -> int:
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_ms += round(seconds * 1000)

    def random(self) -> float:
        return 0.5


class Script:
    def __init__(self, words: str = "") -> None:
        self._words = iter(words.split())
        self._lock = threading.Lock()

    def next(self) -> str:
        with self._lock:
            return next(self._words, "ok")


_ERRORS = {
    "throttle": ("ProvisionedThroughputExceededException", 400),
    "slowdown": ("SlowDown", 503),
    "500": ("InternalServerError", 500),
    "deny": ("AccessDeniedException", 400),
    "gone": ("ResourceNotFoundException", 400),
    "refuse": ("ValidationException", 400),
    "forbidden": ("AccessDenied", 403),
    "missing": ("NoSuchKey", 404),
    "expired": ("ExpiredTokenException", 400),
    "stale": ("ExpiredToken", 400),
}


def client_error(word: str, operation: str = "Operation") -> ClientError:
    code, status = _ERRORS[word]
    response: Any = {"Error": {"Code": code, "Message": word}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


class FlakyClient:
    """A boto3 client of which one operation fails on script: `FlakyClient(s3, "get_object", "drop ok")`.

    Words: ok, drop (no connection), blank (an answer without a body), unprocessed (nothing was done), any
    of the errors above; for an object's stream `cut:N` (an error after N bytes) and `end:N` (a clean end).
    """

    def __init__(self, client: Any, operation: str, script: str) -> None:
        self._client = client
        self._operation = operation
        self._script = Script(script)
        self.calls: list[dict[str, Any]] = []
        self.bodies: list[TruncatedBody] = []

    def __getattr__(self, name: str) -> Any:
        return self._call if name == self._operation else getattr(self._client, name)

    def _call(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        word, _, limit = self._script.next().partition(":")
        if word in _ERRORS:
            raise client_error(word, self._operation)
        if word == "drop":
            raise EndpointConnectionError(endpoint_url="http://scripted")
        if word == "blank":
            return {}
        if word == "unprocessed":
            return {"UnprocessedItems": arguments["RequestItems"]}
        answer = getattr(self._client, self._operation)(**arguments)
        if "Body" in answer:
            answer["Body"] = TruncatedBody(answer["Body"], word, int(limit or 0))
            self.bodies.append(answer["Body"])
        return answer


class TruncatedBody:
    """An object's stream that breaks (`cut`) or ends as if it were complete (`end`) after `limit` bytes."""

    def __init__(self, body: Any, word: str, limit: int) -> None:
        self._body = body
        self._word = word
        self._left = limit
        self.is_closed = False
        self.largest_read = 0

    def read(self, amount: int) -> bytes:
        self.largest_read = max(self.largest_read, amount)
        if self._word == "ok":
            return bytes(self._body.read(amount))
        if self._left == 0 and self._word == "cut":
            raise ConnectionResetError("cut on script")
        data = bytes(self._body.read(min(amount, self._left))) if self._left else b""
        self._left -= len(data)
        return data

    def close(self) -> None:
        self.is_closed = True
        self._body.close()


class ScriptedDynamoDB:
    """BatchWriteItem of one table over HTTP, with its key `pk`, and as strict as DynamoDB about a batch.

    Words: ok, 500, throttle, drop (closes without an answer), close (answers, then closes), partial (half of
    an answer), garbage (200 and no JSON), space (a clean answer with blanks), unprocessed:N (leaves the last N), deny.
    Malformed JSON is a 500, as DynamoDB may do it. `refuses` names why an item is refused, or None.
    """

    def __init__(
        self, script: str = "", refuses: Callable[[dict[str, Any]], tuple[str, str] | None] = lambda item: None
    ) -> None:
        self.script = Script(script)
        self.refuses = refuses
        self.items: dict[str, Any] = {}  # by key, as DynamoDB JSON
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"dynamodb": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ScriptedDynamoDB":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, body: bytes, unprocessed: int) -> tuple[int, Any]:
        try:
            ((table, requests),) = json.loads(body)["RequestItems"].items()
        except (ValueError, KeyError):
            return 500, {"__type": "com.amazon.coral.service#InternalServerError"}
        with self.lock:
            refused = self._refusal([_target(request) for request in requests])
            if refused:
                status = 500 if refused[0] == "InternalServerError" else 400
                return status, {"__type": f"com.amazonaws.dynamodb.v20120810#{refused[0]}", "message": refused[1]}
            done = len(requests) - unprocessed
            for request in requests[:done]:
                self._apply(request)
            return 200, {"UnprocessedItems": {table: requests[done:]} if unprocessed else {}}

    def _refusal(self, targets: list[dict[str, Any]]) -> tuple[str, str] | None:
        keys = [json.dumps(target.get("pk")) for target in targets]
        if len(set(keys)) < len(keys):
            return "ValidationException", "Provided list of item keys contains duplicates"
        return next((refused for target in targets if (refused := self.refuses(target))), None)

    def _apply(self, request: dict[str, Any]) -> None:
        key = json.dumps(_target(request)["pk"])
        if "PutRequest" in request:
            self.items[key] = request["PutRequest"]["Item"]
        else:
            self.items.pop(key, None)


def _target(request: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = (
        request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
    )
    return target


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    dynamodb: ScriptedDynamoDB

    def setup(self) -> None:
        super().setup()
        with self.dynamodb.lock:
            self.dynamodb.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.dynamodb.requests.append((dict(self.headers), body))
        word, _, number = self.dynamodb.script.next().partition(":")
        if word == "drop":
            self.close_connection = True
            return
        if word in _ERRORS:
            code, status = _ERRORS[word]
            self._send(status, json.dumps({"__type": f"x#{code}", "message": word}).encode())
            return
        if word == "garbage":
            self._send(200, b"<html>")
            return
        status, document = self.dynamodb.answer(body, int(number or 0))
        text = json.dumps(document, separators=(" , ", " : ") if word == "space" else (",", ":")).encode()
        self._send(status, text, cut=word == "partial")
        self.close_connection = self.close_connection or word in ("partial", "close")

    def _send(self, status: int, body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the tests look at `requests`."""


def lines(items: Iterable[dict[str, Any]]) -> tuple[bytes, ...]:
    """Items in DynamoDB JSON as an export writes them."""
    return tuple(json.dumps({"Item": item}, separators=(",", ":"), ensure_ascii=False).encode() for item in items)
