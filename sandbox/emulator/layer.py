"""The ASGI app of the sandbox: ministack, with the calls it lacks answered here.

What the layer takes on: API Gateway's import and put (`api_gateway`), DynamoDB's exports and what only the sandbox can
do with them (an overlay, see Overlay), the list of worker processes (`functions`) and of IAM's decisions (`decisions`),
and the ages of on-demand backups (`backups`). Every other request goes to ministack untouched, which has one service
more of ours (`scaling`).
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from sandbox.emulator import backups, decisions, functions
from sandbox.emulator.api_gateway import RestApis, is_handled
from sandbox.emulator.asgi import App, ClientGone, Receive, Reply, Scope, Send, call, read_body, send_reply
from sandbox.exports.administration import AGES_PATH

_RESET_PATH = "/_ministack/reset"

Forward = Callable[[bytes], Awaitable[Reply]]


class Overlay(Protocol):
    """Answers some DynamoDB operations in ministack's place, and calls to paths of the sandbox's own.

    `forward(body)` sends the call on to ministack, with the caller's credentials, so that IAM and validation stay
    ministack's; `administer` answers one of PATHS; `reset()` forgets everything, when the emulator does.
    """

    @property
    def OPERATIONS(self) -> Collection[str]: ...

    @property
    def PATHS(self) -> Collection[str]: ...

    async def __call__(self, operation: str, scope: Scope, body: bytes, forward: Forward) -> Reply: ...

    def administer(self, path: str, body: bytes) -> Reply: ...

    def reset(self) -> None: ...


class Layer:
    """`on_reset` is called when the emulator is to forget everything."""

    def __init__(
        self, app: App, overlay: Overlay | None = None, *, on_reset: Callable[[], None] = lambda: None
    ) -> None:
        self._app = app
        self._overlay = overlay
        self._on_reset = on_reset
        self._rest_apis = RestApis(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            reply = await self._answer(scope, receive)
        except ClientGone:
            return
        if reply is None:
            await self._app(scope, receive, send)
        else:
            await send_reply(send, reply)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply | None:
        """The reply to a call the layer takes on; None leaves the request, its body unread, to ministack."""
        if is_handled(scope):
            return await self._rest_apis.handle(scope, await read_body(receive))
        if scope["path"] == functions.WORKERS_PATH:
            return functions.list_workers()
        if scope["path"] == decisions.DECISIONS_PATH:
            return decisions.take()
        if scope["path"] == AGES_PATH:
            return backups.make_older(await read_body(receive))
        if scope["path"] == _RESET_PATH:
            self._reset()
            return None
        if self._overlay is None:
            return None
        if scope["path"] in self._overlay.PATHS:
            return self._overlay.administer(scope["path"], await read_body(receive))
        operation = _dynamodb_operation(scope)
        if operation in self._overlay.OPERATIONS:
            return await self._overlay(
                operation, scope, await read_body(receive), lambda body: self._forward(scope, body)
            )
        return None

    def _reset(self) -> None:
        self._on_reset()
        if self._overlay is not None:
            self._overlay.reset()

    async def _forward(self, scope: Scope, body: bytes) -> Reply:
        return await call(
            self._app,
            scope,
            method=scope["method"],
            path=scope["path"],
            body=body,
            query=scope["query_string"],
        )


def _dynamodb_operation(scope: Scope) -> str:
    """`DescribeExport` of `X-Amz-Target: DynamoDB_20120810.DescribeExport`; empty for any other call."""
    if scope["method"] != "POST" or scope["path"] != "/":
        return ""
    target = next((value for name, value in scope["headers"] if name.lower() == b"x-amz-target"), b"")
    service, _, operation = target.decode("latin-1").partition(".")
    return operation if service.startswith("DynamoDB_") else ""
