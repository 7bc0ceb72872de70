"""Answers that are none: whatever a server does, a request ends with its own answer or with none."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from chalicelib.restore.datapath.connections import Connections, NoAnswer
from chalicelib.restore.datapath.raw_batch import RawAnswer

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
FINE = RawAnswer(200, b"fine")
Play = Callable[[socket.socket], None]


class Server:
    """Each connection plays the next piece; after the last one, every request is answered."""

    def __init__(self, *pieces: Play) -> None:
        self._pieces = iter(pieces)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.requests = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "Server":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(opened)
            thread = threading.Thread(target=self._serve, args=(opened, next(self._pieces, None)))
            self._threads.append(thread)
            thread.start()

    def _serve(self, opened: socket.socket, piece: Play | None) -> None:
        try:
            while self.read(opened):
                if piece is None:
                    opened.sendall(ANSWER)
                else:
                    piece(opened)
        except OSError:
            return

    def read(self, opened: socket.socket) -> bool:
        received = b""
        while not received.endswith(REQUEST):
            more = opened.recv(65536)
            if not more:
                return False
            received += more
        self.requests += 1
        return True


def says(*parts: bytes, then_close: bool = False) -> Play:
    def play(opened: socket.socket) -> None:
        for part in parts:
            opened.sendall(part)
            time.sleep(0.01)
        if then_close:
            opened.shutdown(socket.SHUT_RDWR)

    return play


def connections_to(server: Server) -> Connections:
    return Connections("127.0.0.1", server.port, None)


@pytest.mark.parametrize(
    "parts",
    [
        [ANSWER],
        [ANSWER[:7], ANSWER[7:]],
        [ANSWER[:30], ANSWER[30:41], ANSWER[41:]],
        [ANSWER[:-4], b"f", b"i", b"n", b"e"],
        [b"HTTP/1.1 200 \r\ncontent-length:4\r\nx: y\r\n\r\nfine"],
        [b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: \t 4 \r\n\r\nfine"],
    ],
)
def test_a_complete_answer_is_taken_however_it_comes(parts):
    with Server(says(*parts)) as server:
        connections = connections_to(server)
        assert connections.exchange(REQUEST, 5.0) == FINE
        assert connections.exchange(REQUEST, 5.0) == FINE
        connections.close()
    assert server.connections == 1


def test_an_error_is_an_answer_too():
    with Server(says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as server:
        connections = connections_to(server)
        assert connections.exchange(REQUEST, 5.0) == RawAnswer(400, b"")
        connections.close()


def test_a_large_answer_is_read_to_its_end():
    body = b"x" * 3_000_000
    with Server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + body)) as server:
        connections = connections_to(server)
        assert connections.exchange(REQUEST, 5.0) == RawAnswer(200, body)
        connections.close()


FAULTS = {
    "closed before an answer": says(then_close=True),
    "half a head": says(ANSWER[:20], then_close=True),
    "half a body": says(ANSWER[:-2], then_close=True),
    "two answers": says(ANSWER + ANSWER),
    "more than announced": says(ANSWER + b"!"),
    "chunked": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"),
    "chunked and a length": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\nfine"),
    "no length": says(b"HTTP/1.1 200 OK\r\n\r\nfine", then_close=True),
    "two lengths": says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine"),
    "twice the same length": says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nfine"),
    "a length hidden behind a blank": says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length : 5\r\n\r\nfine"),
    "a length that is none": says(b"HTTP/1.1 200 OK\r\nContent-Length: 0x4\r\n\r\nfine"),
    "a negative length": says(b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine"),
    "a list of lengths": says(b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nfine"),
    "a length beyond reason": says(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nfine"),
    "100 continue": says(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER),
    "100 continue, then nothing": says(b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"),
    "switching": says(b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n"),
    "another protocol": says(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine"),
    "no protocol": says(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "a head without an end": says(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: y\r\n" * 6_000),
    "bare line feeds": says(b"HTTP/1.1 200 OK\nContent-Length: 4\n\nfine", then_close=True),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_anything_else_is_no_answer_and_the_next_request_is_unharmed(fault):
    with Server(fault) as server:
        connections = connections_to(server)
        with pytest.raises(NoAnswer) as caught:
            connections.exchange(REQUEST, 5.0)
        assert caught.value.is_sent
        assert not caught.value.is_reset  # the connection was new
        assert connections.exchange(REQUEST, 5.0) == FINE
        connections.close()
    assert server.connections == 2


def test_an_answer_that_does_not_come_is_waited_for_as_long_as_told():
    with Server(says()) as server:
        connections = connections_to(server)
        with pytest.raises(NoAnswer) as caught:
            connections.exchange(REQUEST, 0.05)
        assert caught.value.is_sent
        connections.close()


def test_an_answer_that_comes_drop_by_drop_is_not_waited_for_without_end():
    """Each drop comes in time; all of them would take an hour."""
    over = threading.Event()

    def drip(opened: socket.socket) -> None:
        opened.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not over.wait(0.01):
            opened.sendall(b"y")

    with Server(drip) as server:
        connections = connections_to(server)
        with pytest.raises(NoAnswer, match="too long"):
            connections.exchange(REQUEST, 0.2)
        over.set()
        connections.close()


def test_a_second_answer_that_comes_later_is_not_the_next_requests():
    late = threading.Event()

    def twice(opened: socket.socket) -> None:
        opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
        late.wait(5)
        opened.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlater")

    with Server(twice) as server:
        connections = connections_to(server)
        assert connections.exchange(REQUEST, 5.0) == RawAnswer(200, b"first")
        late.set()
        (kept,) = connections._idle
        while kept.is_quiet():
            pass
        assert connections.exchange(REQUEST, 5.0) == FINE
        connections.close()
    assert server.connections == 2


def test_too_much_of_an_answer_is_seen_over_tls_too(tmp_path):
    """Where the first read ends within a record, the rest of it waits inside of the TLS library, not at the socket."""
    trusting, trusted = a_certificate(tmp_path)
    body_bytes = 4096 - len(b"HTTP/1.1 200 OK\r\nContent-Length: 4055\r\n\r\n")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (body_bytes, b"x" * body_bytes)
    assert len(answer) == 4096
    strangers = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger"

    def too_much(opened: socket.socket) -> None:
        with suppress(OSError), trusted.wrap_socket(opened, server_side=True) as secured:
            while secured.recv(65536):
                secured.sendall(answer + strangers)

    listener = socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=lambda: too_much(listener.accept()[0]))
    serving.start()
    connections = Connections("127.0.0.1", listener.getsockname()[1], trusting)
    with pytest.raises(NoAnswer, match="longer than it may be"):
        connections.exchange(REQUEST, 5.0)
    connections.close()
    serving.join()
    listener.close()


def a_certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's context, which trusts it, and a server's, which has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "both.pem").write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return ssl.create_default_context(cadata=certificate.public_bytes(Encoding.PEM).decode()), server


def test_a_connection_that_was_closed_while_it_idled_is_not_used():
    with Server(says(ANSWER, then_close=True)) as server:
        connections = connections_to(server)
        assert connections.exchange(REQUEST, 5.0) == FINE
        (kept,) = connections._idle
        while kept.is_quiet():
            pass
        assert connections.exchange(REQUEST, 5.0) == FINE
        connections.close()
    assert (server.connections, server.requests) == (2, 2)


def test_a_server_that_says_it_closes_is_believed():
    closing = says(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine")
    with Server(closing) as server:
        connections = connections_to(server)
        assert connections.exchange(REQUEST, 5.0) == FINE
        assert connections._idle == []


def test_nobody_listening_means_that_nothing_was_sent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer) as caught:
        Connections("127.0.0.1", port, None).exchange(REQUEST, 5.0)
    assert not caught.value.is_sent


def test_a_kept_connection_that_is_reset_before_a_byte_says_so():
    pieces = iter([ANSWER, b""])

    def once(opened: socket.socket) -> None:
        answer = next(pieces)
        if answer:
            opened.sendall(answer)
        else:
            opened.shutdown(socket.SHUT_RDWR)

    with Server(once) as server:
        connections = connections_to(server)
        connections.exchange(REQUEST, 5.0)
        with pytest.raises(NoAnswer) as caught:
            connections.exchange(REQUEST, 5.0)
        assert caught.value.is_reset
        assert caught.value.is_sent
        assert connections._idle == []
        connections.close()
