"""The few ASGI parts the layer needs: read a request, send a reply, and call the wrapped app like a function."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
Headers = list[tuple[bytes, bytes]]
Reply = tuple[int, Headers, bytes]

# These describe the body the client sent, not the one a rewritten call carries.
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody is left to answer."""


async def read_body(receive: Receive) -> bytes:
    """The whole request body. Raises ClientGone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def call(app: App, scope: Scope, *, method: str, path: str, body: bytes = b"", query: bytes = b"") -> Reply:
    """Sends one request through `app` with the headers (so the credentials) of `scope`; the whole reply."""
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _BODY_HEADERS]
    headers.append((b"content-length", str(len(body)).encode()))
    request = dict(scope, method=method, path=path, raw_path=path.encode(), query_string=query, headers=headers)
    status, reply_headers, reply_body = 0, list[tuple[bytes, bytes]](), bytearray()
    unread = [body]

    async def receive() -> Message:
        if not unread:
            await asyncio.Event().wait()  # the client waits for its answer and sends nothing more
        return {"type": "http.request", "body": unread.pop(), "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, reply_headers
        if message["type"] == "http.response.start":
            status, reply_headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            reply_body.extend(message.get("body", b""))

    await app(request, receive, send)
    return status, reply_headers, bytes(reply_body)


async def send_reply(send: Send, reply: Reply) -> None:
    status, headers, body = reply
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def json_reply(status: int, data: object) -> Reply:
    body = json.dumps(data).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return status, headers, body
