"""An HTTP server on 127.0.0.1 that behaves as badly as it is told to.

`Loopback(body, first, second, ...)` answers its first request with the behaviour `first`, and
so on; the last one answers all further requests. A behaviour is a function of a Connection.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ETAG = '"one"'
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass
class Connection:
    """One request, and the means to answer it."""

    sock: socket.socket
    server: Loopback
    path: str
    headers: dict[str, str]

    @property
    def body(self) -> bytes:
        return self.server.body

    def begin(self) -> int:
        """The first byte asked for; a range for another version of the file counts as none."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if not found or self.headers.get("if-range", ETAG) not in (ETAG, DATE):
            return 0
        return int(found[1])

    def head(self, status: str, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, "Connection: close"]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())

    def start(self, begin: int, *headers: str, length: int | None = None) -> None:
        """The head of an honest answer, unless told another length."""
        size = len(self.body)
        headers = headers or (f"ETag: {ETAG}",)
        announced = f"Content-Length: {size - begin if length is None else length}"
        if begin:
            stated = f"Content-Range: bytes {begin}-{size - 1}/{size}"
            self.head("206 Partial Content", announced, stated, *headers)
        else:
            self.head("200 OK", announced, *headers)

    def wait(self, seconds: float) -> None:
        self.server.closing.wait(seconds)


Behaviour = Callable[[Connection], None]


class Loopback:
    """The server, in a thread, while it is used as a context."""

    def __init__(
        self, body: bytes, *behaviours: Behaviour, certificate: Path | None = None
    ) -> None:
        self.tls = None
        if certificate is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)
        self.body, self.behaviours = body, list(behaviours) or [whole]
        self.requests: list[Connection] = []
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, path: str = "/weights/model.pth") -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def ranges(self) -> list[str | None]:
        """The Range headers that were asked for."""
        return [request.headers.get("range") for request in self.requests]

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=[sock], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _secured(self, sock: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(sock, server_side=True) if self.tls else sock

    def _answer(self, accepted: socket.socket) -> None:
        # A client that has seen enough hangs up: that is its right.
        with suppress(OSError), self._secured(accepted) as sock:
            head = b""
            while b"\r\n\r\n" not in head:
                received = sock.recv(65536)
                if not received:
                    return
                head += received
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
            connection = Connection(sock, self, first.split(" ")[1], headers)
            self.requests.append(connection)
            number = min(len(self.requests), len(self.behaviours)) - 1
            self.behaviours[number](connection)


def whole(connection: Connection) -> None:
    """An honest server that knows ranges."""
    begin = connection.begin()
    connection.start(begin)
    connection.sock.sendall(connection.body[begin:])


def ignores_range(connection: Connection) -> None:
    """Always the whole file."""
    connection.start(0)
    connection.sock.sendall(connection.body)


def cut(after: int) -> Behaviour:
    """Hangs up after this many bytes of the body."""

    def behave(connection: Connection) -> None:
        begin = connection.begin()
        connection.start(begin)
        connection.sock.sendall(connection.body[begin : begin + after])

    return behave


def cut_ignoring_range(after: int) -> Behaviour:
    """Starts from the first byte and hangs up."""

    def behave(connection: Connection) -> None:
        connection.start(0)
        connection.sock.sendall(connection.body[:after])

    return behave


def announces(length: int | None) -> Behaviour:
    """The whole body under a wrong Content-Length, or none."""

    def behave(connection: Connection) -> None:
        if length is None:
            connection.head("200 OK", f"ETag: {ETAG}")
        else:
            connection.start(0, length=length)
        connection.sock.sendall(connection.body)

    return behave


def stalls(after: int) -> Behaviour:
    """Sends this much and then nothing, with the line open."""

    def behave(connection: Connection) -> None:
        begin = connection.begin()
        connection.start(begin)
        connection.sock.sendall(connection.body[begin : begin + after])
        connection.wait(20)

    return behave


def silent(connection: Connection) -> None:
    """Takes the request and says nothing."""
    connection.wait(20)


def drips_head(connection: Connection) -> None:
    """A reply head without an end, a byte at a time."""
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not connection.server.closing.wait(0.02):
        connection.sock.sendall(b"x")


def drips(every_seconds: float) -> Behaviour:
    """The body, a byte at a time."""

    def behave(connection: Connection) -> None:
        begin = connection.begin()
        connection.start(begin)
        for byte in connection.body[begin:]:
            connection.sock.sendall(bytes([byte]))
            if connection.server.closing.wait(every_seconds):
                return

    return behave


def redirects(location: str) -> Behaviour:
    """Elsewhere, with a body that never ends."""

    def behave(connection: Connection) -> None:
        connection.head("302 Found", f"Location: {location}")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not connection.server.closing.is_set():
            connection.sock.sendall(b"x" * 65536)

    return behave


def status(line: str, *headers: str) -> Behaviour:
    """Only a head."""
    return lambda connection: connection.head(line, *headers)


def wrong_part(connection: Connection) -> None:
    """Answers any range from byte 7 on."""
    if not connection.begin():
        return whole(connection)
    connection.start(7)
    return connection.sock.sendall(connection.body[7:])


def endless(connection: Connection) -> None:
    """Chunks without end and without a length."""
    connection.head("200 OK", "Transfer-Encoding: chunked")
    while not connection.server.closing.is_set():
        connection.sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def chunked(connection: Connection, last: bytes = b"0\r\n\r\n") -> None:
    """An honest answer of unknown length."""
    connection.head("200 OK", "Transfer-Encoding: chunked", f"ETag: {ETAG}")
    for start in range(0, len(connection.body), 1000):
        block = connection.body[start : start + 1000]
        connection.sock.sendall(f"{len(block):x}\r\n".encode() + block + b"\r\n")
    connection.sock.sendall(last)


def chunked_cut(connection: Connection) -> None:
    """Chunks that stop in the middle of one."""
    connection.head("200 OK", "Transfer-Encoding: chunked")
    connection.sock.sendall(b"1000\r\n" + connection.body[:100])


def garbage(connection: Connection) -> None:
    """Not HTTP at all."""
    connection.sock.sendall(b"\x00\xff" * 1000 + b"\r\n\r\n")
