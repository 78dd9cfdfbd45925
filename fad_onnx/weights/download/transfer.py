"""One HTTP request at a time, to a server that may be slow, wrong or hostile.

Only https is allowed, except http to the loopback of this machine; redirects follow the same rule
and never lead from https to http. Every wait has a limit, and no reply is read beyond its part.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast
from urllib.parse import urljoin, urlsplit

from .connection import Broken, Patience, Response, Unresolved, opener
from .proxy import Proxy, UnspokenProxyError, masked, proxy_for
from .reply import Refused, Reply

REDIRECTS = 5
BLOCK_BYTES = 1 << 18


def refusal(url: str, before: str | None = None) -> str | None:
    """Why this URL is refused, or None; `before` is the URL that redirected to it."""
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
) -> Iterator[tuple[Reply, Response]]:
    """The reply to a GET after redirects, with its body unread.

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
            # The body of a redirect is not read, because it may be endless.
            body.close()
            before, url = url, _joined(url, reply.headers.get("location", ""))
        raise Refused(f"more than {REDIRECTS} redirects")
    except (Broken, Refused) as error:
        if proxy:
            error.args = (f"{error}, through the proxy {proxy}",)
        raise


def _proxy(url: str) -> Proxy | None:
    """The proxy for an https URL; None for http, which is used only within this machine."""
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
) -> tuple[Reply, Response]:
    asked = urllib.request.Request(url, headers={"User-Agent": "fad-onnx", **headers})
    try:
        opened = opener(url, patience, proxy)
        response = cast(Response, opened.open(asked, timeout=patience.connect_seconds))
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = f"the certificate is not valid ({cause.verify_message})"
            raise Refused(f"{problem}; {_authorities()}") from error
        # The answer of the proxy itself, which http.client gives only as text.
        if re.search(r"^Tunnel connection failed: 4(?!08|25|29)", str(cause)):
            raise Refused(describe(cause)) from error
        kind = Unresolved if isinstance(cause, socket.gaierror) else Broken
        raise kind(describe(cause)) from error
    except ValueError as error:
        # http.client refuses control characters in the target of a redirect.
        raise Refused(f"not a URL ({error})") from error
    received = {name.lower(): value for name, value in response.headers.items()}
    return Reply(url, response.status, received), response


def _authorities() -> str:
    """The source of trusted certificates, and how to change it."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if path := os.environ.get(name):
            there = "" if os.path.exists(path) else ", which does not exist"
            return f"the trusted certificates are those in {name}={path}{there}"
    return "if a proxy intercepts TLS, set SSL_CERT_FILE to the file with its certificate"


def describe(error: object) -> str:
    """The cause of a failed connection, in plain words."""
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, http.client.HTTPException):
        return f"the server does not speak HTTP properly ({type(error).__name__})"
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved (no network?)"
    return str(getattr(error, "strerror", None) or error).lower()


def blocks(body: Response) -> Iterator[bytes]:
    """Yield the body as it arrives, until its end, complete or not.

    Raises Broken if the connection fails or is too slow.
    """
    while True:
        try:
            # read1 returns the available bytes; read would wait for a full block.
            block = body.read1(BLOCK_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(f"the connection broke ({describe(error)})") from error
        if not block:
            return
        yield block
