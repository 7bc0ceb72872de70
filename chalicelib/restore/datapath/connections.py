"""Kept connections to one endpoint, and as much of HTTP/1.1 as DynamoDB's answers need
(https://www.rfc-editor.org/rfc/rfc9112): a status, one Content-Length, that many bytes.

Anything else (chunked, a 1xx, two lengths, more bytes than announced, half an answer) is no complete answer, and the
connection is closed: what still came on it would be taken for the answer to the next request.
"""

import re
import select
import socket
import ssl
import time

from chalicelib.restore.datapath.raw_batch import RawAnswer

# An answer to a write is some hundred bytes. But never less than a record of TLS: what were left of one would be seen
# neither by `is_quiet` nor as too much of this answer.
_FIRST_READ_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
_HEAD_LIMIT_BYTES = 64 * 1024
_BODY_LIMIT_BYTES = 64 * 1024 * 1024  # a BatchGetItem answers with 16 MB of items, which as JSON are more
_HEAD = re.compile(rb"HTTP/1\.1 ([2-5]\d\d)[ \r]")
# In a head in lower case, which is faster than to look for either:
_LENGTH_NAME = b"\r\ncontent-length"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n")
_UNWANTED = b"\r\ntransfer-encoding"
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n")


class NoAnswer(Exception):
    """There is no complete answer. `is_sent`: the request may have arrived, and may take effect. `is_reset`: a
    connection was closed by the other side before a byte of an answer, as those that idled too long are."""

    def __init__(self, reason: str, *, is_sent: bool, is_reset: bool = False) -> None:
        super().__init__(reason)
        self.is_sent = is_sent
        self.is_reset = is_reset


class Connections:
    """Connections to `host`, with TLS where there is a context. Thread-safe; kept until `close`, also when threads
    come and go."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        # A stack, so that the warmest connection goes first; list.pop and list.append are atomic.
        self._idle: list[_Connection] = []

    def exchange(self, request: bytes, timeout_s: float, *, fresh: bool = False) -> RawAnswer:
        """Sends a request and waits for its answer, at most about `timeout_s` in all; raises NoAnswer.

        `fresh`: not on a connection that was used before.
        """
        connection = None if fresh else self._usable()
        is_kept = connection is not None
        if connection is None:
            connection = self._open(timeout_s)
        try:
            answer, is_open = connection.exchange(request, timeout_s)
        except NoAnswer as error:
            connection.close()
            error.is_reset = error.is_reset and is_kept
            raise
        except BaseException:
            connection.close()
            raise
        if is_open:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Closes all connections. No thread may be sending."""
        while self._idle:
            self._idle.pop().close()

    def _usable(self) -> "_Connection | None":
        """A kept connection on which nothing waits to be read: no end, and no answer to nobody's question."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_quiet():
                return connection
            connection.close()

    def _open(self, timeout_s: float) -> "_Connection":
        try:
            opened = socket.create_connection((self._host, self._port), timeout_s)
        except OSError as error:
            raise NoAnswer(f"connecting failed ({type(error).__name__})", is_sent=False) from error
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                opened = self._tls.wrap_socket(opened, server_hostname=self._host)
        except (OSError, ValueError) as error:
            opened.close()
            raise NoAnswer(f"connecting failed ({type(error).__name__})", is_sent=False) from error
        return _Connection(opened, timeout_s)


class _Connection:
    """One open connection, with one request on it at a time."""

    def __init__(self, opened: socket.socket, timeout_s: float) -> None:
        self._socket = opened
        self._timeout_s = timeout_s
        self._poll = select.poll()
        self._poll.register(opened.fileno(), select.POLLIN)

    def exchange(self, request: bytes, timeout_s: float) -> tuple[RawAnswer, bool]:
        """The answer, and whether the connection may be used again."""
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s
        received = b""
        try:
            self._socket.sendall(request)
            received = self._socket.recv(_FIRST_READ_BYTES)
            # Nearly always everything came at once.
            complete = _complete(received) if received else None
            if complete is None:
                complete = self._read_on(received, time.monotonic() + timeout_s)
        except OSError as error:
            is_reset = isinstance(error, ConnectionError) and not received
            raise NoAnswer(type(error).__name__, is_sent=True, is_reset=is_reset) from error
        return complete

    def _read_on(self, received: bytes, until_s: float) -> tuple[RawAnswer, bool]:
        parts = bytearray(received)
        more = received
        while True:
            if not more:
                raise NoAnswer("the connection was closed", is_sent=True, is_reset=not parts)
            if time.monotonic() > until_s:  # each read has its own timeout: an answer may come drop by drop
                raise NoAnswer("the answer takes too long", is_sent=True)
            more = self._socket.recv(_READ_BYTES)
            parts += more
            complete = _complete(parts)
            if complete is not None:
                return complete

    def is_quiet(self) -> bool:
        return not self._poll.poll(0)

    def close(self) -> None:
        self._socket.close()


def _complete(received: bytes | bytearray) -> tuple[RawAnswer, bool] | None:
    """The answer, and whether the connection stays open; None while there is more to come. Raises NoAnswer."""
    end = received.find(b"\r\n\r\n", 0, _HEAD_LIMIT_BYTES)
    if end < 0:
        if len(received) >= _HEAD_LIMIT_BYTES:
            raise NoAnswer("the answer's head has no end", is_sent=True)
        return None
    status = _HEAD.match(received)
    head = bytes(received[: end + 2]).lower()
    length_at = head.find(_LENGTH_NAME)
    length = _LENGTH.match(head, max(0, length_at))
    if status is None or length is None or head.find(_LENGTH_NAME, length_at + 1) >= 0 or _UNWANTED in head:
        raise NoAnswer("the answer has an unknown form", is_sent=True)
    body_bytes = int(length[1])
    surplus = len(received) - (end + 4) - body_bytes
    if surplus > 0 or body_bytes > _BODY_LIMIT_BYTES:
        raise NoAnswer("the answer is longer than it may be", is_sent=True)
    if surplus < 0:
        return None
    is_open = b"close" not in head or _CLOSE.search(head) is None
    return RawAnswer(int(status[1]), bytes(received[end + 4 :])), is_open
