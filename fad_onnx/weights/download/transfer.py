"""One HTTP exchange at a time, with a server that may be slow, wrong or hostile.

https only, except http to this machine's loopback; redirects obey the same rule and never go
from https to http. Nothing here waits without a limit, and no reply is read further than asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urljoin, urlsplit

from ...networks.machine import starting_threads
from .proxy import Proxy, UnspokenProxyError, masked, proxy_for

REDIRECTS = 5
BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds, and how often to ask again."""

    attempts: int = 5
    connect_seconds: float = 30.0
    reply_seconds: float = 60.0
    stall_seconds: float = 30.0
    least_bytes_per_second: float = 1024.0
    pause_seconds: float = 1.0


class Broken(Exception):
    """The connection failed, or brought less than it should: worth asking again, so often."""

    attempts_in_all: int | None = None


class Unresolved(Broken):
    """The host has no address: without a network asking again only takes time."""

    attempts_in_all = 2


class Refused(Exception):
    """The server said or did something that asking again will not mend."""


@dataclass(frozen=True)
class Reply:
    """The head of a reply: status and headers, names in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]


def refusal(url: str, before: str | None = None) -> str | None:
    """Why this URL must not be asked (`before`: the URL that redirected to it), or None."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{masked(url)!r} is not a URL"
    if parts.username is not None or not host:
        return f"{masked(url)!r} has no host, or a user name, in it"
    if parts.scheme == "https":
        return None
    if parts.scheme != "http":
        return f"{parts.scheme or 'no scheme'}:// is refused, only https is accepted"
    if before is not None and urlsplit(before).scheme == "https":
        return "a redirect from https to http is refused"
    return None if _is_loopback(host) else f"http:// to {host} is refused, only https is accepted"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@contextmanager
def request(
    url: str, headers: Mapping[str, str], patience: Patience
) -> Iterator[tuple[Reply, _Response]]:
    """The reply to a GET after redirects, and its body still unread.

    Raises Refused (forbidden address, bad certificate, too many redirects) or Broken (no
    connection, no proper reply in time).
    """
    before, proxy = None, None
    try:
        for _ in range(REDIRECTS + 1):
            problem = refusal(url, before)
            if problem:
                raise Refused(problem)
            proxy = _proxy(url)
            reply, body = _exchange(url, headers, patience, proxy)
            if reply.status not in (301, 302, 303, 307, 308):
                try:
                    yield reply, body
                finally:
                    body.close()
                return
            # The body of a redirect is never read: it may have no end.
            body.close()
            before, url = url, _joined(url, reply.headers.get("location", ""))
        raise Refused(f"more than {REDIRECTS} redirects")
    except (Broken, Refused) as error:
        if proxy:
            error.args = (f"{error}, through the proxy {proxy}",)
        raise


def _proxy(url: str) -> Proxy | None:
    """What to ask for an https URL; http goes to this machine itself."""
    try:
        return proxy_for(url) if urlsplit(url).scheme == "https" else None
    except UnspokenProxyError as error:
        raise Refused(str(error)) from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise Refused(f"redirects to {location[:200]!r}, which is not a URL") from error


def _exchange(
    url: str, headers: Mapping[str, str], patience: Patience, proxy: Proxy | None
) -> tuple[Reply, _Response]:
    asked = urllib.request.Request(url, headers={"User-Agent": "fad-onnx", **headers})
    try:
        opener = _opener(url, patience, proxy)
        response = cast(_Response, opener.open(asked, timeout=patience.connect_seconds))
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = f"the certificate is not valid ({cause.verify_message})"
            raise Refused(f"{problem}; {_authorities()}") from error
        # The proxy's own answer, which http.client gives as text alone.
        if re.search(r"^Tunnel connection failed: 4(?!08|25|29)", str(cause)):
            raise Refused(describe(cause)) from error
        kind = Unresolved if isinstance(cause, socket.gaierror) else Broken
        raise kind(describe(cause)) from error
    except ValueError as error:
        # http.client refuses control characters in what a redirect named.
        raise Refused(f"not a URL ({error})") from error
    received = {name.lower(): value for name, value in response.headers.items()}
    return Reply(url, response.status, received), response


def _authorities() -> str:
    """Whose certificates are trusted, and how to change that."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if path := os.environ.get(name):
            there = "" if os.path.exists(path) else ", which does not exist"
            return f"trusted are those in {name}={path}{there}"
    return "where a proxy opens TLS, SSL_CERT_FILE names the file with its certificate"


def describe(error: object) -> str:
    """What went wrong on the line, in plain words."""
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, http.client.HTTPException):
        return f"the server does not speak HTTP properly ({type(error).__name__})"
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved (no network?)"
    return str(getattr(error, "strerror", None) or error).lower()


def blocks(body: _Response, patience: Patience) -> Iterator[bytes]:
    """The body as it arrives; its end, honest or not, ends the iteration.

    Raises Broken when the connection fails, or brings less than the least rate for a while.
    """
    with _Watch(body.line, patience) as watch:
        while True:
            try:
                # read1 returns with what has come; read would wait for a full block.
                block = body.read1(BLOCK_BYTES)
            except (OSError, http.client.HTTPException, ValueError) as error:
                watch.complain()
                raise Broken(f"the connection broke ({describe(error)})") from error
            # After a hang-up what still comes may be cut, or not even decrypted.
            watch.complain()
            if not block:
                return
            watch.arrived += len(block)
            yield block


class _Watch:
    """Hangs up on a server that sends too slowly, even from within a call that never returns:
    http.client waits for as many bytes of a chunk's head or trailer as the server likes to send.
    """

    def __init__(self, line: socket.socket, patience: Patience) -> None:
        self.arrived = 0
        self._line, self._patience = line, patience
        self._problem: str | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fad_onnx-watch", daemon=True)

    def _run(self) -> None:
        before, seconds = 0, self._patience.stall_seconds
        while not self._done.wait(seconds):
            now = self.arrived
            if now - before < seconds * self._patience.least_bytes_per_second:
                self._problem = f"only {now - before} bytes in {seconds:g} s"
                return _hang_up(self._line)
            before = now
        return None

    def complain(self) -> None:
        """Raise Broken if the line was hung up."""
        if self._problem:
            raise Broken(self._problem)

    def __enter__(self) -> Self:
        with starting_threads():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()


class _Response(http.client.HTTPResponse):
    """A reply that knows its socket, so that it can be hung up on."""

    def __init__(self, sock: socket.socket, *rest: Any, **options: Any) -> None:
        super().__init__(sock, *rest, **options)
        self.line = sock


class _Timed(http.client.HTTPConnection):
    """A connection whose whole reply head has one deadline: each byte alone has no limit."""

    response_class = _Response

    def __init__(self, patience: Patience, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._patience = patience

    def getresponse(self) -> http.client.HTTPResponse:
        late = threading.Event()
        timer = threading.Timer(self._patience.reply_seconds, _hang_up, [self.sock, late])
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException):
            if not late.is_set():
                raise
        finally:
            timer.cancel()
        if late.is_set():
            # Even without an exception: http.client takes a line that ends for the head's end.
            raise TimeoutError
        return response


def _hang_up(sock: socket.socket, late: threading.Event | None = None) -> None:
    if late:
        late.set()
    with suppress(OSError):  # closed meanwhile
        sock.shutdown(socket.SHUT_RDWR)


class _TimedTLS(_Timed, http.client.HTTPSConnection):
    """The same over TLS."""


class _Http(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._connection = partial(_Timed, patience)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        # Reads the system's certificates, which takes a while.
        self._tls = ssl.create_default_context()
        super().__init__(context=self._tls)
        self._connection = partial(_TimedTLS, patience)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req, context=self._tls)


def _opener(url: str, patience: Patience, proxy: Proxy | None) -> urllib.request.OpenerDirector:
    """Only the scheme of the URL: no ftp, file or data, no redirects and no error bodies read."""
    opener = urllib.request.OpenerDirector()
    if urlsplit(url).scheme == "https":
        opener.add_handler(urllib.request.ProxyHandler({"https": proxy.url} if proxy else {}))
        opener.add_handler(_Https(patience))
    else:
        opener.add_handler(_Http(patience))
    return opener


@dataclass(frozen=True)
class Start:
    """Where the body's first byte belongs, and the file's full length if the server says it.

    offset: 0 for the whole file, the bytes at hand for the rest, -1 if it fits neither.
    """

    offset: int
    total: int | None


def start(reply: Reply, have: int) -> Start:
    """Decide from the head of a reply to a request for everything from byte `have` on.

    Raises Refused or Broken for a status that brings no part of the file.
    """
    if reply.status == 206:
        return _partial(reply, have)
    if reply.status == 200:
        length = reply.headers.get("content-length", "")
        return Start(0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None)
    if reply.status == 416:
        # All of it is here already, or the part that is here is none of this file.
        if have and reply.headers.get("content-range") == f"bytes */{have}":
            return Start(have, have)
        return Start(-1, None)
    text = f"HTTP {reply.status} {http.client.responses.get(reply.status, '')}".strip()
    if reply.status in (408, 425, 429) or reply.status >= 500:
        raise Broken(text)
    raise Refused(text)


def _partial(reply: Reply, have: int) -> Start:
    stated = reply.headers.get("content-range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", stated)
    if not have or not found or int(found[1]) != have:
        return Start(-1, None)
    return Start(have, None if found[3] == "*" else int(found[3]))
