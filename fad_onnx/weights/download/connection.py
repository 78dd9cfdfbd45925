"""HTTP connections that give up on a server that is too slow.

The timeout of a socket limits one wait, so a server that sends a byte every few seconds could
delay a download for days, also inside a header or a chunk's trailer, where http.client waits for
the end of a line. Here, the bytes that arrive are compared with the time spent waiting for them.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from .proxy import Proxy


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds, and how many times to retry."""

    attempts: int = 5
    connect_seconds: float = 30.0
    reply_seconds: float = 60.0
    stall_seconds: float = 30.0
    least_bytes_per_second: float = 1024.0
    pause_seconds: float = 1.0


class Broken(Exception):
    """The connection failed or was too slow. Another attempt may succeed."""

    attempts_in_all: int | None = None


class Unresolved(Broken):
    """The host name has no address. Without a network, more attempts only waste time."""

    attempts_in_all = 2


class _Metered(io.RawIOBase):
    """A socket with a deadline for the head of the reply and a minimum rate for the body.

    Only the time spent waiting for the server counts, not the time of the caller.
    """

    def __init__(self, sock: socket.socket, file: io.BufferedReader, patience: Patience) -> None:
        super().__init__()
        # An open file keeps the socket open after urllib has closed its connection object.
        self._sock, self._file, self._patience = sock, file, patience
        self._limit, self._in_body = patience.reply_seconds, False
        self._waited, self._arrived = 0.0, 0

    def begin_body(self) -> None:
        """Apply the minimum rate from now on."""
        self._limit, self._in_body = self._patience.stall_seconds, True
        self._waited, self._arrived = 0.0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._waited >= self._limit:
                self._begin_period()
            begun = time.monotonic()
            try:
                count = self._receive(buffer, self._limit - self._waited)
            except TimeoutError:
                self._waited = self._limit
                continue
            self._waited += time.monotonic() - begun
            self._arrived += count
            return count

    def _receive(self, buffer: Any, seconds: float) -> int:
        before = self._sock.gettimeout()
        self._sock.settimeout(seconds)
        try:
            return self._sock.recv_into(buffer)
        finally:
            # The socket of a proxy is reused for the TLS handshake.
            self._sock.settimeout(before)

    def _begin_period(self) -> None:
        """Start the next measurement if enough has arrived during the last one."""
        if not self._in_body:
            raise TimeoutError
        if self._arrived < self._limit * self._patience.least_bytes_per_second:
            raise Broken(f"only {self._arrived} bytes in {self._limit:g} s")
        self._waited, self._arrived = 0.0, 0

    def close(self) -> None:
        self._file.close()
        super().close()


class Response(http.client.HTTPResponse):
    """A reply that is read through the meter."""

    def __init__(self, patience: Patience, sock: socket.socket, *rest: Any, **options: Any) -> None:
        super().__init__(sock, *rest, **options)
        self._meter = _Metered(sock, self.fp, patience)
        self.fp = io.BufferedReader(self._meter)

    def begin(self) -> None:
        super().begin()
        self._meter.begin_body()


def _connection(
    make: Callable[..., http.client.HTTPConnection], patience: Patience, host: str, **options: Any
) -> http.client.HTTPConnection:
    connection = make(host, **options)
    connection.response_class = cast(type[Response], partial(Response, patience))
    return connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._connection = partial(_connection, http.client.HTTPConnection, patience)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        # Reading the system's certificates is slow.
        self._tls = ssl.create_default_context()
        super().__init__(context=self._tls)
        self._connection = partial(_connection, http.client.HTTPSConnection, patience)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req, context=self._tls)


def opener(url: str, patience: Patience, proxy: Proxy | None) -> urllib.request.OpenerDirector:
    """An opener for the scheme of this URL only.

    It refuses ftp, file and data URLs, follows no redirects and reads no error bodies.
    """
    made = urllib.request.OpenerDirector()
    if urlsplit(url).scheme == "https":
        made.add_handler(urllib.request.ProxyHandler({"https": proxy.url} if proxy else {}))
        made.add_handler(_Https(patience))
    else:
        made.add_handler(_Http(patience))
    return made
